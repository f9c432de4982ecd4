package lifecycle_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/lifecycle"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ends counts how often transitions are ended.
type ends struct {
	*control.Service
	n    atomic.Int64
	fail atomic.Bool
}

func (e *ends) EndTransition(ctx context.Context, instance string, begun time.Time) error {
	e.n.Add(1)
	if e.fail.Load() {
		return errors.New("the disk is full")
	}
	return e.Service.EndTransition(ctx, instance, begun)
}

// installation is a store and a service whose instances take a while from state to state. It is used in a bubble,
// where time goes on when everybody waits.
type installation struct {
	t     *testing.T
	store store.Store
	*ends
	audited atomic.Int64 // lines
}

func newInstallation(t *testing.T, lasts time.Duration) *installation {
	i := &installation{t: t, store: mem.New()}
	i.ends = &ends{Service: i.service(lasts)}
	return i
}

func (i *installation) service(lasts time.Duration) *control.Service {
	return control.New(i.store, control.Config{
		Region: "us-east-1", AccountID: "123456789012", TransitionTime: lasts,
		Audit: func(_ context.Context, entries ...openimds.AuditEntry) error {
			i.audited.Add(int64(len(entries)))
			return nil
		},
	})
}

// run ends transitions until stop is called.
func (i *installation) run(cfg lifecycle.Config) (stop func()) {
	cfg.Store, cfg.Lasts = i.store, cmp.Or(cfg.Lasts, control.MaxTransitionTime)
	if cfg.Service == nil {
		cfg.Service = i.ends
	}
	ctx, cancel := context.WithCancel(i.t.Context())
	var running sync.WaitGroup
	running.Go(func() { lifecycle.Run(ctx, cfg) })
	return func() {
		cancel()
		running.Wait()
	}
}

// create makes running instances begin to be there.
func (i *installation) create(names ...string) {
	i.t.Helper()
	// Without a default key pair, whose making takes real time.
	if _, err := i.ImportKeyPair(i.t.Context(), "mine", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO3cgjZtQ9FhsGv9dKMBBvlPGkyp1oMoAHNzTDTNWBMZ"); err != nil && openimds.KindOf(err) != openimds.InvalidInput {
		i.t.Fatal(err)
	}
	if _, err := i.CreateInstances(i.t.Context(), control.InstancesLaunch{Names: names, KeyPairName: "mine"}); err != nil {
		i.t.Fatal(err)
	}
}

func (i *installation) want(name string, state openimds.InstanceState) {
	i.t.Helper()
	synctest.Wait()
	in, err := i.Instance(i.t.Context(), name)
	if err != nil || in.State != state {
		i.t.Errorf("%s is %s, %v, want %s", name, in.State, err, state)
	}
}

func TestTransitionsEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstallation(t, 10*time.Second)
		defer i.run(lifecycle.Config{})()
		i.create("first")
		time.Sleep(4 * time.Second)
		i.create("second", "third")
		time.Sleep(6*time.Second - time.Millisecond)
		i.want("first", openimds.StatePending)
		time.Sleep(2 * time.Millisecond)
		i.want("first", openimds.StateRunning)
		i.want("second", openimds.StatePending)
		if _, err := i.DeleteInstance(t.Context(), "third"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		i.want("second", openimds.StateRunning)
		if _, err := i.StopInstance(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		i.want("first", openimds.StateStopping)
		time.Sleep(5 * time.Second)
		if _, err := i.StopInstance(t.Context(), "first"); err != nil { // that joins it
			t.Fatal(err)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		i.want("first", openimds.StateStopped)
		if n := i.n.Load(); n != 3 {
			t.Errorf("3 transitions were ended %d times", n)
		}
	})
}

