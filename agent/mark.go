package agent

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// obeyed is a state of an instance that is in force, and the revision that it came with.
type obeyed struct {
	instance *openimds.Instance
	revision int64
}

// settles says whether this host ends the changes that no host has to obey.
func (a *Agent) settles() bool { return a.cfg.Presence == nil || a.cfg.Presence.Holds() }

// settleBatch is how many records are read at once.
const settleBatch = 1000

// Settle comes back to the changes that nobody marked before an earlier process ended, or that waited for a host
// that is gone. After an error it may be called again; what could be read is settled all the same.
func (a *Agent) Settle(ctx context.Context) error {
	for after := ""; a.settles(); {
		page, err := a.cfg.Store.List(ctx, store.Range{Prefix: records.InstancePrefix, After: after, Limit: settleBatch})
		if err != nil {
			return a.settleEach(ctx, strings.TrimPrefix(after, records.InstancePrefix))
		}
		for _, r := range page.Records {
			a.settle(r)
			after = r.Key
		}
		if !page.More {
			break
		}
	}
	return nil
}

// settleEach is Settle of the instances after that name, whose records are read one by one: a damaged one spoils
// the list that it is on, and the changes of the others must not wait for it.
func (a *Agent) settleEach(ctx context.Context, name string) (failed error) {
	for after := records.NameKey(name); a.settles(); {
		page, err := a.cfg.Store.List(ctx, store.Range{Prefix: records.NamePrefix, After: after, Limit: settleBatch})
		if err != nil {
			return err
		}
		for _, named := range page.Records {
			after = named.Key
			if string(named.Value) != string(openimds.TypeInstance) {
				continue
			}
			r, err := a.cfg.Store.Get(ctx, records.InstancePrefix+strings.TrimPrefix(named.Key, records.NamePrefix))
			switch {
			case err == nil:
				a.settle(r)
			case ctx.Err() != nil:
				return err
			case !errors.Is(err, store.ErrNoRecord):
				failed = err
			}
		}
		if !page.More {
			break
		}
	}
	return failed
}

// settle has a change marked, if it is not the seat's here, which has it from the watch, in order.
func (a *Agent) settle(r store.Record) {
	// Nearly all records are applied; telling so costs less than reading them.
	if !bytes.Contains(r.Value, []byte(openimds.OptionsPending)) {
		return
	}
	in, err := records.DecodeInstance(r)
	if err != nil {
		a.cfg.Log.Error("an instance's record cannot be read", "error", err)
		return
	}
	a.mu.Lock()
	s := a.seats[in.Name]
	obeys := s == nil || s.revision >= r.Revision
	a.mu.Unlock()
	if obeys && in.Options.State == openimds.OptionsPending {
		a.toMark(obeyed{in, r.Revision})
	}
}

// followSeats looks at the seats that end on other hosts: a change may have waited for the last of them.
func (a *Agent) followSeats(ctx context.Context) {
	again := false
	store.Follow(ctx, a.cfg.Store, store.Follower{
		Prefix: records.SeatPrefix,
		Unread: true,
		Listed: func(ctx context.Context, _ store.Page) error {
			if again {
				a.cfg.Presence.workAgain()
			}
			again = true // at first the other watch does it
			return nil
		},
		Changed: func(ctx context.Context, changes []store.Record) error {
			for _, e := range changes {
				if e.Value != nil || !a.settles() {
					continue
				}
				r, err := a.cfg.Store.Get(ctx, records.InstancePrefix+records.SeatedInstance(e.Key))
				if err == nil {
					a.settle(r)
				} else if !errors.Is(err, store.ErrNoRecord) {
					return err
				}
			}
			return nil
		},
		Log:  a.cfg.Log,
		Away: "the seats of other hosts cannot be followed; changes may wait for them",
	})
}

// followHosts looks at the hosts that go: what they had to do before another may go on is the office's then.
func (a *Agent) followHosts(ctx context.Context) {
	again := false
	store.Follow(ctx, a.cfg.Store, store.Follower{
		Prefix: records.HostPrefix,
		Unread: true,
		Listed: func(context.Context, store.Page) error {
			if again {
				a.cfg.Presence.workAgain()
			}
			again = true // at first whoever gets the office looks
			return nil
		},
		Changed: func(_ context.Context, changes []store.Record) error {
			if slices.ContainsFunc(changes, func(r store.Record) bool { return r.Value == nil }) && a.settles() {
				a.cfg.Presence.workAgain()
			}
			return nil
		},
		Log:  a.cfg.Log,
		Away: "the other hosts cannot be followed; what was moved away from one that is gone may wait for it",
	})
}

// toMark notes that the service is to be told of a state; a later one takes its place.
func (a *Agent) toMark(o obeyed) {
	a.mu.Lock()
	if a.unmarked[o.instance.Name].revision <= o.revision {
		a.unmarked[o.instance.Name] = o
	}
	a.mu.Unlock()
	a.wakeMark()
}

func (a *Agent) wakeMark() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// mark tells the service what is applied. It has a goroutine of its own, because the store's disk
// must not delay the next change, and as many writers as make use of the store's shared commits.
func (a *Agent) mark(ctx context.Context) {
	failing := false // the last batch did
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		a.mu.Lock()
		batch := a.unmarked
		a.unmarked = map[string]obeyed{}
		a.mu.Unlock()
		var writers sync.WaitGroup
		places := make(chan struct{}, 64)
		var failed atomic.Bool
		for name, o := range batch {
			places <- struct{}{}
			writers.Go(func() {
				defer func() { <-places }()
				if err := a.cfg.Marker.MarkApplied(ctx, o.instance); err != nil && ctx.Err() == nil {
					if !failed.Swap(true) && !failing { // one line, not one for each instance and second
						a.cfg.Log.Warn("applied changes could not be marked; trying again", "instance", name, "error", err)
					}
					a.toMark(o)
				}
			})
		}
		writers.Wait()
		if err := a.leaveSeats(ctx); err != nil && ctx.Err() == nil {
			if !failed.Swap(true) && !failing {
				a.cfg.Log.Warn("a seat could not be given back; trying again", "error", err)
			}
			a.wakeMark()
		}
		if failing = failed.Load(); failing {
			wait(ctx, time.Second)
		}
	}
}
