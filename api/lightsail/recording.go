package lightsail

import (
	"github.com/openimds/openimds/api/lightsail/wire"
)

import "github.com/openimds/openimds"

func recordingOf(r *wire.Recording) *openimds.Recording {
	if r == nil {
		return nil
	}
	words := &openimds.Recording{Source: r.Source, RecordedAt: r.RecordedAt.OrZero(), Items: make([]openimds.RecordedItem, 0, len(r.Items))}
	for _, it := range r.Items {
		words.Items = append(words.Items, openimds.RecordedItem{
			Path: it.Path, Listing: it.Listing, ContentType: it.ContentType, Modified: it.Modified.OrZero(),
			Body: it.Body, State: openimds.RecordedState(it.State),
		})
	}
	return words
}

func summaryOf(r *openimds.RecordingSummary) *wire.RecordingSummary {
	if r == nil {
		return nil
	}
	return &wire.RecordingSummary{Source: r.Source, RecordedAt: r.RecordedAt.UTC().Format("2006-01-02T15:04:05Z"), Items: r.Items, Size: r.Size}
}
