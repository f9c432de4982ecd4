// Package mem is the Store in memory, for what may end with its process.
package mem

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/openimds/openimds/store"
)

// Store implements [store.Store]. It keeps nothing beyond its process.
type Store struct {
	mu       sync.Mutex
	records  map[string]store.Record
	revision int64
	closed   bool
	log      *store.Changelog
	leases   map[store.Lease]*lease
	granted  store.Lease // the latest
}

// New makes an empty store.
func New() *Store {
	return &Store{
		records: make(map[string]store.Record), log: store.NewChangelog(0, 10_000, store.ChangelogBytes),
		leases: map[store.Lease]*lease{},
	}
}

// Get implements [store.Store].
func (m *Store) Get(ctx context.Context, key string) (store.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return store.Record{}, err
	}
	r, ok := m.records[key]
	if !ok {
		return store.Record{}, store.ErrNoRecord
	}
	r.Value = bytes.Clone(r.Value)
	return r, nil
}

// Revisions implements [store.Store].
func (m *Store) Revisions(ctx context.Context, keys ...string) ([]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	all := make([]int64, len(keys))
	for i, key := range keys {
		all[i] = m.records[key].Revision
	}
	return all, nil
}

// List implements [store.Store].
func (m *Store) List(ctx context.Context, r store.Range) (store.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return store.Page{}, err
	}
	var keys []string
	for key := range m.records {
		if key > r.After && strings.HasPrefix(key, r.Prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	page := store.Page{Revision: m.revision}
	if r.Limit > 0 && len(keys) > r.Limit {
		keys, page.More = keys[:r.Limit], true
	}
	for _, key := range keys {
		record := m.records[key]
		if r.KeysOnly {
			record = store.Record{Key: key, Revision: record.Revision}
		}
		record.Value = bytes.Clone(record.Value)
		page.Records = append(page.Records, record)
	}
	return page, nil
}

// Commit implements [store.Store].
func (m *Store) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if err := store.CheckChanges(changes); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	for _, c := range changes {
		if c.Lease != store.NoLease && m.leases[c.Lease] == nil {
			return 0, store.ErrNoLease
		}
		if c.If != store.Whatever && m.records[c.Key].Revision != c.If {
			return 0, store.ErrConflict
		}
	}
	return m.apply(changes), nil
}

// apply carries changes out that all may be. m.mu is held.
func (m *Store) apply(changes []store.Change) int64 {
	m.revision++
	var records []store.Record
	for _, c := range changes {
		_, exists := m.records[c.Key]
		switch {
		case c.Verb == store.Put:
			value := append([]byte{}, c.Value...)
			m.records[c.Key] = store.Record{Key: c.Key, Value: value, Revision: m.revision, Lease: c.Lease}
			records = append(records, m.records[c.Key])
		case c.Verb == store.Delete && exists:
			delete(m.records, c.Key)
			records = append(records, store.Record{Key: c.Key, Revision: m.revision})
		}
	}
	m.log.Append(m.revision, records)
	return m.revision
}

func (m *Store) usable(ctx context.Context) error {
	if m.closed {
		return store.ErrClosed
	}
	return ctx.Err()
}

// Watch implements [store.Store].
func (m *Store) Watch(prefix string, after int64) store.Watcher {
	return m.log.Watch(prefix, after)
}

// Close implements [store.Store].
func (m *Store) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("the store was closed before")
	}
	m.closed = true
	for _, l := range m.leases {
		l.end.Stop()
	}
	m.log.Close()
	return nil
}
