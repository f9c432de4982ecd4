package control_test

import (
	"fmt"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// apply does what an agent does once its seat obeys.
func (f *fixture) apply(name string) {
	f.t.Helper()
	if err := f.MarkApplied(f.t.Context(), f.get(name)); err != nil {
		f.t.Fatal(err)
	}
}

// TestOptionsKeep tries every subset of the members: what is left out keeps its value.
func TestOptionsKeep(t *testing.T) {
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.AllowIMDSIPv6 = true })
	f.create("web")
	want := openimds.DefaultOptions()
	for round := range 64 {
		var u openimds.OptionsUpdate
		if round&1 != 0 {
			want.Tokens = []openimds.TokensMode{openimds.TokensRequired, openimds.TokensOptional}[round/16%2]
			u.Tokens = new(want.Tokens)
		}
		if round&2 != 0 {
			want.Endpoint = []openimds.EndpointMode{openimds.EndpointDisabled, openimds.EndpointEnabled}[round/16%2]
			u.Endpoint = new(want.Endpoint)
		}
		if round&4 != 0 {
			want.HopLimit = 1 + round
			u.HopLimit = new(want.HopLimit)
		}
		if round&8 != 0 {
			want.IPv6 = []openimds.EndpointMode{openimds.EndpointEnabled, openimds.EndpointDisabled}[round/32%2]
			u.IPv6 = new(want.IPv6)
		}
		before := f.get("web").Options
		op := f.update("web", u)
		got := f.get("web").Options
		changed := before.Tokens != want.Tokens || before.Endpoint != want.Endpoint || before.HopLimit != want.HopLimit || before.IPv6 != want.IPv6
		wantOp := openimds.OperationSucceeded
		if want.State = openimds.OptionsApplied; changed {
			want.State, wantOp = openimds.OptionsPending, openimds.OperationStarted
		}
		if got != want || op.Status != wantOp {
			t.Fatalf("round %d: %+v and operation %s, want %+v and %s", round, got, op.Status, want, wantOp)
		}
		f.apply("web")
		want.State = openimds.OptionsApplied
		if got := f.get("web").Options; got != want {
			t.Fatalf("round %d: applied as %+v, want %+v", round, got, want)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	f.update("web", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)})
	before, revision := f.get("web"), f.revision()
	for _, tt := range []struct {
		update  openimds.OptionsUpdate
		code    openimds.Code
		message string
	}{
		{openimds.OptionsUpdate{Tokens: new(openimds.TokensMode(""))}, openimds.UnknownValue, `The use of session tokens must be optional or required, not ""`},
		{openimds.OptionsUpdate{Tokens: new(openimds.TokensMode("Required"))}, openimds.UnknownValue, `The use of session tokens must be optional or required, not "Required"`},
		{openimds.OptionsUpdate{Endpoint: new(openimds.EndpointMode("on"))}, openimds.UnknownValue, `The endpoint must be enabled or disabled, not "on"`},
		{openimds.OptionsUpdate{IPv6: new(openimds.EndpointMode("no"))}, openimds.UnknownValue, `The IPv6 endpoint must be enabled or disabled, not "no"`},
		{openimds.OptionsUpdate{HopLimit: new(0)}, openimds.OutOfRange, `The hop limit must be 1 to 64, not 0`},
		{openimds.OptionsUpdate{HopLimit: new(-1)}, openimds.OutOfRange, `The hop limit must be 1 to 64, not -1`},
		{openimds.OptionsUpdate{HopLimit: new(65)}, openimds.OutOfRange, `The hop limit must be 1 to 64, not 65`},
		{openimds.OptionsUpdate{IPv6: new(openimds.EndpointEnabled)}, openimds.NotEnforced, "The IPv6 endpoint of the metadata service is not available in this installation"},
		// One member that is wrong stops those that are right.
		{openimds.OptionsUpdate{Tokens: new(openimds.TokensOptional), HopLimit: new(99)}, openimds.OutOfRange, `The hop limit must be 1 to 64, not 99`},
	} {
		_, err := f.UpdateOptions(t.Context(), "web", tt.update)
		refused(t, err, openimds.InvalidInput, tt.code, tt.message)
	}
	if after := f.get("web"); f.revision() != revision || after.Options != before.Options {
		t.Errorf("a refused update changed %+v to %+v", before.Options, after.Options)
	}
	_, err := f.UpdateOptions(t.Context(), "nobody", openimds.OptionsUpdate{})
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The instance nobody does not exist")
	for n := 1; n <= 64; n++ {
		f.update("web", openimds.OptionsUpdate{HopLimit: &n, IPv6: new(openimds.EndpointDisabled)})
		if got := f.get("web").Options; got.HopLimit != n || got.Tokens != openimds.TokensRequired {
			t.Errorf("hop limit %d became %+v", n, got)
		}
	}
}

