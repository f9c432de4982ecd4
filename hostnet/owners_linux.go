package hostnet

import (
	"errors"
	"net"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What a guest on a bridge has, others there must not take. The MAC address of a guest is its own where the
// host knows it: that of the other end of a veth. An address that an attached port calls the metadata service
// from is not claimed, in front of attached ports, by other attached ports, unless they call from it too or have
// announced it when nobody called from it. So who calls is protected from those who claim its address later, and
// nobody can keep an address from its owner by calling from it: not from one that calls, nor from a quiet one.
// Ports that are not attached may lead to routers, and are heard. Frames for the metadata service itself are
// judged by none of this; they are known by their port.

// The sets of what belongs to whom.
const (
	bridges = "bridges" // port → bridge
	macs    = "macs"    // bridge . MAC address: somebody's
	ownMACs = "own"     // port . MAC address
	gossip  = "gossip"  // port: how fast it comes with new addresses
)

func asked(f *family) string { return "asked" + f.name } // port . address that it calls from
func heard(f *family) string { return "heard" + f.name } // port . address that it announced when nobody called from it
func taken(f *family) string { return "taken" + f.name } // bridge . address that a port calls from

// Bounds of what is noted of addresses.
const (
	askedLasts = 10 * time.Minute
	askedMost  = 1 << 18
	askedRate  = 1 // a second, of one port
	askedBurst = 64
	heardLasts = time.Hour
)

func (t *table) ownerSets(conn *nftables.Conn) error {
	device, station := nftables.TypeIFIndex, nftables.TypeEtherAddr
	errs := []error{
		t.addSet(conn, bridges, &device, device),
		t.addSet(conn, macs, nil, device, station),
		t.addSet(conn, ownMACs, nil, device, station),
		t.learned(conn, pace, askedLasts, askedMost, nil, device),
		t.learned(conn, gossip, askedLasts, askedMost, nil, device),
	}
	for _, f := range families {
		errs = append(errs,
			t.learned(conn, asked(f), askedLasts, askedMost, nil, device, f.addrType),
			t.learned(conn, heard(f), heardLasts, askedMost, nil, device, f.addrType),
			t.learned(conn, taken(f), askedLasts, askedMost, nil, device, f.addrType))
	}
	return errors.Join(errs...)
}

// owns is the elements that say what belongs to an attachment.
func (a *attachment) owns(iif string, mac net.HardwareAddr) []element {
	bridge := string(native(uint32(a.where.bridge)))
	out := []element{{family: nftables.TableFamilyBridge, set: bridges, key: iif, value: bridge}}
	if len(mac) == macLength {
		padded := string(mac) + "\x00\x00" // a part of a key fills registers
		out = append(out,
			element{family: nftables.TableFamilyBridge, set: macs, key: bridge + padded},
			element{family: nftables.TableFamilyBridge, set: ownMACs, key: iif + padded})
	}
	return out
}

// owners fills the chain that notes which addresses a port calls from.
func (f *firewall) owners(b *book, t *table, fam *family) {
	b.open(chain{name: "owner" + fam.name})
	b.add("a frame with a tag", rule{load(expr.PayloadBaseLLHeader, 12, 2, acc), in(t.sets[tags])},
		rule{&expr.Immediate{Register: acc, Data: native(hadTag)}, &expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: acc}})
	address := load(expr.PayloadBaseNetworkHeader, fam.src, 4*fam.words(), key2)
	b.add("not too fast", rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}, address, lookup(t.sets[asked(fam)], key1, true),
		tooFast(t.sets[pace], key1, askedRate, askedBurst)}, leave)
	b.add("this port calls from the address", rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}, address, update(t.sets[asked(fam)], key1, 0)})
	b.add("a port of this bridge does", rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}, fetchTo(t.sets[bridges], key1, key1), address,
		update(t.sets[taken(fam)], key1, 0)})
}

// othersAddress matches what an attached port says of an address that is not its own and that others call from.
func othersAddress(t *table, fam *family, address expr.Any) rule {
	return does(calledFrom(t, fam, address, false), rule{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}, lookup(t.sets[asked(fam)], key1, true), lookup(t.sets[heard(fam)], key1, true),
	})
}

