package control_test

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

func TestCreateInstances(t *testing.T) {
	f := newFixture(t, nil)
	l := launch("web-1", "web.2", "web_3")
	l.UserData = []byte("#!/bin/sh\x00\xff")
	l.Tags = []openimds.Tag{{Key: "team", Value: "a b"}}
	ops, err := f.CreateInstances(t.Context(), l)
	done(t, ops, err, "CreateInstance web-1", "CreateInstance web.2", "CreateInstance web_3")
	var all []*openimds.Instance
	for i, name := range l.Names {
		in := f.get(name)
		all = append(all, in)
		if in.Name != name || in.LaunchIndex != i || in.State != openimds.StateRunning || in.Options != openimds.DefaultOptions() {
			t.Errorf("instance %d is %s, index %d, %s, %+v", i, in.Name, in.LaunchIndex, in.State, in.Options)
		}
		if string(in.UserData) != string(l.UserData) || !reflect.DeepEqual(in.Tags, l.Tags) || in.Zone != "us-east-1a" || in.ZoneID != "use1-az1" {
			t.Errorf("%s does not have what it was launched with: %q %v %s %s", name, in.UserData, in.Tags, in.Zone, in.ZoneID)
		}
		when := start.Truncate(time.Second)
		if !in.CreatedAt.Equal(when) || !in.LaunchedAt.Equal(when) || !in.ModifiedAt.Equal(when) {
			t.Errorf("%s was created at %v, launched at %v, modified at %v, all of which are %v", name, in.CreatedAt, in.LaunchedAt, in.ModifiedAt, when)
		}
		if ops[i].Zone != in.Zone || ops[i].ResourceType != openimds.TypeInstance {
			t.Errorf("its operation is %+v", ops[i])
		}
		checkIdentity(t, in)
	}
	for i, in := range all {
		for _, other := range all[:i] {
			if in.ReservationID != other.ReservationID {
				t.Error("one call made two reservations")
			}
			if in.ID == other.ID || in.UUID == other.UUID || string(in.TokenKey) == string(other.TokenKey) ||
				in.NICs[0].MAC == other.NICs[0].MAC || in.NICs[0].ID == other.NICs[0].ID || in.NICs[0].IPv6[0] == other.NICs[0].IPv6[0] {
				t.Error("two instances share what must be their own")
			}
		}
	}
}

