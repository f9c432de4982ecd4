package hostdoor

import (
	"cmp"
	"slices"
	"sync"
)

// turns are those of streams to read and to work for what their hosts are told at first. Few work at once, and who came
// first goes first, however many turns it takes: of many hosts that come at once, most are in step long before the last.
type turns struct {
	mu      sync.Mutex
	free    int
	came    int64
	waiting []*turn // who came first is the first
}

// turn is one that is waited for, or had.
type turn struct {
	came    int64
	granted chan struct{} // closed once it is had
}

// arrive is when a stream came.
func (t *turns) arrive() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.came++
	return t.came
}

// ask asks for a turn; it has to be ended, had or not.
func (t *turns) ask(came int64) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := &turn{came, make(chan struct{})}
	at, _ := slices.BinarySearchFunc(t.waiting, came, func(w *turn, came int64) int { return cmp.Compare(w.came, came) })
	t.waiting = slices.Insert(t.waiting, at, one)
	t.grant()
	return one
}

func (t *turns) end(one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := slices.Index(t.waiting, one); at >= 0 {
		t.waiting = slices.Delete(t.waiting, at, at+1)
		return
	}
	t.free++
	t.grant()
}

// grant gives turns that are free to those who wait. t.mu is held.
func (t *turns) grant() {
	for t.free > 0 && len(t.waiting) > 0 {
		t.free--
		close(t.waiting[0].granted)
		t.waiting = slices.Delete(t.waiting, 0, 1)
	}
}
