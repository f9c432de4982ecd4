package openimds_test

import (
	"context"
	"errors"
	"sync"

	"github.com/openimds/openimds"
)

var errStore = errors.New("input/output error")

// fault is what is wrong with a store.
type fault struct {
	read   error // of Get and List
	commit error // of Commit; nothing is written
	lost   error // of Commit, though it was written
	from   int   // the first call that it happens to, counted from 0 over all calls
}

// faultyStore is a store with a fault that can be set at any time.
type faultyStore struct {
	openimds.Store
	mu    sync.Mutex
	fault fault
	calls int
}

func (s *faultyStore) set(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.calls = f, 0
}

// next is the fault of a call.
func (s *faultyStore) next() fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.calls <= s.fault.from {
		return fault{}
	}
	return s.fault
}

func (s *faultyStore) Get(ctx context.Context, key string) (openimds.Record, error) {
	if f := s.next(); f.read != nil {
		return openimds.Record{}, f.read
	}
	return s.Store.Get(ctx, key)
}

func (s *faultyStore) List(ctx context.Context, r openimds.Range) (openimds.Page, error) {
	if f := s.next(); f.read != nil {
		return openimds.Page{}, f.read
	}
	return s.Store.List(ctx, r)
}

func (s *faultyStore) Commit(ctx context.Context, changes ...openimds.Change) (int64, error) {
	f := s.next()
	if f.commit != nil {
		return 0, f.commit
	}
	revision, err := s.Store.Commit(ctx, changes...)
	if f.lost != nil {
		return 0, f.lost
	}
	return revision, err
}
