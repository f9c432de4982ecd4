package control_test

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// public is the instance's public address; the zero one if it has none. The name goes with it.
func (f *fixture) public(name string) netip.Addr {
	f.t.Helper()
	in := f.get(name)
	addr, ok := in.PublicIPv4()
	if want := openimds.PublicHostname(addr, "us-east-1"); ok && in.NICs[0].PublicHostname != want || !ok && in.NICs[0].PublicHostname != "" {
		f.t.Errorf("%s has the public address %s and the name %s", name, addr, in.NICs[0].PublicHostname)
	}
	return addr
}

func TestStaticIP(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web", "db")
	for _, name := range []string{"one", "two"} {
		ops, err := f.AllocateStaticIP(ctx, name)
		done(t, ops, err, "AllocateStaticIp "+name)
		if ops[0].Zone != "all" {
			t.Errorf("a static IP's operation is in the zone %s", ops[0].Zone)
		}
	}
	_, err := f.AllocateStaticIP(ctx, "web")
	refused(t, err, openimds.InvalidInput, openimds.NameTaken, "These names are taken: web")
	ip, err := f.StaticIP(ctx, "one")
	if err != nil || ip.AttachedTo != "" || !netip.MustParsePrefix("198.18.0.0/15").Contains(ip.Address) {
		t.Fatalf("allocated %+v, %v", ip, err)
	}
	dynamic := f.public("web")
	for range 2 { // the second time it is there already
		ops, err := f.AttachStaticIP(ctx, "one", "web")
		done(t, ops, err, "AttachStaticIp one", "AttachStaticIp web")
		if ops[0].Details != "web" || ops[1].Details != "one" || ops[0].ResourceType != openimds.TypeStaticIP || ops[1].ResourceType != openimds.TypeInstance {
			t.Errorf("the operations do not name each other: %+v", ops)
		}
		if f.public("web") != ip.Address || f.get("web").StaticIPName != "one" {
			t.Errorf("the instance has %s and the static IP %q", f.public("web"), f.get("web").StaticIPName)
		}
	}
	_, err = f.AttachStaticIP(ctx, "one", "db")
	refused(t, err, openimds.OperationFailure, openimds.InUse, "The static IP one is attached to the instance web; detach it first")
	_, err = f.AttachStaticIP(ctx, "two", "web")
	refused(t, err, openimds.OperationFailure, openimds.InUse, "The instance web has the static IP one; detach it first")
	_, err = f.AttachStaticIP(ctx, "two", "nobody")
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The instance nobody does not exist")
	_, err = f.AttachStaticIP(ctx, "nothing", "web")
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The static IP nothing does not exist")

	// It stays through a stop, and through a start.
	for _, do := range []func() ([]openimds.Operation, error){
		func() ([]openimds.Operation, error) { return f.StopInstance(ctx, "web") },
		func() ([]openimds.Operation, error) { return f.StartInstance(ctx, "web") },
	} {
		if _, err := do(); err != nil || f.public("web") != ip.Address {
			t.Errorf("the static address became %s, %v", f.public("web"), err)
		}
	}
	ops, err := f.DetachStaticIP(ctx, "one")
	done(t, ops, err, "DetachStaticIp one", "DetachStaticIp web")
	if now := f.public("web"); !now.IsValid() || now == ip.Address || now == dynamic || f.get("web").StaticIPName != "" {
		t.Errorf("after the detachment the instance has %s", now)
	}
	_, err = f.DetachStaticIP(ctx, "one")
	refused(t, err, openimds.OperationFailure, openimds.WrongState, "The static IP one is not attached to an instance")

	// A stopped instance gets none in its place before it starts.
	if _, err := f.StopInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AttachStaticIP(ctx, "one", "web"); err != nil || f.public("web") != ip.Address {
		t.Errorf("attached to a stopped instance: %s, %v", f.public("web"), err)
	}
	ops, err = f.ReleaseStaticIP(ctx, "one")
	done(t, ops, err, "DetachStaticIp one", "DetachStaticIp web", "ReleaseStaticIp one")
	if now := f.public("web"); now.IsValid() {
		t.Errorf("a stopped instance has the public address %s", now)
	}
	ops, err = f.ReleaseStaticIP(ctx, "two")
	done(t, ops, err, "ReleaseStaticIp two")
	if ips, next, err := f.StaticIPs(ctx, "", 0); err != nil || len(ips) != 0 || next != "" {
		t.Errorf("left are %v, %q, %v", ips, next, err)
	}
}

