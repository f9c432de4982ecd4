package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
)

// What a [Changelog] of a store keeps unless its store has a reason: whatever is more, the events or
// their bytes. The garbage collector lets the heap grow to about twice what is kept, so that a log of
// this size costs a process 64 MB.
const (
	ChangelogEvents = 100_000
	ChangelogBytes  = 32 << 20
)

// eventOverhead is about what an event costs beside its key and value.
const eventOverhead = 64

// takeBytes is about how much a watcher is handed at once: one that is far behind must not cost the
// log's memory a second time.
const takeBytes = 1 << 20

// Changelog keeps the latest changes of a store that lives in one process, so that watchers can
// follow it. A watcher holds a revision and nothing else: a slow one costs no memory and is told
// [ErrCompacted] once the log has moved past it.
type Changelog struct {
	mu       sync.Mutex
	events   []Event // in the order of revisions; the oldest first
	bytes    int     // of events
	dropped  int64   // highest revision no longer in events
	latest   int64
	keep     int
	keepSize int
	changed  chan struct{} // closed and replaced at each append
	closed   bool
}

// NewChangelog makes a log that begins behind revision after. It never keeps more events, nor more
// bytes of events, than that.
func NewChangelog(after int64, events, bytes int) *Changelog {
	return &Changelog{dropped: after, latest: after, keep: events, keepSize: bytes, changed: make(chan struct{})}
}

// Append adds the events of one commit, which share a revision above all earlier ones.
func (l *Changelog) Append(revision int64, events []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
	for _, e := range events {
		l.bytes += e.size()
	}
	l.latest = revision
	if len(l.events) > l.keep || l.bytes > l.keepSize {
		l.cut()
	}
	l.tell()
}

func (e Event) size() int { return len(e.Key) + len(e.Value) + eventOverhead }

// cut drops the oldest quarter, so that the copy of what stays is paid once in many appends. Only a copy
// gives the memory of what goes back.
func (l *Changelog) cut() {
	cut, bytes := 0, l.bytes
	for cut < len(l.events) && (len(l.events)-cut > l.keep/4*3 || bytes > l.keepSize/4*3) {
		bytes -= l.events[cut].size()
		cut++
	}
	// Never between two events of one commit.
	for cut > 0 && cut < len(l.events) && l.events[cut].Revision == l.events[cut-1].Revision {
		bytes -= l.events[cut].size()
		cut++
	}
	if cut == 0 {
		return
	}
	l.dropped = l.events[cut-1].Revision
	l.events, l.bytes = slices.Clone(l.events[cut:]), bytes
}

// tell wakes those who wait. l.mu is held.
func (l *Changelog) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Reset tells the log at which revision the store is, for a store that does not know what its last
// commit did. If that is another than the log's, all events are forgotten, and every watcher that is
// not at that revision has to list again.
func (l *Changelog) Reset(revision int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if revision == l.latest {
		return // it did nothing
	}
	l.events, l.bytes, l.dropped, l.latest = nil, 0, revision, revision
	l.tell()
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
			return ErrClosed
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

// Close ends all watchers with [ErrClosed].
func (l *Changelog) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.tell()
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

// take returns events behind w.after, of whole commits, or the channel that tells of the next append.
func (w *changelogWatcher) take() ([]Event, <-chan struct{}, error) {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, ErrClosed
	}
	// A revision from the future belongs to another life of the store (a restored copy, say).
	if w.after < l.dropped || w.after > l.latest {
		return nil, nil, ErrCompacted
	}
	first, _ := slices.BinarySearchFunc(l.events, w.after+1, func(e Event, r int64) int { return cmp.Compare(e.Revision, r) })
	var events []Event
	for size, i := 0, first; i < len(l.events); i++ {
		event := l.events[i]
		if size > takeBytes && event.Revision > w.after {
			return events, l.changed, nil
		}
		w.after = event.Revision
		if strings.HasPrefix(event.Key, w.prefix) {
			event.Value = bytes.Clone(event.Value)
			events = append(events, event)
			size += event.size()
		}
	}
	w.after = l.latest
	return events, l.changed, nil
}
