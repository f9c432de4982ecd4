package hostnet

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is that of the Host's tables in every family.
const tableName = "openimds"

// firewall is the Host's tables: inet for interfaces, bridge for ports of bridges, arp so that the
// host answers for 169.254.169.254 on the links of guests only.
type firewall struct {
	mark   uint32
	tables map[nftables.TableFamily]*table
	// uplinks, if any: what comes for a metadata address by another interface is a guest's.
	uplinks []string
	// verified is the generation of nftables at which the tables were as they should be; 0: not known.
	verified uint32
}

type table struct {
	*nftables.Table
	sets      map[string]*nftables.Set
	built     bool
	removed   bool // it is not there, nor one of an earlier process
	print     imprint
	constants []string // sets whose elements are a part of the rules
	// hooked are the bridges that the table of family netdev is at.
	hooked map[int]string
}

// element is one entry of a set or map. It is comparable, so that what is there and what should be
// can be held against each other.
type element struct {
	family   nftables.TableFamily
	set      string
	key, end string
	value    string
}

// slot is what only one element can occupy.
func (e element) slot() element { e.value = ""; return e }

// allFamilies are those of a Host's tables.
var allFamilies = []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyARP, nftables.TableFamilyBridge, nftables.TableFamilyNetdev}

func newFirewall(mark uint32, uplinks []string) *firewall {
	f := &firewall{mark: mark, uplinks: uplinks, tables: map[nftables.TableFamily]*table{}}
	for _, family := range allFamilies {
		f.tables[family] = &table{
			Table: &nftables.Table{Name: tableName, Family: family},
			sets:  map[string]*nftables.Set{}, hooked: map[int]string{},
		}
	}
	return f
}

// dial opens a connection to the tables of the thread's namespace. A batch is one message to the
// kernel, so the buffer bounds its size.
func dial() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(widen))
}

// widen takes the connection of whatever netlink package nftables is built on.
func widen[C interface {
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
}](c C) error {
	_ = c.SetReadBuffer(4 << 20) // an acknowledgement for each message of a batch
	return c.SetWriteBuffer(4 << 20)
}

// build makes a table anew, with these elements, in one step: whatever else was in it is gone, and there is
// no moment at which a guard is not in force.
func (f *firewall) build(family nftables.TableFamily, guards []change) error {
	conn, err := dial()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t := f.tables[family]
	t.sets, t.constants = map[string]*nftables.Set{}, nil
	replace(conn, t.Table)
	switch family {
	case nftables.TableFamilyINet:
		err = f.inet(conn, t)
	case nftables.TableFamilyARP:
		err = f.arp(conn, t)
	case nftables.TableFamilyBridge:
		err = f.bridge(conn, t)
	case nftables.TableFamilyNetdev:
		err = f.netdev(conn, t)
		clear(t.hooked)
	}
	if err == nil {
		for i := 0; i < len(guards); {
			i += f.send(conn, guards[i:])
		}
		err = f.flush(conn)
	}
	for _, fam := range families {
		if err == nil && family == nftables.TableFamilyNetdev {
			err = forwardTo(t.Table, sent, "to where the question came from: "+fam.version, answer(t, fam))
		}
	}
	if err == nil {
		t.print, err = imprintOf(t.Table, t.constants...)
	}
	if err != nil {
		return fmt.Errorf("table %s of nftables: %w%s", tableName, err, hint(err))
	}
	t.built, t.removed = true, false
	return nil
}

// flush makes the changes, and keeps account of whether others have changed anything meanwhile.
func (f *firewall) flush(conn *nftables.Conn) error {
	before, err := generation()
	if err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	after, err := generation()
	if err != nil || f.verified != before || after != before+1 {
		f.verified = 0
		return err
	}
	f.verified = after
	return nil
}

// replace empties a table whether it exists or not.
func replace(conn *nftables.Conn, t *nftables.Table) {
	conn.AddTable(t)
	conn.DelTable(t)
	conn.AddTable(t)
}

// lacking is of a kernel without a part of nf_tables.
func lacking(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT)
}

func hint(err error) string {
	switch {
	case errors.Is(err, os.ErrPermission):
		return " (CAP_NET_ADMIN is needed)"
	case errors.Is(err, unix.ENOENT), lacking(err):
		return " (the kernel lacks a part of nf_tables)"
	}
	return ""
}

// remove takes a table away, if it is there.
func remove(t *nftables.Table) error {
	conn, err := dial()
	if err != nil {
		return err
	}
	conn.AddTable(t)
	conn.DelTable(t)
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("table %s of nftables: %w", t.Name, err)
	}
	return nil
}

func (f *firewall) remove(of ...nftables.TableFamily) error {
	var errs []error
	for _, family := range of {
		t := f.tables[family]
		if t.removed {
			continue
		}
		err := remove(t.Table)
		t.built, t.removed = false, err == nil
		errs = append(errs, err)
	}
	f.verified = 0
	return errors.Join(errs...)
}

// batchSize bounds the elements of one transaction.
const batchSize = 1000