// TestTransitionOutlivesItsProcess: what a process leaves under way, the next one ends when its time has come, or at
// once if that was before; after less if it says so itself; if the clock was set back meanwhile, after the whole time
// once more.
func TestTransitionOutlivesItsProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstallation(t, 10*time.Second)
		stop := i.run(lifecycle.Config{})
		i.create("web")
		time.Sleep(4 * time.Second)
		stop()
		time.Sleep(time.Second)
		stop = i.run(lifecycle.Config{})
		time.Sleep(5*time.Second - time.Millisecond)
		i.want("web", openimds.StatePending)
		time.Sleep(2 * time.Millisecond)
		i.want("web", openimds.StateRunning)
		stop()

		i.create("late")
		time.Sleep(time.Hour)
		i.want("late", openimds.StatePending)
		stop = i.run(lifecycle.Config{})
		i.want("late", openimds.StateRunning)
		stop()

		i.create("patient")
		stop = i.run(lifecycle.Config{Lasts: 2 * time.Second})
		time.Sleep(2*time.Second + time.Millisecond)
		i.want("patient", openimds.StateRunning)
		stop()

		i.create("tomorrow")
		key := records.TransitionKey("tomorrow")
		was, err := i.store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := records.DecodeTransition(was)
		if err != nil {
			t.Fatal(err)
		}
		tr.Begun = tr.Begun.Add(24 * time.Hour)
		value, err := records.Encode(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.store.Commit(t.Context(), store.Change{Key: key, Value: value, If: was.Revision}); err != nil {
			t.Fatal(err)
		}
		defer i.run(lifecycle.Config{})()
		time.Sleep(10*time.Second + time.Millisecond)
		i.want("tomorrow", openimds.StateRunning)
	})
}

// TestOneOfManyEndsTransitions: those whose turn it is not leave them alone, until it is.
func TestOneOfManyEndsTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstallation(t, 10*time.Second)
		idle := &ends{Service: i.service(0)}
		elected := make(chan struct{})
		stop := i.run(lifecycle.Config{})
		defer i.run(lifecycle.Config{Service: idle, Turn: func(ctx context.Context) error {
			select {
			case <-elected:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})()
		var names []string
		for n := range 20 {
			names = append(names, fmt.Sprint("web-", n))
		}
		i.create(names...)
		before := i.audited.Load()
		time.Sleep(11 * time.Second)
		for _, name := range names {
			i.want(name, openimds.StateRunning)
		}
		if n := i.audited.Load() - before; n != 20 || idle.n.Load() != 0 {
			t.Errorf("20 transitions ended with %d lines of the audit; who had not the turn ended %d", n, idle.n.Load())
		}
		i.create("last")
		stop() // whoever had the office is gone
		time.Sleep(time.Minute)
		i.want("last", openimds.StatePending)
		close(elected)
		i.want("last", openimds.StateRunning)
		if n := idle.n.Load(); n != 1 {
			t.Errorf("the next one ended %d transitions", n)
		}
	})
}

// TestTransitionThatCannotBeEnded is tried again every second, with one line of the log; one whose record is damaged
// keeps no other up.
func TestTransitionThatCannotBeEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstallation(t, 10*time.Second)
		damaged := store.Change{Key: records.TransitionKey("damaged"), Value: []byte("{"), If: store.Whatever}
		if _, err := i.store.Commit(t.Context(), damaged); err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		stop := i.run(lifecycle.Config{Log: slog.New(slog.NewTextHandler(&text, nil))})
		i.fail.Store(true)
		i.create("web")
		time.Sleep(13*time.Second + 500*time.Millisecond)
		i.want("web", openimds.StatePending)
		if n := i.n.Load(); n != 4 {
			t.Errorf("it was tried %d times in 3.5 seconds", n)
		}
		i.fail.Store(false)
		time.Sleep(time.Second)
		i.want("web", openimds.StateRunning)
		stop()
		if n := strings.Count(text.String(), "cannot be ended"); n != 1 || strings.Count(text.String(), "\n") != 2 {
			t.Errorf("the log:\n%s", text.String())
		}
	})
}
