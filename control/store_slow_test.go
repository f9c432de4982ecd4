package control_test

import (
	"context"
	"errors"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// stuckStore is a store whose commits meet a conflict first, and then wait until their context ends.
type stuckStore struct {
	store.Store
	commits chan struct{} // told of each commit
	stuck   bool
}

func (s *stuckStore) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if !s.stuck {
		return s.Store.Commit(ctx, changes...)
	}
	select {
	case s.commits <- struct{}{}:
		return 0, store.ErrConflict
	default:
	}
	<-ctx.Done()
	return 0, ctx.Err()
}

// TestStuckStore: nobody waits for a store longer than for as long as its client does, and nobody in
// the line of those who try again waits longer for the one before.
func TestStuckStore(t *testing.T) {
	kept := &stuckStore{commits: make(chan struct{}, 2)}
	f := newFixture(t, func(_ *control.Config, s *store.Store) {
		kept.Store, *s = *s, kept
	})
	f.create("web")
	kept.stuck = true
	const clients = 2
	failed := make(chan error, clients)
	var cancels []context.CancelFunc
	for range clients {
		ctx, cancel := context.WithCancel(t.Context())
		cancels = append(cancels, cancel)
		defer cancel()
		go func() {
			_, err := f.UpdateOptions(ctx, "web", openimds.OptionsUpdate{HopLimit: new(2)})
			failed <- err
		}()
	}
	// In any order: the one that is stuck in the store, and the one that stands behind it.
	for _, cancel := range cancels {
		cancel()
		err := <-failed
		refused(t, err, openimds.Unavailable, openimds.StoreAway, "The store is not available; try again")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the reason is lost: %v", err)
		}
	}
	kept.stuck = false
	f.update("web", openimds.OptionsUpdate{HopLimit: new(3)})
}

// TestLongRowFails interrupts the end of more operations than one commit takes, at each of its
// commits: the options stay pending until the last one, and a second mark finds the rest.
func TestLongRowFails(t *testing.T) {
	f, store := newFaulty(t)
	var ops []openimds.Operation
	for n := range 130 {
		ops = append(ops, f.update("web", openimds.OptionsUpdate{HopLimit: new(3 + n%60)}))
	}
	in := f.get("web")
	ended := func() (n int) {
		for _, op := range ops {
			if op, err := f.Operation(t.Context(), op.ID); err != nil {
				t.Fatal(err)
			} else if op.Terminal() {
				n++
			}
		}
		return n
	}
	failures := 0
	for from := 130; ; from++ { // before that it only reads
		store.set(fault{commit: errStore, from: from})
		err := f.MarkApplied(t.Context(), in)
		store.set(fault{})
		if err == nil {
			break
		}
		failures++
		refused(t, err, openimds.Unavailable, openimds.StoreAway, "The store is not available; try again")
		if now := f.get("web"); now.Options.State != openimds.OptionsPending || now.OptionsOperation != in.OptionsOperation || ended() == len(ops) {
			t.Fatalf("after an interruption at call %d: %+v, %d of %d operations have ended", from, now.Options, ended(), len(ops))
		}
	}
	if now := f.get("web"); now.Options.State != openimds.OptionsApplied || ended() != len(ops) || failures == 0 {
		t.Errorf("at the end: %+v, %d of %d operations have ended after %d failures", now.Options, ended(), len(ops), failures)
	}
}