// TestOptionsByState: nobody has to obey while an instance stands still, and the other states are no
// time for changes.
func TestOptionsByState(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	if _, err := f.StopInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	op := f.update("web", openimds.OptionsUpdate{HopLimit: new(9)})
	if got := f.get("web"); op.Status != openimds.OperationSucceeded || got.Options.State != openimds.OptionsApplied || got.Options.HopLimit != 9 || got.OptionsOperation != "" {
		t.Errorf("stopped: %+v, operation %s", got.Options, op.Status)
	}
	for _, state := range []openimds.InstanceState{openimds.StatePending, openimds.StateShuttingDown, openimds.StateTerminated, openimds.StateStopping} {
		in := f.get("web")
		in.State = state
		f.overwrite(in)
		_, err := f.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{HopLimit: new(3)})
		refused(t, err, openimds.OperationFailure, openimds.WrongState, fmt.Sprintf("The metadata options of web cannot be changed: the instance is %s", state))
		_, err = f.RebootInstance(t.Context(), "web")
		refused(t, err, openimds.OperationFailure, openimds.WrongState, fmt.Sprintf("The instance web cannot be rebooted: it is %s, not running", state))
		if state != openimds.StateStopping {
			_, err = f.StopInstance(t.Context(), "web")
			refused(t, err, openimds.OperationFailure, openimds.WrongState, fmt.Sprintf("The instance web cannot be stopped: it is %s, not running", state))
		}
		if state != openimds.StatePending {
			_, err = f.StartInstance(t.Context(), "web")
			refused(t, err, openimds.OperationFailure, openimds.WrongState, fmt.Sprintf("The instance web cannot be started: it is %s, not stopped", state))
		}
	}
}

// overwrite puts an instance into the store past the service.
func (f *fixture) overwrite(in *openimds.Instance) {
	f.t.Helper()
	value, err := records.EncodeInstance(in)
	if err != nil {
		f.t.Fatal(err)
	}
	change := store.Change{Key: records.InstancePrefix + in.Name, Value: value, If: store.Whatever}
	if _, err := f.store.Commit(f.t.Context(), change); err != nil {
		f.t.Fatal(err)
	}
}

// TestMarkApplied: each change is ended by the mark of itself or of a later one, never by an earlier.
func TestMarkApplied(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	status := func(op openimds.Operation) openimds.OperationStatus {
		op, err := f.Operation(ctx, op.ID)
		if err != nil {
			t.Fatal(err)
		}
		return op.Status
	}
	one := f.update("web", openimds.OptionsUpdate{HopLimit: new(2)})
	atOne := f.get("web")
	two := f.update("web", openimds.OptionsUpdate{HopLimit: new(3)})
	atTwo := f.get("web")
	three := f.update("web", openimds.OptionsUpdate{HopLimit: new(3)}) // the same again, while it is pending
	if three.Status != openimds.OperationStarted {
		t.Errorf("what is asked for while it is pending is %s", three.Status)
	}
	if err := f.MarkApplied(ctx, atOne); err != nil {
		t.Fatal(err)
	}
	if in := f.get("web"); status(one) != openimds.OperationSucceeded || status(two) != openimds.OperationStarted || in.Options.State != openimds.OptionsPending {
		t.Errorf("after the mark of the first: %s, %s, options %s", status(one), status(two), in.Options.State)
	}
	f.apply("web")
	for _, op := range []openimds.Operation{one, two, three} {
		if got := status(op); got != openimds.OperationSucceeded {
			t.Errorf("after the last mark an operation is %s", got)
		}
	}
	if in := f.get("web"); in.Options.State != openimds.OptionsApplied || in.OptionsOperation != "" {
		t.Errorf("after the last mark: %+v, operation %q", in.Options, in.OptionsOperation)
	}
	// Late and repeated marks, and one of an instance that is gone, change nothing.
	if _, err := f.DeleteInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	revision := f.revision()
	for range 2 {
		if err := f.MarkApplied(ctx, atTwo); err != nil {
			t.Error(err)
		}
	}
	if f.revision() != revision {
		t.Error("a late mark wrote something")
	}
}

// TestLongRow has more changes wait than one commit could end.
func TestLongRow(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	var ops []openimds.Operation
	for n := range 240 {
		ops = append(ops, f.update("web", openimds.OptionsUpdate{HopLimit: new(2 + n%60)}))
	}
	f.apply("web")
	for i, op := range ops {
		if op, err := f.Operation(t.Context(), op.ID); err != nil || op.Status != openimds.OperationSucceeded {
			t.Fatalf("operation %d of %d is %+v, %v", i, len(ops), op, err)
		}
	}
}
