package openimds_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

func pfx(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a := netip.MustParseAddr(text)
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p)
	}
	return out
}

const guestMAC = "52:54:00:12:34:56"

// What was given beats what was learned, each family and the MAC for themselves.
func TestLinksOfAttachment(t *testing.T) {
	learned := []openimds.GuestLink{
		{MAC: "e2:bc:00:00:00:01", Addresses: pfx("10.9.1.2/24", "10.9.1.3/24", "2001:db8::2/64")},
		{MAC: "e2:bc:00:00:00:02", Addresses: pfx("10.9.2.2/24")},
	}
	for name, tt := range map[string]struct {
		of   openimds.Attachment
		want []openimds.GuestLink
	}{
		"nothing": {openimds.Attachment{Netns: "a"}, nil},
		"learned": {openimds.Attachment{Netns: "a", Learned: learned}, learned},
		"given":   {openimds.Attachment{Netns: "a", MAC: guestMAC, PrivateIPs: pfx("10.0.0.1")}, []openimds.GuestLink{{MAC: guestMAC, Addresses: pfx("10.0.0.1")}}},
		"both": {
			openimds.Attachment{Netns: "a", MAC: guestMAC, PrivateIPs: pfx("10.9.1.3"), Learned: learned},
			[]openimds.GuestLink{{MAC: guestMAC, Addresses: pfx("10.9.1.3/24", "2001:db8::2/64")}, learned[1]},
		},
		"source": {
			openimds.Attachment{Interface: "br0", Sources: pfx("10.0.0.7", "10.1.0.0/16")},
			[]openimds.GuestLink{{Addresses: pfx("10.0.0.7")}},
		},
		"mark of the host's end": {openimds.Attachment{Interface: "tap0", MAC: guestMAC, Bound: &openimds.Face{MAC: guestMAC}}, nil},
		"mark of a tap": {
			openimds.Attachment{Interface: "tap0", MAC: guestMAC, Bound: &openimds.Face{MAC: "fe:54:00:12:34:56"}},
			[]openimds.GuestLink{{MAC: guestMAC}},
		},
		"not bound yet":   {openimds.Attachment{Interface: "tap0", MAC: guestMAC}, nil},
		"given past mark": {openimds.Attachment{Interface: "tap0", MAC: "02:00:00:00:00:01", GuestMAC: guestMAC}, []openimds.GuestLink{{MAC: guestMAC}}},
	} {
		if got := tt.of.Links(); !reflect.DeepEqual(got, tt.want) && len(got)+len(tt.want) > 0 {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if learned[0].MAC != "e2:bc:00:00:00:01" {
		t.Error("what was learned has been changed")
	}
}

// toldInstance is one with a static address, on which everything depends that follows from a private one.
func toldInstance(links ...openimds.GuestLink) *openimds.Instance {
	in := openimds.NewInstance(openimds.Launch{Name: "web", Region: "eu-central-1", Zone: "eu-central-1a"}, time.Now())
	openimds.SetPublicIPv4(&in.NICs[0], netip.MustParseAddr("198.18.0.9"), in.Region)
	in.Links = links
	return in
}

// The record stays as it is, so that the made-up addresses come back.
func TestToldLeavesTheRecord(t *testing.T) {
	in := toldInstance(openimds.GuestLink{MAC: guestMAC, Addresses: pfx("10.9.1.2/24", "2001:db8::2/64")})
	before, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	told := in.Told()
	nic := told.NICs[0]
	for what, is := range map[string]bool{
		"MAC": nic.MAC == guestMAC, "addresses": slices.Equal(nic.PrivateIPv4, []netip.Addr{netip.MustParseAddr("10.9.1.2")}),
		"name":        nic.LocalHostname == "ip-10-9-1-2.eu-central-1.compute.internal",
		"subnet":      nic.SubnetIPv4CIDR == netip.MustParsePrefix("10.9.1.0/24") && nic.SubnetID != in.NICs[0].SubnetID,
		"network":     slices.Equal(nic.VPCIPv4CIDRs, pfx("10.9.1.0/24")) && slices.Equal(nic.VPCIPv6CIDRs, pfx("2001:db8::/64")),
		"association": reflect.DeepEqual(nic.Associations, []openimds.Association{{Public: netip.MustParseAddr("198.18.0.9"), Private: nic.PrivateIPv4}}),
		"public name": nic.PublicHostname == in.NICs[0].PublicHostname && nic.ID == in.NICs[0].ID,
		"IPv6":        slices.Equal(nic.IPv6, []netip.Addr{netip.MustParseAddr("2001:db8::2")}) && slices.Equal(nic.SubnetIPv6CIDRs, pfx("2001:db8::/64")),
	} {
		if !is {
			t.Errorf("%s: %+v", what, nic)
		}
	}
	if after, err := json.Marshal(in); err != nil || string(after) != string(before) {
		t.Errorf("the record has become %s, %v", after, err)
	}
	in.Links = nil
	if in.Told() != in {
		t.Error("an instance of which nothing is known is not told as it is")
	}
}

func TestToldAddresses(t *testing.T) {
	own := toldInstance()
	made := own.NICs[0]
	for name, tt := range map[string]struct {
		links []openimds.GuestLink
		named string
		right func(nics []openimds.NIC) bool
	}{
		"the MAC alone": {[]openimds.GuestLink{{MAC: guestMAC}}, "", func(nics []openimds.NIC) bool {
			want := made
			want.MAC = guestMAC
			return len(nics) == 1 && reflect.DeepEqual(nics[0], want)
		}},
		"an address alone": {[]openimds.GuestLink{{Addresses: pfx("10.9.1.2")}}, "", func(nics []openimds.NIC) bool {
			return nics[0].MAC == made.MAC && nics[0].SubnetIPv4CIDR == pfx("10.9.1.2/32")[0] && nics[0].IPv6 == nil && nics[0].SubnetIPv6CIDRs == nil
		}},
		"one of the made-up subnet": {[]openimds.GuestLink{{MAC: guestMAC, Addresses: pfx("172.26.0.9")}}, "", func(nics []openimds.NIC) bool {
			return nics[0].SubnetIPv4CIDR == made.SubnetIPv4CIDR && nics[0].SubnetID == made.SubnetID && slices.Equal(nics[0].VPCIPv4CIDRs, made.VPCIPv4CIDRs)
		}},
		"a name of the operator's": {[]openimds.GuestLink{{MAC: guestMAC, Addresses: pfx("10.9.1.2/24")}}, "db.example.org", func(nics []openimds.NIC) bool {
			return nics[0].LocalHostname == "db.example.org"
		}},
		"IPv6 alone": {[]openimds.GuestLink{{MAC: guestMAC, Addresses: pfx("2001:db8:7::2/64")}}, "", func(nics []openimds.NIC) bool {
			return nics[0].PrivateIPv4 == nil && nics[0].Associations == nil && nics[0].PublicHostname == "" && !nics[0].SubnetIPv4CIDR.IsValid() &&
				nics[0].LocalHostname == made.LocalHostname && slices.Equal(nics[0].SubnetIPv6CIDRs, pfx("2001:db8:7::/64")) && len(nics[0].VPCIPv4CIDRs) == 0
		}},
		"two": {[]openimds.GuestLink{{MAC: guestMAC, Addresses: pfx("172.26.0.9/20")}, {MAC: "52:54:00:12:34:57", Addresses: pfx("10.9.2.2/24", "10.9.2.3/24")}}, "", func(nics []openimds.NIC) bool {
			two := nics[1]
			return nics[0].ID == made.ID && two.ID != made.ID && strings.HasPrefix(two.ID, "eni-") && two.DeviceNumber == 1 && len(two.PrivateIPv4) == 2 &&
				two.LocalHostname == "ip-10-9-2-2.eu-central-1.compute.internal" && two.VPCID == made.VPCID && two.SubnetID != made.SubnetID &&
				slices.Equal(two.VPCIPv4CIDRs, pfx("172.26.0.0/16", "10.9.2.0/24")) && slices.Equal(nics[0].VPCIPv4CIDRs, two.VPCIPv4CIDRs) && two.Associations == nil
		}},
	} {
		in := *own
		in.Links = tt.links
		in.NICs = slices.Clone(own.NICs)
		if tt.named != "" {
			in.NICs[0].LocalHostname = tt.named
		}
		if nics := in.Told().NICs; !tt.right(nics) {
			t.Errorf("%s: %+v", name, nics)
		}
		if again := in.Told().NICs; !reflect.DeepEqual(again, in.Told().NICs) {
			t.Errorf("%s: it is another each time", name)
		}
	}
}

func TestPrivateAddressesAreChecked(t *testing.T) {
	for _, a := range []openimds.Attachment{
		{Netns: "a", PrivateIPs: pfx("10.0.0.1/0")}, {Netns: "a", PrivateIPs: pfx("0.0.0.0")}, {Netns: "a", PrivateIPs: pfx("224.0.0.1")},
		{Netns: "a", PrivateIPs: pfx("127.0.0.1")}, {Netns: "a", PrivateIPs: pfx("169.254.169.254")}, {Netns: "a", PrivateIPs: pfx("fe80::1/64")},
		{Netns: "a", PrivateIPs: pfx("fd00:ec2::254")}, {Netns: "a", PrivateIPs: pfx("255.255.255.255")}, {Netns: "a", PrivateIPs: pfx("10.0.0.1", "10.0.0.1/24")},
		{Netns: "a", PrivateIPs: pfx("::ffff:10.0.0.1")}, {Netns: "a", PrivateIPs: []netip.Prefix{{}}}, {Netns: "a", GuestMAC: "nonsense"},
		{Netns: "a", GuestMAC: "00:00:00:00:00:00"}, {Netns: "a", GuestMAC: "33:33:00:00:00:01"}, {Netns: "a", MAC: guestMAC, GuestMAC: guestMAC},
		{Netns: "a", Learned: make([]openimds.GuestLink, openimds.MaxGuestLinks+1)}, {Netns: "a", MAC: "nonsense"},
		{Netns: "a", Learned: []openimds.GuestLink{{MAC: guestMAC}, {MAC: guestMAC}}},
	} {
		if err := a.Validate(); openimds.KindOf(err) != openimds.InvalidInput {
			t.Errorf("%+v: %v", a, err)
		}
	}
	a := openimds.Attachment{Netns: "a", MAC: guestMAC, ByName: true, PrivateIPs: pfx("10.0.0.1/24", "2001:db8::1", "fd00::1/64")}
	if err := a.Validate(); err != nil {
		t.Error(err)
	}
}
