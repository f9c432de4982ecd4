// Package lifecycle ends the transitions of instances when their time has come: who is pending runs, who is stopping
// is stopped.
//
// The rules are [control.Service]'s. What is under way stands in the store, so that it does not matter which process
// has begun it, nor whether that one is still there.
package lifecycle

import (
	"container/heap"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Service ends a transition; [control.Service] is one.
type Service interface {
	EndTransition(ctx context.Context, instance string, begun time.Time) error
}

// Config is what [Run] works with.
type Config struct {
	Service Service
	Store   store.Store
	// Turn waits until this process is the one of all that share the store that ends transitions; its error is the
	// context's. Nil: it is.
	Turn func(context.Context) error
	// Lasts is how long a transition lasts at most, whatever the process said that began it.
	Lasts time.Duration
	Log   *slog.Logger
}

// again is when a transition that could not be ended is tried again.
const again = time.Second

// together is how many are ended at once, so that they share what a store can share of its commits.
const together = 32

// Run ends transitions until the context ends or the store is closed.
func Run(ctx context.Context, cfg Config) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Turn == nil {
		cfg.Turn = func(ctx context.Context) error { return ctx.Err() }
	}
	r := &runner{cfg: cfg, underWay: map[string]*transition{}, wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	var ending sync.WaitGroup
	defer ending.Wait()
	defer cancel()
	ending.Go(func() { r.end(ctx) })
	store.Follow(ctx, cfg.Store, store.Follower{
		Prefix:  records.TransitionPrefix,
		Listed:  r.listed,
		Changed: r.changed,
		Log:     cfg.Log,
		Away:    "instances that are pending or stopping cannot be followed; they stay so",
	})
}

type runner struct {
	cfg Config

	mu       sync.Mutex
	underWay map[string]*transition // by the instance's name
	queue    queue                  // the same, by their ends

	wake    chan struct{} // has one in it when the queue has another beginning
	failing bool          // the last batch did; only end's goroutine uses it
}

// transition is one that is under way.
type transition struct {
	instance string
	begun    time.Time
	due      time.Time
	at       int // its place in the queue
}

// listed forgets what was ended while the store was away.
func (r *runner) listed(_ context.Context, page store.Page) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]bool{}
	for _, e := range page.Records {
		there[e.Key] = true
		r.see(e)
	}
	for name := range r.underWay {
		if !there[records.TransitionKey(name)] {
			r.forget(name)
		}
	}
	return nil
}

func (r *runner) changed(_ context.Context, changes []store.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range changes {
		r.see(e)
	}
	return nil
}

// see takes note of a record. The caller has the lock.
func (r *runner) see(e store.Record) {
	name := strings.TrimPrefix(e.Key, records.TransitionPrefix)
	if e.Value == nil {
		r.forget(name)
		return
	}
	t, err := records.DecodeTransition(e)
	if err != nil {
		r.cfg.Log.Error("what an instance is in the middle of cannot be read; delete the instance", "instance", name, "error", err)
		return
	}
	if known := r.underWay[name]; known != nil {
		if known.begun.Equal(t.Begun) {
			return // somebody joined it
		}
		r.forget(name)
	}
	lasts := min(t.Lasts, r.cfg.Lasts)
	// Where the clock was set back meanwhile, nobody waits longer than the whole time.
	left := min(time.Until(t.Begun.Add(lasts)), lasts)
	found := &transition{instance: name, begun: t.Begun, due: time.Now().Add(left)}
	r.underWay[name] = found
	heap.Push(&r.queue, found)
	if found.at == 0 {
		r.wakeUp()
	}
}

// forget takes a transition from the queue. The caller has the lock.
func (r *runner) forget(name string) {
	if t := r.underWay[name]; t != nil {
		delete(r.underWay, name)
		heap.Remove(&r.queue, t.at)
	}
}

func (r *runner) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// end ends what is due, as long as it is this process's turn.
func (r *runner) end(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.wake:
		}
		if r.cfg.Turn(ctx) != nil {
			return
		}
		due, next := r.due()
		r.endAll(ctx, due)
		if next > 0 {
			timer.Reset(next)
		}
	}
}

// due returns what is due, and how long it is until the next one is; 0: there is none.
func (r *runner) due() (due []transition, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.queue) > 0 {
		first := r.queue[0]
		if first.due.After(now) {
			return due, first.due.Sub(now)
		}
		due = append(due, *first)
		first.due = now.Add(again) // its record goes before, if it can be ended
		heap.Fix(&r.queue, 0)
	}
	return due, 0
}

func (r *runner) endAll(ctx context.Context, due []transition) {
	var ending sync.WaitGroup
	var mu sync.Mutex
	var failed error
	places := make(chan struct{}, together)
	for _, t := range due {
		places <- struct{}{}
		ending.Go(func() {
			defer func() { <-places }()
			if err := r.cfg.Service.EndTransition(ctx, t.instance, t.begun); err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		})
	}
	ending.Wait()
	if failed != nil && !r.failing && ctx.Err() == nil { // one line, not one for each instance and second
		r.cfg.Log.Warn("instances stay pending or stopping, since that cannot be ended; trying again", "error", failed)
	}
	r.failing = failed != nil
}

// queue is a heap of transitions, those that are due first first.
type queue []*transition

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push is [heap.Interface].
func (q *queue) Push(x any) {
	t := x.(*transition)
	t.at = len(*q)
	*q = append(*q, t)
}

// Pop is [heap.Interface].
func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return t
}
