package hostnet

import (
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A namespace is prepared from inside, on the visitor's thread. The order is such that whoever is
// killed between two steps leaves nothing that the next one cannot tell from what was there before:
// sockets, then the table that says whose the addresses are, then the addresses.

// occupied is what an attachment has in a namespace.
type occupied struct {
	owner string
	ports map[*family]uint16 // of the listeners; a family without one is not served
	owned map[*family]bool   // the address is ours
}

// occupy makes a namespace answer for the families that have a port. It returns what it can, with an
// error for each family that cannot be served.
func occupy(owner string, mark uint32, ports map[*family]uint16) (occupied, map[*family]error) {
	o := occupied{owner: owner, ports: ports, owned: map[*family]bool{}}
	failed := map[*family]error{}
	all := func(err error) (occupied, map[*family]error) {
		for f := range ports {
			failed[f] = err
		}
		return o, failed
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return all(err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return all(fmt.Errorf("interface lo: %w", err))
	}
	earlier, err := readClaim()
	if err == nil && earlier != nil && !earlier.free(owner, ports[v4]) {
		err = fmt.Errorf("another openimds process, in %s, answers here: detach it there", earlier.owner)
	}
	if err != nil {
		return all(err)
	}
	for _, f := range families {
		there, err := hasAddress(h, lo, f)
		if err != nil {
			return all(err)
		}
		o.owned[f] = !there || earlier != nil && earlier.address[f]
	}
	if err := o.build(mark, earlier != nil); err != nil {
		return all(err)
	}
	for _, f := range families {
		if err := o.address(h, lo, f); err != nil {
			failed[f] = err
		}
	}
	return o, failed
}

// address adds or removes the address, as the family is served or not.
func (o occupied) address(h *netlink.Handle, lo netlink.Link, f *family) error {
	_, serve := o.ports[f]
	if !o.owned[f] {
		return nil
	}
	if !serve {
		return dropAddress(h, lo, f)
	}
	addr := loopbackAddress(f)
	if f == v6 {
		// Deprecated, so that it is nobody's source address for other destinations.
		addr.Flags, addr.ValidLft = unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE, math.MaxUint32
	}
	err := h.AddrAdd(lo, addr)
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case f == v6 && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP)):
		return errors.New("IPv6 is off in this namespace")
	case err != nil:
		return fmt.Errorf("address %v on lo: %w", f.addr, err)
	}
	return settled(h, f)
}

// settled waits until the kernel delivers to a new address: for IPv6 it does so in its own time.
func settled(h *netlink.Handle, f *family) error {
	for range 1000 {
		routes, err := h.RouteGet(f.addr.AsSlice())
		if err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		time.Sleep(100 * time.Microsecond)
	}
	return fmt.Errorf("address %v on lo: the kernel does not use it", f.addr)
}

// vacate removes what occupy put there, by this process or an earlier one, if may says so.
func vacate(may func(*claim) bool) error {
	there, err := readClaim()
	if err != nil || there == nil || !may(there) {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range families {
		if there.address[f] {
			errs = append(errs, dropAddress(h, lo, f))
		}
	}
	// The table goes last: it says whose the addresses are.
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return remove(guestTable())
}

func loopbackAddress(f *family) *netlink.Addr {
	bits := f.addr.BitLen()
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: f.addr.AsSlice(), Mask: net.CIDRMask(bits, bits)},
		Scope: unix.RT_SCOPE_HOST,
	}
}

func dropAddress(h *netlink.Handle, lo netlink.Link, f *family) error {
	err := h.AddrDel(lo, loopbackAddress(f))
	if err == nil || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("address %v on lo: %w", f.addr, err)
}

func hasAddress(h *netlink.Handle, lo netlink.Link, f *family) (bool, error) {
	var addrs []netlink.Addr
	err := again(func() (err error) { addrs, err = h.AddrList(lo, f.af); return err })
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("addresses of lo: %w", err)
	}
	for _, a := range addrs {
		if a.IP.Equal(f.addr.AsSlice()) {
			return true, nil
		}
	}
	return false, nil
}

