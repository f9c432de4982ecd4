package hostnet

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// The words that rules are made of. A rule is a list of matches and then of what to do; the first
// match that fails ends it. Register 1 is the accumulator; keys of two parts sit in the 32-bit
// registers 8 and up, of which register 1 is the first four.
const (
	acc  = 1
	key1 = 8
	key2 = 9
)

type rule []expr.Any

func does(parts ...rule) rule {
	var r rule
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

func metaIs(key expr.MetaKey, want []byte) rule {
	return rule{&expr.Meta{Key: key, Register: acc}, is(want)}
}

func is(want []byte) expr.Any  { return &expr.Cmp{Op: expr.CmpOpEq, Register: acc, Data: want} }
func not(want []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpNeq, Register: acc, Data: want} }

func native(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }
func port(v uint16) []byte   { return binaryutil.BigEndian.PutUint16(v) }

// isProtocol matches the packet's network protocol, in tables of every family.
func isProtocol(ethertype uint16) rule { return metaIs(expr.MetaKeyPROTOCOL, port(ethertype)) }
func isTransport(proto byte) rule      { return metaIs(expr.MetaKeyL4PROTO, []byte{proto}) }

// ourMark matches packets with a mark of the Host, or those without.
func ourMark(mark uint32, ours bool) rule {
	last := is(native(mark))
	if !ours {
		last = not(native(mark))
	}
	return rule{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: acc},
		&expr.Bitwise{SourceRegister: acc, DestRegister: acc, Len: 4, Mask: native(^uint32(indexMask)), Xor: native(0)},
		last,
	}
}

func setMark(mark uint32) rule {
	return rule{
		&expr.Immediate{Register: acc, Data: native(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: acc},
	}
}

// isTransparent matches packets whose socket is.
func isTransparent() rule {
	return rule{&expr.Socket{Key: expr.SocketKeyTransparent, Register: acc}, is([]byte{1})}
}

func load(base expr.PayloadBase, offset, length, register uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: register, Base: base, Offset: offset, Len: length}
}

func networkIs(offset uint32, want []byte) rule {
	return rule{load(expr.PayloadBaseNetworkHeader, offset, uint32(len(want)), acc), is(want)}
}

func transportIs(offset uint32, want []byte) rule {
	return rule{load(expr.PayloadBaseTransportHeader, offset, uint32(len(want)), acc), is(want)}
}

// family is what differs between IPv4 and IPv6.
type family struct {
	name       string // suffix of sets and chains
	version    string // for people
	addr       netip.Addr
	af         int
	ethertype  uint16
	src, dst   uint32 // offsets in the header
	hops       uint32
	hopsCsum   expr.PayloadCsumType
	addrType   nftables.SetDatatype
	hostPrefix int
}

var families = []*family{v4, v6}

var v4 = &family{
	name: "4", version: "IPv4", addr: addr4, af: unix.AF_INET, ethertype: unix.ETH_P_IP, src: 12, dst: 16, hops: 8,
	hopsCsum: expr.CsumTypeInet, addrType: nftables.TypeIPAddr, hostPrefix: 32,
}

var v6 = &family{
	name: "6", version: "IPv6", addr: addr6, af: unix.AF_INET6, ethertype: unix.ETH_P_IPV6, src: 8, dst: 24, hops: 7,
	hopsCsum: expr.CsumTypeNone, addrType: nftables.TypeIP6Addr, hostPrefix: 128,
}

func familyOf(a netip.Addr) *family {
	if a.Is4() {
		return v4
	}
	return v6
}

func (f *family) to() rule { return does(isProtocol(f.ethertype), networkIs(f.dst, f.addr.AsSlice())) }
func (f *family) from() rule {
	return does(isProtocol(f.ethertype), networkIs(f.src, f.addr.AsSlice()))
}

func interfaceIn(key expr.MetaKey, s *nftables.Set) rule {
	return rule{&expr.Meta{Key: key, Register: acc}, in(s)}
}

// in looks for what is in the accumulator.
func in(s *nftables.Set) expr.Any { return lookup(s, acc, false) }

func lookup(s *nftables.Set, from uint32, invert bool) expr.Any {
	return &expr.Lookup{SourceRegister: from, SetName: s.Name, SetID: s.ID, Invert: invert}
}

// fetch replaces what is in register from by its value in the map; a key that is not there ends the rule.
func fetch(m *nftables.Set, from uint32) rule {
	return rule{&expr.Lookup{SourceRegister: from, DestRegister: acc, IsDestRegSet: true, SetName: m.Name, SetID: m.ID}}
}

// writePort writes the port in the accumulator into a TCP header.
func writePort(offset uint32) rule {
	return rule{&expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: acc, Base: expr.PayloadBaseTransportHeader,
		Offset: offset, Len: 2, CsumType: expr.CsumTypeInet, CsumOffset: 16,
	}}
}

const (
	sourcePort      = 0
	destinationPort = 2
)

var (
	accept = rule{&expr.Verdict{Kind: expr.VerdictAccept}}
	leave  = rule{&expr.Verdict{Kind: expr.VerdictReturn}}
	drop   = rule{&expr.Verdict{Kind: expr.VerdictDrop}}
)

// goTo does not come back to the rules behind it.
func goTo(chain string) rule { return rule{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}} }

func jump(chain string) rule { return rule{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }

// Neighbour discovery, RFC 4861 section 4: type, and after eight bytes the target.
const (
	ndSolicitation  = 135
	ndAdvertisement = 136
)

func neighbour(kind byte) rule {
	return does(isProtocol(unix.ETH_P_IPV6), isTransport(unix.IPPROTO_ICMPV6),
		transportIs(0, []byte{kind}), transportIs(8, addr6.AsSlice()))
}

// ARP, RFC 826, for IPv4 over Ethernet: operation, and the addresses of sender and target.
func arpRequest() rule {
	return does(isProtocol(unix.ETH_P_ARP), networkIs(6, port(1)), networkIs(24, addr4.AsSlice()))
}

func arpFrom() rule { return does(isProtocol(unix.ETH_P_ARP), networkIs(14, addr4.AsSlice())) }

// chain is a base chain, or with no hook one to jump to.
type chain struct {
	name     string
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	device   string // of family netdev
}

// book puts chains and rules into one table.
type book struct {
	conn  *nftables.Conn
	table *nftables.Table
	chain *nftables.Chain
}

func (b *book) open(c chain) {
	b.chain = &nftables.Chain{Name: c.name, Table: b.table, Device: c.device}
	if c.hook != nil {
		b.chain.Type, b.chain.Hooknum, b.chain.Priority = nftables.ChainTypeFilter, c.hook, &c.priority
	}
	b.conn.AddChain(b.chain)
}

// add adds a rule; the comment is for whoever lists the tables.
func (b *book) add(comment string, parts ...rule) {
	b.conn.AddRule(&nftables.Rule{
		Table: b.table, Chain: b.chain, Exprs: does(parts...),
		UserData: userdata.AppendString(nil, userdata.TypeComment, comment),
	})
}
