package control_test

import (
	"errors"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TestSeatOfLaterProcess: a process whose place a later one of the same host has taken does not speak for it: it
// neither gives its seat back nor says what it obeys.
func TestSeatOfLaterProcess(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	early := control.New(f.store, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	late := control.New(f.store, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	for _, s := range []*control.Service{early, late} {
		lease, err := s.JoinHost(t.Context(), true)
		if err == nil {
			err = s.TakeSeats(t.Context(), lease, "web")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	hops := 3
	f.update("web", openimds.OptionsUpdate{HopLimit: &hops})
	if err := early.LeaveSeat(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if err := early.MarkApplied(t.Context(), f.get("web")); err != nil {
		t.Fatal(err)
	}
	if state := f.get("web").Options.State; state != openimds.OptionsPending {
		t.Errorf("the options are %s before the later process obeys them", state)
	}
	if err := late.MarkApplied(t.Context(), f.get("web")); err != nil {
		t.Fatal(err)
	}
	if state := f.get("web").Options.State; state != openimds.OptionsApplied {
		t.Errorf("the options are %s after it", state)
	}
	for range 2 {
		if err := late.LeaveSeat(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.store.Get(t.Context(), records.SeatKey("web", openimds.LocalHost)); !errors.Is(err, store.ErrNoRecord) {
		t.Errorf("the seat that was given back: %v", err)
	}
}

// TestHostWithoutLease: a record of the host that no lease takes away gives way to a process that begins, and to
// no other.
func TestHostWithoutLease(t *testing.T) {
	f := newFixture(t, nil)
	value, err := records.Encode(records.Host{})
	if err != nil {
		t.Fatal(err)
	}
	key := records.HostKey(openimds.LocalHost)
	if _, err := f.store.Commit(t.Context(), store.Change{Key: key, Value: value, If: store.Whatever}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.JoinHost(t.Context(), false); openimds.KindOf(err) != openimds.OperationFailure {
		t.Errorf("one that comes back: %v", err)
	}
	lease, err := f.JoinHost(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := f.store.Get(t.Context(), key); err != nil || r.Lease != lease {
		t.Errorf("the host's lease is %d, %v; want %d", r.Lease, err, lease)
	}
}