// apply makes changes in their order. A batch is made wholly or not at all.
func (f *firewall) apply(changes []change) error {
	for len(changes) > 0 {
		n := min(len(changes), batchSize)
		conn, err := dial()
		if err != nil {
			return err
		}
		for i := 0; i < n; {
			i += f.send(conn, changes[i:n])
		}
		if err := f.flush(conn); err != nil {
			return fmt.Errorf("elements of table %s of nftables: %w%s", tableName, err, hint(err))
		}
		changes = changes[n:]
	}
	return nil
}

// send adds as many changes as go into one message, which has one direction and one set. It returns
// how many it took.
func (f *firewall) send(conn *nftables.Conn, changes []change) int {
	first := changes[0]
	if first.del != nil && first.add != nil {
		_ = conn.SetDeleteElements(f.set(*first.del), []nftables.SetElement{nftElement(*first.del)})
		_ = conn.SetAddElements(f.set(*first.add), []nftables.SetElement{nftElement(*first.add)})
		return 1
	}
	const perMessage = 500 // the attribute that holds them has 16 bits of length
	var elements []nftables.SetElement
	one := func(c change) *element {
		if c.del != nil && c.add != nil || (c.del == nil) != (first.del == nil) {
			return nil
		}
		if c.del != nil {
			return c.del
		}
		return c.add
	}
	head := one(first)
	for _, c := range changes {
		e := one(c)
		if e == nil || e.family != head.family || e.set != head.set || len(elements) == perMessage {
			break
		}
		elements = append(elements, nftElement(*e))
	}
	if first.del != nil {
		_ = conn.SetDeleteElements(f.set(*head), elements)
	} else {
		_ = conn.SetAddElements(f.set(*head), elements)
	}
	return len(elements)
}

func (f *firewall) set(e element) *nftables.Set { return f.tables[e.family].sets[e.set] }

func nftElement(e element) nftables.SetElement {
	out := nftables.SetElement{Key: []byte(e.key)}
	if e.end != "" {
		out.KeyEnd = []byte(e.end)
	}
	if e.value != "" {
		out.Val = []byte(e.value)
	}
	return out
}

// addSet makes a set; with a value type, a map. Sets are made before the rules that name them.
func (t *table) addSet(conn *nftables.Conn, name string, value *nftables.SetDatatype, keys ...nftables.SetDatatype) error {
	s := &nftables.Set{Name: name, Interval: name == sources(v4) || name == sources(v6)}
	return t.add(conn, s, value, keys...)
}

func (t *table) add(conn *nftables.Conn, s *nftables.Set, value *nftables.SetDatatype, keys ...nftables.SetDatatype) error {
	s.Table, s.KeyType, s.KeyByteOrder = t.Table, keys[0], binaryutil.NativeEndian
	if len(keys) > 1 {
		concat, err := nftables.ConcatSetType(keys...)
		if err != nil {
			return err
		}
		s.KeyType, s.Concatenation = concat, true
	}
	if value != nil {
		s.IsMap, s.DataType = true, *value
	}
	t.sets[s.Name] = s
	return conn.AddSet(s, nil)
}

// addConstants makes a set whose elements never change.
func (t *table) addConstants(conn *nftables.Conn, name string, key nftables.SetDatatype, elements []nftables.SetElement) error {
	s := &nftables.Set{Table: t.Table, Name: name, KeyType: key, KeyByteOrder: binaryutil.BigEndian}
	t.sets[name], t.constants = s, append(t.constants, name)
	return conn.AddSet(s, elements)
}

// The names of the sets. An attachment has its elements in them; nothing else changes.
const (
	interfaces = "interfaces" // that are attached, or guarded
	names      = "names"      // of interfaces, the same, which need not be there
	uplinks    = "uplinks"    // names of interfaces that no guest is behind; only if there are any
	stations   = "stations"   // port → the bridge's own MAC address
	pinned     = "pinned"     // marks that must leave by one port
	exits      = "exits"      // mark . port
	tags       = "tags"       // Ethernet types of VLAN tags
)

func attached(f *family) string  { return "attached" + f.name }  // interface → mark
func sources(f *family) string   { return "sources" + f.name }   // interface . source → mark
func listeners(f *family) string { return "listeners" + f.name } // mark → port of the listener

// guestSets are the sets that tell an attachment by where a packet arrives.
func (t *table) guestSets(conn *nftables.Conn) error {
	mark, service := nftables.TypeMark, nftables.TypeInetService
	errs := []error{
		t.addSet(conn, interfaces, nil, nftables.TypeIFIndex), t.addSet(conn, names, nil, nftables.TypeIFName),
		t.addSet(conn, uplinks, nil, nftables.TypeIFName),
	}
	if t.Family == nftables.TableFamilyINet {
		errs = append(errs, append(t.callSets(conn), t.addSet(conn, backSet, nil, nftables.TypeIFIndex))...)
	}
	for _, f := range families {
		errs = append(errs,
			t.addSet(conn, attached(f), &mark, nftables.TypeIFIndex),
			t.addSet(conn, sources(f), &mark, nftables.TypeIFIndex, f.addrType),
			t.addSet(conn, listeners(f), &service, nftables.TypeMark))
	}
	return errors.Join(errs...)
}

