package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/openimds/openimds/store"
)

func testContext(t *testing.T, ctx context.Context, s store.Store) {
	ended, end := context.WithCancel(ctx)
	end()
	_, getErr := s.Get(ended, "k")
	_, listErr := s.List(ended, store.Range{})
	_, revisionsErr := s.Revisions(ended, "k")
	_, commitErr := s.Commit(ended, store.Change{Key: "k", If: store.Whatever})
	for _, err := range []error{getErr, listErr, revisionsErr, commitErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a call with an ended context returned %v", err)
		}
	}
	want(t, ctx, s, "k", "-")
}

func testClosed(t *testing.T, ctx context.Context, s store.Store) {
	put(t, ctx, s, "k", "v")
	w := s.Watch("", 1<<40-1)
	if page, err := s.List(ctx, store.Range{}); err == nil {
		w = s.Watch("", page.Revision)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(ctx)
		ended <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	_, getErr := s.Get(ctx, "k")
	_, listErr := s.List(ctx, store.Range{})
	_, revisionsErr := s.Revisions(ctx, "k")
	_, commitErr := s.Commit(ctx, store.Change{Key: "k", If: store.Whatever})
	_, grantErr := s.Grant(ctx, long)
	for _, err := range []error{getErr, listErr, revisionsErr, commitErr, grantErr, s.KeepAlive(ctx, 1), s.Revoke(ctx, 1), <-ended} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("a closed store answered %v", err)
		}
	}
}