// TestCreateRequiresTokens: the blueprint says what its instances begin with.
func TestCreateRequiresTokens(t *testing.T) {
	f := newFixture(t, nil)
	l := launch("web")
	l.BlueprintID = "amazon_linux_2023"
	if _, err := f.CreateInstances(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	want := openimds.DefaultOptions()
	want.Tokens = openimds.TokensRequired
	if in := f.get("web"); in.Options != want || in.OptionsOperation != "" {
		t.Errorf("it begins with %+v, %q pending", in.Options, in.OptionsOperation)
	}
}

// checkIdentity looks at the forms of ids and addresses.
func checkIdentity(t *testing.T, in *openimds.Instance) {
	t.Helper()
	nic := in.NICs[0]
	for form, value := range map[string]string{
		`^i-[0-9a-f]{17}$`:      in.ID,
		`^r-[0-9a-f]{17}$`:      in.ReservationID,
		`^ami-[0-9a-f]{17}$`:    in.ImageID,
		`^eni-[0-9a-f]{17}$`:    nic.ID,
		`^06(:[0-9a-f]{2}){5}$`: nic.MAC,
		`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`: in.UUID,
		`^ip-172-26-\d+-\d+\.ec2\.internal$`:                                    nic.LocalHostname,
		`^ec2-198-1[89]-\d+-\d+\.compute-1\.amazonaws\.com$`:                    nic.PublicHostname,
	} {
		if !regexp.MustCompile(form).MatchString(value) {
			t.Errorf("%q is not of the form %s", value, form)
		}
	}
	public, ok := in.PublicIPv4()
	if !ok || !netip.MustParsePrefix("198.18.0.0/15").Contains(public) {
		t.Errorf("public address %s", public)
	}
	if !nic.SubnetIPv4CIDR.Contains(nic.PrivateIPv4[0]) || !nic.VPCIPv4CIDRs[0].Contains(nic.PrivateIPv4[0]) || !nic.SubnetIPv6CIDRs[0].Contains(nic.IPv6[0]) {
		t.Errorf("addresses %v %v lie outside of their subnets", nic.PrivateIPv4, nic.IPv6)
	}
	if len(in.TokenKey) != openimds.TokenKeySize {
		t.Errorf("the token key has %d bytes", len(in.TokenKey))
	}
	if in.KeyPairName != openimds.DefaultKeyPairName || len(in.PublicKeys) != 1 || in.PublicKeys[0].Name != in.KeyPairName {
		t.Errorf("keys %q %v", in.KeyPairName, in.PublicKeys)
	}
}

// TestCreateAllOrNothing: whatever is wrong with one name or value, nothing at all is made.
func TestCreateAllOrNothing(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("an-instance")
	if _, err := f.ImportKeyPair(ctx, "a-key-pair", ed25519Key); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AllocateStaticIP(ctx, "a-static-ip"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutAlarm(ctx, "an-alarm", alarmOf("an-instance"), nil); err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSuffix(strings.Repeat("x,", 21), ","), ",")
	const invalid, none = openimds.InvalidInput, openimds.NotFound
	for _, tt := range []struct {
		change  func(*control.InstancesLaunch)
		kind    openimds.Kind
		code    openimds.Code
		message string
	}{
		{func(l *control.InstancesLaunch) { l.Names = nil }, invalid, openimds.OutOfRange, "A call creates 1 to 20 instances, not 0"},
		{func(l *control.InstancesLaunch) { l.Names = names }, invalid, openimds.OutOfRange, "A call creates 1 to 20 instances, not 21"},
		{func(l *control.InstancesLaunch) { l.Names[1] = "new-1" }, invalid, openimds.NameTaken, "These names are taken: new-1"},
		{func(l *control.InstancesLaunch) { l.Names[1] = "an-instance" }, invalid, openimds.NameTaken, "These names are taken: an-instance"},
		{func(l *control.InstancesLaunch) { l.Names[1] = "a-key-pair" }, invalid, openimds.NameTaken, "These names are taken: a-key-pair"},
		{func(l *control.InstancesLaunch) { l.Names = append(l.Names, "a-static-ip", "an-alarm") }, invalid, openimds.NameTaken, "These names are taken: a-static-ip, an-alarm"},
		{func(l *control.InstancesLaunch) { l.Names[1] = "x" }, invalid, openimds.Malformed, "x is not a valid resource name. Resource names must be at least 2 characters long and contain only alphanumerics, -, _, and ."},
		{func(l *control.InstancesLaunch) { l.Zone = "us-east-2a" }, invalid, openimds.UnknownValue, "The availability zone us-east-2a is not in the region us-east-1"},
		{func(l *control.InstancesLaunch) { l.Zone = "us-east-1z" }, invalid, openimds.UnknownValue, "The availability zone us-east-1z is not in the region us-east-1"},
		{func(l *control.InstancesLaunch) { l.BundleID = "nano_1_0" }, invalid, openimds.NotOffered, "The bundle nano_1_0 is not offered in this region"},
		{func(l *control.InstancesLaunch) { l.BundleID = "nano_2_0" }, invalid, openimds.WrongState, "The blueprint ubuntu_24_04 and the bundle nano_2_0 must both be active to make an instance"},
		{func(l *control.InstancesLaunch) { l.BundleID = "nano_win_3_0" }, invalid, openimds.Incompatible, "The bundle nano_win_3_0 is for WINDOWS, the blueprint ubuntu_24_04 for LINUX_UNIX"},
		{func(l *control.InstancesLaunch) { l.BlueprintID = "plan9" }, invalid, openimds.NotOffered, "The blueprint plan9 is not offered in this region"},
		{func(l *control.InstancesLaunch) { l.AddressType = "ipv6" }, invalid, openimds.Incompatible, "The bundle nano_3_0 cannot have the IP address type ipv6"},
		{func(l *control.InstancesLaunch) { l.BundleID, l.AddressType = "nano_ipv6_3_0", "ipv4" }, invalid, openimds.Incompatible, "The bundle nano_ipv6_3_0 cannot have the IP address type ipv4"},
		{func(l *control.InstancesLaunch) { l.AddressType = "ipv5" }, invalid, openimds.UnknownValue, `The IP address type must be dualstack, ipv4 or ipv6, not "ipv5"`},
		{func(l *control.InstancesLaunch) { l.UserData = make([]byte, 16<<10+1) }, invalid, openimds.TooLarge, "User data is limited to 16384 bytes, not 16385"},
		{func(l *control.InstancesLaunch) { l.Tags = []openimds.Tag{{Key: "a"}, {Key: "a"}} }, invalid, openimds.Duplicate, `The tag key "a" is given twice`},
		{func(l *control.InstancesLaunch) { l.KeyPairName = "nobody" }, none, openimds.DoesNotExist, "The key pair nobody does not exist"},
		{func(l *control.InstancesLaunch) { l.KeyPairName = "an-instance" }, none, openimds.DoesNotExist, "The key pair an-instance does not exist"},
	} {
		l := launch("new-1", "new-2")
		tt.change(&l)
		before := f.revision()
		ops, err := f.CreateInstances(ctx, l)
		refused(t, err, tt.kind, tt.code, tt.message)
		if ops != nil || f.revision() != before {
			t.Errorf("%s: though refused, it left something behind", tt.message)
		}
	}
	l := launch("new-1", "new-2")
	l.UserData = make([]byte, 16<<10)
	l.KeyPairName = "a-key-pair"
	ops, err := f.CreateInstances(ctx, l)
	done(t, ops, err, "CreateInstance new-1", "CreateInstance new-2")
	if in := f.get("new-2"); in.PublicKeys[0].Key != ed25519Key+" a-key-pair" {
		t.Errorf("the instance has the key %q", in.PublicKeys[0].Key)
	}
}

// TestStopStart follows addresses, key and options through an instance's lives.
func TestStopStart(t *testing.T) {
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.AllowIMDSIPv6 = true })
	ctx := t.Context()
	f.create("web")
	first := f.get("web")
	// The same state again changes nothing but the row of operations.
	ops, err := f.StartInstance(ctx, "web")
	done(t, ops, err, "StartInstance web")
	if !reflect.DeepEqual(f.get("web"), first) {
		t.Error("starting a running instance changed it")
	}
	waiting := []openimds.Operation{
		f.update("web", openimds.OptionsUpdate{HopLimit: new(2)}),
		f.update("web", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)}),
	}
	f.sleep(time.Hour)
	ops, err = f.StopInstance(ctx, "web")
	done(t, ops, err, "StopInstance web")
	stopped := f.get("web")
	want := *first
	want.State, want.ModifiedAt = openimds.StateStopped, stopped.ModifiedAt
	want.Options = openimds.MetadataOptions{Tokens: "required", Endpoint: "enabled", HopLimit: 2, IPv6: "disabled", Tags: "disabled", State: "applied"}
	want.NICs = append([]openimds.NIC(nil), first.NICs...)
	want.NICs[0].Associations, want.NICs[0].PublicHostname = nil, ""
	if !reflect.DeepEqual(stopped, &want) {
		t.Errorf("after the stop:\n%+v, want\n%+v", stopped, &want)
	}
	for _, op := range waiting {
		if op, err := f.Operation(ctx, op.ID); err != nil || op.Status != openimds.OperationSucceeded {
			t.Errorf("a pending change of a stopped instance is %+v, %v", op, err)
		}
	}
	_, err = f.RebootInstance(ctx, "web")
	refused(t, err, openimds.OperationFailure, openimds.WrongState, "The instance web cannot be rebooted: it is stopped, not running")
	ops, err = f.StopInstance(ctx, "web")
	done(t, ops, err, "StopInstance web")
	if !reflect.DeepEqual(f.get("web"), stopped) {
		t.Error("stopping a stopped instance changed it")
	}
	f.sleep(time.Hour)
	ops, err = f.StartInstance(ctx, "web")
	done(t, ops, err, "StartInstance web")
	again := f.get("web")
	checkIdentity(t, again)
	if string(again.TokenKey) == string(first.TokenKey) {
		t.Error("the tokens of the former life are still good")
	}
	public, _ := again.PublicIPv4()
	if before, _ := first.PublicIPv4(); public == before {
		t.Error("a dynamic address survived the stop")
	}
	want = *stopped
	want.State, want.TokenKey, want.ModifiedAt, want.LaunchedAt = openimds.StateRunning, again.TokenKey, again.ModifiedAt, again.LaunchedAt
	want.NICs = again.NICs
	if !reflect.DeepEqual(again, &want) || !again.LaunchedAt.Equal(start.Add(2*time.Hour).Truncate(time.Second)) || !again.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("after the start:\n%+v, want\n%+v", again, &want)
	}
	if again.NICs[0].MAC != first.NICs[0].MAC || !reflect.DeepEqual(again.NICs[0].PrivateIPv4, first.NICs[0].PrivateIPv4) || !reflect.DeepEqual(again.NICs[0].IPv6, first.NICs[0].IPv6) {
		t.Error("the interface is another one")
	}
	ops, err = f.RebootInstance(ctx, "web")
	done(t, ops, err, "RebootInstance web")
	if !reflect.DeepEqual(f.get("web"), again) {
		t.Error("a reboot changed the instance")
	}
}

