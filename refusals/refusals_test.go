package refusals_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/refusals"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

const id = "i-0123456789abcdef0"

// fleet is a store with an instance, web, and hosts; all of it ends with the test's bubble.
type fleet struct {
	t     *testing.T
	store store.Store
	log   *slog.Logger
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t, mem.New(), slog.New(slog.DiscardHandler)}
	f.put(records.InstancePrefix+"web", map[string]any{})
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) put(key string, v any) {
	f.t.Helper()
	value, err := records.Encode(v)
	must(f.t, err)
	_, err = f.store.Commit(f.t.Context(), store.Change{Key: key, Value: value, If: store.Whatever})
	must(f.t, err)
}

func (f *fleet) drop(key string) {
	f.t.Helper()
	_, err := f.store.Commit(f.t.Context(), store.Change{Verb: store.Delete, Key: key, If: store.Whatever})
	must(f.t, err)
}

// attach says where web is attached, and by what hosts it may still be answered.
func (f *fleet) attach(host string, from ...string) {
	f.t.Helper()
	f.put(records.AttachmentPrefix+"web", &openimds.Attachment{Instance: "web", Host: host, Interface: "tap0", CreatedAt: time.Now().UTC(), From: from})
}

// keys are those of marks and of what hosts have told.
func (f *fleet) keys() string {
	f.t.Helper()
	var all []string
	for _, prefix := range []string{records.WatchedPrefix, records.RefusedPrefix} {
		page, err := f.store.List(f.t.Context(), store.Range{Prefix: prefix})
		must(f.t, err)
		for _, r := range page.Records {
			all = append(all, r.Key)
		}
	}
	return strings.Join(all, " ")
}

func (f *fleet) revision() int64 {
	f.t.Helper()
	page, err := f.store.List(f.t.Context(), store.Range{Limit: 1})
	must(f.t, err)
	return page.Revision
}

// host is one process of a host that serves web.
type host struct {
	fleet         *fleet
	name, process string
	stop          context.CancelFunc

	mu    sync.Mutex
	calls openimds.RefusedCalls
	away  bool // what it tells does not arrive
}

// RefusedCalls implements [openimds.RefusalCounter].
func (h *host) RefusedCalls(of string) (openimds.RefusedCalls, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls, of == id && h.calls.Counter != ""
}

// refuse counts refused calls.
func (h *host) refuse(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls.NoToken += n
	h.calls.Refusals = []openimds.Refusal{{Reason: "no-token", Status: 401, Count: h.calls.NoToken}}
}

func (h *host) cutOff(away bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = away
}

// start has a host there, whose process serves web and tells until stop or the bubble's end.
func (f *fleet) start(name, process string) *host {
	f.t.Helper()
	h := &host{fleet: f, name: name, process: process, calls: openimds.RefusedCalls{Counter: process + ".1"}}
	f.put(records.HostKey(name), records.Host{Tells: true})
	f.put(records.SeatKey("web", name), records.Seat{Process: process})
	ctx, stop := context.WithCancel(f.t.Context())
	h.stop = stop
	teller := refusals.NewTeller(refusals.TellerConfig{Store: f.store, Counter: h, Log: f.log, Tell: func(ctx context.Context, all []records.Refused) error {
		h.mu.Lock()
		away := h.away
		h.mu.Unlock()
		if away {
			return store.ErrClosed
		}
		for i := range all {
			all[i].Process = h.process
		}
		return refusals.Keep(ctx, f.store, h.name, all...)
	}})
	go teller.Run(ctx)
	return h
}

// replica is one that waits.
type replica struct {
	*refusals.Watch
	t    *testing.T
	kill context.CancelFunc // it goes without a word
}

// dying is a store that does nothing more for who is killed.
type dying struct {
	store.Store
	dead *bool
}

func (d dying) Revoke(ctx context.Context, l store.Lease) error {
	if *d.dead {
		return store.ErrClosed
	}
	return d.Store.Revoke(ctx, l)
}

