package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// hooked is a store that tells of what is asked of it, before and after.
type hooked struct {
	store.Store
	read   func(key string)                  // after a Get or List, before its answer is given out
	commit func([]store.Change) error        // before a Commit; its error is Commit's
	after  func([]store.Change, error)       // after a Commit
	away   func() (c <-chan bool, err error) // an error for each call, and what interrupts a Next
}

func (h *hooked) fault() error {
	if h.away == nil {
		return nil
	}
	_, err := h.away()
	return err
}

func (h *hooked) Get(ctx context.Context, key string) (store.Record, error) {
	if err := h.fault(); err != nil {
		return store.Record{}, err
	}
	r, err := h.Store.Get(ctx, key)
	if h.read != nil {
		h.read(key)
	}
	return r, err
}

func (h *hooked) List(ctx context.Context, r store.Range) (store.Page, error) {
	if err := h.fault(); err != nil {
		return store.Page{}, err
	}
	page, err := h.Store.List(ctx, r)
	if h.read != nil {
		h.read(r.Prefix)
	}
	return page, err
}

func (h *hooked) Commit(ctx context.Context, changes ...store.Change) (revision int64, err error) {
	if err = h.fault(); err == nil && h.commit != nil {
		err = h.commit(changes)
	}
	if err == nil {
		revision, err = h.Store.Commit(ctx, changes...)
	}
	if h.after != nil {
		h.after(changes, err)
	}
	return revision, err
}

func (h *hooked) Watch(prefix string, after int64) store.Watcher {
	return &hookedWatcher{h, h.Store.Watch(prefix, after)}
}

type hookedWatcher struct {
	h *hooked
	store.Watcher
}

func (w *hookedWatcher) Next(ctx context.Context) ([]store.Record, error) {
	if w.h.away == nil {
		return w.Watcher.Next(ctx)
	}
	interrupt, err := w.h.away()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-interrupt:
			cancel()
		case <-ctx.Done():
		}
	}()
	changes, err := w.Watcher.Next(ctx)
	if _, gone := w.h.away(); gone != nil {
		return nil, gone
	}
	return changes, err
}

// TestCreatedWhileSeated has the watch seat an instance between the moment when Seat found none and
// the moment when it acts upon that.
func TestCreatedWhileSeated(t *testing.T) {
	looked, release := make(chan struct{}), make(chan struct{})
	look := sync.OnceFunc(func() {
		close(looked)
		<-release
	})
	h := newHost(t, func(s store.Store) store.Store {
		return &hooked{Store: s, read: func(key string) {
			if key == records.InstancePrefix+"web" {
				look()
			}
		}}
	})
	h.run()
	eventually(t, "the agent follows", func() bool { contact, _ := h.agent.Health(); return !contact.IsZero() })
	var web seat
	seated := make(chan error)
	go func() { seated <- h.agent.Seat(context.Background(), "web", &web) }()
	<-looked
	h.create("web")
	eventually(t, "the watch seats it", func() bool { return web.now() != nil })
	close(release)
	if err := <-seated; err != nil {
		t.Fatal(err)
	}
	if web.now() == nil {
		t.Error("the seat of a live instance was emptied")
	}
}

// TestStoreAway: the seats keep what they have, untouched; and what was changed meanwhile arrives
// when the store is back.
func TestStoreAway(t *testing.T) {
	var mu sync.Mutex
	var gone error
	interrupt := make(chan bool)
	h := newHost(t, func(s store.Store) store.Store {
		return &hooked{Store: s, away: func() (<-chan bool, error) {
			mu.Lock()
			defer mu.Unlock()
			return interrupt, gone
		}}
	})
	set := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		gone = err
		if err != nil {
			close(interrupt)
			interrupt = make(chan bool)
		}
	}
	h.create("web", "db", "gone")
	required := openimds.TokensRequired
	if _, err := h.service.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{Tokens: &required}); err != nil {
		t.Fatal(err)
	}
	var web, db, deleted seat
	h.seat("web", &web)
	h.seat("db", &db)
	h.seat("gone", &deleted)
	h.run()
	eventually(t, "all is applied", func() bool { return web.now().Options.State == openimds.OptionsApplied })

	for round := range 2 {
		told := strings.Count(h.log.String(), "serving the last known options")
		set(errors.New("connection refused"))
		eventually(t, "the outage is told, and told again", func() bool {
			return strings.Count(h.log.String(), "serving the last known options") >= told+2
		})
		// Another host changes the store, which this one cannot see.
		sets := web.sets() + db.sets() + deleted.sets()
		op := h.hops("db", 10+round)
		if round == 0 {
			if _, err := h.service.DeleteInstance(t.Context(), "gone"); err != nil {
				t.Fatal(err)
			}
		}
		if web.sets()+db.sets()+deleted.sets() != sets {
			t.Error("a seat was set while the store was away")
		}
		if in := web.now(); in == nil || in.Options.Tokens != openimds.TokensRequired {
			t.Errorf("the options decayed to %v", in)
		}
		set(nil)
		eventually(t, "the change arrives", func() bool { return db.now().Options.HopLimit == 10+round && deleted.now() == nil })
		eventually(t, "and is marked", func() bool { return h.status(op.ID) == openimds.OperationSucceeded })
	}
}

