package naming

import (
	"sync"
	"time"
)

// Bounds of what is known of others' network namespaces: how many calls in a row that no listener tells of are looked
// into until one is taken for another's, for how long it is, and how many are remembered.
const (
	mostUnclaimed = 64
	theirsFor     = time.Minute
	mostTheirs    = 4096
)

// theirs are the network namespaces out of which calls go to somebody else: to another server, or on an instance of
// AWS's to its own metadata service. A machine may make thousands of these a second, which are not looked into.
type theirs struct {
	mu    sync.Mutex
	ours  map[uint64]int // namespaces of guests, and how many listeners have each
	other map[uint64]stranger
}

// stranger is a namespace that calls somebody else so far.
type stranger struct {
	calls int
	since time.Time
}

// may says whether calls out of a namespace may be of this server's guests.
func (t *theirs) may(netns uint64, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.other[netns]
	if !ok {
		return true
	}
	if now.Sub(s.since) >= theirsFor {
		delete(t.other, netns)
		return true
	}
	return s.calls < mostUnclaimed
}

// unclaimed notes a call that the kernel has told of and no listener.
func (t *theirs) unclaimed(netns uint64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ours[netns] > 0 { // a guest's: more calls than are looked into
		return
	}
	s, ok := t.other[netns]
	if !ok || now.Sub(s.since) >= theirsFor {
		s = stranger{since: now}
	}
	s.calls++
	if !ok && len(t.other) >= mostTheirs {
		clear(t.other)
	}
	if t.other == nil {
		t.other = map[uint64]stranger{}
	}
	t.other[netns] = s
}

// claimed notes that a call of the namespace was one of this server's.
func (t *theirs) claimed(netns uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.other, netns)
}

// some says whether any namespace is taken for another's, so that a new guest's may be.
func (t *theirs) some() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.other) > 0
}

// replace notes which namespaces a listener's callers are in, instead of those before.
func (t *theirs) replace(before, now []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ours == nil {
		t.ours = map[uint64]int{}
	}
	for _, netns := range now {
		t.ours[netns]++
		delete(t.other, netns)
	}
	for _, netns := range before {
		if t.ours[netns]--; t.ours[netns] <= 0 {
			delete(t.ours, netns)
		}
	}
}
