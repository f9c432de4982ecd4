package openimds

import (
	"bytes"
	"context"
	"strings"
	"sync"
)

// Changelog keeps the latest changes of a store that lives in one process, so that watchers can
// follow it. A watcher holds a revision and nothing else: a slow one costs no memory and is told
// [ErrCompacted] once the log has moved past it.
type Changelog struct {
	mu      sync.Mutex
	events  []Event // in the order of revisions; the oldest first
	dropped int64   // highest revision no longer in events
	latest  int64
	keep    int
	changed chan struct{} // closed and replaced at each append
	closed  bool
}

// NewChangelog makes a log that begins behind revision after and keeps about the latest keep events.
func NewChangelog(after int64, keep int) *Changelog {
	return &Changelog{dropped: after, latest: after, keep: keep, changed: make(chan struct{})}
}

// Append adds the events of one commit, which share a revision above all earlier ones.
func (l *Changelog) Append(revision int64, events []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
	l.latest = revision
	// Cut at twice the size, so that the copy is paid once in keep events.
	if len(l.events) > 2*l.keep {
		cut := len(l.events) - l.keep
		// Never between two events of one commit.
		for cut < len(l.events) && l.events[cut].Revision == l.events[cut-1].Revision {
			cut++
		}
		l.dropped = l.events[cut-1].Revision
		l.events = append([]Event(nil), l.events[cut:]...)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// Reset forgets all events and goes on behind revision: for a store that does not know what its last
// commit did. Every watcher that is not at that revision has to list again.
func (l *Changelog) Reset(revision int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.dropped, l.latest = nil, revision, revision
	close(l.changed)
	l.changed = make(chan struct{})
}

// Reach waits until the log has come to revision. A store's reader may be ahead of its log for the
// moment between a commit and its append; a watch from such a revision would be taken for one from
// another life of the store.
func (l *Changelog) Reach(ctx context.Context, revision int64) error {
	for {
		l.mu.Lock()
		latest, closed, changed := l.latest, l.closed, l.changed
		l.mu.Unlock()
		if closed {
			return ErrStoreClosed
		}
		if latest >= revision {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Close ends all watchers with [ErrStoreClosed].
func (l *Changelog) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// Watch follows the log as [Store.Watch] promises.
func (l *Changelog) Watch(prefix string, after int64) Watcher {
	return &changelogWatcher{log: l, prefix: prefix, after: after}
}

type changelogWatcher struct {
	log    *Changelog
	prefix string
	after  int64
}

func (w *changelogWatcher) Next(ctx context.Context) ([]Event, error) {
	for {
		events, changed, err := w.take()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// take returns the events behind w.after, or the channel that tells of the next append.
func (w *changelogWatcher) take() ([]Event, <-chan struct{}, error) {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, ErrStoreClosed
	}
	// A revision from the future belongs to another life of the store (a restored copy, say).
	if w.after < l.dropped || w.after > l.latest {
		return nil, nil, ErrCompacted
	}
	var events []Event
	for i := len(l.events) - 1; i >= 0 && l.events[i].Revision > w.after; i-- {
		if strings.HasPrefix(l.events[i].Key, w.prefix) {
			event := l.events[i]
			event.Value = bytes.Clone(event.Value)
			events = append(events, event)
		}
	}
	for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
		events[i], events[j] = events[j], events[i]
	}
	w.after = l.latest
	return events, l.changed, nil
}
