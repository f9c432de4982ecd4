package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

func TestSeatIsFilledBeforeItReturns(t *testing.T) {
	h := newHost(t, nil) // nothing runs
	h.create("web", "web2")
	var web, none seat
	h.seat("web", &web)
	h.seat("we", &none) // the beginning of another's name
	if !web.obeys(h.instance("web")) {
		t.Errorf("the seat has %v", web.now())
	}
	if none.now() != nil || none.sets() != 1 {
		t.Errorf("the seat of a missing instance has %v after %d sets", none.now(), none.sets())
	}
	_ = h.store.Close()
	if err := h.agent.Seat(t.Context(), "web2", &seat{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Seat with a store that is away: %v", err)
	}
}

// TestChangesArriveInOrder: as long as the watch goes on, no change is left out, however far behind it is.
func TestChangesArriveInOrder(t *testing.T) {
	h := newHost(t, nil)
	h.create("web")
	var web seat
	h.seat("web", &web)
	h.run()
	// What changes before the agent has begun to watch may reach the seat as one change.
	h.hops("web", 64)
	eventually(t, "the first change", func() bool { return web.now().Options.HopLimit == 64 })
	want := []int{1, 64}
	for n := range 200 {
		want = append(want, 2+n%60)
		h.hops("web", 2+n%60)
	}
	last := h.instance("web")
	eventually(t, "the last change", func() bool { return web.obeys(last) && h.instance("web").Options.State == openimds.OptionsApplied })
	var got []int
	web.mu.Lock()
	for _, in := range web.history {
		got = append(got, in.Options.HopLimit)
	}
	web.mu.Unlock()
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("the seat went through the hop limits\n%v, want\n%v", got, want)
	}
}

// TestMarkedOnlyAfterSet holds a seat up: the change is pending just as long.
func TestMarkedOnlyAfterSet(t *testing.T) {
	h := newHost(t, nil)
	h.create("web", "db")
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	web := seat{before: func(in *openimds.Instance) error {
		if in.Options.HopLimit == 7 && in.Options.State == openimds.OptionsPending {
			arrived <- struct{}{}
			<-release
		}
		return nil
	}}
	h.seat("web", &web)
	h.run()
	op := h.hops("web", 7)
	<-arrived
	if in := h.instance("web"); in.Options.State != openimds.OptionsPending || h.status(op.ID) != openimds.OperationStarted {
		t.Errorf("the options are %s and the operation %s before the seat obeys", in.Options.State, h.status(op.ID))
	}
	close(release)
	eventually(t, "the change is applied", func() bool { return h.status(op.ID) == openimds.OperationSucceeded })
	if in := h.instance("web"); in.Options.State != openimds.OptionsApplied || !web.obeys(in) {
		t.Errorf("the record has %+v, the seat %+v", in.Options, web.now().Options)
	}
}

// TestSetFails: what the seat could not carry out is never called applied.
func TestSetFails(t *testing.T) {
	h := newHost(t, nil)
	h.create("web")
	web := seat{before: func(in *openimds.Instance) error {
		if in.Options.HopLimit == 13 {
			return errors.New("out of luck")
		}
		return nil
	}}
	h.seat("web", &web)
	h.run()
	op := h.hops("web", 13)
	eventually(t, "the failure is told", func() bool { return strings.Contains(h.log.String(), "out of luck") })
	if h.status(op.ID) != openimds.OperationStarted || h.instance("web").Options.State != openimds.OptionsPending || web.now().Options.HopLimit != 1 {
		t.Error("a change that was not carried out is applied")
	}
	h.hops("web", 14)
	// The later change holds the earlier one, so it ends both.
	eventually(t, "the next change ends both", func() bool { return h.status(op.ID) == openimds.OperationSucceeded && web.now().Options.HopLimit == 14 })
}

func TestDeletedAndMadeAgain(t *testing.T) {
	h := newHost(t, nil)
	h.create("web")
	var web seat
	h.seat("web", &web)
	h.run()
	first := h.instance("web")
	if _, err := h.service.DeleteInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the seat is emptied", func() bool { return web.now() == nil })
	h.create("web")
	eventually(t, "the seat has the new one", func() bool { return web.now() != nil })
	if in := web.now(); in.ID == first.ID || string(in.TokenKey) == string(first.TokenKey) {
		t.Error("the new instance has the id or the token key of the old one")
	}
}

func TestUnseat(t *testing.T) {
	h := newHost(t, nil)
	h.create("web")
	var old, new seat
	h.seat("web", &old)
	h.run()
	if err := h.agent.Unseat("web"); err != nil || old.now() != nil {
		t.Fatalf("Unseat: %v, and the seat has %v", err, old.now())
	}
	if err := h.agent.Unseat("nobody"); err != nil {
		t.Error(err)
	}
	sets := old.sets()
	op := h.hops("web", 5)
	// Nobody obeys an instance that is served nowhere, so its change is in force.
	eventually(t, "the change of an unseated instance settles", func() bool { return h.status(op.ID) == openimds.OperationSucceeded })
	h.seat("web", &new)
	h.hops("web", 6)
	eventually(t, "the new seat obeys", func() bool { return new.now().Options.HopLimit == 6 })
	if old.sets() != sets {
		t.Error("a seat that was taken away was set again")
	}
}

