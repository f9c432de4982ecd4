package hostnet

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
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
	b := &book{conn: conn, table: t.Table}
	for _, fam := range families {
		f.guestChain(b, t, fam, toHost(t))
	}
	f.portsIn(b, t)
	f.portsThrough(b, t)
	f.portsOut(b, t)
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

func (f *firewall) portsIn(b *book, t *table) {
	in := interfaceIn(expr.MetaKeyIIF, t.sets[interfaces])
	// Before br_netfilter, which hands packets to the tables of the host.
	b.open(chain{name: "prerouting", hook: nftables.ChainHookPrerouting, priority: -300})
	for _, kind := range []string{"IPv4", "IPv6", "ARP", "ND"} {
		b.add("no guest is the metadata service: "+kind, in, posing()[kind], drop)
	}
	for _, question := range []rule{arpRequest(), neighbour(ndSolicitation)} {
		b.add("who has the address?", in, question, setMark(f.mark), accept)
	}
	for _, fam := range families {
		b.add("guests", in, fam.to(), jump("guest"+fam.name))
	}
}

func (f *firewall) portsThrough(b *book, t *table) {
	out := interfaceIn(expr.MetaKeyOIF, t.sets[interfaces])
	b.open(chain{name: "forward", hook: nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter})
	b.add("what is for this host is for nobody else", ourMark(f.mark, true), drop)
	for _, kind := range []string{"IPv4", "IPv6", "ARP", "ND"} {
		b.add("guests have one metadata service: "+kind, out, posing()[kind], drop)
	}
}

func (f *firewall) portsOut(b *book, t *table) {
	b.open(chain{name: "output", hook: nftables.ChainHookOutput, priority: *nftables.ChainPriorityFilter})
	b.add("an answer leaves by the port of its question",
		rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: acc}, &expr.Lookup{SourceRegister: acc, SetName: pinned, SetID: t.sets[pinned].ID},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: key1}, &expr.Meta{Key: expr.MetaKeyOIF, Register: key2},
			&expr.Lookup{SourceRegister: key1, SetName: exits, SetID: t.sets[exits].ID, Invert: true}},
		drop)
}