func TestSetAddressType(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	set := func(to string, accept bool) error {
		f.sleep(time.Second)
		ops, err := f.SetAddressType(ctx, "web", to, accept)
		if err == nil {
			done(t, ops, nil, "SetIpAddressType web")
		}
		return err
	}
	check := func(wantType, bundle string, v4, public, v6 bool) {
		t.Helper()
		in := f.get("web")
		nic := in.NICs[0]
		if in.AddressType != wantType || in.BundleID != bundle || in.InstanceType != "t3.nano" ||
			len(nic.PrivateIPv4) > 0 != v4 || len(nic.Associations) > 0 != public || nic.PublicHostname != "" != public ||
			len(nic.IPv6) > 0 != v6 || len(nic.SubnetIPv6CIDRs) > 0 != v6 || len(nic.VPCIPv6CIDRs) > 0 != v6 {
			t.Errorf("as %s on %s: %s %s %+v", wantType, bundle, in.AddressType, in.BundleID, nic)
		}
	}
	check("dualstack", "nano_3_0", true, true, true)
	before := f.get("web")
	if err := set("dualstack", false); err != nil || !reflect.DeepEqual(f.get("web"), before) {
		t.Errorf("the type that it has: %v", err)
	}
	if err := set("ipv4", false); err != nil {
		t.Fatal(err)
	}
	check("ipv4", "nano_3_0", true, true, false)
	refused(t, set("ipv6", false), openimds.InvalidInput, openimds.Incomplete, "The IP address type ipv6 needs the bundle nano_ipv6_3_0; set the consent to another bundle to change to it")
	refused(t, set("ipv5", true), openimds.InvalidInput, openimds.UnknownValue, `The IP address type must be dualstack, ipv4 or ipv6, not "ipv5"`)
	check("ipv4", "nano_3_0", true, true, false)
	if err := set("ipv6", true); err != nil {
		t.Fatal(err)
	}
	check("ipv6", "nano_ipv6_3_0", false, false, true)
	if in := f.get("web"); in.NICs[0].LocalHostname == "" {
		t.Error("without IPv4 the instance lost its private name")
	}
	if _, err := f.AllocateStaticIP(ctx, "address"); err != nil {
		t.Fatal(err)
	}
	_, err := f.AttachStaticIP(ctx, "address", "web")
	refused(t, err, openimds.InvalidInput, openimds.Incompatible, "The instance web has no IPv4 address that a static IP could stand for")
	for _, do := range []func() ([]openimds.Operation, error){
		func() ([]openimds.Operation, error) { return f.StopInstance(ctx, "web") },
		func() ([]openimds.Operation, error) { return f.StartInstance(ctx, "web") },
	} {
		if _, err := do(); err != nil {
			t.Fatal(err)
		}
		check("ipv6", "nano_ipv6_3_0", false, false, true)
	}
	if err := set("dualstack", true); err != nil {
		t.Fatal(err)
	}
	check("dualstack", "nano_3_0", true, true, true)
	if _, err := f.AttachStaticIP(ctx, "address", "web"); err != nil {
		t.Fatal(err)
	}
	refused(t, set("ipv6", true), openimds.OperationFailure, openimds.InUse, "The instance web has the static IP address; detach it first")
	if err := set("ipv4", false); err != nil || f.get("web").StaticIPName != "address" {
		t.Errorf("a static IP does not go with ipv4: %v", err)
	}
	if _, err := f.ReleaseStaticIP(ctx, "address"); err != nil {
		t.Fatal(err)
	}
	// A stopped instance gets its public address with its start.
	if _, err := f.StopInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"ipv6", "dualstack"} {
		if err := set(to, true); err != nil {
			t.Fatal(err)
		}
	}
	check("dualstack", "nano_3_0", true, false, true)
	if _, err := f.StartInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	check("dualstack", "nano_3_0", true, true, true)
}

