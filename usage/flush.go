package usage

import (
	"context"
	"errors"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// prunePage is how many records are looked at in one go.
const prunePage = 100

// flushAttempts is how often a flush of callers begins anew after a conflict, which is possible only once
// after a start, or after a commit without an outcome.
const flushAttempts = 3

// Flush carries all that was counted to the store. When it fails, counts stay in memory for the next.
func (r *Meter) Flush(ctx context.Context) error { return r.flush(ctx, true) }

// flush is Flush; without all, callers that are known there already wait for their turn.
func (r *Meter) flush(ctx context.Context, all bool) error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	now := r.cfg.Now()
	for _, g := range r.all() {
		g.mu.Lock()
		if g.running {
			g.mark(now)
		}
		g.gather(g.sample.Load())
		g.mu.Unlock()
	}
	err := errors.Join(r.cfg.History.Flush(ctx), r.flushCallers(ctx, r.all(), all))
	if err != nil {
		r.mu.Lock()
		r.failures++
		r.mu.Unlock()
	}
	return err
}

// KeepCallers carries to the store who called some of the instances, before their turn.
func (r *Meter) KeepCallers(ctx context.Context, instanceIDs ...string) error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	var some []*Tally
	for _, id := range instanceIDs {
		if g := r.guest(id); g != nil {
			some = append(some, g)
		}
	}
	return r.flushCallers(ctx, some, true)
}

func (r *Meter) flushCallers(ctx context.Context, of []*Tally, all bool) error {
	var failed, err error
	for range flushAttempts {
		var writes []store.Write
		writes, failed = r.callerWrites(ctx, of, all)
		if err = store.CommitEach(ctx, r.cfg.Store, writes); !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	return errors.Join(failed, err)
}

// callerWrites drafts what the guests have for the store. A guest whose record cannot be understood keeps
// its callers and does not hinder the others.
func (r *Meter) callerWrites(ctx context.Context, of []*Tally, all bool) ([]store.Write, error) {
	now := r.cfg.Now()
	var writes []store.Write
	var failures []error
	for _, g := range of {
		if err := r.know(ctx, g); err != nil {
			failures = append(failures, err)
			if ctx.Err() != nil {
				break
			}
		}
		leaves := r.leaves(g)
		g.mu.Lock()
		if g.callers.known && g.callers.due(now, all || leaves) {
			writes = append(writes, g.draftCallers(now))
		}
		g.mu.Unlock()
	}
	return writes, errors.Join(failures...)
}

func (r *Meter) leaves(g *Tally) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return g.leaving > 0
}

// know reads what the store has of a guest's callers, unless that is in memory.
func (r *Meter) know(ctx context.Context, g *Tally) error {
	g.mu.Lock()
	known := g.callers.known
	g.mu.Unlock()
	if known {
		return nil
	}
	record, err := r.cfg.Store.Get(ctx, g.callers.key)
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return err
	}
	return g.learnCallers(record) // without one, of the zero record, which has the revision IfAbsent
}

// Prune has the history drop what is too old, and forgets the callers that were not seen for
// [openimds.CallersKept]. Several hosts may do so at once.
func (r *Meter) Prune(ctx context.Context) error {
	since := r.cfg.Now().Add(-openimds.CallersKept)
	for _, g := range r.all() {
		g.expire(since)
	}
	return errors.Join(r.cfg.History.Prune(ctx), r.dropCallers(ctx, since))
}

// dropCallers forgets the records of callers of whom none was seen since. A record that cannot be read stays,
// and does not hinder the others.
func (r *Meter) dropCallers(ctx context.Context, since time.Time) error {
	var failures []error
	for after := ""; ; {
		page, err := r.cfg.Store.List(ctx, store.Range{Prefix: callersPrefix, After: after, Limit: prunePage})
		if err != nil {
			return errors.Join(append(failures, err)...)
		}
		for _, record := range page.Records {
			after = record.Key
			callers, err := decodeCallers(record)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			var last int64
			for _, c := range callers {
				last = max(last, c.Last)
			}
			if last >= since.UnixNano() {
				continue
			}
			_, err = r.cfg.Store.Commit(ctx, store.Change{Verb: store.Delete, Key: record.Key, If: record.Revision})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return errors.Join(append(failures, err)...)
			}
		}
		if !page.More {
			return errors.Join(failures...)
		}
	}
}
