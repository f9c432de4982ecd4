// Package within makes a store of a part of another one: of the records below one key, which nobody sees who does not
// know of it. Revisions and leases are the other's, so that one file holds what are many stores to their users.
package within

import (
	"context"
	"strings"

	"github.com/openimds/openimds/store"
)

// New makes the store of the records of s whose keys begin with prefix. To close it closes nothing.
func New(s store.Store, prefix string) store.Store { return part{s, prefix} }

type part struct {
	store.Store
	prefix string
}

func (p part) inner(r store.Record) store.Record {
	r.Key = strings.TrimPrefix(r.Key, p.prefix)
	return r
}

// Get implements [store.Store].
func (p part) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := p.Store.Get(ctx, p.prefix+key)
	return p.inner(r), err
}

// List implements [store.Store].
func (p part) List(ctx context.Context, r store.Range) (store.Page, error) {
	r.Prefix = p.prefix + r.Prefix
	if r.After != "" {
		r.After = p.prefix + r.After
	}
	page, err := p.Store.List(ctx, r)
	for i := range page.Records {
		page.Records[i] = p.inner(page.Records[i])
	}
	return page, err
}

// Commit implements [store.Store].
func (p part) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if err := store.CheckChanges(changes); err != nil {
		return 0, err
	}
	outer := make([]store.Change, len(changes))
	for i, c := range changes {
		c.Key = p.prefix + c.Key
		outer[i] = c
	}
	return p.Store.Commit(ctx, outer...)
}

// Watch implements [store.Store].
func (p part) Watch(prefix string, after int64) store.Watcher {
	return watcher{p, p.Store.Watch(p.prefix+prefix, after)}
}

// Close implements [store.Store].
func (part) Close() error { return nil }

type watcher struct {
	part part
	of   store.Watcher
}

// Next implements [store.Watcher].
func (w watcher) Next(ctx context.Context) ([]store.Record, error) {
	changes, err := w.of.Next(ctx)
	inner := make([]store.Record, len(changes))
	for i, r := range changes {
		inner[i] = w.part.inner(r)
	}
	return inner, err
}
