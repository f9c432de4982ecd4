package control_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

func ec2Launch(count int) control.InstancesLaunch {
	return control.InstancesLaunch{EC2: &control.EC2Launch{Count: count}}
}

// failed checks what kind of failure err is; what it says is checked where it is read.
func failed(t *testing.T, err error, kind openimds.Kind, code openimds.Code) {
	t.Helper()
	if err == nil || openimds.KindOf(err) != kind || openimds.CodeOf(err) != code {
		t.Errorf("%v, want %v/%s", err, kind, code)
	}
}

// TestByID: a change by an id meets that instance and never another one of its name.
func TestByID(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	first := f.get("web")
	by := f.ByID()
	if in, err := by.Instance(ctx, first.ID); err != nil || in.Name != "web" {
		t.Fatalf("%v, %v", in, err)
	}
	if _, err := by.UpdateOptions(ctx, first.ID, openimds.OptionsUpdate{HopLimit: new(7)}); err != nil {
		t.Fatal(err)
	}
	if got := f.get("web").Options.HopLimit; got != 7 {
		t.Errorf("the hop limit is %d", got)
	}
	if _, err := f.DeleteInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	f.create("web")
	_, err := by.UpdateOptions(ctx, first.ID, openimds.OptionsUpdate{HopLimit: new(9)})
	failed(t, err, openimds.NotFound, openimds.DoesNotExist)
	if got := f.get("web").Options.HopLimit; got != 1 {
		t.Errorf("another instance of the name got the hop limit %d", got)
	}
	_, err = by.Instance(ctx, "web")
	failed(t, err, openimds.InvalidInput, openimds.Malformed)

	gone, err := f.InstanceOfID(ctx, first.ID)
	if err != nil || gone.State != openimds.StateTerminated || gone.Options.HopLimit != 7 || len(gone.TokenKey)+len(gone.NICs)+len(gone.UserData) != 0 {
		t.Errorf("a terminated instance is %+v, %v", gone, err)
	}
	if all, next, err := f.AllTerminated(ctx, "", 10); err != nil || next != "" || len(all) != 1 || all[0].ID != first.ID {
		t.Errorf("terminated: %v, %q, %v", all, next, err)
	}
	f.sleep(control.TerminatedTime)
	if _, err := f.InstanceOfID(ctx, first.ID); openimds.CodeOf(err) != openimds.DoesNotExist {
		t.Errorf("a terminated instance is remembered for ever: %v", err)
	}
	if n, err := f.Forget(ctx); err != nil || n != 1 {
		t.Errorf("%d forgotten, %v", n, err)
	}
	if page, err := f.store.List(ctx, store.Range{Prefix: "terminated/"}); err != nil || len(page.Records) != 0 {
		t.Errorf("%d are left, %v", len(page.Records), err)
	}
}

// TestRunInstances: what EC2 makes is named by its id, belongs to the account, and has what was asked for alone.
func TestRunInstances(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	made, err := f.RunInstances(ctx, ec2Launch(2))
	if err != nil || len(made) != 2 {
		t.Fatal(made, err)
	}
	for i, in := range made {
		if in.Name != in.ID || in.OwnerID != f.AccountID() || in.Role != nil || in.KeyPairName != "" || in.LaunchIndex != i || in.ReservationID != made[0].ReservationID {
			t.Errorf("%+v", in)
		}
		if kept, err := f.Instance(ctx, in.ID); err != nil || kept.ID != in.ID {
			t.Errorf("%v, %v", kept, err)
		}
	}
	if _, err := f.KeyPair(ctx, openimds.DefaultKeyPairName); openimds.CodeOf(err) != openimds.DoesNotExist {
		t.Error("a key pair was made that nobody asked for")
	}
	l := ec2Launch(1)
	l.BlueprintID = "amazon_linux_2023"
	if made, err = f.RunInstances(ctx, l); err != nil || made[0].Options.HopLimit != 2 || made[0].Options.Tokens != openimds.TokensRequired {
		t.Errorf("an image that requires tokens: %+v, %v", made, err)
	}
	_, err = f.RunInstances(ctx, ec2Launch(0))
	failed(t, err, openimds.InvalidInput, openimds.OutOfRange)
}

