package history

import (
	"context"
	"errors"

	"github.com/openimds/openimds/store"
)

// Move carries the samples that a host has in one store over to another, where it may have another name. What is there
// already stays, so that a move that was interrupted goes on.
func Move(ctx context.Context, from store.Store, host string, to store.Store, name string) error {
	for after := ""; ; {
		page, err := from.List(ctx, store.Range{Prefix: samplePrefix, After: after, Limit: prunePage})
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			after = r.Key
			day, id, err := parseDayKey(r.Key, samplePrefix)
			if err != nil || r.Key != sampleKey(day, id, host) {
				continue
			}
			_, err = to.Commit(ctx, store.Change{Verb: store.Put, Key: sampleKey(day, id, name), Value: r.Value, If: store.IfAbsent})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
			if _, err = from.Commit(ctx, store.Change{Verb: store.Delete, Key: r.Key, If: r.Revision}); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
}
