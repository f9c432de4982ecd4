package control_test

import (
	"context"
	"testing"
	"time"

	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// slowSeats are guests that obey when they are told to.
type slowSeats struct {
	asked chan string   // the instance that is waited for
	obey  chan struct{} // closed: it obeys
}

func (s slowSeats) Await(ctx context.Context, instance string, revision int64) error {
	if revision <= 0 {
		panic("waited for no revision")
	}
	select {
	case s.asked <- instance:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-s.obey:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func withSeats(s slowSeats) func(*control.Config, *store.Store) {
	return func(cfg *control.Config, _ *store.Store) { cfg.Seats = s }
}

// TestAnsweredWhenObeyed: a change that a client asked for is answered when this process's guest obeys it.
func TestAnsweredWhenObeyed(t *testing.T) {
	seats := slowSeats{make(chan string), make(chan struct{})}
	f := newFixture(t, withSeats(seats))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := f.AddInstance(ctx, made("web"))
		answered <- err
	}()
	if name := <-seats.asked; name != "web" {
		t.Errorf("waited for %q", name)
	}
	select {
	case err := <-answered:
		t.Errorf("answered before the guest obeyed: %v", err)
	default:
	}
	close(seats.obey)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestDeafGuest: one that never obeys makes no change fail, nor the end of an operation's time.
func TestDeafGuest(t *testing.T) {
	f := newFixture(t, withSeats(slowSeats{}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.AddInstance(ctx, made("web")); err != nil {
		t.Error(err)
	}
	if _, err := f.AddInstance(t.Context(), made("web2")); err != nil {
		t.Error(err)
	}
}

// TestNothingToObey: what leaves an instance's record as it is waits for no guest.
func TestNothingToObey(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	f.Service = control.New(bounded{f.store, t}, control.Config{Region: "us-east-1", AccountID: "123456789012", Now: f.clock, Seats: forbidden{t}})
	if _, err := f.PutAlarm(t.Context(), "alarm", alarmOf("web"), nil); err != nil {
		t.Error(err)
	}
}

// forbidden are seats that nobody may wait for.
type forbidden struct{ t *testing.T }

func (s forbidden) Await(context.Context, string, int64) error {
	s.t.Error("waited for a guest")
	return nil
}
