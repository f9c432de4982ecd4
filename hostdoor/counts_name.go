package hostdoor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage/history"
)

// countsName is the name at the end of the key of a record that a host has counted, or of one of its marks.
func countsName(key string) string { return history.CountsBy(key[strings.LastIndexByte(key, '/')+1:]) }

// maxCountsNames is by how many names a host may count in the time for which counts are kept: each has room for all that
// a host counts, and a machine is not replaced every few days.
const maxCountsNames = 16

// counting notes by which name the host counts. With another one than before it has lost what it counted by that, and says
// no more how much of it is not told.
func (c *call) counting(ctx context.Context, name string) error {
	whole, key := c.door.cfg.Whole, records.CountingKey(c.host.Name)
	was, err := whole.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return err
	}
	var known []records.Counting
	if was.Value != nil {
		if known, err = records.Decode[[]records.Counting](was); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(known, func(k records.Counting) bool { return k.Name == name }) {
		return nil
	}
	now := time.Now()
	var changes []store.Change
	var kept []records.Counting
	for _, k := range known {
		changes = append(changes,
			store.Change{Verb: store.Delete, Key: history.MarkKey(k.Name), If: store.Whatever},
			store.Change{Verb: store.Delete, Key: history.EngineMarkKey(k.Name), If: store.Whatever})
		if now.Sub(k.Since) < openimds.CallersKept {
			kept = append(kept, k)
		}
	}
	if len(kept) >= maxCountsNames {
		return malformed("a host cannot count by so many names")
	}
	value, err := records.Encode(append(kept, records.Counting{Name: name, Since: now.UTC().Truncate(time.Second)}))
	if err != nil {
		return err
	}
	_, err = whole.Commit(ctx, append(changes, store.Change{Verb: store.Put, Key: key, Value: value, If: was.Revision})...)
	if errors.Is(err, store.ErrConflict) {
		return c.counting(ctx, name) // another request of this host has noted one
	}
	return err
}
