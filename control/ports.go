package control

import (
	"context"
	"net/netip"
	"slices"

	"github.com/openimds/openimds"
)

// maxPorts is how many firewall rules an instance has at most; Lightsail allows 60.
const maxPorts = 60

// PutPorts replaces the firewall rules that an instance shows. They are kept for the sake of
// Lightsail's tools; the firewall is the host's own affair, and nothing here carries them out.
//
// Errors: InvalidInput/TooMany for too many rules, InvalidInput/UnknownValue, InvalidInput/OutOfRange and
// InvalidInput/Malformed for one that cannot be; NotFound/DoesNotExist.
func (s *Service) PutPorts(ctx context.Context, name string, ports []openimds.Port) (openimds.Operation, error) {
	if len(ports) > maxPorts {
		return openimds.Operation{}, openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "An instance has at most %d port rules, not %d", maxPorts, len(ports))
	}
	for i := range ports {
		if err := checkPort(ports[i]); err != nil {
			return openimds.Operation{}, err
		}
	}
	d, err := s.commit(ctx, "PutInstancePublicPorts", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		in.Ports = slices.Clone(ports)
		for i := range in.Ports {
			openPort(&in.Ports[i], in.AddressType)
		}
		d.putInstance(was, in)
		d.operation(instanceOperation("PutInstancePublicPorts", in))
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
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
	if p.From < low || p.To < low || p.From > 65535 || p.To > 65535 || low == 0 && p.From > p.To {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The ports %d to %d are not a range of %d to 65535", p.From, p.To, low)
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
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Is6() == v6 && addr.Zone() == ""
	}
	prefix, err := netip.ParsePrefix(s)
	return err == nil && prefix.Addr().Is6() == v6
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
