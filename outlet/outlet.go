// Package outlet is a writer that makes nobody wait: what is written to it goes on to one who may block.
package outlet

import (
	"io"
	"sync"
	"time"
)

// room is how many bytes may wait for a reader who does not read.
const room = 1 << 20

// Outlet passes on what is written to it and never makes the writer wait: a guest must not be kept
// waiting by a pipe that nobody reads. What finds no room is lost, and how much was lost is told in its
// place.
type Outlet struct {
	to   io.Writer
	lost func(writes int) []byte

	mu      sync.Mutex
	waiting []entry
	size    int
	dropped int

	wake  chan struct{}
	ended chan struct{}
}

// entry is something to be written, word of a loss, or somebody who waits until all before it is written.
type entry struct {
	text    []byte
	lost    int
	written chan struct{} // nil: nobody waits
}

// New makes an outlet to a writer; lost makes, of the number of writes, what is written in place of what was lost.
func New(to io.Writer, lost func(writes int) []byte) *Outlet {
	o := &Outlet{to: to, lost: lost, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go o.run()
	return o
}

// Write implements [io.Writer]; it takes p as a whole or not at all, and never fails.
func (o *Outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	if o.size+len(p) > room {
		o.dropped++
	} else {
		o.tellLoss()
		o.waiting = append(o.waiting, entry{text: append([]byte(nil), p...)})
		o.size += len(p)
	}
	o.mu.Unlock()
	o.nudge()
	return len(p), nil
}

// tellLoss puts word of what was lost behind what was kept before. The caller has the lock.
func (o *Outlet) tellLoss() {
	if o.dropped > 0 {
		o.waiting = append(o.waiting, entry{lost: o.dropped})
		o.dropped = 0
	}
}

func (o *Outlet) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *Outlet) run() {
	for {
		select {
		case <-o.wake:
			o.drain()
		case <-o.ended:
			return
		}
	}
}

// drain writes what waits. It alone may block; an error is that of a reader who is gone, and changes
// nothing for who writes.
func (o *Outlet) drain() {
	for {
		o.mu.Lock()
		if len(o.waiting) == 0 {
			o.tellLoss()
		}
		if len(o.waiting) == 0 {
			o.mu.Unlock()
			return
		}
		next := o.waiting[0]
		o.waiting = o.waiting[1:]
		o.mu.Unlock()
		switch {
		case next.written != nil:
			close(next.written)
		case next.lost > 0:
			_, _ = o.to.Write(o.lost(next.lost))
		default:
			_, _ = o.to.Write(next.text)
		}
		o.mu.Lock()
		o.size -= len(next.text)
		o.mu.Unlock()
	}
}

// Close waits until all is written, but no longer than that, and ends the outlet.
func (o *Outlet) Close(patience time.Duration) {
	written := make(chan struct{})
	o.mu.Lock()
	o.tellLoss()
	o.waiting = append(o.waiting, entry{written: written})
	o.mu.Unlock()
	o.nudge()
	select {
	case <-written:
	case <-time.After(patience):
	}
	close(o.ended)
}