func TestPutPorts(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	op, err := f.PutPorts(ctx, "web", []openimds.Port{
		{From: 22, To: 22, Protocol: "tcp", CIDRs: []string{"10.0.0.0/8", "192.0.2.1"}},
		{From: 0, To: 65535, Protocol: "udp"},
		{From: 8, To: -1, Protocol: "icmp"},
		{From: 443, To: 443, Protocol: "tcp", IPv6CIDRs: []string{"2001:db8:0::1/32", "::1"}},
		{From: 22, To: 22, Protocol: "tcp", CIDRs: []string{"10.1.2.3/8", "192.0.2.0/24"}},
		{From: 443, To: 443, Protocol: "tcp", IPv6CIDRs: []string{"0:0:0:0:0:0:0:1/128"}},
		{Protocol: "all"},
		{Protocol: "all", To: 65535, CIDRs: []string{"192.0.2.1"}},
		{Protocol: "tcp"},
	})
	done(t, []openimds.Operation{op}, err, "PutInstancePublicPorts web")
	all4, all6 := []string{"0.0.0.0/0"}, []string{"::/0"}
	want := []openimds.Port{
		{From: 22, To: 22, Protocol: "tcp", CIDRs: []string{"10.0.0.0/8", "192.0.2.1/32", "192.0.2.0/24"}},
		{From: 0, To: 65535, Protocol: "udp", CIDRs: all4, IPv6CIDRs: all6},
		{From: 8, To: -1, Protocol: "icmp", CIDRs: all4, IPv6CIDRs: all6},
		{From: 443, To: 443, Protocol: "tcp", IPv6CIDRs: []string{"2001:db8::/32", "::1/128"}},
		{From: 0, To: 65535, Protocol: "all", CIDRs: []string{"0.0.0.0/0", "192.0.2.1/32"}, IPv6CIDRs: all6},
		{From: 0, To: 0, Protocol: "tcp", CIDRs: all4, IPv6CIDRs: all6},
	}
	if got := f.get("web").Ports; !reflect.DeepEqual(got, want) {
		t.Errorf("ports %+v, want %+v", got, want)
	}
	before := f.revision()
	for message, tt := range map[string]struct {
		code openimds.Code
		port openimds.Port
	}{
		`The protocol of a port rule is tcp, udp, icmp, icmpv6 or all, not "TCP"`: {openimds.UnknownValue, openimds.Port{Protocol: "TCP"}},
		`The ports -1 to 5 are not a range of 0 to 65535`:                         {openimds.OutOfRange, openimds.Port{From: -1, To: 5, Protocol: "tcp"}},
		`The ports 6 to 5 are not a range of 0 to 65535`:                          {openimds.OutOfRange, openimds.Port{From: 6, To: 5, Protocol: "tcp"}},
		`The ports 0 to 65536 are not a range of 0 to 65535`:                      {openimds.OutOfRange, openimds.Port{To: 65536, Protocol: "all"}},
		`The ports -2 to 0 are not a range of -1 to 65535`:                        {openimds.OutOfRange, openimds.Port{From: -2, Protocol: "icmpv6"}},
		`"2001:db8::/32" is not an IPv4 address or block`:                         {openimds.Malformed, openimds.Port{Protocol: "tcp", CIDRs: []string{"2001:db8::/32"}}},
		`"10.0.0.0/33" is not an IPv4 address or block`:                           {openimds.Malformed, openimds.Port{Protocol: "tcp", CIDRs: []string{"10.0.0.0/33"}}},
		`"10.0.0.0" is not an IPv6 address or block`:                              {openimds.Malformed, openimds.Port{Protocol: "tcp", IPv6CIDRs: []string{"10.0.0.0"}}},
		`"fe80::1%eth0" is not an IPv6 address or block`:                          {openimds.Malformed, openimds.Port{Protocol: "tcp", IPv6CIDRs: []string{"fe80::1%eth0"}}},
	} {
		_, err := f.PutPorts(ctx, "web", []openimds.Port{{From: 1, To: 1, Protocol: "tcp"}, tt.port})
		refused(t, err, openimds.InvalidInput, tt.code, message)
	}
	_, err = f.PutPorts(ctx, "web", make([]openimds.Port, 61))
	refused(t, err, openimds.InvalidInput, openimds.TooMany, "An instance has at most 60 port rules, not 61")
	_, err = f.PutPorts(ctx, "nobody", nil)
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The instance nobody does not exist")
	if f.revision() != before {
		t.Error("refused rules left something behind")
	}
	if _, err := f.PutPorts(ctx, "web", nil); err != nil || len(f.get("web").Ports) != 0 {
		t.Errorf("no rules: %v, %v", f.get("web").Ports, err)
	}
}

