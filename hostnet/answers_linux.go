package hostnet

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Where the answers to guests at ports of bridges go must not depend on what others on the bridge say: the
// host's neighbour table believes whoever spoke last by ARP or neighbour discovery, and the bridge's table
// of stations whoever last used a MAC address. So what the host answers goes back to where the question
// came from: a table of family netdev, at the bridge itself, notes from which station each of an
// attachment's addresses opens its connections, and sends answers out of the attachment's port, to that
// station, past both tables.
//
// Where the metadata addresses are is answered before there is a connection. Those answers go to all guests
// of the bridge: they are the same for each.

// The sets of the table.
const (
	ports = "ports" // mark → port
	pace  = "pace"  // mark: how fast an attachment comes with new stations
)

func stationsOf(f *family) string { return "stations" + f.name } // mark . address → MAC address
func fresh(f *family) string      { return "fresh" + f.name }    // mark . address . MAC address
func askers(f *family) string     { return "askers" + f.name }   // of ARP their MAC, of neighbour discovery their IPv6 address

// Bounds of what is learned. A guest can use any number of addresses: what it comes with faster than this is
// not learned, and is answered by way of the tables that all share.
const (
	freshFor    = 5 * time.Second
	learnedFor  = 5 * time.Minute
	learnedMost = 1 << 20 // of all attachments
	stationRate = 20      // a second, of one attachment
	stationMost = 256     // at once
	askedFor    = 10 * time.Second
	askersMost  = 1 << 16
)

// learned makes a set, or with a value a map, that rules fill.
func (t *table) learned(conn *nftables.Conn, name string, lasts time.Duration, most uint32, value *nftables.SetDatatype, keys ...nftables.SetDatatype) error {
	s := &nftables.Set{Name: name, Dynamic: true, HasTimeout: true, Timeout: lasts, Size: most}
	return t.add(conn, s, value, keys...)
}

// update adds what is in registers to a set, or makes what is there last anew.
func update(s *nftables.Set, key, value uint32) expr.Any {
	return dynset(s, unix.NFT_DYNSET_OP_UPDATE, key, value)
}

func forget(s *nftables.Set, key, value uint32) expr.Any { return dynset(s, dynsetDelete, key, value) }

const dynsetDelete = 2 // NFT_DYNSET_OP_DELETE, linux/netfilter/nf_tables.h

func dynset(s *nftables.Set, operation, key, value uint32) expr.Any {
	return &expr.Dynset{SetName: s.Name, SetID: s.ID, Operation: operation, SrcRegKey: key, SrcRegData: value}
}

// tooFast matches what an attachment or a port, by the key in a register, does more often than it may, and
// within what it does not.
func tooFast(s *nftables.Set, key uint32, rate uint64, burst uint32) expr.Any {
	return paced(s, key, rate, burst, true)
}

func within(s *nftables.Set, key uint32, rate uint64, burst uint32) expr.Any {
	return paced(s, key, rate, burst, false)
}

func paced(s *nftables.Set, key uint32, rate uint64, burst uint32, over bool) expr.Any {
	limit := &expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Unit: expr.LimitTimeSecond, Burst: burst, Over: over}
	return &expr.Dynset{SetName: s.Name, SetID: s.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, SrcRegKey: key, Exprs: []expr.Any{limit}}
}

func fetchTo(m *nftables.Set, from, to uint32) expr.Any {
	return &expr.Lookup{SourceRegister: from, DestRegister: to, IsDestRegSet: true, SetName: m.Name, SetID: m.ID}
}

// words is the number of 32-bit registers that an address takes.
func (f *family) words() uint32 { return uint32(f.addr.BitLen() / 32) }

// markAndAddress puts the mark, and the address at an offset of the network header, into registers; the
// next free one is returned.
func (f *family) markAndAddress(offset uint32) (rule, uint32) {
	return rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: key1}, load(expr.PayloadBaseNetworkHeader, offset, 4*f.words(), key2)}, key2 + f.words()
}

// The Ethernet header: station of destination and source.
const macLength, macTo, macFrom = 6, 0, 6

func loadMAC(offset, register uint32) expr.Any {
	return load(expr.PayloadBaseLLHeader, offset, macLength, register)
}

func writeMAC(register uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: register, Base: expr.PayloadBaseLLHeader, Offset: macTo, Len: macLength}
}

