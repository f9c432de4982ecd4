package guestside

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/imds"
)

// Faults is told how many requests have met an instance's faults, so that those that end by themselves do so
// everywhere; the store's [control.Service] is one.
type Faults interface {
	// FaultsMet says that so many more have, of those that are counted from that time on, and returns how many
	// have in all. It is called with none more when the faults' time is over.
	FaultsMet(ctx context.Context, instance, id string, from time.Time, more int) (all int, err error)
}

// Guests end faults themselves, to the request and to the moment; the store follows within faultsPause, or
// faultsRetry after it failed. When serving ends, it may take up to lastFaults to tell of the last ones.
const (
	faultsPause = 100 * time.Millisecond
	faultsRetry = time.Second
	lastFaults  = time.Second
)

// faultEnds has the store know of faults that end by themselves.
type faultEnds struct {
	rules Faults
	log   *slog.Logger
	wake  chan struct{}

	mu  sync.Mutex
	due map[string]faultEnd // by the instance's name
}

// faultEnd are the faults of an instance that is served here, and who meets them.
type faultEnd struct {
	id    string
	since time.Time // when until was said
	until time.Time // the zero time: not by time
	guest *imds.Guest
	news  bool // some were met
}

func newFaultEnds(rules Faults, log *slog.Logger) *faultEnds {
	return &faultEnds{rules: rules, log: log, wake: make(chan struct{}, 1), due: map[string]faultEnd{}}
}

// follow takes note of an instance as its guest has it by now. One that is served no more may still have something
// to tell.
func (e *faultEnds) follow(name string, in *openimds.Instance, guest *imds.Guest) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case in != nil && in.Faults != nil && (in.Faults.Count > 0 || !in.Faults.Until.IsZero()):
		e.due[name] = faultEnd{id: in.ID, since: in.Faults.Since, until: in.Faults.Until, guest: guest, news: true}
		e.nudge()
	case e.due[name].news:
		left := e.due[name]
		left.until = time.Time{}
		e.due[name] = left
	default:
		delete(e.due, name)
	}
}

// met says that a request has met counted faults. No request waits for more than a few assignments.
func (e *faultEnds) met(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if end, ok := e.due[name]; ok && !end.news {
		end.news = true
		e.due[name] = end
		e.nudge()
	}
}

func (e *faultEnds) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run tells the store until the context ends, and then of what is left.
func (e *faultEnds) run(ctx context.Context) {
	if e.rules == nil {
		return
	}
	failing := false
	for ctx.Err() == nil {
		e.await(ctx)
		err := e.tell(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			e.log.Warn("the store could not be told of faults that end by themselves; trying again", "error", err)
		}
		if failing = err != nil; failing {
			e.nudge()
			sleep(ctx, faultsRetry)
		} else {
			sleep(ctx, faultsPause)
		}
	}
	last, done := context.WithTimeout(context.WithoutCancel(ctx), lastFaults)
	defer done()
	if err := e.tell(last); err != nil {
		e.log.Warn("the store could not be told how many requests have met counted faults; a later start counts them anew", "error", err)
	}
}

// await waits until there is something to tell.
func (e *faultEnds) await(ctx context.Context) {
	var over <-chan time.Time
	if next := e.next(); !next.IsZero() {
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-e.wake:
	case <-over:
	}
}

// next is when the next faults are over; the zero time: none that there are.
func (e *faultEnds) next() (next time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, end := range e.due {
		if !end.until.IsZero() && (next.IsZero() || end.until.Before(next)) {
			next = end.until
		}
	}
	return next
}

// tell tells the store what there is to tell, and returns the first failure.
func (e *faultEnds) tell(ctx context.Context) (failed error) {
	e.mu.Lock()
	all := maps.Clone(e.due)
	for name, end := range e.due {
		end.news = false // before they are counted: what comes meanwhile is told the next time
		e.due[name] = end
	}
	e.mu.Unlock()
	for name, end := range all {
		over := (&openimds.Faults{Since: end.since, Until: end.until}).TimeOver(time.Now())
		met, counted := imds.FaultsMet{}, false
		if end.news {
			met, counted = end.guest.FaultsMet()
		}
		var err error
		switch id, from := met.Of(); {
		case counted:
			var total int
			total, err = e.rules.FaultsMet(ctx, name, id, from, met.N)
			met.Told(total, err)
		case over:
			_, err = e.rules.FaultsMet(ctx, name, end.id, time.Time{}, 0)
		default:
			continue
		}
		e.settle(name, end, over && err == nil, err)
		if failed == nil {
			failed = err
		}
	}
	return failed
}

// settle takes note of what became of telling.
func (e *faultEnds) settle(name string, told faultEnd, over bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	end, ok := e.due[name]
	if !ok {
		return
	}
	end.news = end.news || told.news && err != nil
	if over && end.until.Equal(told.until) {
		end.until = time.Time{} // else it would be told again until the watch tells of it
	}
	e.due[name] = end
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
