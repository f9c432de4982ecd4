package hostnet

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A packet for a metadata address can be inside another one that is for this host: in a tunnel that the
// host ends, or behind a source route. The host takes it out, or turns it round, after the rules have seen
// the outer one, and it seems to come from the tunnel's interface. So what a guest has the host take out is
// marked, the mark goes along, and what comes out with it finds no metadata service, not even the host's
// own.

// unwrappedIndex is the mark of what may be taken out of a guest's packet. It is one bit of the index, so as
// to disturb others' use of marks as little as can be.
const unwrappedIndex = 1 << 23

// From linux/netfilter/nf_tables.h.
const (
	presence      = 1 // NFT_EXTHDR_F_PRESENT
	operationIPv4 = 2 // NFT_EXTHDR_OP_IPV4
)

// isUnwrapped matches what came out of a guest's packet.
func (f *firewall) isUnwrapped() rule { return metaIs(expr.MetaKeyMARK, native(f.mark|unwrappedIndex)) }

func (f *firewall) notUnwrapped() rule {
	return rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: acc}, not(native(f.mark | unwrappedIndex))}
}

// mayUnwrap is for packets of guests that have arrived at this host: it marks what can have another inside,
// unless the host has its own mark on it, and drops IPv6 source routes.
func (f *firewall) mayUnwrap(b *book, t *table) {
	guests := interfaceIn(expr.MetaKeyIIF, t.sets[interfaces])
	routed := rule{
		&expr.Exthdr{DestRegister: acc, Type: unix.IPPROTO_ROUTING, Len: 1, Flags: presence, Op: expr.ExthdrOpIpv6}, is([]byte{1}),
	}
	b.add("nobody is sent on: IPv6", isProtocol(unix.ETH_P_IPV6), guests, routed, drop)
	b.add("what is inside is the guest's too", rule{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: acc},
		not([]byte{unix.IPPROTO_TCP}), not([]byte{unix.IPPROTO_ICMP}), not([]byte{unix.IPPROTO_ICMPV6}),
	}, metaIs(expr.MetaKeyMARK, native(0)), guests, setMark(f.mark|unwrappedIndex))
}

// sourceRoute is for packets from guests: the host would send them on, to an address that the rules have not
// seen (RFC 791, loose and strict source routes). Few hosts would, and no guest needs it.
func sourceRoute(b *book, from rule) {
	const loose, strict = 131, 137
	for _, option := range []uint8{loose, strict} {
		b.add("nobody is sent on: IPv4", isProtocol(unix.ETH_P_IP), rule{load(expr.PayloadBaseNetworkHeader, 0, 1, acc), not([]byte{0x45})}, from,
			rule{&expr.Exthdr{DestRegister: acc, Type: option, Len: 1, Flags: presence, Op: operationIPv4}, is([]byte{1})}, drop)
	}
}

// discovery is a chain for fragments of IPv6: neighbour discovery is never sent in any (RFC 6980), and one
// whose first does not show what it is (RFC 7112) could be.
func discovery(b *book) {
	const offset = 2
	b.open(chain{name: "discovery"})
	b.add("not the first", rule{
		&expr.Exthdr{DestRegister: acc, Type: unix.IPPROTO_FRAGMENT, Offset: offset, Len: 2, Op: expr.ExthdrOpIpv6},
		&expr.Bitwise{SourceRegister: acc, DestRegister: acc, Len: 2, Mask: []byte{0xff, 0xf8}, Xor: []byte{0, 0}}, not([]byte{0, 0}),
	}, leave)
	b.add("something else", rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: acc}, not([]byte{unix.IPPROTO_ICMPV6})}, leave)
	b.add("something else", isTransport(unix.IPPROTO_ICMPV6), rule{
		load(expr.PayloadBaseTransportHeader, 0, 1, acc),
		&expr.Range{Op: expr.CmpOpNeq, Register: acc, FromData: []byte{133}, ToData: []byte{137}},
	}, leave)
	b.add("neighbour discovery in fragments", drop)
}

func inFragments() rule {
	return does(isProtocol(unix.ETH_P_IPV6), rule{
		&expr.Exthdr{DestRegister: acc, Type: unix.IPPROTO_FRAGMENT, Len: 1, Flags: presence, Op: expr.ExthdrOpIpv6}, is([]byte{1}),
	})
}

// uppers are the interfaces of this host that are made of another one, or of what is made of it: those of
// its VLANs, for instance. A guest reaches them by the other one.
func (ls *links) uppers(index int) []int {
	all := []int{index}
	for i := 0; i < len(all); i++ {
		for _, upper := range ls.byParent[all[i]] {
			if !slices.Contains(all, upper) {
				all = append(all, upper)
			}
		}
	}
	return all[1:]
}

// guardUppers is the elements that keep the guests of an attachment from finding another metadata service
// by an interface that is made of theirs.
func guardUppers(uppers []int) (out []element) {
	for _, index := range uppers {
		out = append(out, element{family: nftables.TableFamilyINet, set: interfaces, key: string(native(uint32(index)))})
	}
	return out
}