func (f *fleet) replica(name string, counter openimds.RefusalCounter) *replica {
	dead := false
	w := refusals.NewWatch(refusals.WatchConfig{
		Store: dying{f.store, &dead}, Host: name, Counter: counter, HostTTL: 15 * time.Second,
		Find: func(ctx context.Context, name string) (string, error) {
			if _, err := f.store.Get(ctx, records.InstancePrefix+name); err != nil {
				return "", nil //nolint:nilerr // it is not there
			}
			return id, nil
		},
	})
	ctx, cancel := context.WithCancel(f.t.Context())
	go w.Run(ctx, f.log)
	synctest.Wait()
	return &replica{w, f.t, func() { dead = true; cancel() }}
}

func always(int) bool { return true }

// look is what is known now, as number or as why it is not.
func (r *replica) look() (refusals.Count, string) {
	r.t.Helper()
	counts, _, err := r.Look(r.t.Context(), []string{"web"}, always)
	must(r.t, err)
	if counts[0].NoToken == nil {
		return counts[0], fmt.Sprintf("%s (%t)", counts[0].Unknown, counts[0].Awaited)
	}
	return counts[0], fmt.Sprint(*counts[0].NoToken)
}

// await waits until another number is known than that, and returns how long that took.
func (r *replica) await(seen string) (c refusals.Count, now string, took time.Duration) {
	r.t.Helper()
	for begun := time.Now(); ; {
		counts, news, err := r.Look(r.t.Context(), []string{"web"}, always)
		must(r.t, err)
		c = counts[0]
		if c.NoToken != nil && fmt.Sprint(*c.NoToken) != seen {
			return c, fmt.Sprint(*c.NoToken), time.Since(begun)
		}
		select {
		case <-news:
		case <-time.After(time.Minute):
			r.t.Fatalf("nothing is told beside %s: %+v", seen, c)
		}
	}
}

func bubble(t *testing.T, do func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { do(t, newFleet(t)) })
}