// TestDeleteInstance: a later instance of the same name shares nothing with the former one.
func TestDeleteInstance(t *testing.T) {
	for _, stop := range []bool{false, true} {
		f := newFixture(t, nil)
		ctx := t.Context()
		f.create("web", "other")
		for _, alarm := range []struct{ name, instance string }{{"alarm-1", "web"}, {"alarm-2", "web"}, {"alarm-3", "other"}} {
			if _, err := f.PutAlarm(ctx, alarm.name, alarmOf(alarm.instance), nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.AllocateStaticIP(ctx, "address"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.AttachStaticIP(ctx, "address", "web"); err != nil {
			t.Fatal(err)
		}
		first := f.get("web")
		want, details := openimds.OperationFailed, "The instance was deleted before the change was applied"
		pending := f.update("web", openimds.OptionsUpdate{HopLimit: new(2)})
		if stop {
			want, details = openimds.OperationSucceeded, ""
			if _, err := f.StopInstance(ctx, "web"); err != nil {
				t.Fatal(err)
			}
		}
		ops, err := f.DeleteInstance(ctx, "web")
		done(t, ops, err, "DetachStaticIp address", "DetachStaticIp web", "DeleteInstance web")
		if op, err := f.Operation(ctx, pending.ID); err != nil || op.Status != want || op.ErrorDetails != details {
			t.Errorf("the pending change ended as %+v, %v", op, err)
		}
		if ip, err := f.StaticIP(ctx, "address"); err != nil || ip.AttachedTo != "" {
			t.Errorf("the static IP is %+v, %v", ip, err)
		}
		alarms, _, err := f.Alarms(ctx, "", "", 0)
		if err != nil || len(alarms) != 1 || alarms[0].Name != "alarm-3" {
			t.Errorf("alarms %v, %v", alarms, err)
		}
		const gone = "The instance web does not exist"
		for _, do := range []func(context.Context, string) ([]openimds.Operation, error){f.StartInstance, f.StopInstance, f.RebootInstance, f.DeleteInstance} {
			_, err := do(ctx, "web")
			refused(t, err, openimds.NotFound, openimds.DoesNotExist, gone)
		}
		_, err = f.Instance(ctx, "web")
		refused(t, err, openimds.NotFound, openimds.DoesNotExist, gone)
		f.create("web")
		again := f.get("web")
		if again.ID == first.ID || again.UUID == first.UUID || string(again.TokenKey) == string(first.TokenKey) ||
			again.ReservationID == first.ReservationID || again.NICs[0].MAC == first.NICs[0].MAC || again.StaticIPName != "" || again.Options != openimds.DefaultOptions() {
			t.Error("the new instance has something of the old one")
		}
		// A seat that obeyed the old one says so late: the new one must not take it for its own.
		f.update("web", openimds.OptionsUpdate{HopLimit: new(3)})
		late := *first
		late.Options.State, late.OptionsOperation = openimds.OptionsPending, pending.ID
		if err := f.MarkApplied(ctx, &late); err != nil || f.get("web").Options.State != openimds.OptionsPending {
			t.Errorf("a mark of the old instance applied the new one's options: %v", err)
		}
	}
}

func TestEnsureInstance(t *testing.T) {
	f := newFixture(t, nil)
	first, err := f.EnsureInstance(t.Context(), "demo")
	if err != nil || first.Options != openimds.DefaultOptions() || first.BundleID != "nano_3_0" || first.BlueprintID != "ubuntu_24_04" {
		t.Fatalf("EnsureInstance = %+v, %v", first, err)
	}
	before := f.revision()
	again, err := f.EnsureInstance(t.Context(), "demo")
	if err != nil || again.ID != first.ID || f.revision() != before {
		t.Errorf("the second time: %v, %v", again, err)
	}
	_, err = f.EnsureInstance(t.Context(), "dmeo")
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The instance dmeo does not exist")
	_, err = f.EnsureInstance(t.Context(), "/")
	refused(t, err, openimds.InvalidInput, openimds.Malformed, "/ is not a valid resource name. Resource names must be at least 2 characters long and contain only alphanumerics, -, _, and .")
	_ = f.store.Close()
	if _, err = f.EnsureInstance(t.Context(), "demo"); openimds.KindOf(err) != openimds.Unavailable || !errors.Is(err, store.ErrClosed) {
		t.Errorf("on a closed store: %v", err)
	}
}

// TestPages walks through the instances and all names by pages of every size.
func TestPages(t *testing.T) {
	f := newFixture(t, nil)
	f.create("i1", "i2", "i3", "i-4", "i.5")
	if _, err := f.AllocateStaticIP(t.Context(), "s1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutAlarm(t.Context(), "a1", alarmOf("i1"), nil); err != nil {
		t.Fatal(err)
	}
	walk := func(page func(after string) ([]string, string, error)) string {
		var all []string
		for after := ""; ; {
			names, next, err := page(after)
			if err != nil {
				t.Fatal(err)
			}
			if all = append(all, names...); next == "" || len(all) > 100 {
				return strings.Join(all, " ")
			}
			after = next
		}
	}
	for limit := 1; limit < 10; limit++ {
		got := walk(func(after string) (names []string, next string, err error) {
			page, next, err := f.Instances(t.Context(), after, limit)
			for _, in := range page {
				names = append(names, in.Name)
			}
			if len(names) > limit {
				t.Errorf("%d instances on a page of %d", len(names), limit)
			}
			return names, next, err
		})
		if want := "i-4 i.5 i1 i2 i3"; got != want {
			t.Errorf("instances by pages of %d: %s, want %s", limit, got, want)
		}
		got = walk(func(after string) ([]string, string, error) {
			names, next, err := f.Names(t.Context(), after, limit)
			if len(names) > limit {
				t.Errorf("%d names on a page of %d", len(names), limit)
			}
			return names, next, err
		})
		if want := "i-4 i.5 i1 i2 i3 " + openimds.DefaultKeyPairName + " s1 a1"; got != want {
			t.Errorf("names by pages of %d: %s, want %s", limit, got, want)
		}
	}
	_, _, err := f.Names(t.Context(), "elsewhere/x", 10)
	refused(t, err, openimds.InvalidInput, openimds.Malformed, "The page token is not one that was given out here")
}
