package refusals

import (
	"context"
	"errors"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// mark marks those of the instances that somebody waits for and that are not this process's alone.
func (w *Watch) mark(ctx context.Context, of []string, waits func(i int) bool) error {
	var unmarked []string
	w.mu.Lock()
	for i, name := range of {
		if in := w.known[name]; in != nil && waits(i) && in.state.id != "" && in.state.mark == nil && w.elsewhere(&in.state) {
			unmarked = append(unmarked, name)
		}
	}
	w.mu.Unlock()
	if len(unmarked) == 0 {
		return nil
	}
	lease, err := w.hold(ctx)
	if err != nil {
		return err
	}
	var writes []store.Write
	for _, name := range unmarked {
		w.mu.Lock()
		in := w.known[name]
		var id string
		var was int64
		if in != nil {
			id, was = in.state.id, in.state.marked.Revision
		}
		w.mu.Unlock()
		if id == "" {
			continue
		}
		mark := records.Watched{ID: openimds.NewUUID(), InstanceID: id}
		value, err := records.Encode(mark)
		if err != nil {
			return err
		}
		another := func() { // whoever has marked it does so for all
			w.mu.Lock()
			defer w.mu.Unlock()
			in.changes++
		}
		writes = append(writes, store.Write{
			Change:   store.Change{Verb: store.Put, Key: records.WatchedKey(name), Value: value, If: was, Lease: lease},
			Done:     func(int64) { another() },
			Conflict: another,
		})
	}
	err = store.CommitEach(ctx, w.cfg.Store, writes)
	switch {
	case errors.Is(err, store.ErrNoLease):
		w.ended(lease)
		return nil // the next look marks them
	case errors.Is(err, store.ErrConflict):
		return nil
	}
	return err
}

// elsewhere says whether others than this process serve the instance. w.mu is held.
func (w *Watch) elsewhere(s *state) bool {
	_, here := w.own(s)
	for host := range s.hosts() {
		if host != w.cfg.Host || !here {
			return true
		}
	}
	return false
}

// own is what this process has refused to the instance's guest; false: it does not serve it.
func (w *Watch) own(s *state) (openimds.RefusedCalls, bool) {
	if w.cfg.Counter == nil || s.id == "" {
		return openimds.RefusedCalls{}, false
	}
	return w.cfg.Counter.RefusedCalls(s.id)
}

// hold returns the lease of the marks, which is granted when there is a first one.
func (w *Watch) hold(ctx context.Context) (store.Lease, error) {
	w.leasing.Lock()
	defer w.leasing.Unlock()
	if w.lease != store.NoLease {
		return w.lease, nil
	}
	lease, err := w.cfg.Store.Grant(ctx, leaseTime)
	if err == nil {
		w.lease = lease
	}
	return lease, err
}

// ended notes that the lease has ended, and with it all that was bound to it.
func (w *Watch) ended(lease store.Lease) {
	w.leasing.Lock()
	defer w.leasing.Unlock()
	if w.lease == lease {
		w.lease = store.NoLease
	}
}

// keep lets go of what nobody waits for any more, and keeps the rest alive.
func (w *Watch) keep(ctx context.Context) error {
	w.leasing.Lock()
	lease := w.lease
	w.leasing.Unlock()
	now := w.cfg.Now()
	var changes []store.Write
	w.mu.Lock()
	for name, in := range w.known {
		if age := now.Sub(in.wanted); age >= 0 && age < wantedFor {
			continue
		}
		if in.state.mark != nil && in.state.marked.Lease == lease && lease != store.NoLease {
			changes = append(changes, store.Write{
				Change: store.Change{Verb: store.Delete, Key: records.WatchedKey(name), If: in.state.marked.Revision},
				Done:   func(int64) {}, Conflict: func() {},
			})
			for host := range in.state.told {
				changes = append(changes, store.Write{
					Change: store.Change{Verb: store.Delete, Key: records.RefusedKey(name, host), If: store.Whatever}, Done: func(int64) {}, Conflict: func() {},
				})
			}
		}
		delete(w.known, name)
	}
	waits := len(w.known) > 0
	w.mu.Unlock()
	err := store.CommitEach(ctx, w.cfg.Store, changes)
	if errors.Is(err, store.ErrConflict) {
		err = nil
	}
	if lease == store.NoLease || !waits {
		return err // without it, it ends with whatever is bound to it
	}
	kept := w.cfg.Store.KeepAlive(ctx, lease)
	if errors.Is(kept, store.ErrNoLease) {
		w.ended(lease)
		return err
	}
	return errors.Join(err, kept)
}