// TestLaunchToken: the same launch again is the same instances; another one is refused, and so is one whose instances
// are gone. Later, the token is as good as new.
func TestLaunchToken(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	l := ec2Launch(3)
	l.EC2.Token = "once"
	first, err := f.RunInstances(ctx, l)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.RunInstances(ctx, l)
	if err != nil || !slices.EqualFunc(first, again, func(a, b *openimds.Instance) bool { return a.ID == b.ID }) {
		t.Errorf("again: %v, %v", again, err)
	}
	other := l
	other.UserData = []byte("x")
	_, err = f.RunInstances(ctx, other)
	failed(t, err, openimds.InvalidInput, openimds.Mismatch)
	if _, err := f.TerminateInstances(ctx, []string{first[1].ID}); err != nil {
		t.Fatal(err)
	}
	_, err = f.RunInstances(ctx, l)
	failed(t, err, openimds.InvalidInput, openimds.Terminated)
	f.sleep(control.LaunchTime)
	fresh, err := f.RunInstances(ctx, l)
	if err != nil || fresh[0].ID == first[0].ID {
		t.Errorf("a day later: %v, %v", fresh, err)
	}
	f.sleep(control.LaunchTime)
	if _, err := f.Forget(ctx); err != nil {
		t.Fatal(err)
	}
	if page, err := f.store.List(ctx, store.Range{Prefix: "launch/"}); err != nil || len(page.Records) != 0 {
		t.Errorf("%d launches are left, %v", len(page.Records), err)
	}
}

// TestSeveral: where one of several cannot be changed, none is.
func TestSeveral(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	made, err := f.RunInstances(ctx, ec2Launch(3))
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{made[0].ID, made[1].ID, made[2].ID}
	by := f.ByID()
	if _, err := by.StopInstances(ctx, ids[2:], false); err != nil {
		t.Fatal(err)
	}
	_, err = by.RebootInstances(ctx, ids)
	failed(t, err, openimds.OperationFailure, openimds.WrongState)
	_, err = by.StopInstances(ctx, []string{ids[0], "i-00000000000000000"}, false)
	failed(t, err, openimds.NotFound, openimds.DoesNotExist)
	if in := f.get(ids[0]); in.State != openimds.StateRunning {
		t.Errorf("half a change: %s is %s", in.ID, in.State)
	}
	moved, err := by.StopInstances(ctx, append(ids, ids[0]), true)
	want := []control.StateChange{{ID: ids[0], From: "running", To: "stopped"}, {ID: ids[1], From: "running", To: "stopped"}, {ID: ids[2], From: "stopped", To: "stopped"}}
	if err != nil || !slices.Equal(moved, want) {
		t.Errorf("stopped: %v, %v", moved, err)
	}
	if moved, err = by.StartInstances(ctx, ids[:1]); err != nil || !slices.Equal(moved, []control.StateChange{{ID: ids[0], From: "stopped", To: "running"}}) {
		t.Errorf("started: %v, %v", moved, err)
	}
	for range 2 { // again is the same
		if moved, err = f.TerminateInstances(ctx, ids); err != nil || len(moved) != 3 || moved[1].To != openimds.StateTerminated {
			t.Errorf("terminated: %v, %v", moved, err)
		}
	}
	if _, err = f.TerminateInstances(ctx, []string{"i-00000000000000000"}); openimds.CodeOf(err) != openimds.DoesNotExist {
		t.Error(err)
	}
}

