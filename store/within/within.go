// Package within makes a store of a part of another one: of the records below one key, which nobody sees who does not
// know of it. Revisions and leases are the other's, so that one file holds what are many stores to their users.
package within

import (
	"context"
	"slices"
	"strings"

	"github.com/openimds/openimds/store"
)

// New makes the store of the records of s whose keys begin with prefix. Keys that begin with one of those shared stand for
// themselves in it: their records are those of s. What is listed or watched is shared only where its prefix begins so.
// To close it closes nothing.
func New(s store.Store, prefix string, shared ...string) store.Store { return part{s, prefix, shared} }

type part struct {
	store.Store
	prefix string
	shared []string
}

// outer is what a key, or the beginning of some, is in the whole store.
func (p part) outer(key string) string {
	if slices.ContainsFunc(p.shared, func(shared string) bool { return strings.HasPrefix(key, shared) }) {
		return key
	}
	return p.prefix + key
}

func (p part) inner(r store.Record) store.Record {
	r.Key = strings.TrimPrefix(r.Key, p.prefix)
	return r
}

// Get implements [store.Store].
func (p part) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := p.Store.Get(ctx, p.outer(key))
	return p.inner(r), err
}

// Revisions implements [store.Store].
func (p part) Revisions(ctx context.Context, keys ...string) ([]int64, error) {
	outer := make([]string, len(keys))
	for i, key := range keys {
		outer[i] = p.outer(key)
	}
	return p.Store.Revisions(ctx, outer...)
}

// List implements [store.Store].
func (p part) List(ctx context.Context, r store.Range) (store.Page, error) {
	r.Prefix = p.outer(r.Prefix)
	if r.After != "" {
		r.After = p.outer(r.After)
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
		c.Key = p.outer(c.Key)
		outer[i] = c
	}
	return p.Store.Commit(ctx, outer...)
}

// Watch implements [store.Store].
func (p part) Watch(prefix string, after int64) store.Watcher {
	return watcher{p, p.Store.Watch(p.outer(prefix), after)}
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
