package control

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/openimds/openimds"
)

// maxPorts is how many firewall rules an instance has at most; Lightsail allows 60. maxPort is the last port.
const (
	maxPorts = 60
	maxPort  = 65535
)

// PutPorts replaces the firewall rules that an instance shows. They are kept for the sake of
// Lightsail's tools; the firewall is the host's own affair, and nothing here carries them out.
// Several for the same ports and protocol become one.
//
// Errors: InvalidInput/TooMany for too many rules, InvalidInput/UnknownValue, InvalidInput/OutOfRange and
// InvalidInput/Malformed for one that cannot be; NotFound/DoesNotExist.
func (s *Service) PutPorts(ctx context.Context, name string, ports []openimds.Port) (openimds.Operation, error) {
	if err := checkPortNumber(len(ports)); err != nil {
		return openimds.Operation{}, err
	}
	for i := range ports {
		if err := checkPort(ports[i]); err != nil {
			return openimds.Operation{}, err
		}
	}
	return s.editPorts(ctx, "PutInstancePublicPorts", "", name, func(in *openimds.Instance) {
		opened := slices.Clone(ports)
		for i := range opened {
			openPort(&opened[i], in.AddressType)
		}
		in.Ports = JoinPorts(opened)
	})
}

// OpenPorts adds a firewall rule to those that an instance shows. One for the same ports and protocol lets in
// whom it names as well.
//
// Errors: InvalidInput/TooMany for a rule too many, InvalidInput/UnknownValue, InvalidInput/OutOfRange and
// InvalidInput/Malformed for one that cannot be; NotFound/DoesNotExist.
func (s *Service) OpenPorts(ctx context.Context, name string, port openimds.Port) (openimds.Operation, error) {
	if err := checkPort(port); err != nil {
		return openimds.Operation{}, err
	}
	return s.editPorts(ctx, "OpenInstancePublicPorts", portDetails(port), name, func(in *openimds.Instance) {
		openPort(&port, in.AddressType)
		in.Ports = JoinPorts(append(slices.Clone(in.Ports), port))
	})
}

// ClosePorts takes a firewall rule away from those that an instance shows: the one for the same ports and protocol, or
// of it the blocks that are named. What is not open stays so.
//
// Errors: InvalidInput/UnknownValue, InvalidInput/OutOfRange and InvalidInput/Malformed for a rule that cannot be;
// InvalidInput/TooMany where the instance has too many; NotFound/DoesNotExist.
func (s *Service) ClosePorts(ctx context.Context, name string, port openimds.Port) (openimds.Operation, error) {
	if err := checkPort(port); err != nil {
		return openimds.Operation{}, err
	}
	closed := canonicalPort(port)
	return s.editPorts(ctx, "CloseInstancePublicPorts", portDetails(port), name, func(in *openimds.Instance) {
		in.Ports = JoinPorts(in.Ports) // what earlier releases stored may have several rules for these ports
		i := slices.IndexFunc(in.Ports, func(rule openimds.Port) bool { return samePorts(rule, closed) })
		if i < 0 {
			return
		}
		rule := &in.Ports[i]
		rule.CIDRs, rule.IPv6CIDRs = without(rule.CIDRs, closed.CIDRs), without(rule.IPv6CIDRs, closed.IPv6CIDRs)
		if len(closed.CIDRs)+len(closed.IPv6CIDRs) == 0 || len(rule.CIDRs)+len(rule.IPv6CIDRs) == 0 {
			in.Ports = slices.Delete(in.Ports, i, i+1)
		}
	})
}

