package control

import (
	"context"
	"errors"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// maxRemembered is how many records of one kind are kept read. Who has more asks for them by the page.
const maxRemembered = 100_000

// rereadOne is up to how many changed records are read one by one; more are read with their neighbours.
const rereadOne = 100

// remembered is what was read of the records of one kind. To look through ten thousand of them takes a second if each is
// read anew, so only those are that have changed: which they are, the keys with their revisions tell. What it returns
// is what the store had when it was asked.
type remembered[T any] struct {
	prefix string
	decode func(store.Record) (T, error)

	turn  chan struct{} // has one in it while somebody looks
	known []readRecord[T]
}

type readRecord[T any] struct {
	key      string
	revision int64
	value    T
}

func newRemembered[T any](prefix string, decode func(store.Record) (T, error)) *remembered[T] {
	return &remembered[T]{prefix: prefix, decode: decode, turn: make(chan struct{}, 1)}
}

// all returns the values of all records, in the order of their keys. They are shared: nobody changes them.
//
// Errors: OperationFailure/TooMany for more than [maxRemembered].
func (m *remembered[T]) all(ctx context.Context, s store.Store) ([]T, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, storeFailed(ctx.Err())
	}
	page, err := s.List(ctx, store.Range{Prefix: m.prefix, KeysOnly: true, Limit: maxRemembered})
	if err != nil {
		return nil, storeFailed(err)
	}
	if page.More {
		return nil, openimds.Errorf(openimds.OperationFailure, openimds.TooMany, "There are more than %d: ask for them by the page, or one by one", maxRemembered)
	}
	known, stale := m.join(page.Records)
	if known, err = m.read(ctx, s, known, stale); err != nil {
		return nil, err
	}
	m.known = known
	values := make([]T, len(known))
	for i, r := range known {
		values[i] = r.value
	}
	return values, nil
}

// join puts what is known beside what is there, both in the order of keys; stale are the places of those to be read.
func (m *remembered[T]) join(there []store.Record) (known []readRecord[T], stale []int) {
	known = make([]readRecord[T], len(there))
	before := m.known
	for i, r := range there {
		for len(before) > 0 && before[0].key < r.Key {
			before = before[1:]
		}
		if len(before) > 0 && before[0].key == r.Key && before[0].revision == r.Revision {
			known[i] = before[0]
			continue
		}
		known[i].key = r.Key
		stale = append(stale, i)
	}
	return known, stale
}

// read fills in those that are stale. One that is gone by now is left out.
func (m *remembered[T]) read(ctx context.Context, s store.Store, known []readRecord[T], stale []int) ([]readRecord[T], error) {
	fill := func(i int, r store.Record) error {
		value, err := m.decode(r)
		known[i].revision, known[i].value = r.Revision, value
		return err
	}
	if len(stale) <= rereadOne {
		for _, i := range stale {
			r, err := s.Get(ctx, known[i].key)
			if errors.Is(err, store.ErrNoRecord) {
				continue
			}
			if err != nil {
				return nil, storeFailed(err)
			}
			if err := fill(i, r); err != nil {
				return nil, err
			}
		}
	} else if err := m.readAll(ctx, s, known, stale, fill); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(known, func(r readRecord[T]) bool { return r.revision == 0 }), nil
}

// readPage is how many records are read in one go: their values are in memory twice until they are decoded.
const readPage = 1000

func (m *remembered[T]) readAll(ctx context.Context, s store.Store, known []readRecord[T], stale []int, fill func(int, store.Record) error) error {
	for r := (store.Range{Prefix: m.prefix, Limit: readPage}); len(stale) > 0; {
		page, err := s.List(ctx, r)
		if err != nil {
			return storeFailed(err)
		}
		for _, record := range page.Records {
			r.After = record.Key
			for len(stale) > 0 && known[stale[0]].key < record.Key {
				stale = stale[1:]
			}
			if len(stale) == 0 || known[stale[0]].key != record.Key {
				continue
			}
			if err := fill(stale[0], record); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
	return nil
}
