package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
)

// What a [Changelog] of a store keeps unless its store has a reason: whatever is more, the records or
// their bytes. The garbage collector lets the heap grow to about twice what is kept, so that a log of
// this size costs a process 64 MB.
const (
	ChangelogRecords = 100_000
	ChangelogBytes   = 32 << 20
)

// recordOverhead is about what a record costs beside its key and value.
const recordOverhead = 64

// takeBytes is about how much a watcher is handed at once: one that is far behind must not cost the
// log's memory a second time.
const takeBytes = 1 << 20

// Changelog keeps the latest changes of a store that lives in one process, so that watchers can
// follow it. A watcher holds a revision and nothing else: a slow one costs no memory and is told
// [ErrCompacted] once the log has moved past it.
type Changelog struct {
	mu       sync.Mutex
	records  []Record // in the order of revisions; the oldest first
	bytes    int      // of records
	dropped  int64    // highest revision no longer in records
	latest   int64
	keep     int
	keepSize int
	changed  chan struct{} // closed and replaced at each append
	closed   bool
}

// NewChangelog makes a log that begins behind revision after. It never keeps more records, nor more
// bytes of records, than that.
func NewChangelog(after int64, records, bytes int) *Changelog {
	return &Changelog{dropped: after, latest: after, keep: records, keepSize: bytes, changed: make(chan struct{})}
}

// Append adds the records of one commit, which share a revision above all earlier ones.
func (l *Changelog) Append(revision int64, records []Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, records...)
	for _, e := range records {
		l.bytes += e.size()
	}
	l.latest = revision
	if len(l.records) > l.keep || l.bytes > l.keepSize {
		l.cut()
	}
	l.tell()
}

func (e Record) size() int { return len(e.Key) + len(e.Value) + recordOverhead }

// cut drops the oldest quarter, so that the copy of what stays is paid once in many appends. Only a copy
// gives the memory of what goes back.
func (l *Changelog) cut() {
	cut, bytes := 0, l.bytes
	for cut < len(l.records) && (len(l.records)-cut > l.keep/4*3 || bytes > l.keepSize/4*3) {
		bytes -= l.records[cut].size()
		cut++
	}
	// Never between two records of one commit.
	for cut > 0 && cut < len(l.records) && l.records[cut].Revision == l.records[cut-1].Revision {
		bytes -= l.records[cut].size()
		cut++
	}
	if cut == 0 {
		return
	}
	l.dropped = l.records[cut-1].Revision
	l.records, l.bytes = slices.Clone(l.records[cut:]), bytes
}

// tell wakes those who wait. l.mu is held.
func (l *Changelog) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Reset tells the log at which revision the store is, for a store that does not know what its last
// commit did. If that is another than the log's, all records are forgotten, and every watcher that is
// not at that revision has to list again.
func (l *Changelog) Reset(revision int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if revision == l.latest {
		return // it did nothing
	}
	l.records, l.bytes, l.dropped, l.latest = nil, 0, revision, revision
	l.tell()
}

// Latest is the revision that the log has come to.
func (l *Changelog) Latest() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest
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

func (w *changelogWatcher) Next(ctx context.Context) ([]Record, error) {
	for {
		records, changed, err := w.take()
		if err != nil || len(records) > 0 {
			return records, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// take returns records behind w.after, of whole commits, or the channel that tells of the next append.
func (w *changelogWatcher) take() ([]Record, <-chan struct{}, error) {
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
	first, _ := slices.BinarySearchFunc(l.records, w.after+1, func(e Record, r int64) int { return cmp.Compare(e.Revision, r) })
	var records []Record
	for size, i := 0, first; i < len(l.records); i++ {
		record := l.records[i]
		if size > takeBytes && record.Revision > w.after {
			return records, l.changed, nil
		}
		w.after = record.Revision
		if strings.HasPrefix(record.Key, w.prefix) {
			record.Value = bytes.Clone(record.Value)
			records = append(records, record)
			size += record.size()
		}
	}
	w.after = l.latest
	return records, l.changed, nil
}
