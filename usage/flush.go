package usage

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/openimds/openimds/store"
)

// How much one commit writes: enough to make a flush of many instances a few commits, little enough
// for any store (etcd takes 128 operations and 1.5 MiB unless told otherwise).
const (
	batchRecords = 100
	batchBytes   = 512 << 10
)

// flushAttempts is how often a flush begins anew after a conflict, which is possible only once after
// a start, or after a commit without an outcome.
const flushAttempts = 3

// write is one change of a flush, and who waits for it.
type write struct {
	guest  *Guest
	change store.Change
	done   func(revision int64) // under the guest's mu
	redo   func()               // the same: what is known of the record is not so
}

// Flush carries all that was counted to the store. When it fails, counts stay in memory for the next.
func (r *Recorder) Flush(ctx context.Context) error { return r.flush(ctx, true) }

// flush is Flush; without all, callers that are known there already wait for their turn.
func (r *Recorder) flush(ctx context.Context, all bool) error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	guests := r.all()
	now := sampleNumber(r.cfg.Now())
	for _, g := range guests {
		g.mu.Lock()
		if g.running {
			g.mark(now)
		}
		g.mu.Unlock()
	}
	err := r.save(ctx, guests, all)
	if err != nil {
		r.mu.Lock()
		r.failures++
		r.mu.Unlock()
	}
	return err
}

func (r *Recorder) save(ctx context.Context, guests []*Guest, all bool) error {
	var failures []error
	for range flushAttempts {
		writes, err := r.writes(ctx, guests, all)
		if err != nil {
			failures = append(failures, err)
		}
		guests = nil
		for batch := range batches(writes) {
			err := r.commit(ctx, batch)
			if errors.Is(err, store.ErrConflict) {
				for _, w := range batch {
					guests = append(guests, w.guest)
				}
			} else if err != nil {
				return errors.Join(append(failures, err)...) // the store is away: the next flush sees
			}
		}
		if len(guests) == 0 {
			return errors.Join(failures...)
		}
		guests = unique(guests)
	}
	return errors.Join(append(failures, store.ErrConflict)...)
}

// batches yields the writes in commits' portions.
func batches(writes []write) iter.Seq[[]write] {
	return func(yield func([]write) bool) {
		first, size := 0, 0
		for i, w := range writes {
			n := len(w.change.Key) + len(w.change.Value)
			if i > first && (i-first == batchRecords || size+n > batchBytes) {
				if !yield(writes[first:i]) {
					return
				}
				first, size = i, 0
			}
			size += n
		}
		if first < len(writes) {
			yield(writes[first:])
		}
	}
}

func unique(guests []*Guest) []*Guest {
	seen := make(map[*Guest]bool, len(guests))
	return slices.DeleteFunc(guests, func(g *Guest) bool {
		was := seen[g]
		seen[g] = true
		return was
	})
}

// writes drafts what the guests have for the store. A guest whose record cannot be understood keeps
// its counts and does not hinder the others.
func (r *Recorder) writes(ctx context.Context, guests []*Guest, all bool) ([]write, error) {
	now := r.cfg.Now()
	var writes []write
	var failures []error
	for _, g := range guests {
		if err := r.know(ctx, g); err != nil {
			failures = append(failures, err)
			if ctx.Err() != nil {
				break
			}
		}
		drafts, err := g.draft(now, all || r.leaves(g))
		if err != nil {
			failures = append(failures, err)
		}
		writes = append(writes, drafts...)
		g.drop(dayOf(now))
	}
	return writes, errors.Join(failures...)
}

func (r *Recorder) leaves(g *Guest) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return g.leaving > 0
}

// commit writes a batch, and tells the guests how it went.
func (r *Recorder) commit(ctx context.Context, batch []write) error {
	changes := make([]store.Change, len(batch))
	for i, w := range batch {
		changes[i] = w.change
	}
	revision, err := r.cfg.Store.Commit(ctx, changes...)
	for _, w := range batch {
		w.guest.mu.Lock()
		switch {
		case err == nil:
			w.done(revision)
		case errors.Is(err, store.ErrConflict):
			w.redo()
		}
		w.guest.mu.Unlock()
	}
	return err
}

// drop lets go of past days of which the store has all.
func (g *Guest) drop(today int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.days = slices.DeleteFunc(g.days, func(d *day) bool { return d.number != today && !d.dirty() })
}
