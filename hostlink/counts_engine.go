package hostlink

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// elsewhereKey is where it stands that replicas are told no samples, as they ask an engine of metrics.
const elsewhereKey = "elsewhere"

// elsewhere is that record.
type elsewhere struct {
	TakenBack bool `json:"takenBack"` // the replicas have none that they were told before
}

// settle has the replicas told of samples, or not, as they ask an engine: what this host tells that is taken back first, or
// it would count twice.
func (c *Counts) settle(ctx context.Context, about About) error {
	r, err := c.Store.Get(ctx, elsewhereKey)
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return err
	}
	was, now := elsewhere{}, elsewhere{}
	if r.Value != nil {
		if was, err = records.Decode[elsewhere](r); err != nil {
			return err
		}
	}
	c.engine = about.Installation != ""
	if !c.engine {
		if r.Value == nil {
			return nil
		}
		return c.tellAgain(ctx, r.Revision)
	}
	if now.TakenBack = was.TakenBack || c.Tells; now.TakenBack && !was.TakenBack {
		if err := c.takeBack(ctx, about.EngineMarks); err != nil {
			return err
		}
	}
	if r.Value == nil || now != was {
		value, err := records.Encode(now)
		if err != nil {
			return err
		}
		if _, err := c.Store.Commit(ctx, store.Change{Verb: store.Put, Key: elsewhereKey, Value: value, If: r.Revision}); err != nil {
			return err
		}
	}
	maps.DeleteFunc(c.dirty, func(key string, _ bool) bool { return strings.HasPrefix(key, c.Samples) })
	select {
	case <-c.takenBack:
	default:
		if now.TakenBack {
			close(c.takenBack)
		}
	}
	return nil
}

// takeBack has the replicas forget this host's samples, and the mark of these, once they have that of what the engine has,
// if they take such.
func (c *Counts) takeBack(ctx context.Context, marks bool) error {
	keys, err := c.ownSamples(ctx)
	if err != nil {
		return err
	}
	if marks {
		if err := c.tellMark(ctx, Counted{c.EngineMark, c.Untold()}); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(append(keys, c.Mark), MaxCounted) {
		all := make([]Counted, len(some))
		for i, key := range some {
			all[i].Key = key
		}
		if err := c.keep(ctx, all...); err != nil {
			return err
		}
	}
	return nil
}

// tellAgain has the replicas told all samples, where they were told none for a time.
func (c *Counts) tellAgain(ctx context.Context, revision int64) error {
	keys, err := c.ownSamples(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		c.dirty[key] = true
	}
	if err := c.pushCounted(ctx); err != nil {
		return err
	}
	_, err = c.Store.Commit(ctx, store.Change{Verb: store.Delete, Key: elsewhereKey, If: revision})
	return err
}

// ownSamples are the keys of this host's samples.
func (c *Counts) ownSamples(ctx context.Context) (keys []string, err error) {
	page, err := c.Store.List(ctx, store.Range{Prefix: c.Samples, KeysOnly: true})
	for _, r := range page.Records {
		if strings.HasSuffix(r.Key, "/"+c.Host) {
			keys = append(keys, r.Key)
		}
	}
	return keys, err
}