// editPorts changes an instance's rules, whose number it looks at.
func (s *Service) editPorts(ctx context.Context, what, details, name string, edit func(*openimds.Instance)) (openimds.Operation, error) {
	d, err := s.commit(ctx, what, func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		edit(in)
		if err := checkPortNumber(len(in.Ports)); err != nil {
			return err
		}
		d.putInstance(was, in)
		op := instanceOperation(what, in)
		op.Details = details
		d.operation(op)
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// portDetails is what Lightsail's operations say of one port; what they say of several is not known.
func portDetails(p openimds.Port) string {
	if p = canonicalPort(p); p.From != p.To {
		return ""
	}
	return fmt.Sprintf("%d/%s", p.From, p.Protocol)
}

// JoinPorts writes rules in the one way in which they can be compared, with one for the same ports and protocol: whoever
// closes ports means all of them. Instances that earlier releases stored may have rules that are not so.
func JoinPorts(ports []openimds.Port) (joined []openimds.Port) {
	for _, p := range ports {
		p = canonicalPort(p)
		i := slices.IndexFunc(joined, func(rule openimds.Port) bool { return samePorts(rule, p) })
		if i < 0 {
			joined = append(joined, p)
			continue
		}
		rule := &joined[i]
		rule.CIDRs, rule.IPv6CIDRs = with(rule.CIDRs, p.CIDRs), with(rule.IPv6CIDRs, p.IPv6CIDRs)
	}
	return joined
}

// canonicalPort is a rule in the one way in which it is kept. All protocols without ports are all ports. Ports of
// another protocol that are left out are 0, since Lightsail's clients leave out a 0.
func canonicalPort(p openimds.Port) openimds.Port {
	if p.Protocol == "all" && p.From == 0 && p.To == 0 {
		p.To = maxPort
	}
	p.CIDRs, p.IPv6CIDRs = with(nil, canonicalCIDRs(p.CIDRs)), with(nil, canonicalCIDRs(p.IPv6CIDRs))
	return p
}

// canonicalCIDRs writes addresses as blocks of one, and blocks by their first address, as EC2's firewall does.
func canonicalCIDRs(cidrs []string) []string {
	blocks := make([]string, len(cidrs))
	for i, cidr := range cidrs {
		blocks[i] = cidr
		if block, ok := parseCIDR(cidr); ok {
			blocks[i] = block.Masked().String()
		}
	}
	return blocks
}

// parseCIDR reads an address or a block.
func parseCIDR(s string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), addr.Zone() == ""
	}
	block, err := netip.ParsePrefix(s)
	return block, err == nil
}

func samePorts(a, b openimds.Port) bool {
	return a.From == b.From && a.To == b.To && a.Protocol == b.Protocol
}

func checkPortNumber(n int) error {
	if n > maxPorts {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "An instance has at most %d port rules, not %d", maxPorts, n)
	}
	return nil
}

// with is list and what of more it does not have.
func with(list, more []string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// without is list without what is in less.
func without(list, less []string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return slices.Contains(less, s) })
}

// checkPort refuses what Lightsail refuses.
func checkPort(p openimds.Port) error {
	if !slices.Contains([]string{"tcp", "all", "udp", "icmp", "icmpv6"}, p.Protocol) {
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The protocol of a port rule is tcp, udp, icmp, icmpv6 or all, not %.20q", p.Protocol)
	}
	low := 0
	if p.Protocol == "icmp" || p.Protocol == "icmpv6" { // type and code; -1 is all
		low = -1
	}
	if p.From < low || p.To < low || p.From > maxPort || p.To > maxPort || low == 0 && p.From > p.To {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The ports %d to %d are not a range of %d to %d", p.From, p.To, low, maxPort)
	}
	for _, cidr := range p.CIDRs {
		if !isCIDR(cidr, false) {
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%.60q is not an IPv4 address or block", cidr)
		}
	}
	for _, cidr := range p.IPv6CIDRs {
		if !isCIDR(cidr, true) {
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%.60q is not an IPv6 address or block", cidr)
		}
	}
	return nil
}

func isCIDR(s string, v6 bool) bool {
	block, ok := parseCIDR(s)
	return ok && block.Addr().Is6() == v6
}

// openPort lets everybody in where a rule names nobody.
func openPort(p *openimds.Port, addressType string) {
	if len(p.CIDRs) > 0 || len(p.IPv6CIDRs) > 0 {
		return
	}
	if addressType != openimds.AddressIPv6 {
		p.CIDRs = []string{"0.0.0.0/0"}
	}
	if addressType != openimds.AddressIPv4 {
		p.IPv6CIDRs = []string{"::/0"}
	}
}
