package metadata

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/openimds/openimds"
)

// value makes the item of a row.
type value = func(it Item, v *View, a args) Item

// constant is a value that is the same everywhere.
func constant(s string) value {
	return func(it Item, _ *View, _ args) Item {
		it.Body = append(it.Body, s...)
		return it
	}
}

// text is a value that the instance has as a text.
func text(f func(in *openimds.Instance) string) value {
	return func(it Item, v *View, _ args) Item {
		it.Body = append(it.Body, f(v.Instance)...)
		return it
	}
}

// body is a value that is written to the end of b.
func body(f func(b []byte, in *openimds.Instance) []byte) value {
	return func(it Item, v *View, _ args) Item {
		it.Body = f(it.Body, v.Instance)
		return it
	}
}

// primary is a value of the first interface; an instance without interfaces does not have it.
func primary(f func(b []byte, n *openimds.NIC) []byte) value {
	return func(it Item, v *View, _ args) Item {
		if len(v.Instance.NICs) > 0 {
			it.Body = f(it.Body, &v.Instance.NICs[0])
		}
		return it
	}
}

// nic is a value of the interface that the path names.
func nic(f func(b []byte, n *openimds.NIC) []byte) value {
	return func(it Item, v *View, a args) Item {
		it.Body = f(it.Body, &v.Instance.NICs[a[0]])
		return it
	}
}

// always is the condition of a category that exists everywhere.
func always(*View, args) bool { return true }

// Values of several parts have one a line, without a final line feed; empty parts are left out.

func appendLines(b []byte, parts []string) []byte {
	for _, p := range parts {
		if p != "" {
			b = append(nextLine(b), p...)
		}
	}
	return b
}

func appendAddrs(b []byte, addrs []netip.Addr) []byte {
	for _, a := range addrs {
		if a.IsValid() {
			b = a.AppendTo(nextLine(b))
		}
	}
	return b
}

func appendPrefixes(b []byte, prefixes []netip.Prefix) []byte {
	for _, p := range prefixes {
		if p.IsValid() {
			b = p.AppendTo(nextLine(b))
		}
	}
	return b
}

func appendCIDRs(b []byte, blocks []netip.Prefix) []byte {
	for _, p := range blocks {
		b = appendCIDR(b, p)
	}
	return b
}

// appendCIDR writes a block of a subnet or a VPC. Current hosts write the IPv6 ones with all eight
// groups ("2406:da18:86c:daf1:0:0:0:0/64"), while they compress addresses as usual.
func appendCIDR(b []byte, p netip.Prefix) []byte {
	if !p.IsValid() {
		return b
	}
	b = nextLine(b)
	if p.Addr().Is4() {
		return p.AppendTo(b)
	}
	groups := p.Addr().As16()
	for i := 0; i < len(groups); i += 2 {
		if i > 0 {
			b = append(b, ':')
		}
		b = strconv.AppendUint(b, uint64(groups[i])<<8|uint64(groups[i+1]), 16)
	}
	return strconv.AppendInt(append(b, '/'), int64(p.Bits()), 10)
}

// nextLine ends the line before, if there is one.
func nextLine(b []byte) []byte {
	if len(b) > 0 {
		b = append(b, '\n')
	}
	return b
}

// appendTime writes a time as the service does: RFC 3339 in UTC, to the second.
func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
}
