// Package agent carries what the store says to the serving side of this host: it watches the
// instances that are served here, hands each change to its seat, and marks it applied once the seat
// obeys it.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Seat is one instance's being served here. Set makes the next request see the instance; nil
// means that it was deleted. A Set that fails leaves what was there.
type Seat interface {
	Set(in *openimds.Instance) error
}

// Marker completes changes: it is told which state of an instance is obeyed by now. That the
// instance was changed again meanwhile is no error.
type Marker interface {
	MarkApplied(ctx context.Context, in *openimds.Instance) error
}

// Config is what an [Agent] works with.
type Config struct {
	Store  store.Store
	Marker Marker
	// Presence is how the seats of this host are known to others; nil: there are none, and whatever is
	// obeyed here is applied.
	Presence *Presence
	Log      *slog.Logger
}

// Agent keeps seats in step with the store. When the store is away the seats keep what they have.
type Agent struct {
	cfg   Config
	mu    sync.Mutex
	seats map[string]*served
	// unmarked are the states, by name, that are obeyed but that the service has not been told of;
	// wake says that there are some.
	unmarked map[string]obeyed
	wake     chan struct{}
	// left are the instances that are seated here no more and whose seats others may still wait for.
	left map[string]bool
	// telling is held while a seat is told of or taken back, so that the one does not undo the other.
	telling sync.Mutex
	// moved is closed at the next change of any seat; nil while nobody waits for one.
	moved chan struct{}
	// Contact and revision of the last word from the store.
	contact  time.Time
	revision int64
}

// served is a seat and the revision that it obeys.
type served struct {
	seat     Seat
	revision int64
	recorded *openimds.Instance // what it obeys, if that has a recording, which the next state may share
}

