package control_test

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
)

// storedFaults are those of the record, whether they are over or not.
func storedFaults(f *fixture) *openimds.Faults {
	f.t.Helper()
	r, err := f.store.Get(f.t.Context(), records.InstancePrefix+"web")
	if err != nil {
		f.t.Fatal(err)
	}
	in, err := records.DecodeInstance(r)
	if err != nil {
		f.t.Fatal(err)
	}
	return in.Faults
}

// Faults with an end by time are off from that time on for whoever asks, also before the record says so; other
// changes neither move the end nor bring them back.
func TestFaultsOverByTime(t *testing.T) {
	type update = control.FaultsUpdate
	f, ctx := newFixture(t, nil), t.Context()
	f.create("web")
	on := updateFaults(f, update{Status: new(503), ForMillis: new(30_000)})
	until := on.Until
	if left := until.Sub(f.clock()); left <= 0 || left > 30*time.Second {
		t.Fatalf("the end is in %v", left)
	}
	f.sleep(10 * time.Second)
	if on = updateFaults(f, update{DropShare: new(0.5), Status: new(0)}); !on.Until.Equal(until) {
		t.Errorf("another change moved the end to %v", on.Until)
	}
	id := f.get("web").ID
	if _, err := f.FaultsMet(ctx, "web", id, time.Time{}, 0); err != nil || f.get("web").Faults == nil {
		t.Errorf("they ended early: %v", err)
	}
	f.sleep(20 * time.Second)
	if in := f.get("web"); in.Faults != nil {
		t.Errorf("after the end there is %v", in.Faults)
	}
	all, _, err := f.Instances(ctx, "", 10)
	if err != nil || len(all) != 1 || all[0].Faults != nil {
		t.Errorf("the list has %+v, %v", all, err)
	}
	if on = updateFaults(f, update{Status: new(500)}); on.DropShare != 0 || !on.Until.IsZero() {
		t.Errorf("what is over came back: %v", on)
	}
	updateFaults(f, update{ForMillis: new(1)})
	f.sleep(time.Second)
	if storedFaults(f) == nil {
		t.Fatal("the record knew before anybody told it")
	}
	if _, err := f.FaultsMet(ctx, "web", "i-another", time.Time{}, 0); err != nil || storedFaults(f) == nil {
		t.Errorf("another instance's end: %v", err)
	}
	if _, err := f.FaultsMet(ctx, "web", id, time.Time{}, 0); err != nil || storedFaults(f) != nil {
		t.Errorf("after the end the record has %v, %v", storedFaults(f), err)
	}
	if _, err := f.FaultsMet(ctx, "nobody", id, time.Time{}, 0); err != nil {
		t.Errorf("an instance that is gone: %v", err)
	}
	if on = updateFaults(f, update{Status: new(500), ForMillis: new(1000)}); on.Until.IsZero() {
		t.Error("no end")
	}
	if on = updateFaults(f, update{ForMillis: new(0)}); !on.Until.IsZero() {
		t.Errorf("the end is taken back, and is %v", on.Until)
	}
}

// Faults that are counted end when hosts have told of enough requests; what is told of an earlier counting is not
// counted.
func TestFaultsOverByNumber(t *testing.T) {
	type update = control.FaultsUpdate
	f, ctx := newFixture(t, nil), t.Context()
	f.create("web")
	on := updateFaults(f, update{Status: new(503), Count: new(5)})
	id, first, modified := f.get("web").ID, on.CountedFrom, f.get("web").ModifiedAt
	f.sleep(time.Minute)
	met := func(from time.Time, more, want int) {
		t.Helper()
		if all, err := f.FaultsMet(ctx, "web", id, from, more); err != nil || all != want {
			t.Errorf("%d more: %d in all, %v, want %d", more, all, err, want)
		}
	}
	met(first, 3, 3)
	if in := f.get("web"); in.Faults.Met != 3 || !in.ModifiedAt.Equal(modified) || in.Faults.String() != "status 503 for 100%, until 5 requests have met them (3 so far)" {
		t.Errorf("after 3: %v, modified %v", in.Faults, in.ModifiedAt)
	}
	f.audited() // up to here
	again := updateFaults(f, update{Count: new(5)})
	if again.Met != 0 || !again.CountedFrom.After(first) {
		t.Errorf("counted anew: %+v", again)
	}
	met(first, 4, 0)
	if on := updateFaults(f, update{Status: new(500)}); on.Met != 0 || !on.CountedFrom.Equal(again.CountedFrom) {
		t.Errorf("another change: %+v", on)
	}
	met(again.CountedFrom, 4, 4)
	if storedFaults(f) == nil {
		t.Error("they ended one too early")
	}
	if n := len(f.audited()); n != 2 {
		t.Errorf("%d changes were audited, want the two that were asked for", n)
	}
	met(again.CountedFrom, 2, 5)
	if in := f.get("web"); in.Faults != nil || storedFaults(f) != nil {
		t.Errorf("after the last there is %v", in.Faults)
	}
	// What is counted goes with the last fault that requests meet.
	updateFaults(f, update{Status: new(500), ExpiredCredentials: new(true), Count: new(1)})
	if on := updateFaults(f, update{Status: new(0)}); on.Count != 0 || !on.CountedFrom.IsZero() {
		t.Errorf("nothing is left to be counted, and there is %+v", on)
	}
}