// TestSettles: what was pending when an earlier process ended is settled by the next one, with a seat
// or without.
func TestSettles(t *testing.T) {
	h := newHost(t, nil)
	h.create("seated", "unseated", "calm")
	ops := []openimds.Operation{h.hops("seated", 2), h.hops("unseated", 3), h.hops("unseated", 4)}
	var seated seat
	h.seat("seated", &seated)
	h.run()
	for _, op := range ops {
		eventually(t, op.Resource, func() bool { return h.status(op.ID) == openimds.OperationSucceeded })
	}
	for _, name := range []string{"seated", "unseated", "calm"} {
		if in := h.instance(name); in.Options.State != openimds.OptionsApplied || in.OptionsOperation != "" {
			t.Errorf("%s: %+v, operation %q", name, in.Options, in.OptionsOperation)
		}
	}
	if contact, revision := h.agent.Health(); contact.IsZero() || revision == 0 {
		t.Errorf("Health = %v, %d", contact, revision)
	}
}

// TestDamagedRecord: a record that makes no sense changes nothing for its seat, and nothing at all
// for the others. A seat that never had a good copy stays empty: the defaults are permissive.
func TestDamagedRecord(t *testing.T) {
	h := newHost(t, nil)
	h.create("web", "db", "late")
	required := openimds.TokensRequired
	if _, err := h.service.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{Tokens: &required}); err != nil {
		t.Fatal(err)
	}
	var web, db seat
	h.seat("web", &web)
	h.seat("db", &db)
	h.run()
	eventually(t, "web requires tokens", func() bool {
		return h.instance("web").Options.State == openimds.OptionsApplied && web.now().Options.State == openimds.OptionsApplied
	})
	in := h.instance("web")
	good, err := records.EncodeInstance(in)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string]string{
		"no JSON":       "\x00\x01",
		"empty":         "",
		"null":          `{"schema":1,"data":null}`,
		"no options":    `{"schema":1,"data":{"name":"web","tokenKey":"AAAA"}}`,
		"unknown value": strings.Replace(string(good), `"required"`, `"sometimes"`, 1),
		"newer schema":  strings.Replace(string(good), `"schema":1`, `"schema":2`, 1),
		"short key":     strings.Replace(string(good), `"tokenKey":"`, `"tokenKey":"","was":"`, 1),
	}
	hops := 1
	for what, value := range damage {
		before := strings.Count(h.log.String(), "last good copy")
		h.overwrite("web", []byte(value))
		eventually(t, what+" is told", func() bool { return strings.Count(h.log.String(), "last good copy") > before })
		// It may be told again of what is good: that tokens are required has just been applied.
		if now := web.now(); now == nil || now.ID != in.ID || now.Options != in.Options || !slices.Equal(now.TokenKey, in.TokenKey) {
			t.Errorf("%s: the seat was changed to %v", what, now)
		}
		hops++
		h.hops("db", hops)
		eventually(t, "the others go on", func() bool { return db.now().Options.HopLimit == hops })

		h.overwrite("late", []byte(value))
		var late seat
		h.seat("late", &late)
		if late.now() != nil {
			t.Errorf("%s: a seat was filled from it", what)
		}
	}
	in.Options.HopLimit = 33
	if good, err = records.EncodeInstance(in); err != nil {
		t.Fatal(err)
	}
	h.overwrite("web", good)
	eventually(t, "the record is good again", func() bool { return web.now().Options.HopLimit == 33 })
}

func TestRunEnds(t *testing.T) {
	h := newHost(t, nil)
	h.create("web")
	h.seat("web", &seat{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.agent.Run(t.Context())
	}()
	eventually(t, "the agent follows", func() bool { _, revision := h.agent.Health(); return revision > 0 })
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended // though its context goes on
}

// TestMarkingFails: the service is told again until it knows.
func TestMarkingFails(t *testing.T) {
	var failures atomic.Int32
	h := newHost(t, func(s store.Store) store.Store {
		return &hooked{Store: s, commit: func(changes []store.Change) error {
			if failures.Add(1) == 1 {
				return fmt.Errorf("no space left")
			}
			return nil
		}}
	})
	h.create("web", "db")
	var web seat
	h.seat("web", &web)
	ops := []openimds.Operation{h.hops("web", 2), h.hops("db", 2)}
	h.run()
	for _, op := range ops {
		eventually(t, op.Resource+" is marked", func() bool { return h.status(op.ID) == openimds.OperationSucceeded })
	}
	if !strings.Contains(h.log.String(), "no space left") {
		t.Error("the failure was not told")
	}
}

// TestAwait: who waits goes on when the seat obeys, is given away, or the context ends.
func TestAwait(t *testing.T) {
	h := newHost(t, nil)
	h.create("web")
	if err := h.agent.Await(t.Context(), "web", 1<<40); err != nil {
		t.Errorf("without a seat: %v", err)
	}
	var web seat
	h.seat("web", &web)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.agent.Await(ended, "web", 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	h.hops("web", 9)
	record, err := h.store.Get(t.Context(), records.InstancePrefix+"web")
	if err != nil {
		t.Fatal(err)
	}
	h.run()
	if err := h.agent.Await(t.Context(), "web", record.Revision); err != nil || web.now().Options.HopLimit != 9 {
		t.Errorf("Await: %v, and the seat has %+v", err, web.now().Options)
	}
	waited := make(chan error)
	go func() { waited <- h.agent.Await(t.Context(), "web", 1<<40) }()
	if err := h.agent.Unseat("web"); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("unseated: %v", err)
	}
}
