package control_test

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// slow makes a service whose instances take a minute from state to state.
func slow(c *control.Config, _ *store.Store) { c.TransitionTime = time.Minute }

// arrive ends the transitions that are under way.
func (f *fixture) arrive() {
	f.t.Helper()
	for name, begun := range f.underWay() {
		if err := f.EndTransition(f.t.Context(), name, begun); err != nil {
			f.t.Fatal(err)
		}
	}
}

// underWay are the instances in the middle of something, and since when.
func (f *fixture) underWay() map[string]time.Time {
	f.t.Helper()
	page, err := f.store.List(f.t.Context(), store.Range{Prefix: records.TransitionPrefix})
	if err != nil {
		f.t.Fatal(err)
	}
	found := map[string]time.Time{}
	for _, r := range page.Records {
		tr, err := records.DecodeTransition(r)
		if err != nil || tr.Lasts != time.Minute {
			f.t.Fatal(tr, err)
		}
		found[r.Key[len(records.TransitionPrefix):]] = tr.Begun
	}
	return found
}

// statuses are those of all operations on an instance, the earliest first, with how many wait.
func (f *fixture) statuses(name string) (all []string) {
	f.t.Helper()
	ops, _, err := f.OperationsOf(f.t.Context(), name, "", 0)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, op := range slices.Backward(ops) {
		all = append(all, op.Type+" "+string(op.Status))
	}
	return all
}

func (f *fixture) wantStatuses(name string, want ...string) {
	f.t.Helper()
	if got := f.statuses(name); !slices.Equal(got, want) {
		f.t.Errorf("operations of %s\n%q, want\n%q", name, got, want)
	}
}

// TestTransitions follows an instance through its states: what it is then, who may ask, and what may be done.
func TestTransitions(t *testing.T) {
	f := newFixture(t, slow)
	ctx := t.Context()
	f.create("web", "other")
	pending := f.get("web")
	public, has := pending.PublicIPv4()
	if pending.State != openimds.StatePending || pending.State.Answers() || !has {
		t.Errorf("a new instance is %s with the address %s", pending.State, public)
	}
	f.wantStatuses("web", "CreateInstance Started")
	_, err := f.StopInstance(ctx, "web")
	refused(t, err, openimds.OperationFailure, openimds.WrongState, "The instance web cannot be stopped: it is pending, not running")
	begun := f.underWay()
	if len(begun) != 2 {
		t.Fatalf("under way are %v", begun)
	}
	// Somebody who is late has another transition in mind.
	if err := f.EndTransition(ctx, "web", begun["web"].Add(-time.Second)); err != nil || f.get("web").State != openimds.StatePending {
		t.Errorf("the end of an earlier transition: %v, %s", err, f.get("web").State)
	}
	f.sleep(time.Minute)
	f.audit()
	f.arrive()
	running := f.get("web")
	want := *pending
	want.State, want.ModifiedAt = openimds.StateRunning, running.ModifiedAt
	if !reflect.DeepEqual(running, &want) || !running.ModifiedAt.After(pending.ModifiedAt) {
		t.Errorf("after the start:\n%+v, want\n%+v", *running, want)
	}
	f.wantStatuses("web", "CreateInstance Succeeded")
	if told := f.audit(); len(told) != 2 || told[0].What != "EndTransition" {
		t.Errorf("the audit was told %+v", told)
	}

	f.update("web", openimds.OptionsUpdate{HopLimit: new(2)})
	if _, err := f.StopInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	stopping := f.get("web")
	if now, _ := stopping.PublicIPv4(); stopping.State != openimds.StateStopping || !stopping.State.Answers() || now != public || stopping.Options.State != openimds.OptionsPending {
		t.Errorf("a stopping instance: %s, %s, %+v", stopping.State, now, stopping.Options)
	}
	_, err = f.StartInstance(ctx, "web")
	refused(t, err, openimds.OperationFailure, openimds.WrongState, "The instance web cannot be started: it is stopping, not stopped")
	f.arrive()
	stopped := f.get("web")
	if _, has := stopped.PublicIPv4(); has || stopped.State != openimds.StateStopped || stopped.Options.State != openimds.OptionsApplied || stopped.Options.HopLimit != 2 {
		t.Errorf("a stopped instance: %s, %+v", stopped.State, stopped.Options)
	}
	if _, err := f.StartInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if again := f.get("web"); again.State != openimds.StatePending || string(again.TokenKey) == string(stopped.TokenKey) {
		t.Errorf("an instance that is started again is %s", again.State)
	}
	f.arrive()
	f.wantStatuses("web", "CreateInstance Succeeded", "UpdateInstanceMetadataOptions Succeeded", "StopInstance Succeeded", "StartInstance Succeeded")
	if left := f.underWay(); len(left) > 0 {
		t.Errorf("still under way: %v", left)
	}
}

