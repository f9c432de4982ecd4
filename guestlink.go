package openimds

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// GuestLink is a network interface of a guest as the guest itself has it.
type GuestLink struct {
	MAC string `json:"mac,omitempty"` // empty: it is not known
	// Addresses are its own, the primary one of each family first, with the length of their subnet's prefix;
	// a whole address where the subnet is not known.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// MaxGuestLinks is the most interfaces of a guest that it is told of, and MaxGuestAddresses the most addresses
// of one: as many as the largest instance types of EC2 have.
const (
	MaxGuestLinks     = 15
	MaxGuestAddresses = 50
)

// Links are the interfaces that the guest of an attachment is told of, the primary one first: as the operator
// said, and as the host has learned where the operator said nothing.
func (a *Attachment) Links() []GuestLink {
	links := slices.Clone(a.Learned)
	given := GuestLink{MAC: a.givenMAC(), Addresses: a.givenAddresses()}
	if given.MAC == "" && len(given.Addresses) == 0 {
		return links
	}
	if len(links) == 0 {
		return []GuestLink{given}
	}
	links[0] = GuestLink{MAC: cmp.Or(given.MAC, links[0].MAC), Addresses: over(given.Addresses, links[0].Addresses)}
	return links
}

// givenMAC is the guest's MAC address as the operator said; empty: nothing was said. That of the host's own end of
// a link marks the link and is not the guest's.
func (a *Attachment) givenMAC() string {
	switch {
	case a.GuestMAC != "":
		return a.GuestMAC
	case a.Interface == "" || a.Bound != nil && a.Bound.MAC != a.MAC:
		return a.MAC
	}
	return ""
}

// givenAddresses are the guest's own as the operator said: by name, or as the only source of its calls.
func (a *Attachment) givenAddresses() []netip.Prefix {
	if len(a.PrivateIPs) > 0 {
		return a.PrivateIPs
	}
	var out []netip.Prefix
	for _, p := range a.Sources {
		if p.IsSingleIP() {
			out = append(out, p)
		}
	}
	return out
}

// over lays the given addresses over the learned ones: those of a family that was given are no others. A given one
// whose subnet was not said has the one that it was learned with.
func over(given, learned []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	is4, is6 := false, false
	for _, p := range given {
		is4, is6 = is4 || p.Addr().Is4(), is6 || p.Addr().Is6()
		if i := slices.IndexFunc(learned, func(l netip.Prefix) bool { return l.Addr() == p.Addr() }); i >= 0 && p.IsSingleIP() {
			p = learned[i]
		}
		out = append(out, p)
	}
	for _, p := range learned {
		if p.Addr().Is4() && !is4 || p.Addr().Is6() && !is6 {
			out = append(out, p)
		}
	}
	return out
}

// ValidateGuestLinks refuses what no guest can have.
func ValidateGuestLinks(links []GuestLink) error {
	if len(links) > MaxGuestLinks {
		return Errorf(InvalidInput, TooMany, "A guest is told of at most %d interfaces", MaxGuestLinks)
	}
	macs := map[string]bool{}
	for _, l := range links {
		if err := validateGuestMAC(l.MAC); err != nil {
			return err
		}
		if macs[l.MAC] && l.MAC != "" {
			return Errorf(InvalidInput, Duplicate, "The MAC address %s is given twice", l.MAC)
		}
		macs[l.MAC] = true
		if err := validatePrivateIPs(l.Addresses); err != nil {
			return err
		}
	}
	return nil
}

func validateGuestMAC(mac string) error {
	switch {
	case mac == "":
		return nil
	case !macForm(mac):
		return Errorf(InvalidInput, Malformed, "%.40q is not a MAC address of the form 52:54:00:12:34:56", mac)
	case mac == "00:00:00:00:00:00" || strings.ContainsAny(mac[1:2], "13579bdf"):
		return Errorf(InvalidInput, Malformed, "%s is not the MAC address of one interface, but of a group or of none", mac)
	}
	return nil
}

func validatePrivateIPs(all []netip.Prefix) error {
	if len(all) > MaxGuestAddresses {
		return Errorf(InvalidInput, TooMany, "A guest's interface has at most %d addresses", MaxGuestAddresses)
	}
	for i, p := range all {
		a := p.Addr()
		switch {
		case !p.IsValid() || p.Bits() == 0 || a.Is4In6() || a.Zone() != "":
			return Errorf(InvalidInput, Malformed, "The private address %v is not an address of IPv4 or IPv6, with the length of its subnet's prefix or without", p)
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a == broadcast || a == metadata6:
			return Errorf(InvalidInput, Reserved, "The private address cannot be %v: it belongs to no guest", a)
		case slices.ContainsFunc(all[:i], func(o netip.Prefix) bool { return o.Addr() == a }):
			return Errorf(InvalidInput, Duplicate, "The private address %v is given twice", a)
		}
	}
	return nil
}

var (
	broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	metadata6 = netip.MustParseAddr("fd00:ec2::254")
)

// Told is the instance as its guest is told of it, and everybody else: with the interfaces that the guest has, as
// far as its attachment knows them, in the place of those that were made up. It is the instance itself where nothing
// is known; else a copy that shares what is the same.
//
// Addresses that are known are all that there are: a guest that has IPv4 alone is told of no IPv6. Where only the MAC
// address is known, the addresses stay made up.
func (in *Instance) Told() *Instance {
	if len(in.Links) == 0 || len(in.NICs) == 0 {
		return in
	}
	out := *in
	out.NICs = []NIC{in.NICs[0].as(in.Links[0], in)}
	if !slices.ContainsFunc(in.Links, func(l GuestLink) bool { return len(l.Addresses) > 0 }) {
		out.NICs = append(out.NICs, in.NICs[1:]...)
		return &out
	}
	for i, l := range in.Links[1:] {
		made := NIC{
			ID: "eni-" + stableID("eni", in.ID, l.MAC), DeviceNumber: i + 1, LocalHostname: in.NICs[0].LocalHostname,
			VPCID: in.NICs[0].VPCID, SecurityGroups: in.NICs[0].SecurityGroups, SecurityGroupIDs: in.NICs[0].SecurityGroupIDs,
		}
		out.NICs = append(out.NICs, made.as(l, in))
	}
	shareVPC(out.NICs, in.NICs[0].VPCIPv4CIDRs)
	return &out
}

// as is the interface with a guest's addresses, and all that follows from them.
func (nic *NIC) as(l GuestLink, in *Instance) NIC {
	out := *nic
	out.MAC = cmp.Or(l.MAC, nic.MAC)
	if len(l.Addresses) == 0 {
		return out
	}
	out.PrivateIPv4, out.IPv6, out.SubnetIPv6CIDRs = nil, nil, nil
	var subnet netip.Prefix
	for _, p := range l.Addresses {
		if p.Addr().Is4() {
			if len(out.PrivateIPv4) == 0 {
				subnet = nic.subnetOf(p)
			}
			out.PrivateIPv4 = append(out.PrivateIPv4, p.Addr())
			continue
		}
		out.IPv6 = append(out.IPv6, p.Addr())
		if s := p.Masked(); !slices.Contains(out.SubnetIPv6CIDRs, s) {
			out.SubnetIPv6CIDRs = append(out.SubnetIPv6CIDRs, s)
		}
	}
	if subnet != nic.SubnetIPv4CIDR || nic.SubnetID == "" {
		out.SubnetIPv4CIDR = subnet
		of := subnet
		if len(out.SubnetIPv6CIDRs) > 0 && !subnet.IsValid() {
			of = out.SubnetIPv6CIDRs[0]
		}
		out.SubnetID = "subnet-" + stableID("subnet", in.Zone, of.String())
	}
	if len(out.PrivateIPv4) == 0 {
		out.Associations, out.PublicHostname, out.IPv4Prefixes = nil, "", nil
		return out
	}
	if nic.DeviceNumber > 0 || madeHostname(nic.LocalHostname, in.Region) {
		out.LocalHostname = PrivateHostname(out.PrivateIPv4[0], in.Region)
	}
	out.Associations = slices.Clone(nic.Associations)
	for i := range out.Associations {
		out.Associations[i].Private = out.PrivateIPv4[:1]
	}
	return out
}

// subnetOf is the subnet of an address: that which was said with it, or the made-up one if it is in that.
func (nic *NIC) subnetOf(p netip.Prefix) netip.Prefix {
	if p.IsSingleIP() && nic.SubnetIPv4CIDR.IsValid() && nic.SubnetIPv4CIDR.Contains(p.Addr()) {
		return nic.SubnetIPv4CIDR
	}
	return p.Masked()
}

// shareVPC gives all interfaces the blocks of one network: those that were made up where they hold the subnets,
// and else the subnets.
func shareVPC(nics []NIC, made []netip.Prefix) {
	var blocks, blocks6 []netip.Prefix
	for i := range nics {
		if s := nics[i].SubnetIPv4CIDR; s.IsValid() {
			for _, m := range made {
				if m.Bits() <= s.Bits() && m.Contains(s.Addr()) {
					s = m
				}
			}
			if !slices.Contains(blocks, s) {
				blocks = append(blocks, s)
			}
		}
		for _, s := range nics[i].SubnetIPv6CIDRs {
			if !slices.Contains(blocks6, s) {
				blocks6 = append(blocks6, s)
			}
		}
	}
	for i := range nics {
		nics[i].VPCIPv4CIDRs, nics[i].VPCIPv6CIDRs = blocks, blocks6
	}
}

// madeHostname says whether a private name was made of an address that was made up, and not given by an operator.
func madeHostname(name, region string) bool {
	text, ok := strings.CutPrefix(name, "ip-")
	if !ok {
		return false
	}
	text, _, _ = strings.Cut(text, ".")
	addr, err := netip.ParseAddr(strings.ReplaceAll(text, "-", "."))
	return err == nil && madeUp.Contains(addr) && PrivateHostname(addr, region) == name
}