// guestChain is the way of packets to a metadata address.
func (f *firewall) guestChain(b *book, t *table, fam *family, deliver rule) {
	b.open(chain{name: "guest" + fam.name})
	if t.sets[bridges] != nil {
		b.add("no guest is the metadata service", fam.from(), drop)
	}
	b.add("a guest is known by its interface",
		ourMark(f.mark, false),
		rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: acc}}, fetch(t.sets[attached(fam)], acc),
		rule{&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: acc}})
	b.add("or by its interface and address",
		ourMark(f.mark, false),
		rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: key1},
			load(expr.PayloadBaseNetworkHeader, fam.src, uint32(fam.addr.BitLen()/8), key2)},
		fetch(t.sets[sources(fam)], key1),
		rule{&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: acc}})
	if owner := t.sets[bridges]; owner != nil {
		b.add("it calls from its address", ourMark(f.mark, true), opensConnection(), jump("owner"+fam.name))
	}
	if t.Family == nftables.TableFamilyINet {
		b.add("it calls", ourMark(f.mark, true), opensConnection(), noteCall(t, called))
	}
	b.add("and is sent to its listener",
		ourMark(f.mark, true), isTransport(unix.IPPROTO_TCP), transportIs(destinationPort, port(80)),
		rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: acc}}, fetch(t.sets[listeners(fam)], acc),
		writePort(destinationPort), deliver, accept)
	b.add("nothing else is there for it, not even another host's metadata service", interfaceIn(expr.MetaKeyIIF, t.sets[interfaces]), drop)
	b.add("nor for one that comes by that name", interfaceIn(expr.MetaKeyIIFNAME, t.sets[names]), drop)
	if len(f.uplinks) > 0 {
		b.add("all but uplinks are guests", rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: acc}, not(native(loopbackIndex))},
			rule{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: acc}, lookup(t.sets[uplinks], acc, true)}, drop)
	}
}

func (f *firewall) inet(conn *nftables.Conn, t *table) error {
	if err := t.guestSets(conn); err != nil {
		return err
	}
	b := &book{conn: conn, table: t.Table}
	for _, fam := range families {
		f.guestChain(b, t, fam, f.markBack(true))
	}
	// Before connection tracking, which so sees one pair of ports in both directions.
	b.open(chain{name: "prerouting", hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityRaw})
	b.add("it calls", ourMark(f.mark, true), opensConnection(), noteCall(t, called))
	b.add("ports of bridges: see the table of family bridge", ourMark(f.mark, true), f.notUnwrapped(), f.markBack(true), leave)
	for _, fam := range families {
		b.add("what came out of a guest's packet", f.isUnwrapped(), fam.to(), drop)
	}
	b.add("who has the address?", neighbour(ndSolicitation),
		interfaceIn(expr.MetaKeyIIF, t.sets[interfaces]), setMark(f.mark), accept)
	for _, fam := range families {
		b.add("guests", fam.to(), jump("guest"+fam.name))
	}
	sourceRoute(b, interfaceIn(expr.MetaKeyIIF, t.sets[interfaces]))
	// Nobody without CAP_NET_ADMIN makes a transparent socket. One that is not is of a program that has
	// taken the port of a process that was killed; and where there is none, a guest asks again, which it
	// would not if it were refused.
	b.open(chain{name: "input", hook: nftables.ChainHookInput, priority: *nftables.ChainPriorityMangle})
	b.add("it was routed", ourMark(f.mark, true), f.markBack(false))
	opensFromGuest := does(ourMark(f.mark, true), opensConnection()) // the other packets are of what it opened
	b.add("it arrives", opensFromGuest, isTransparent(), noteCall(t, arrived))
	b.add("a listener of ours", opensFromGuest, isTransparent(), accept)
	b.add("or nobody's", opensFromGuest, drop)
	f.mayUnwrap(b, t)
	b.open(chain{name: "heard", hook: nftables.ChainHookInput, priority: lastOfAll})
	b.add("it is heard", ourMark(f.mark, true), opensConnection(), noteCall(t, reached))
	b.open(chain{name: "forward", hook: nftables.ChainHookForward, priority: *nftables.ChainPriorityMangle})
	b.add("what is for this host is for nobody else", ourMark(f.mark, true), f.notUnwrapped(), drop)
	b.open(chain{name: "postrouting", hook: nftables.ChainHookPostrouting, priority: *nftables.ChainPriorityMangle})
	for _, fam := range families {
		b.add("guests see port 80", ourMark(f.mark, true), fam.from(), isTransport(unix.IPPROTO_TCP),
			rule{&expr.Immediate{Register: acc, Data: port(80)}}, writePort(sourcePort))
	}
	f.onlyOurs(b, t)
	return nil
}
