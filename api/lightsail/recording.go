package lightsail

import "github.com/openimds/openimds"

// recording is what another metadata service answered.
type recording struct {
	Source     string         `json:"source"`
	RecordedAt *epoch         `json:"recordedAt"`
	Items      []recordedItem `json:"items"`
}

// recordedItem is one path of a recording: "" is the list of versions, all else lies below "latest".
type recordedItem struct {
	Path        string        `json:"path"`
	Listing     bool          `json:"listing"`
	ContentType string        `json:"contentType"`
	Modified    *epoch        `json:"modified"`
	Body        blob          `json:"body"`
	State       recordedState `json:"state"`
}

type recordedState string

func (recordedState) values() []string {
	return []string{string(openimds.RecordedAbsent), string(openimds.RecordedWithheld), string(openimds.RecordedBlanked)}
}

func (r *recording) words() *openimds.Recording {
	if r == nil {
		return nil
	}
	words := &openimds.Recording{Source: r.Source, RecordedAt: r.RecordedAt.orZero(), Items: make([]openimds.RecordedItem, 0, len(r.Items))}
	for _, it := range r.Items {
		words.Items = append(words.Items, openimds.RecordedItem{
			Path: it.Path, Listing: it.Listing, ContentType: it.ContentType, Modified: it.Modified.orZero(),
			Body: it.Body, State: openimds.RecordedState(it.State),
		})
	}
	return words
}

// recordingSummary is a recording without what was recorded, which can be large and hold user data.
type recordingSummary struct {
	Source     string `json:"source"`
	RecordedAt string `json:"recordedAt"`
	Items      int    `json:"items"`
	Size       int    `json:"size"` // in bytes
}

func summaryOf(r *openimds.RecordingSummary) *recordingSummary {
	if r == nil {
		return nil
	}
	return &recordingSummary{r.Source, r.RecordedAt.UTC().Format("2006-01-02T15:04:05Z"), r.Items, r.Size}
}