// New makes an agent without seats.
func New(cfg Config) *Agent {
	return &Agent{cfg: cfg, seats: map[string]*served{}, unmarked: map[string]obeyed{}, left: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// Seat gives the named instance a place on this host and fills it before it returns, so that a
// listener opened afterwards never answers for an instance that is not there yet.
func (a *Agent) Seat(ctx context.Context, name string, seat Seat) error {
	return a.SeatAll(ctx, map[string]Seat{name: seat})
}

// SeatAll is [Agent.Seat] of many instances, which the store is told of together.
func (a *Agent) SeatAll(ctx context.Context, seats map[string]Seat) error {
	all := make(map[string]*served, len(seats))
	for name, seat := range seats {
		all[name] = &served{seat: seat}
	}
	if err := a.tellSeats(ctx, all); err != nil {
		return err
	}
	for name, s := range all {
		if err := a.fill(ctx, name, s); err != nil {
			return err
		}
	}
	return nil
}

// Unseat takes an instance from this host; its seat is emptied.
func (a *Agent) Unseat(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.seats[name]
	if s == nil {
		return nil
	}
	err := s.seat.Set(nil) // while others still wait for it
	delete(a.seats, name)
	if a.cfg.Presence != nil {
		a.left[name] = true
	}
	a.tellMoved()
	a.wakeMark()
	return err
}

// Await waits until the named instance's seat obeys the record of that revision, or a later one, or
// the context ends. Without a seat there is nothing to wait for.
func (a *Agent) Await(ctx context.Context, name string, revision int64) error {
	for {
		a.mu.Lock()
		s := a.seats[name]
		if s == nil || s.revision >= revision {
			a.mu.Unlock()
			return nil
		}
		if a.moved == nil {
			a.moved = make(chan struct{})
		}
		moved := a.moved
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// tellMoved wakes those who wait for a seat. The caller has the lock.
func (a *Agent) tellMoved() {
	if a.moved != nil {
		close(a.moved)
		a.moved = nil
	}
}

// Health tells when the store was last heard of, and the revision then.
func (a *Agent) Health() (contact time.Time, revision int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.contact, a.revision
}

// Run follows the store until the context ends or the store is closed. Seats are set to each change of their
// instance, in order. Where changes may have been missed, because the store was away or the watch fell behind its
// history, they are set to what there is by then, and what was between is left out.
func (a *Agent) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var marking, settling sync.WaitGroup
	marking.Go(func() { a.mark(ctx) })
	if a.cfg.Presence != nil {
		marking.Go(func() { a.followSeats(ctx) })
		marking.Go(func() { a.followHosts(ctx) })
	}
	defer marking.Wait()
	defer settling.Wait()
	defer cancel()
	store.Follow(ctx, a.cfg.Store, store.Follower{
		Prefix: records.InstancePrefix,
		Unread: true, // seats are filled one by one: a host serves few of a fleet's instances
		Listed: func(ctx context.Context, page store.Page) error {
			settling.Wait() // of the listing before
			if err := a.fillAll(ctx); err != nil {
				return err
			}
			a.heard(page.Revision)
			settling.Go(func() {
				if a.Settle(ctx) != nil && a.cfg.Presence != nil {
					a.cfg.Presence.workAgain()
				}
			})
			return nil
		},
		Changed: a.changed,
		Log:     a.cfg.Log,
		Away:    "the store cannot be followed; serving the last known options",
	})
}

// fillAll fills all seats. What the watch then shows a second time is recognised by its revision.
func (a *Agent) fillAll(ctx context.Context) error {
	a.mu.Lock()
	seats := maps.Clone(a.seats)
	a.mu.Unlock()
	for name, s := range seats {
		if err := a.fill(ctx, name, s); err != nil {
			return err
		}
	}
	return nil
}

// changed keeps the seats in step.
func (a *Agent) changed(ctx context.Context, changes []store.Record) error {
	for _, e := range changes {
		if err := a.apply(ctx, e); err != nil && !errors.Is(err, errReplaced) {
			return err
		}
	}
	a.heard(changes[len(changes)-1].Revision)
	return nil
}

func (a *Agent) heard(revision int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.contact, a.revision = time.Now(), revision
}

// fill reads the instance of one seat from the store.
func (a *Agent) fill(ctx context.Context, name string, s *served) error {
	key := records.InstancePrefix + name
	for {
		if err := a.fillOnce(ctx, name, key, s); !errors.Is(err, errReplaced) {
			return err
		}
	}
}

func (a *Agent) fillOnce(ctx context.Context, name, key string, s *served) error {
	// A list and not a get, because it tells the revision at which there is no such instance: the
	// watch may seat one that is created meanwhile, and that one must not be emptied again. Of all
	// keys that begin with this one, it is the first itself.
	page, err := a.cfg.Store.List(ctx, store.Range{Prefix: key, Limit: 1})
	if err != nil {
		return err
	}
	if len(page.Records) == 0 || page.Records[0].Key != key {
		return a.seatAs(s, name, nil, page.Revision)
	}
	return a.apply(ctx, page.Records[0])
}

// errReplaced says that a record is no longer the instance's, and that its recording is gone with it.
var errReplaced = errors.New("the instance was changed meanwhile")

// apply carries out one change. An instance without a seat here is obeyed by other hosts or by nobody; then its
// options are in force as soon as they are stored. What cannot be carried out is logged; an error means
// that the store is away, or errReplaced: then the watch goes on to a later state.
func (a *Agent) apply(ctx context.Context, e store.Record) error {
	name := strings.TrimPrefix(e.Key, records.InstancePrefix)
	a.mu.Lock()
	s := a.seats[name]
	var known *openimds.Instance
	if s != nil {
		known = s.recorded
	}
	a.mu.Unlock()
	var in *openimds.Instance
	if e.Value != nil {
		var err error
		if in, err = records.DecodeInstance(e); err == nil && s != nil {
			var away error
			if err, away = a.load(ctx, e, in, known); away != nil {
				return away
			}
		}
		if err != nil {
			// Not the defaults, which are permissive: what was last known to be right stays.
			a.cfg.Log.Error("an instance's record cannot be read; serving its last good copy", "instance", name, "error", err)
			return nil
		}
	}
	if s != nil {
		if err := a.seatAs(s, name, in, e.Revision); err != nil {
			a.cfg.Log.Error("a change cannot be carried out; serving what was there", "instance", name, "error", err)
			return nil
		}
	}
	if in != nil && in.Options.State == openimds.OptionsPending && (s != nil || a.settles()) {
		a.toMark(obeyed{in, e.Revision})
	}
	return nil
}

// load reads the instance's recording, unless it is the one of the state that is known. damaged says why
// there is none to be had; err that the store is away, or errReplaced.
func (a *Agent) load(ctx context.Context, e store.Record, in, known *openimds.Instance) (damaged, err error) {
	damaged = records.LoadRecording(ctx, a.cfg.Store, in, known)
	if damaged == nil {
		return nil, nil
	}
	switch now, err := a.cfg.Store.Get(ctx, e.Key); {
	case errors.Is(err, store.ErrNoRecord), err == nil && now.Revision != e.Revision:
		return nil, errReplaced
	case err != nil:
		return nil, err
	}
	return fmt.Errorf("its recording: %w", damaged), nil
}

// seatAs sets the seat, unless it already obeys a later revision.
func (a *Agent) seatAs(s *served, name string, in *openimds.Instance, revision int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seats[name] != s || revision < s.revision {
		return nil
	}
	if err := s.seat.Set(in); err != nil {
		return err
	}
	s.revision, s.recorded = revision, nil
	if in != nil && in.Recorded != nil {
		s.recorded = in
	}
	a.tellMoved()
	return nil
}