// Nothing is written while nobody waits, whatever is refused. Whoever waits knows the number in a moment, and the next
// refusal in another; a caller that goes on costs a write a second. When nobody waits any more, all of it is gone.
func TestOnDemand(t *testing.T) {
	bubble(t, func(t *testing.T, f *fleet) {
		a, api := f.start("host-a", "one"), f.replica("api", nil)
		f.attach("host-a")
		before := f.revision()
		a.refuse(3)
		time.Sleep(time.Hour)
		if after := f.revision(); after != before {
			t.Fatalf("nobody waits, and the store is written %d times", after-before)
		}
		if _, now := api.look(); now != "the host host-a has not told yet (true)" {
			t.Errorf("at once: %s", now)
		}
		first, now, took := api.await("")
		if now != "3" || took > time.Second || first.Untold != 15*time.Second || first.Local || fmt.Sprint(first.Hosts) != "[host-a]" {
			t.Errorf("at first: %s after %s: %+v", now, took, first)
		}
		time.Sleep(5 * time.Second)
		a.refuse(1)
		next, now, took := api.await("3")
		if now != "4" || took > time.Second || next.Counter != first.Counter || time.Since(next.At) > time.Second {
			t.Errorf("one more: %s after %s: %+v", now, took, next)
		}
		before = f.revision()
		for range 100 {
			a.refuse(1)
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.revision() - before; n > 12 {
			t.Errorf("ten calls a second cost %d writes in 10 seconds", n)
		}
		if c, now, _ := api.await("4"); now == "4" || c.Refusals[0].Reason != "no-token" {
			t.Errorf("a hundred more: %+v", c)
		}
		time.Sleep(time.Minute)
		if keys := f.keys(); keys != "" {
			t.Errorf("nobody waits any more, and there is %q", keys)
		}
		before = f.revision()
		a.refuse(1)
		time.Sleep(time.Minute)
		if f.revision() != before {
			t.Error("nobody waits any more, and the store is written")
		}
		a.stop()
		api.kill()
	})
}

// A process of the host that begins anew has told nothing: until it has, it is not known what is refused. With the same
// number as before it counts anew all the same.
func TestAnotherProcess(t *testing.T) {
	bubble(t, func(t *testing.T, f *fleet) {
		a, api := f.start("host-a", "one"), f.replica("api", nil)
		f.attach("host-a")
		a.refuse(2)
		first, _, _ := api.await("")
		a.stop()
		again := f.start("host-a", "two")
		again.cutOff(true)
		again.refuse(2)
		time.Sleep(5 * time.Second)
		if _, now := api.look(); now != "the host host-a has not told yet (true)" {
			t.Errorf("before it has told: %s", now)
		}
		again.cutOff(false)
		next, now, _ := api.await("")
		if now != "2" || next.Counter == first.Counter {
			t.Errorf("it has told: %s, counted by %s, before by %s", now, next.Counter, first.Counter)
		}
		again.stop()
		api.kill()
	})
}

// An instance that moves in the middle is unknown until its new host has told; what the former one refused before is
// among the number, also where that comes late.
func TestMoved(t *testing.T) {
	bubble(t, func(t *testing.T, f *fleet) {
		a, api := f.start("host-a", "one"), f.replica("api", nil)
		f.attach("host-a")
		_, _, _ = api.await("")
		a.cutOff(true)
		a.refuse(1)
		f.attach("host-b", "host-a")
		f.put(records.HostKey("host-b"), records.Host{Tells: true})
		f.drop(records.SeatKey("web", "host-a"))
		time.Sleep(time.Second)
		if _, now := api.look(); !strings.HasPrefix(now, "the host host-") || !strings.HasSuffix(now, "(true)") {
			t.Errorf("nobody serves it: %s", now)
		}
		f.attach("host-b")
		b := f.start("host-b", "two")
		if _, now, _ := api.await(""); now != "0" {
			t.Errorf("the new host serves it: %s", now)
		}
		a.cutOff(false)
		if _, now, _ := api.await("0"); now != "1" {
			t.Errorf("the former one has told: %s", now)
		}
		b.refuse(1)
		if _, now, _ := api.await("1"); now != "2" {
			t.Errorf("refused at the new one: %s", now)
		}
		a.stop()
		b.stop()
		api.kill()
	})
}

// Any replica answers: another one knows the same at once, and goes on when the first is killed.
func TestAnotherReplica(t *testing.T) {
	bubble(t, func(t *testing.T, f *fleet) {
		a, one, two := f.start("host-a", "one"), f.replica("api-1", nil), f.replica("api-2", nil)
		f.attach("host-a")
		a.refuse(1)
		first, _, _ := one.await("")
		second, now := two.look()
		if now != "1" || second.Counter != first.Counter {
			t.Errorf("the other one knows %s", now)
		}
		one.kill()
		a.refuse(1)
		begun := time.Now()
		for c, now := two.look(); now != "2"; c, now = two.look() {
			if c.NoToken == nil && !c.Awaited || time.Since(begun) > time.Minute {
				t.Fatalf("after the first is gone: %s", now)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(35 * time.Second) // the marks of the first have ended
		for c, now := two.look(); now != "2"; c, now = two.look() {
			if c.NoToken == nil && !c.Awaited {
				t.Fatalf("when the marks of the first have ended: %s", now)
			}
			time.Sleep(100 * time.Millisecond)
		}
		a.refuse(1)
		if c, now, _ := two.await("2"); now != "3" || c.Counter != first.Counter {
			t.Errorf("one more: %s", now)
		}
		a.stop()
		two.kill()
	})
}

// Whoever serves the instance without telling makes it unknown: a host of an earlier release, one that is gone, one that has
// no seat; and nothing where nobody is asked for.
func TestUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, f *fleet) {
		api := f.replica("api", nil)
		is := func(what, want string) {
			t.Helper()
			time.Sleep(time.Second)
			if c, now := api.look(); now != want || c.NoToken != nil {
				t.Errorf("%s: %s", what, now)
			}
		}
		is("nowhere", "no host serves it (false)")
		f.attach("host-a")
		is("nobody there", "the host host-a is not there now (false)")
		f.put(records.HostKey("host-a"), records.Host{})
		f.put(records.SeatKey("web", "host-a"), records.Seat{Process: "one"})
		is("of an earlier release", "the host host-a is of an earlier release, which does not tell of refused calls as they happen (false)")
		a := f.start("host-a", "one")
		if _, now, _ := api.await(""); now != "0" {
			t.Errorf("it tells: %s", now)
		}
		f.put(records.SeatKey("web", "host-b"), records.Seat{Process: "two"})
		is("at another one besides", "the host host-b is not there now (false)")
		f.drop(records.SeatKey("web", "host-b"))
		f.drop(records.SeatKey("web", "host-a"))
		is("without a seat", "the host host-a does not serve it now (true)")
		f.drop(records.InstancePrefix + "web")
		time.Sleep(time.Second)
		if c, _ := api.look(); c.InstanceID != "" {
			t.Errorf("it is gone, and %+v is told", c)
		}
		counts, _, err := api.Look(t.Context(), []string{"never"}, func(int) bool { return false })
		if err != nil || counts[0].InstanceID != "" {
			t.Errorf("one that never was: %+v (%v)", counts, err)
		}
		a.stop()
		api.kill()
	})
}