// calledFrom matches frames from an attached port with an address that a port of its bridge calls from, or
// that none does.
func calledFrom(t *table, fam *family, address expr.Any, none bool) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}, fetchTo(t.sets[bridges], key1, key1), address, lookup(t.sets[taken(fam)], key1, none)}
}

// announcements notes the addresses that a port announces and nobody calls from.
func announcements(b *book, t *table) {
	for _, a := range []struct {
		kind    string
		fam     *family
		message rule
		address expr.Any
	}{
		{"ARP", v4, isProtocol(unix.ETH_P_ARP), arpSender},
		{"ND advertisement", v6, ndMessage(ndAdvertisement), ndTarget},
		{"ND question", v6, ndMessage(ndSolicitation), ndSource},
	} {
		heard, port := t.sets[heard(a.fam)], rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}}
		b.add("it announces what it has before: "+a.kind, a.message, port, rule{a.address, lookup(heard, key1, false), update(heard, key1, 0)})
		b.add("it announces what nobody calls from: "+a.kind, a.message, calledFrom(t, a.fam, a.address, true), port,
			rule{lookup(heard, key1, true), within(t.sets[gossip], key1, askedRate, askedBurst), update(heard, key1, 0)})
	}
}

// Where ARP has the addresses of sender and target, and neighbour discovery that which it is about.
var (
	arpSender    = load(expr.PayloadBaseNetworkHeader, 14, 4, key2)
	arpTarget    = load(expr.PayloadBaseNetworkHeader, 24, 4, key2)
	ndSource     = load(expr.PayloadBaseNetworkHeader, 8, 16, key2)
	ndTarget     = load(expr.PayloadBaseTransportHeader, 8, 16, key2)
	arpOperation = func(op uint16) rule { return does(isProtocol(unix.ETH_P_ARP), networkIs(6, port(op))) }
	ndMessage    = func(kind byte) rule {
		return does(isProtocol(unix.ETH_P_IPV6), isTransport(unix.IPPROTO_ICMPV6), transportIs(0, []byte{kind}))
	}
)

// noClaims keeps guests from hearing others claim what is not theirs.
func noClaims(b *book, t *table) {
	const comment = "an address that others call from"
	b.add(comment+": ARP", isProtocol(unix.ETH_P_ARP), othersAddress(t, v4, arpSender), drop)
	b.add(comment+": ND advertisement", ndMessage(ndAdvertisement), othersAddress(t, v6, ndTarget), drop)
	b.add(comment+": ND question", ndMessage(ndSolicitation), othersAddress(t, v6, ndSource), drop)
}

// noClaimsToHost does so for the host. It hears a question, whoever says to ask: a guest has to ask for its
// router before it can call.
func noClaimsToHost(b *book, t *table) {
	const comment = "an address that others call from"
	b.add(comment+": ARP answer", arpOperation(2), othersAddress(t, v4, arpSender), drop)
	b.add(comment+": ARP announcement", arpOperation(1), calledFrom(t, v4, arpTarget, false), othersAddress(t, v4, arpSender), drop)
	b.add(comment+": ND advertisement", ndMessage(ndAdvertisement), othersAddress(t, v6, ndTarget), drop)
}

// othersStation matches frames from a port with the MAC address of another's guest.
func othersStation(t *table) rule {
	return rule{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}, fetchTo(t.sets[bridges], key1, key1), loadMAC(macFrom, key2), lookup(t.sets[macs], key1, false),
		&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}, lookup(t.sets[ownMACs], key1, true),
	}
}

// guestMAC is the address of the guest at the other end of a link, as far as the host knows it.
func guestMAC(index int) net.HardwareAddr {
	l, err := netlink.LinkByIndex(index)
	if err != nil || l.Type() != "veth" || l.Attrs().ParentIndex == 0 {
		return nil
	}
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(l.Attrs().ParentIndex)
	request.AddData(message)
	if ns := l.Attrs().NetNsID; ns >= 0 {
		request.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, native(uint32(ns))))
	}
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil || len(answers) != 1 {
		return nil
	}
	attributes, err := nl.ParseRouteAttr(answers[0][unix.SizeofIfInfomsg:])
	if err != nil {
		return nil
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.IFLA_ADDRESS {
			return a.Value
		}
	}
	return nil
}
