package metadata_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

var (
	launched = time.Date(2026, 3, 1, 10, 20, 30, 0, time.UTC)
	modified = time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)
	now      = time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)
)

// source gives fixed credentials, or the failure that is set for a set.
type source map[openimds.CredentialSet]openimds.RoleCredentials

func (s source) Credentials(_ *openimds.Instance, set openimds.CredentialSet, _ time.Time) openimds.RoleCredentials {
	if c, ok := s[set]; ok {
		return c
	}
	name := [...]string{"ROLEV1", "ROLEV2", "IDENTITY"}[set]
	return openimds.RoleCredentials{
		Code:            "Success",
		Type:            "AWS-HMAC",
		AccountID:       "000029643808",
		AccessKeyID:     "ASIA" + name,
		SecretAccessKey: openimds.Secret("secret/" + name),
		Token:           openimds.Secret("token+" + name + "=="),
		LastUpdated:     time.Date(2026, 3, 1, 11, 30, 0, 0, time.UTC),
		Expiration:      time.Date(2026, 3, 1, 17, 47, 1, 0, time.UTC),
	}
}

// signer signs with a digest, so that a test sees which bytes were signed; it cannot sign what is
// set to true.
type signer struct{ noSignature, noPKCS7, noRSA2048 bool }

func sign(name string, document []byte, broken bool) ([]byte, bool) {
	return fmt.Appendf(nil, "%s %x", name, sha256.Sum256(document)), !broken
}

func (s signer) Signature(_ *openimds.Instance, document []byte) ([]byte, bool) {
	return sign("signature", document, s.noSignature)
}

func (s signer) PKCS7(_ *openimds.Instance, document []byte) ([]byte, bool) {
	return sign("pkcs7", document, s.noPKCS7)
}

func (s signer) RSA2048(_ *openimds.Instance, document []byte) ([]byte, bool) {
	return sign("rsa2048", document, s.noRSA2048)
}

// newInstance is what the service makes by default, with fixed values where it draws lots.
func newInstance(addressType string) *openimds.Instance {
	in := openimds.NewInstance(openimds.Launch{Name: "demo", Region: "eu-central-1", BlueprintID: "amazon_linux_2023", AddressType: addressType}, launched)
	in.ID = "i-0123456789abcdef0"
	in.ReservationID = "r-0123456789abcdef0"
	in.ModifiedAt = modified
	n := &in.NICs[0]
	n.ID, n.MAC = "eni-0123456789abcdef0", "06:01:02:03:04:05"
	private := netip.MustParseAddr("172.26.3.4")
	n.LocalHostname = openimds.PrivateHostname(private, in.Region)
	if addressType != "ipv6" {
		n.PrivateIPv4 = []netip.Addr{private}
		openimds.SetPublicIPv4(n, netip.MustParseAddr("198.18.7.8"), in.Region)
	}
	if addressType != "ipv4" {
		n.IPv6 = []netip.Addr{netip.MustParseAddr("2001:db8:1a:2600::1:2")}
	}
	return in
}