// What this process serves it reads in memory, and the store is not written for it; with what others serve beside it, both
// are added up.
func TestHere(t *testing.T) {
	bubble(t, func(t *testing.T, f *fleet) {
		here := &host{fleet: f, name: "api", calls: openimds.RefusedCalls{Counter: "here"}}
		f.put(records.SeatKey("web", "api"), records.Seat{Process: "here"})
		api := f.replica("api", here)
		before := f.revision()
		here.refuse(2)
		if c, now := api.look(); now != "2" || !c.Local || c.Untold != 0 || !c.At.IsZero() {
			t.Errorf("here: %s, %+v", now, c)
		}
		here.refuse(1)
		if _, now := api.look(); now != "3" || f.revision() != before {
			t.Errorf("one more here: %s, with %d writes", now, f.revision()-before)
		}
		a := f.start("host-a", "one")
		a.refuse(4)
		if c, now, _ := api.await("3"); now != "7" || c.Untold == 0 || c.Refusals[0].Count != 7 {
			t.Errorf("with another host: %s, %+v", now, c)
		}
		a.stop()
		api.kill()
	})
}

// What is told for a mark that is gone is passed over; of two that come in another order the later one stays, and the
// first of another counter.
func TestKeep(t *testing.T) {
	bubble(t, func(t *testing.T, f *fleet) {
		lease, err := f.store.Grant(t.Context(), 10*time.Second)
		must(t, err)
		value, err := records.Encode(records.Watched{ID: "now", InstanceID: id})
		must(t, err)
		_, err = f.store.Commit(t.Context(), store.Change{Key: records.WatchedKey("web"), Value: value, If: store.IfAbsent, Lease: lease})
		must(t, err)
		told := func(watch, of, counter string, n int64) string {
			t.Helper()
			must(t, refusals.Keep(t.Context(), f.store, "host-a",
				records.Refused{Instance: "web", InstanceID: of, Watch: watch, RefusedCalls: openimds.RefusedCalls{Counter: counter, NoToken: n}},
				records.Refused{Instance: "unwatched", InstanceID: id, Watch: watch}))
			r, err := f.store.Get(t.Context(), records.RefusedKey("web", "host-a"))
			if err != nil {
				return err.Error()
			}
			kept, err := records.Decode[records.Refused](r)
			must(t, err)
			if r.Lease != lease {
				t.Errorf("%d is bound to %d, not to %d", kept.NoToken, r.Lease, lease)
			}
			return fmt.Sprint(kept.Counter, kept.NoToken)
		}
		none := store.ErrNoRecord.Error()
		for i, c := range []struct {
			watch, of, counter string
			n                  int64
			want               string
		}{
			{"earlier", id, "a", 9, none}, {"now", "i-another", "a", 9, none}, {"now", id, "a", 5, "a5"}, {"now", id, "a", 3, "a5"},
			{"now", id, "a", 6, "a6"}, {"earlier", id, "a", 7, "a6"}, {"now", id, "b", 1, "b1"},
		} {
			if got := told(c.watch, c.of, c.counter, c.n); got != c.want {
				t.Errorf("%d: %s is kept, not %s", i, got, c.want)
			}
		}
		time.Sleep(time.Minute)
		if got := told("now", id, "b", 2); got != none || f.keys() != "" {
			t.Errorf("nobody waits any more, and %s is kept, %q", got, f.keys())
		}
	})
}