// TestTransitionIsJoined: who asks for what is under way already waits for its end, and begins nothing anew.
func TestTransitionIsJoined(t *testing.T) {
	f := newFixture(t, slow)
	ctx := t.Context()
	f.create("web")
	begun := f.underWay()["web"]
	key := f.get("web").TokenKey
	want := []string{"CreateInstance Succeeded"}
	for range 50 { // more than one commit ends
		ops, err := f.StartInstance(ctx, "web")
		if err != nil || ops[0].Status != openimds.OperationStarted {
			t.Fatal(ops, err)
		}
		want = append(want, "StartInstance Succeeded")
	}
	if in := f.get("web"); in.State != openimds.StatePending || string(in.TokenKey) != string(key) {
		t.Errorf("the instance that is joined is %s", in.State)
	}
	if err := f.EndTransition(ctx, "web", begun); err != nil {
		t.Fatal(err)
	}
	f.wantStatuses("web", want...)
	for range 3 {
		if _, err := f.StopInstance(ctx, "web"); err != nil {
			t.Fatal(err)
		}
		want = append(want, "StopInstance Succeeded")
	}
	ops, err := f.ForceStop(ctx, "web")
	done(t, ops, err, "StopInstance web")
	if in := f.get("web"); in.State != openimds.StateStopped {
		t.Errorf("after a forced stop it is %s", in.State)
	}
	f.wantStatuses("web", append(want, "StopInstance Succeeded")...)
	if left := f.underWay(); len(left) > 0 {
		t.Errorf("still under way: %v", left)
	}
}

// TestDeleteInTransition: what waits for an instance that goes has failed, and says why; a later instance of its name
// has its own way.
func TestDeleteInTransition(t *testing.T) {
	for _, state := range []openimds.InstanceState{openimds.StatePending, openimds.StateStopping} {
		f := newFixture(t, slow)
		ctx := t.Context()
		f.create("web")
		if state == openimds.StateStopping {
			f.arrive()
			if _, err := f.StopInstance(ctx, "web"); err != nil {
				t.Fatal(err)
			}
		}
		begun := f.underWay()["web"]
		ops, err := f.DeleteInstance(ctx, "web")
		done(t, ops, err, "DeleteInstance web")
		failed, _, err := f.OperationsOf(ctx, "web", ops[0].ID, 1)
		if err != nil || failed[0].Status != openimds.OperationFailed || failed[0].ErrorDetails != "The instance was deleted while it was "+string(state) {
			t.Errorf("%s: %+v, %v", state, failed, err)
		}
		if left := f.underWay(); len(left) > 0 {
			t.Errorf("%s: still under way: %v", state, left)
		}
		f.create("web")
		if err := f.EndTransition(ctx, "web", begun); err != nil || f.get("web").State != openimds.StatePending {
			t.Errorf("%s: the end of the former instance's transition: %v, the new one is %s", state, err, f.get("web").State)
		}
	}
}

// TestTransitionEndsOnce: many processes on one store end a transition once.
func TestTransitionEndsOnce(t *testing.T) {
	f := newFixture(t, slow)
	f.create("web")
	begun, before := f.underWay()["web"], f.revision()
	var ending sync.WaitGroup
	for range 8 {
		other := control.New(f.store, control.Config{Region: "us-east-1", AccountID: "123456789012"})
		ending.Go(func() {
			if err := other.EndTransition(t.Context(), "web", begun); err != nil {
				t.Error(err)
			}
		})
	}
	ending.Wait()
	if n := f.revision() - before; n != 1 || f.get("web").State != openimds.StateRunning {
		t.Errorf("%d commits; the instance is %s", n, f.get("web").State)
	}
}

// TestLargestLaunch: the most instances that one call may create stay within one commit that all stores take.
func TestLargestLaunch(t *testing.T) {
	f := newFixture(t, slow)
	var names []string
	for n := range 20 {
		names = append(names, fmt.Sprint("web-", n))
	}
	f.create(names...)
	if n := len(f.underWay()); n != len(names) {
		t.Errorf("%d are under way", n)
	}
}

// TestAddressesInTransition: who is pending or stopping has its addresses.
func TestAddressesInTransition(t *testing.T) {
	f := newFixture(t, slow)
	ctx := t.Context()
	f.create("web")
	if _, err := f.AllocateStaticIP(ctx, "front"); err != nil {
		t.Fatal(err)
	}
	for _, state := range []openimds.InstanceState{openimds.StatePending, openimds.StateStopping} {
		if _, err := f.AttachStaticIP(ctx, "front", "web"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.DetachStaticIP(ctx, "front"); err != nil {
			t.Fatal(err)
		}
		in := f.get("web")
		if _, has := in.PublicIPv4(); !has || in.State != state {
			t.Errorf("%s: it has a public address: %v", in.State, has)
		}
		f.arrive()
		if state == openimds.StatePending {
			if _, err := f.StopInstance(ctx, "web"); err != nil {
				t.Fatal(err)
			}
		}
	}
}