// TestHistoryLost: a seat is held up until the store has forgotten what happened meanwhile. Nothing
// of it may be missed, least of all what was deleted.
func TestHistoryLost(t *testing.T) {
	h := newHost(t, nil)
	h.create("slow", "deleted", "changed", "again", "unseated")
	arrived, release := make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() {
		close(arrived)
		<-release
	})
	slow := seat{before: func(in *openimds.Instance) error {
		if in.Options.HopLimit == 2 {
			hold()
		}
		return nil
	}}
	var deleted, changed, again seat
	h.seat("slow", &slow)
	h.seat("deleted", &deleted)
	h.seat("changed", &changed)
	h.seat("again", &again)
	h.run()
	h.hops("slow", 2)
	<-arrived
	ctx := t.Context()
	for _, name := range []string{"deleted", "again"} {
		if _, err := h.service.DeleteInstance(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	h.create("again")
	ops := []openimds.Operation{h.hops("changed", 9), h.hops("unseated", 9), h.hops("slow", 3)}
	for n := range 25_000 {
		if _, err := h.store.Commit(ctx, store.Change{Key: "noise", Value: fmt.Append(nil, n), If: store.Whatever}); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	for _, op := range ops {
		eventually(t, op.Resource+" is applied", func() bool { return h.status(op.ID) == openimds.OperationSucceeded })
	}
	if !strings.Contains(h.log.String(), "listing again") {
		t.Error("the history was not lost: the test shows nothing")
	}
	if deleted.now() != nil {
		t.Error("a deleted instance is still served")
	}
	for name, s := range map[string]*seat{"changed": &changed, "again": &again, "slow": &slow} {
		if in := h.instance(name); !s.obeys(in) {
			t.Errorf("%s: the seat has %+v, the record %+v", name, s.now(), in.Options)
		}
	}
}

// TestAppliedMeansObeyed has eight writers change one instance at random. Whenever a record says
// applied, the seat must obey the very options that stand beside it.
func TestAppliedMeansObeyed(t *testing.T) {
	const writers, rounds = 8, 40
	// A seat that takes its time: a mark that did not wait for it would be the faster one.
	web := seat{before: func(*openimds.Instance) error { time.Sleep(time.Millisecond); return nil }}
	var mu sync.Mutex // one commit at a time, so that nothing comes between it and the look at the seat
	applied := 0
	look := func(changes []store.Change, err error) {
		defer mu.Unlock()
		for _, c := range changes {
			if err != nil || c.Verb != store.Put || c.Key != records.InstancePrefix+"web" {
				continue
			}
			var record struct{ Data openimds.Instance }
			if err := json.Unmarshal(c.Value, &record); err != nil {
				t.Error(err)
			}
			if record.Data.Options.State != openimds.OptionsApplied {
				continue
			}
			if applied++; !web.obeys(&record.Data) {
				t.Errorf("applied: %+v, while the seat obeys %+v", record.Data.Options, web.now().Options)
			}
		}
	}
	h := newHost(t, func(s store.Store) store.Store {
		return &hooked{Store: s, commit: func([]store.Change) error { mu.Lock(); return nil }, after: look}
	})
	h.create("web")
	h.seat("web", &web)
	h.run()
	// The writers are the other users of the same store: their commits may not slip in between.
	service := control.New(&hooked{Store: h.store, commit: func([]store.Change) error { mu.Lock(); return nil }, after: look},
		control.Config{Region: "us-east-1", AccountID: "123456789012", AllowIMDSIPv6: true})
	var writing sync.WaitGroup
	ids := make(chan string, writers*rounds)
	for writer := range writers {
		random := rand.New(rand.NewPCG(1, uint64(writer)))
		writing.Go(func() {
			for range rounds {
				op, err := service.UpdateOptions(t.Context(), "web", randomUpdate(random))
				if err != nil {
					t.Error(err)
					return
				}
				ids <- op.ID
			}
		})
	}
	writing.Wait()
	close(ids)
	for id := range ids {
		eventually(t, "every operation ends", func() bool { return h.status(id) == openimds.OperationSucceeded })
	}
	// An operation is seen to end before the look at the commit that ended it is over.
	mu.Lock()
	defer mu.Unlock()
	if in := h.instance("web"); in.Options.State != openimds.OptionsApplied || !web.obeys(in) || applied == 0 {
		t.Errorf("at the end the record has %+v, the seat %+v, after %d times applied", in.Options, web.now().Options, applied)
	}
}

func randomUpdate(random *rand.Rand) openimds.OptionsUpdate {
	var u openimds.OptionsUpdate
	modes := []openimds.EndpointMode{openimds.EndpointEnabled, openimds.EndpointDisabled}
	if random.IntN(2) == 0 {
		u.Tokens = &[]openimds.TokensMode{openimds.TokensOptional, openimds.TokensRequired}[random.IntN(2)]
	}
	if random.IntN(2) == 0 {
		u.Endpoint = &modes[random.IntN(2)]
	}
	if random.IntN(2) == 0 {
		u.HopLimit = new(1 + random.IntN(64))
	}
	if random.IntN(2) == 0 {
		u.IPv6 = &modes[random.IntN(2)]
	}
	return u
}