// TestTrial: a trial refuses what is refused, and changes nothing.
func TestTrial(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	before, err := f.store.List(ctx, store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	trial := f.Trial()
	for name, change := range map[string]func() error{
		"options": func() error {
			_, err := trial.UpdateOptions(ctx, "web", openimds.OptionsUpdate{HopLimit: new(9)})
			return err
		},
		"launch": func() error { _, err := trial.RunInstances(ctx, ec2Launch(1)); return err },
		"stop":   func() error { _, err := trial.StopInstance(ctx, "web"); return err },
		"delete": func() error { _, err := trial.DeleteInstance(ctx, "web"); return err },
		"tags":   func() error { return trial.TagResources(ctx, []string{"web"}, []openimds.Tag{{Key: "a"}}) },
		"defaults": func() error {
			_, err := trial.ModifyDefaults(ctx, openimds.DefaultsUpdate{TokensEnforced: new(openimds.EndpointEnabled)})
			return err
		},
	} {
		if err := change(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = trial.RebootInstance(ctx, "absent")
	failed(t, err, openimds.NotFound, openimds.DoesNotExist)
	after, err := f.store.List(ctx, store.Range{})
	if err != nil || before.Revision != after.Revision || len(before.Records) != len(after.Records) {
		t.Errorf("the store went from revision %d to %d, %v", before.Revision, after.Revision, err)
	}
}

// TestTokensEnforced: while the account demands required tokens, no way leads to optional ones; what had them keeps
// them, and a server still starts.
func TestTokensEnforced(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("old")
	enforce := func(to openimds.EndpointMode) {
		t.Helper()
		now, err := f.ModifyDefaults(ctx, openimds.DefaultsUpdate{TokensEnforced: &to})
		if err != nil || now.Enforced() != (to == openimds.EndpointEnabled) {
			t.Fatalf("%+v, %v", now, err)
		}
	}
	optional, required := openimds.OptionsUpdate{Tokens: new(openimds.TokensOptional)}, openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)}
	enforce(openimds.EndpointEnabled)
	no := func(err error) {
		t.Helper()
		failed(t, err, openimds.OperationFailure, openimds.TokensEnforced)
	}
	_, err := f.CreateInstances(ctx, control.InstancesLaunch{Names: []string{"by-default"}})
	no(err)
	_, err = f.CreateInstances(ctx, control.InstancesLaunch{Names: []string{"asked"}, Options: optional})
	no(err)
	_, err = f.RunInstances(ctx, ec2Launch(1))
	no(err)
	l := ec2Launch(1)
	l.Options = required
	if _, err := f.RunInstances(ctx, l); err != nil {
		t.Error(err)
	}
	if _, err := f.UpdateOptions(ctx, "old", openimds.OptionsUpdate{Tokens: optional.Tokens, HopLimit: new(3)}); err != nil {
		t.Errorf("one that has optional tokens keeps them: %v", err)
	}
	if _, err := f.UpdateOptions(ctx, "old", required); err != nil {
		t.Fatal(err)
	}
	_, err = f.UpdateOptions(ctx, "old", optional)
	no(err)
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%v is more than a line", err)
	}
	for _, off := range []openimds.EndpointMode{openimds.EndpointDisabled, openimds.NoPreference} {
		enforce(openimds.EndpointEnabled)
		enforce(off)
		if _, err := f.UpdateOptions(ctx, "old", optional); err != nil {
			t.Error(err)
		}
		if _, err := f.UpdateOptions(ctx, "old", required); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.ModifyDefaults(ctx, openimds.DefaultsUpdate{TokensEnforced: new(openimds.EndpointMode("often"))}); openimds.CodeOf(err) != openimds.UnknownValue {
		t.Error(err)
	}

	first := newFixture(t, nil)
	if _, err := first.ModifyDefaults(ctx, openimds.DefaultsUpdate{TokensEnforced: new(openimds.EndpointEnabled)}); err != nil {
		t.Fatal(err)
	}
	if in, err := first.EnsureInstance(ctx, "demo"); err != nil || in.Options.Tokens != openimds.TokensRequired {
		t.Errorf("the default instance: %+v, %v", in, err)
	}
}

// turning lets something happen right before a commit.
type turning struct {
	store.Store
	before func()
}

func (s *turning) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if before := s.before; before != nil {
		s.before = nil
		before()
	}
	return s.Store.Commit(ctx, changes...)
}

// TestEnforcedMeanwhile: a launch that has looked at the account's defaults before they changed does not get by.
func TestEnforcedMeanwhile(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("old")
	kept := &turning{Store: f.store}
	slow := control.New(kept, control.Config{Region: f.Region(), AccountID: f.AccountID(), AllowIMDSIPv6: true})
	kept.before = func() {
		if _, err := f.ModifyDefaults(ctx, openimds.DefaultsUpdate{TokensEnforced: new(openimds.EndpointEnabled)}); err != nil {
			t.Error(err)
		}
	}
	if _, err := slow.RunInstances(ctx, ec2Launch(1)); openimds.CodeOf(err) != openimds.TokensEnforced {
		t.Errorf("a launch before its commit: %v", err)
	}
	if all, _, err := f.Instances(ctx, "", 10); err != nil || len(all) != 1 {
		t.Errorf("it was launched all the same: %v, %v", all, err)
	}
}

// TestForgetUnread: what a later release has written is not forgotten by this one, whatever of it is unknown here; what is
// damaged is.
func TestForgetUnread(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	later, damaged := map[string]string{}, 0
	for _, prefix := range []string{records.TerminatedPrefix, records.LaunchPrefix, records.ServedPrefix, records.EndedPrefix, records.JoinTokenPrefix} {
		for name, value := range map[string]string{
			"a-damaged": `{"schema":1,"data":7`, "b-later": `{"schema":9,"data":{"another":[1]}}`, "c-later": `{"schema":9,"data":"of another kind"}`,
		} {
			if strings.HasSuffix(name, "later") || prefix == records.ServedPrefix {
				later[prefix+name] = value // when the host had it is as unknown
			} else {
				damaged++
			}
			if _, err := f.store.Commit(ctx, store.Change{Verb: store.Put, Key: prefix + name, Value: []byte(value), If: store.IfAbsent}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n, err := f.Forget(ctx); err != nil || n != damaged {
		t.Errorf("%d forgotten, %v", n, err)
	}
	for key, value := range later {
		if r, err := f.store.Get(ctx, key); err != nil || string(r.Value) != value {
			t.Errorf("%s is %s, %v", key, r.Value, err)
		}
	}
}
