package hostnet

import (
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// bridge fills the table of the ports of bridges. To the host all ports of a bridge are one interface,
// so a packet is given its mark as it enters the port; it then takes the way of other marked packets.
//
// On a bridge guests can talk to each other, so besides telling them apart the table keeps them from
// speaking as the metadata service, from hearing each other's questions for it, and from getting each
// other's answers by taking over a neighbour's address.
func (f *firewall) bridge(conn *nftables.Conn, t *table) error {
	if err := t.guestSets(conn); err != nil {
		return err
	}
	station := nftables.TypeEtherAddr
	if err := t.addSet(conn, stations, &station, nftables.TypeIFIndex); err != nil {
		return err
	}
	if err := t.addSet(conn, pinned, nil, nftables.TypeMark); err != nil {
		return err
	}
	if err := t.addSet(conn, exits, nil, nftables.TypeMark, nftables.TypeIFIndex); err != nil {
		return err
	}
	if err := t.ownerSets(conn); err != nil {
		return err
	}
	if err := t.addConstants(conn, tags, nftables.TypeEtherType, tagTypes()); err != nil {
		return err
	}
	b := &book{conn: conn, table: t.Table}
	for _, fam := range families {
		f.owners(b, t, fam)
		f.guestChain(b, t, fam, toHost(t))
	}
	discovery(b)
	f.fromGuests(b, t)
	f.toGuests(b, t)
	f.portsIn(b, t)
	f.portsThrough(b, t)
	f.portsOut(b, t)
	b.open(chain{name: "input", hook: nftables.ChainHookInput, priority: *nftables.ChainPriorityFilter})
	b.add("for the metadata service", ourMark(f.mark, true), accept)
	noClaimsToHost(b, t)
	f.mayUnwrap(b, t)
	return nil
}

// toHost sends a frame up to the host, whatever station it is addressed to: that of a router
// elsewhere on the link, for instance.
func toHost(t *table) rule {
	return does(
		rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: acc}}, fetch(t.sets[stations], acc),
		rule{
			&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: acc, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 6},
			&expr.Immediate{Register: acc, Data: []byte{0}}, // PACKET_HOST
			&expr.Meta{Key: expr.MetaKeyPKTTYPE, SourceRegister: true, Register: acc},
		})
}

// posing matches what only the metadata service may send.
func posing() map[string]rule {
	return map[string]rule{"IPv4": v4.from(), "IPv6": v6.from(), "ARP": arpFrom(), "ND": neighbour(ndAdvertisement)}
}

// wrapped matches frames whose packet cannot be seen yet: the kernel, or a guest, takes the wrapping off
// behind these rules. They see it without its first VLAN tag.
func wrapped(t *table) map[string]rule {
	return map[string]rule{
		"a tag in a tag": {&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: acc}, in(t.sets[tags])},
		// RFC 1042 and IEEE 802.1H: LLC, SNAP and an Ethernet type.
		"SNAP":             does(isProtocol(unix.ETH_P_802_2), networkIs(0, []byte{0xaa, 0xaa, 3, 0, 0, 0})),
		"SNAP of a tunnel": does(isProtocol(unix.ETH_P_802_2), networkIs(0, []byte{0xaa, 0xaa, 3, 0, 0, 0xf8})),
	}
}

// tagTypes are the Ethernet types of VLAN tags: IEEE 802.1Q, 802.1ad and what was used before that.
func tagTypes() (out []nftables.SetElement) {
	for _, ethertype := range []uint16{0x8100, 0x88a8, 0x9100, 0x9200, 0x9300} {
		out = append(out, nftables.SetElement{Key: port(ethertype)})
	}
	return out
}

func (f *firewall) portsIn(b *book, t *table) {
	// Before br_netfilter, which hands packets to the tables of the host.
	b.open(chain{name: "prerouting", hook: nftables.ChainHookPrerouting, priority: -300})
	b.add("guests", interfaceIn(expr.MetaKeyIIF, t.sets[interfaces]), goTo("from-guests"))
	b.add("guests that are not attached yet", interfaceIn(expr.MetaKeyIIFNAME, t.sets[names]), goTo("from-guests"))
	if len(f.uplinks) == 0 {
		return
	}
	for _, fam := range families {
		b.add("all but uplinks are guests", fam.to(), jump("guest"+fam.name))
	}
}

func (f *firewall) fromGuests(b *book, t *table) {
	b.open(chain{name: "from-guests"})
	for _, fam := range families { // first, since requests are what must be fast
		b.add("guests", fam.to(), jump("guest"+fam.name))
	}
	for _, kind := range sorted(wrapped(t)) {
		b.add("nothing is hidden from these rules: "+kind, wrapped(t)[kind], drop)
	}
	for _, kind := range sorted(posing()) {
		b.add("no guest is the metadata service: "+kind, posing()[kind], drop)
	}
	announcements(b, t)
	for _, question := range []rule{arpRequest(), neighbour(ndSolicitation)} {
		b.add("who has the address?", question, setMark(f.mark), accept)
	}
	b.add("the station of another guest", othersStation(t), drop)
	sourceRoute(b, nil)
	b.add("is it neighbour discovery?", inFragments(), jump("discovery"))
}

func (f *firewall) portsThrough(b *book, t *table) {
	// Before br_netfilter again: of a packet that it has taken to the tables of the host, older kernels forget to
	// ask the chains that come next.
	b.open(chain{name: "forward", hook: nftables.ChainHookForward, priority: -200})
	b.add("what is for this host is for nobody else", ourMark(f.mark, true), f.notUnwrapped(), drop)
	b.add("to guests", interfaceIn(expr.MetaKeyOIF, t.sets[interfaces]), jump("to-guests"))
}

func (f *firewall) toGuests(b *book, t *table) {
	b.open(chain{name: "to-guests"})
	for _, kind := range sorted(wrapped(t)) {
		b.add("nothing is hidden from these rules: "+kind, wrapped(t)[kind], drop)
	}
	for _, kind := range sorted(posing()) {
		b.add("guests have one metadata service: "+kind, posing()[kind], drop)
	}
	noClaims(b, t)
	b.add("is it neighbour discovery?", inFragments(), jump("discovery"))
}

func sorted(rules map[string]rule) []string { return slices.Sorted(maps.Keys(rules)) }

func (f *firewall) portsOut(b *book, t *table) {
	b.open(chain{name: "output", hook: nftables.ChainHookOutput, priority: *nftables.ChainPriorityFilter})
	b.add("an answer leaves by the port of its question",
		rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: acc}, in(t.sets[pinned]),
			&expr.Meta{Key: expr.MetaKeyMARK, Register: key1}, &expr.Meta{Key: expr.MetaKeyOIF, Register: key2},
			lookup(t.sets[exits], key1, true)},
		drop)
	f.onlyOurs(b, t)
	for station, answer := range map[string]rule{string(everybody): arpFrom(), string(everybodyIPv6): neighbour(ndAdvertisement)} {
		b.add("where the address is concerns guests only", rule{loadMAC(macTo, acc), is([]byte(station))}, answer,
			rule{&expr.Meta{Key: expr.MetaKeyOIF, Register: acc}, lookup(t.sets[interfaces], acc, true)}, drop)
	}
}

// onlyOurs keeps whoever the host forwards for from speaking as the metadata service to guests.
func (f *firewall) onlyOurs(b *book, t *table) {
	for _, fam := range families {
		b.add("guests have one metadata service: "+fam.version, fam.from(), ourMark(f.mark, false),
			interfaceIn(expr.MetaKeyOIF, t.sets[interfaces]), drop)
	}
}
