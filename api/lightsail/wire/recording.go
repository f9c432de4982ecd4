package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// Recording is what another metadata service answered.
type Recording struct {
	Source     string         `json:"source,omitzero"`
	RecordedAt *awsjson.Epoch `json:"recordedAt,omitzero"`
	Items      []RecordedItem `json:"items,omitzero"`
}

// RecordedItem is one path of a recording: "" is the list of versions, all else lies below "latest".
type RecordedItem struct {
	Path        string         `json:"path,omitzero"`
	Listing     bool           `json:"listing,omitzero"`
	ContentType string         `json:"contentType,omitzero"`
	Modified    *awsjson.Epoch `json:"modified,omitzero"`
	Body        awsjson.Blob   `json:"body,omitzero"`
	State       RecordedState  `json:"state,omitzero"`
}

// RecordedState says why a path of a recording has no body.
type RecordedState string

// Values is [awsjson.Enumerated].
func (RecordedState) Values() []string {
	return []string{string(openimds.RecordedAbsent), string(openimds.RecordedWithheld), string(openimds.RecordedBlanked)}
}

// RecordingSummary is a recording without what was recorded, which can be large and hold user data.
type RecordingSummary struct {
	Source     string `json:"source"`
	RecordedAt string `json:"recordedAt"`
	Items      int    `json:"items"`
	Size       int    `json:"size"` // in bytes
}
