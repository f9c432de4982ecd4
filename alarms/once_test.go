package alarms

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// share runs the alarms of one of several servers, which has the office or not, until it is stopped.
func (w *world) share(t *testing.T, hook string, office bool) (a *Alarms, stop func()) {
	t.Helper()
	turn := func(ctx context.Context) error {
		if office {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	a, err := New(Config{Service: w.service, Store: w.store, Turn: turn, Webhook: hook, Shared: true, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	a.next = never
	a.webhook.pause, a.webhook.once.look = time.Millisecond, time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	<-a.ready
	return a, stop
}

// Servers that share a store and have the same webhook call it once for each change, in the order of the changes.
func TestOneOfAllTells(t *testing.T) {
	w := newWorld(t)
	url, got := hook(t, func(int) int { return 200 })
	var all []*Alarms
	for i := range 3 {
		a, _ := w.share(t, url, i == 0)
		all = append(all, a)
	}
	want := []openimds.AlarmState{openimds.AlarmAlarm} // as it is evaluated
	if n := receive(t, got); n.State != want[0] {
		t.Errorf("told %+v", n)
	}
	for i := range 10 {
		state := []openimds.AlarmState{openimds.AlarmOK, openimds.AlarmAlarm}[i%2]
		if _, err := w.service.TestAlarm(t.Context(), "v1-calls", state); err != nil {
			t.Fatal(err)
		}
		want = append(want, state)
	}
	for i, state := range want[1:] {
		if n := receive(t, got); n.State != state {
			t.Errorf("notice %d is of %s, want %s", i+1, n.State, state)
		}
	}
	// A last change, which each server handles behind all others, says that none has any of those left.
	w.putAlarm(t, "last", true)
	if _, err := w.service.TestAlarm(t.Context(), "last", openimds.AlarmAlarm); err != nil {
		t.Fatal(err)
	}
	if n := receive(t, got); n.Alarm != "last" {
		t.Errorf("told besides: %+v", n)
	}
	waitFor(t, "nothing waits", func() bool {
		for _, a := range all {
			if len(a.webhook.waiting) > 0 {
				return false
			}
		}
		return true
	})
	if len(got) > 0 {
		t.Errorf("told twice: %s", <-got)
	}
}

// A server that is stopped while it tries to tell leaves that to another one, at once.
func TestTellerStops(t *testing.T) {
	w := newWorld(t)
	broken, tried := hook(t, func(int) int { return 503 })
	url, got := hook(t, func(int) int { return 200 })
	first, err := New(Config{Service: w.service, Store: w.store, Webhook: broken, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	first.next, first.webhook.pause = never, time.Hour // it never tries again
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { first.Run(ctx) })
	defer func() { stop(); running.Wait() }()
	receive(t, tried)
	claim, err := w.store.Get(t.Context(), records.ToldKey("v1-calls"))
	var claimed told
	if err != nil || json.Unmarshal(claim.Value, &claimed) != nil || claimed.Done {
		t.Fatalf("what is told is %s, %v", claim.Value, err)
	}
	alarm, err := w.service.Alarm(t.Context(), "v1-calls")
	if err != nil {
		t.Fatal(err)
	}
	second, _ := w.share(t, url, false)
	second.webhook.post(queued{revision: claimed.Revision, Notice: Notice{Alarm: alarm.Name, ARN: claimed.Change.Alarm, State: alarm.State, ChangedAt: alarm.StateChangedAt}})
	stop()
	if n := receive(t, got); n.State != openimds.AlarmAlarm {
		t.Errorf("told %+v", n)
	}
}

// What a killed server has claimed another one tells when the claim's lease ends.
func TestTellerKilled(t *testing.T) {
	w := newWorld(t)
	url, got := hook(t, func(int) int { return 200 })
	lease, err := w.store.Grant(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := json.Marshal(told{Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Commit(t.Context(), store.Change{Key: records.ToldKey("v1-calls"), Value: claimed, If: store.IfAbsent, Lease: lease}); err != nil {
		t.Fatal(err)
	}
	w.share(t, url, true)
	waitFor(t, "the change is logged", func() bool {
		alarm, err := w.service.Alarm(t.Context(), "v1-calls")
		return err == nil && alarm.State == openimds.AlarmAlarm
	})
	if len(got) > 0 {
		t.Error("two servers tell of one change")
	}
	if err := w.store.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if n := receive(t, got); n.State != openimds.AlarmAlarm {
		t.Errorf("told %+v", n)
	}
}

// What was told is known as long as another server may come to it, and not for ever.
func TestToldIsForgotten(t *testing.T) {
	w := newWorld(t)
	url, got := hook(t, func(int) int { return 200 })
	w.share(t, url, true)
	receive(t, got)
	waitFor(t, "it is known to be told", func() bool {
		r, err := w.store.Get(t.Context(), records.ToldKey("v1-calls"))
		var known told
		return err == nil && json.Unmarshal(r.Value, &known) == nil && known.Done && r.Lease != store.NoLease
	})
}