// opensConnection matches the first packet of a TCP connection, RFC 9293 section 3.1.
func opensConnection() rule {
	const flags, syn, ack = 13, 0x02, 0x10
	return does(isTransport(unix.IPPROTO_TCP), rule{
		load(expr.PayloadBaseTransportHeader, flags, 1, acc),
		&expr.Bitwise{SourceRegister: acc, DestRegister: acc, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		is([]byte{syn}),
	})
}

// The Ethernet addresses of all stations, and of all that speak IPv6.
var (
	everybody     = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	everybodyIPv6 = []byte{0x33, 0x33, 0, 0, 0, 1}
)

// The chains that those of each bridge jump to.
const (
	received = "received"
	sent     = "sent"
)

func (f *firewall) netdev(conn *nftables.Conn, t *table) error {
	mark, station, device := nftables.TypeMark, nftables.TypeEtherAddr, nftables.TypeIFIndex
	errs := []error{
		t.addSet(conn, ports, &device, mark),
		t.learned(conn, pace, learnedFor, learnedMost, nil, mark),
		t.learned(conn, askers(v4), askedFor, askersMost, nil, station),
		t.learned(conn, askers(v6), askedFor, askersMost, nil, v6.addrType),
	}
	for _, fam := range families {
		errs = append(errs,
			t.learned(conn, stationsOf(fam), learnedFor, learnedMost, &station, mark, fam.addrType),
			t.learned(conn, fresh(fam), freshFor, learnedMost, nil, mark, fam.addrType, station))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b := &book{conn: conn, table: t.Table}
	for _, fam := range families {
		f.learn(b, t, fam)
	}
	b.open(chain{name: received})
	b.add("not from guests", ourMark(f.mark, false), leave)
	b.add("who asks by ARP", arpRequest(), rule{load(expr.PayloadBaseNetworkHeader, 8, macLength, key1), update(t.sets[askers(v4)], key1, 0)})
	b.add("who asks by ND", neighbour(ndSolicitation), rule{load(expr.PayloadBaseNetworkHeader, v6.src, 16, key1), update(t.sets[askers(v6)], key1, 0)})
	for _, fam := range families {
		b.add("who opens a connection", isProtocol(fam.ethertype), opensConnection(),
			rule{&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: acc}, not(native(hadTag))}, jump("learn"+fam.name))
	}
	b.open(chain{name: sent})
	toAll := func(station []byte) rule { return rule{&expr.Immediate{Register: key1, Data: station}, writeMAC(key1)} }
	b.add("where the address is: ARP", arpFrom(), rule{loadMAC(macTo, key1), lookup(t.sets[askers(v4)], key1, false)}, toAll(everybody), leave)
	b.add("where the address is: ND", neighbour(ndAdvertisement), rule{load(expr.PayloadBaseNetworkHeader, v6.dst, 16, key1), lookup(t.sets[askers(v6)], key1, false)},
		toAll(everybodyIPv6), leave)
	b.add("not an answer", ourMark(f.mark, false), leave)
	return nil
}

// hadTag is the priority of a packet that came in a frame with a VLAN tag. Its answer is left to the bridge,
// which knows how to tag it.
const hadTag = 0x69006900

// learn notes the station that an attachment's address is at. What has just been noted is left as it is: an
// element cannot be changed, only replaced, and that not for each connection.
func (f *firewall) learn(b *book, t *table, fam *family) {
	b.open(chain{name: "learn" + fam.name})
	key, mac := fam.markAndAddress(fam.src)
	key = append(key, loadMAC(macFrom, mac))
	// With br_netfilter the host's table has seen it, and marked it until it is routed.
	key = append(key, &expr.Bitwise{SourceRegister: key1, DestRegister: key1, Len: 4, Mask: native(^uint32(backIndex)), Xor: native(0)})
	stations, fresh := t.sets[stationsOf(fam)], t.sets[fresh(fam)]
	b.add("it has just been noted", key, rule{lookup(fresh, key1, false)}, leave)
	b.add("not too fast", rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: key1}, tooFast(t.sets[pace], key1, stationRate, stationMost)}, leave)
	b.add("it may have been elsewhere", key, rule{forget(stations, key1, mac)})
	b.add("it is here", key, rule{update(stations, key1, mac)})
	b.add("it is here", key, rule{update(fresh, key1, 0)})
}

// answer is the rule that sends an answer back to where its question came from.
func answer(t *table, fam *family) rule {
	key, mac := fam.markAndAddress(fam.dst)
	return does(isProtocol(fam.ethertype), key,
		rule{fetchTo(t.sets[stationsOf(fam)], key1, mac), writeMAC(mac), fetchTo(t.sets[ports], key1, acc)})
}

// hook makes the table see what the host receives and sends through these bridges, and no others.
func (f *firewall) hook(bridges map[int]string) (err error) {
	t := f.tables[nftables.TableFamilyNetdev]
	if maps.Equal(t.hooked, bridges) {
		return nil
	}
	defer func() {
		if err == nil {
			t.print, err = imprintOf(t.Table, t.constants...)
		}
	}()
	for index, name := range t.hooked {
		if bridges[index] == name {
			continue
		}
		delete(t.hooked, index)
		conn, err := dial()
		if err != nil {
			return err
		}
		for _, way := range ways {
			conn.DelChain(&nftables.Chain{Table: t.Table, Name: way.name(index)})
		}
		_ = f.flush(conn) // with the bridge its chains may have gone
	}
	for index, name := range bridges {
		if t.hooked[index] == name {
			continue
		}
		conn, err := dial()
		if err != nil {
			return err
		}
		b := &book{conn: conn, table: t.Table}
		for _, way := range ways {
			b.open(chain{name: way.name(index), hook: way.hook, device: name})
			b.add(way.chain+" by a bridge", jump(way.chain))
		}
		if err := f.flush(conn); err != nil {
			return fmt.Errorf("table %s of nftables, bridge %s: %w%s", tableName, name, err, hint(err))
		}
		t.hooked[index] = name
	}
	return nil
}

type way struct {
	chain string
	hook  *nftables.ChainHook
}

var ways = []way{{received, nftables.ChainHookIngress}, {sent, nftables.ChainHookEgress}}

func (w way) name(index int) string { return fmt.Sprintf("%s-%d", w.chain, index) }