// fullInstance has everything that an instance may have, and things that must not show.
func fullInstance() *openimds.Instance {
	in := newInstance("dualstack")
	in.AncestorAMIIDs = []string{"ami-1", "ami-2"}
	in.KernelID, in.RamdiskID = "aki-1", "ari-1"
	in.ProductCodes = []string{"code1", "code2"}
	in.PlacementGroup, in.PartitionNumber, in.HostID = "group", 3, "h-1"
	in.DetailedMonitoring, in.Hibernation, in.ExtendedCredentials = true, true, true
	in.LifeCycle, in.LaunchIndex = "spot", 2
	in.UserData = []byte("#!/bin/sh\n\x00\xff\n")
	in.BlockDevices = append(in.BlockDevices,
		openimds.BlockDevice{Name: "ebs1", Device: "/dev/sdb"},
		openimds.BlockDevice{Name: "ephemeral0", Device: "/dev/sdc"},
		openimds.BlockDevice{Name: "swap", Device: "/dev/sdd"})
	in.PublicKeys = []openimds.PublicKey{
		{Name: "my-key", Key: "ssh-ed25519 AAAA my-key"},
		{Name: "odd/name\nwith a line feed", Key: "ssh-rsa BBBB"},
		{Name: "empty"},
	}
	in.ManagedKeys = []openimds.ManagedKey{
		{User: "ec2-user", Lines: "ssh-ed25519 CCCC", Until: now.Add(time.Second)},
		{User: "expired", Lines: "ssh-ed25519 DDDD", Until: now},
	}
	in.Options.Tags = openimds.EndpointEnabled
	in.Tags = []openimds.Tag{
		{Key: "Name", Value: "a b/c"}, {Key: "empty"}, {Key: "+-=.,_:@", Value: "signs"}, {Key: "Another", Value: "ü"},
		{Key: "not allowed", Value: "x"}, {Key: "not/allowed", Value: "x"}, {Key: "_index", Value: "x"},
		{Key: ".", Value: "x"}, {Key: "..", Value: "x"}, {Key: "", Value: "x"}, {Key: "é", Value: "x"},
		{Key: "Name", Value: "a second one"},
	}
	in.Events = openimds.Events{
		RebalanceAt:    time.Date(2020, 10, 27, 8, 22, 0, 0, time.UTC),
		Spot:           &openimds.SpotInterruption{Action: "terminate", Time: time.Date(2017, 9, 18, 8, 22, 0, 0, time.UTC)},
		LifecycleState: "InService",
		Maintenance: []openimds.MaintenanceEvent{
			{
				ID: "instance-event-0d59937288b749b32", Code: "system-reboot", Description: "scheduled reboot", State: "active",
				NotBefore: time.Date(2019, 1, 21, 9, 0, 43, 0, time.UTC), NotAfter: time.Date(2019, 1, 21, 9, 17, 23, 0, time.UTC),
			},
			{
				ID: "instance-event-2", Code: "instance-stop", Description: `"quoted"`, State: "canceled",
				NotBefore: time.Date(2019, 1, 2, 9, 0, 43, 0, time.UTC), NotBeforeDeadline: time.Date(2019, 1, 3, 0, 0, 0, 0, time.UTC),
			},
			{
				ID: "instance-event-3", Code: "system-reboot", Description: "[Completed] scheduled reboot", State: "completed",
				NotBefore: time.Date(2018, 12, 31, 23, 59, 59, 0, time.UTC),
			},
		},
	}
	card := 0
	n := &in.NICs[0]
	n.NetworkCard = &card
	n.PrivateIPv4 = append(n.PrivateIPv4, netip.MustParseAddr("172.26.3.5"))
	n.Associations = append(n.Associations, openimds.Association{Public: netip.MustParseAddr("198.18.7.9"), Private: n.PrivateIPv4})
	n.IPv4Prefixes = []netip.Prefix{netip.MustParsePrefix("172.26.3.16/28"), netip.MustParsePrefix("172.26.3.32/28")}
	n.IPv6Prefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8:1a:2600:1::/80")}
	n.IPv6 = append(n.IPv6, netip.MustParseAddr("2001:db8:1a:2600::1:3"))
	n.SecurityGroups, n.SecurityGroupIDs = []string{"default", "web"}, []string{"sg-1", "sg-2"}
	n.VPCIPv4CIDRs = append(n.VPCIPv4CIDRs, netip.MustParsePrefix("10.0.0.0/16"))
	return in
}

// severalNICs has three interfaces, one of them with IPv6 only and one with an address in capitals.
func severalNICs() *openimds.Instance {
	in := newInstance("ipv4")
	one := 1
	second := openimds.NIC{
		ID: "eni-2", MAC: "06:AA:BB:CC:DD:EE", DeviceNumber: 1, NetworkCard: &one, LocalHostname: "second.internal",
		PrivateIPv4: []netip.Addr{netip.MustParseAddr("10.0.0.5")}, SubnetID: "subnet-2", VPCID: "vpc-2",
		SubnetIPv4CIDR: netip.MustParsePrefix("10.0.0.0/24"), VPCIPv4CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
		SecurityGroups: []string{"second"}, SecurityGroupIDs: []string{"sg-second"},
	}
	third := openimds.NIC{
		ID: "eni-3", MAC: "02:00:00:00:00:03", DeviceNumber: 2, LocalHostname: "third.internal",
		IPv6: []netip.Addr{netip.MustParseAddr("2001:db8::3")}, SubnetID: "subnet-3", VPCID: "vpc-2",
		SubnetIPv6CIDRs: []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")},
		VPCIPv6CIDRs:    []netip.Prefix{netip.MustParsePrefix("2001:db8::/56"), netip.MustParsePrefix("2001:db8:ff00::/56")},
	}
	in.NICs = append(in.NICs, second, third)
	return in
}

