// Package memstore is the Store in memory, for what may end with its process.
package memstore

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/openimds/openimds"
)

// Store implements [openimds.Store]. It keeps nothing beyond its process.
type Store struct {
	mu       sync.Mutex
	records  map[string]openimds.Record
	revision int64
	closed   bool
	log      *openimds.Changelog
}

// New makes an empty store.
func New() *Store {
	return &Store{records: make(map[string]openimds.Record), log: openimds.NewChangelog(0, 10_000, openimds.ChangelogBytes)}
}

// Get implements [openimds.Store].
func (m *Store) Get(ctx context.Context, key string) (openimds.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return openimds.Record{}, err
	}
	r, ok := m.records[key]
	if !ok {
		return openimds.Record{}, openimds.ErrNoRecord
	}
	r.Value = bytes.Clone(r.Value)
	return r, nil
}

// List implements [openimds.Store].
func (m *Store) List(ctx context.Context, r openimds.Range) (openimds.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return openimds.Page{}, err
	}
	var keys []string
	for key := range m.records {
		behind := r.After == "" || key > r.After != r.Descending && key != r.After
		if behind && strings.HasPrefix(key, r.Prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if r.Descending {
		slices.Reverse(keys)
	}
	page := openimds.Page{Revision: m.revision}
	if r.Limit > 0 && len(keys) > r.Limit {
		keys, page.More = keys[:r.Limit], true
	}
	for _, key := range keys {
		record := m.records[key]
		record.Value = bytes.Clone(record.Value)
		page.Records = append(page.Records, record)
	}
	return page, nil
}

// Commit implements [openimds.Store].
func (m *Store) Commit(ctx context.Context, changes ...openimds.Change) (int64, error) {
	if err := openimds.CheckChanges(changes); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	for _, c := range changes {
		if c.If != openimds.Whatever && m.records[c.Key].Revision != c.If {
			return 0, openimds.ErrConflict
		}
	}
	m.revision++
	var events []openimds.Event
	for _, c := range changes {
		_, exists := m.records[c.Key]
		switch {
		case c.Verb == openimds.Put:
			value := append([]byte{}, c.Value...)
			m.records[c.Key] = openimds.Record{Key: c.Key, Value: value, Revision: m.revision}
			events = append(events, openimds.Event{Key: c.Key, Value: value, Revision: m.revision})
		case c.Verb == openimds.Delete && exists:
			delete(m.records, c.Key)
			events = append(events, openimds.Event{Key: c.Key, Revision: m.revision})
		}
	}
	m.log.Append(m.revision, events)
	return m.revision, nil
}

func (m *Store) usable(ctx context.Context) error {
	if m.closed {
		return openimds.ErrStoreClosed
	}
	return ctx.Err()
}

// Watch implements [openimds.Store].
func (m *Store) Watch(prefix string, after int64) openimds.Watcher {
	return m.log.Watch(prefix, after)
}

// Close implements [openimds.Store].
func (m *Store) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("the store was closed before")
	}
	m.closed = true
	m.log.Close()
	return nil
}