func TestOpenAndClosePorts(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	if _, err := f.PutPorts(ctx, "web", []openimds.Port{{From: 22, To: 22, Protocol: "tcp", CIDRs: []string{"10.0.0.0/8"}}}); err != nil {
		t.Fatal(err)
	}
	all4, all6 := []string{"0.0.0.0/0"}, []string{"::/0"}
	port := func(number int, v4, v6 []string) openimds.Port {
		return openimds.Port{From: number, To: number, Protocol: "tcp", CIDRs: v4, IPv6CIDRs: v6}
	}
	ssh := port(22, []string{"10.0.0.0/8"}, nil)
	for i, step := range []struct {
		do   func(context.Context, string, openimds.Port) (openimds.Operation, error)
		port openimds.Port
		want []openimds.Port
	}{
		{f.OpenPorts, port(443, nil, nil), []openimds.Port{ssh, port(443, all4, all6)}},
		{f.OpenPorts, port(443, nil, nil), []openimds.Port{ssh, port(443, all4, all6)}},
		{f.OpenPorts, port(22, []string{"192.0.2.1"}, nil), []openimds.Port{port(22, []string{"10.0.0.0/8", "192.0.2.1/32"}, nil), port(443, all4, all6)}},
		{f.ClosePorts, port(22, []string{"192.0.2.1/32"}, nil), []openimds.Port{ssh, port(443, all4, all6)}},
		{f.ClosePorts, port(443, []string{"10.1.2.3/0"}, nil), []openimds.Port{ssh, port(443, nil, all6)}},
		{f.ClosePorts, port(443, nil, []string{"0:0:0:0:0:0:0:0/0"}), []openimds.Port{ssh}},
		{f.OpenPorts, openimds.Port{Protocol: "all"}, []openimds.Port{ssh, {To: 65535, Protocol: "all", CIDRs: all4, IPv6CIDRs: all6}}},
		{f.ClosePorts, openimds.Port{To: 65535, Protocol: "all", CIDRs: all4}, []openimds.Port{ssh, {To: 65535, Protocol: "all", IPv6CIDRs: all6}}},
		{f.ClosePorts, openimds.Port{Protocol: "all"}, []openimds.Port{ssh}},
		{f.ClosePorts, port(80, nil, nil), []openimds.Port{ssh}},
		{f.ClosePorts, openimds.Port{From: 22, To: 22, Protocol: "udp"}, []openimds.Port{ssh}},
		{f.ClosePorts, port(22, nil, nil), nil},
	} {
		if _, err := step.do(ctx, "web", step.port); err != nil {
			t.Fatal(err)
		}
		got := f.get("web").Ports
		if same := slices.EqualFunc(got, step.want, func(a, b openimds.Port) bool {
			return a.From == b.From && a.To == b.To && a.Protocol == b.Protocol && slices.Equal(a.CIDRs, b.CIDRs) && slices.Equal(a.IPv6CIDRs, b.IPv6CIDRs)
		}); !same {
			t.Errorf("step %d leaves %+v, want %+v", i, got, step.want)
		}
	}
	full := make([]openimds.Port, 60)
	for i := range full {
		full[i] = port(i, all4, all6)
	}
	if _, err := f.PutPorts(ctx, "web", full); err != nil {
		t.Fatal(err)
	}
	_, err := f.OpenPorts(ctx, "web", port(60, nil, nil))
	refused(t, err, openimds.InvalidInput, openimds.TooMany, "An instance has at most 60 port rules, not 61")
	_, err = f.ClosePorts(ctx, "web", openimds.Port{Protocol: "sctp"})
	refused(t, err, openimds.InvalidInput, openimds.UnknownValue, `The protocol of a port rule is tcp, udp, icmp, icmpv6 or all, not "sctp"`)
}

// TestStoredPorts: what earlier releases kept as several rules for the same ports is closed with them, all of it, and
// what was not asked for stays as it is.
func TestStoredPorts(t *testing.T) {
	block := func(protocol string, cidrs ...string) openimds.Port {
		return openimds.Port{From: 22, To: 22, Protocol: protocol, CIDRs: cidrs}
	}
	stored := []openimds.Port{
		block("tcp", "192.168.0.0/16"), block("udp", "192.0.2.1"), block("tcp", "10.9.9.9/8"), block("tcp", "10.0.0.0/8"),
		{Protocol: "all", CIDRs: []string{"0.0.0.0/0"}}, {To: 65535, Protocol: "all", CIDRs: []string{"192.0.2.1"}},
	}
	udp, all := block("udp", "192.0.2.1/32"), openimds.Port{To: 65535, Protocol: "all", CIDRs: []string{"0.0.0.0/0", "192.0.2.1/32"}}
	for name, tt := range map[string]struct {
		close openimds.Port
		want  []openimds.Port
	}{
		"a block": {block("tcp", "10.0.0.0/8"), []openimds.Port{block("tcp", "192.168.0.0/16"), udp, all}},
		"ports":   {block("tcp"), []openimds.Port{udp, all}},
		"all":     {openimds.Port{Protocol: "all"}, []openimds.Port{block("tcp", "192.168.0.0/16", "10.0.0.0/8"), udp}},
		"other":   {block("icmp"), []openimds.Port{block("tcp", "192.168.0.0/16", "10.0.0.0/8"), udp, all}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.create("web")
			earlier := f.get("web")
			earlier.Ports = stored
			f.overwrite(earlier)
			if _, err := f.ClosePorts(t.Context(), "web", tt.close); err != nil {
				t.Fatal(err)
			}
			if got := f.get("web").Ports; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("left open: %+v, want %+v", got, tt.want)
			}
		})
	}
}