// ipv6Only is a subnet without IPv4.
func ipv6Only() *openimds.Instance {
	in := newInstance("ipv6")
	n := &in.NICs[0]
	n.LocalHostname = "i-0123456789abcdef0.eu-central-1.compute.internal"
	n.SubnetIPv4CIDR, n.VPCIPv4CIDRs = netip.Prefix{}, nil
	return in
}

// fixture is one view that the tests look at from all sides.
type fixture struct {
	name string
	view *metadata.View
}

func fixtures() []fixture {
	view := func(in *openimds.Instance) *metadata.View {
		return &metadata.View{Instance: in, Now: now, V2: true, Credentials: source{}, Identity: signer{}}
	}
	plain := view(newInstance("dualstack"))
	plain.Identity = nil
	without := view(newInstance("ipv4"))
	without.Credentials, without.Identity = nil, nil
	without.Instance.Role = nil
	openimds.SetPublicIPv4(&without.Instance.NICs[0], netip.Addr{}, without.Instance.Region)
	pushed := view(newInstance("ipv4"))
	pushed.Keys = keySigner{}
	pushed.Instance.ManagedKeys = []openimds.ManagedKey{
		{User: "ubuntu", Lines: "expired\n\n", Until: now}, {User: "ubuntu", Lines: "one\n\n", Until: now.Add(time.Second)},
		{User: "root", Lines: "its\n\n", Until: now.Add(time.Second)}, {User: "ubuntu", Lines: "two\n\n", Until: now.Add(2 * time.Second)},
	}
	return []fixture{
		{"plain", plain},
		{"pushed-keys", pushed},
		{"full", view(fullInstance())},
		{"ipv6-only", view(ipv6Only())},
		{"several-nics", view(severalNICs())},
		{"without", without},
		{"empty", &metadata.View{Instance: &openimds.Instance{}, Now: now}},
	}
}

// keySigner vouches for pushed keys with texts that tell what it was asked for.
type keySigner struct{}

func (keySigner) SignerCert(region, domain string) ([]byte, bool) {
	return []byte("certificate of " + region + " at " + domain + "\n"), true
}

func (keySigner) SignerOCSP(_, _ string, at time.Time) (name string, answer []byte, ok bool) {
	return "A1B2", []byte("good at " + at.Format(time.RFC3339)), true
}

func fixtureNamed(t testing.TB, name string) *metadata.View {
	t.Helper()
	for _, f := range fixtures() {
		if f.name == name {
			return f.view
		}
	}
	t.Fatalf("no fixture %s", name)
	return nil
}

// get returns the body at path, or fails the test.
func get(t testing.TB, v *metadata.View, path string) string {
	t.Helper()
	it, ok := metadata.Get(v, path)
	if !ok {
		t.Fatalf("GET %s: absent", path)
	}
	return string(it.Body)
}

// place is one thing that a guest finds.
type place struct {
	path string
	dir  bool
	item metadata.Item
}

// crawl reads everything below path as a guest does: by following listings, and knowing that the
// entries of a version have no slash and those of public-keys are "0=name". It reports what is
// listed and does not answer.
func crawl(t testing.TB, v *metadata.View, path string) []place {
	t.Helper()
	it, ok := metadata.Get(v, path)
	if !ok {
		t.Fatalf("GET %s: absent, but it is listed", path)
	}
	found := []place{{path, true, it}}
	version := !strings.Contains(path, "/")
	for name := range strings.Lines(string(it.Body)) {
		name = strings.TrimSuffix(name, "\n")
		name, dir := strings.CutSuffix(name, "/")
		if version {
			dir = name == "dynamic" || name == "meta-data"
		}
		if strings.HasSuffix(path, "/public-keys") {
			name, _, dir = strings.Cut(name, "=")
		}
		below := path + "/" + name
		if dir {
			found = append(found, crawl(t, v, below)...)
			continue
		}
		it, ok := metadata.Get(v, below)
		if !ok {
			if version && name == "user-data" {
				continue
			}
			t.Fatalf("GET %s: absent, but it is listed", below)
		}
		found = append(found, place{below, false, it})
	}
	return found
}

// leaves are the values among places, by path below the version.
func leaves(places []place) map[string][]byte {
	m := map[string][]byte{}
	for _, p := range places {
		if _, path, ok := strings.Cut(p.path, "/"); ok && !p.dir {
			m[path] = bytes.Clone(p.item.Body)
		}
	}
	return m
}