// build makes the table of a namespace, replacing an earlier one in one step.
func (o occupied) build(mark uint32, earlier bool) error {
	conn, err := dial()
	if err != nil {
		return err
	}
	t := guestTable()
	if earlier {
		replace(conn, t)
	} else {
		conn.AddTable(t)
	}
	hops, err := hopsMap(conn, t)
	if err != nil {
		return err
	}
	b := &book{conn: conn, table: t}
	// After the table of a Host in here, whose guests are not this one's.
	b.open(chain{name: "prerouting", hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityRaw + 10})
	for _, f := range families { // readClaim reads one rule for each family
		comment := claimText(o.owner, o.owned[f])
		listener, serve := o.ports[f]
		if !serve {
			b.add(comment, f.to(), leave)
			continue
		}
		b.add(comment, f.to(), isTransport(unix.IPPROTO_TCP), transportIs(destinationPort, port(80)), setMark(mark),
			rule{&expr.Immediate{Register: acc, Data: port(listener)}}, writePort(destinationPort))
	}
	// When nobody listens any more a caller asks again, which it would not if it were refused.
	b.open(chain{name: "input", hook: nftables.ChainHookInput, priority: *nftables.ChainPriorityMangle})
	opens := does(metaIs(expr.MetaKeyMARK, native(mark)), opensConnection())
	b.add("a listener of openimds", opens, isTransparent(), accept)
	b.add("or nobody's", opens, drop)
	b.open(chain{name: "postrouting", hook: nftables.ChainHookPostrouting, priority: *nftables.ChainPriorityMangle})
	for _, f := range families {
		if _, serve := o.ports[f]; !serve {
			continue
		}
		answer := does(f.from(), isTransport(unix.IPPROTO_TCP), transportIs(sourcePort, port(o.ports[f])))
		away := rule{&expr.Meta{Key: expr.MetaKeyOIF, Register: acc}, not(native(loopbackIndex))}
		// The namespace stands for a machine: what is behind it is a hop further away.
		b.add("the last hop was this one", answer, away, networkIs(f.hops, []byte{1}), drop)
		b.add("a hop less is left", answer, away,
			rule{load(expr.PayloadBaseNetworkHeader, f.hops, 1, acc)}, fetch(hops, acc),
			rule{&expr.Payload{
				OperationType: expr.PayloadWrite, SourceRegister: acc, Base: expr.PayloadBaseNetworkHeader,
				Offset: f.hops, Len: 1, CsumType: f.hopsCsum, CsumOffset: 10,
			}})
		b.add("guests see port 80", answer, rule{&expr.Immediate{Register: acc, Data: port(80)}}, writePort(sourcePort))
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("table %s of nftables: %w%s", t.Name, err, hint(err))
	}
	return nil
}

// loopbackIndex is lo's in every namespace.
const loopbackIndex = 1

const hopsSet = "hops"

// hopsMap has for each number of hops that answers leave with the next lower one; nftables cannot
// subtract.
func hopsMap(conn *nftables.Conn, t *nftables.Table) (*nftables.Set, error) {
	ttl := nftables.TypeInteger
	ttl.Bytes = 1
	m := &nftables.Set{Table: t, Name: hopsSet, IsMap: true, KeyType: ttl, DataType: ttl}
	var lower []nftables.SetElement
	for n := 2; n <= 64; n++ {
		lower = append(lower, nftables.SetElement{Key: []byte{byte(n)}, Val: []byte{byte(n - 1)}})
	}
	for _, n := range []int{128, 255} { // usual values of net.ipv4.ip_default_ttl
		lower = append(lower, nftables.SetElement{Key: []byte{byte(n)}, Val: []byte{byte(n - 1)}})
	}
	return m, conn.AddSet(m, lower)
}
