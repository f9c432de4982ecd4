package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What a guest has is learned so that it can be told so: from its namespace, from the other end of a pair, or, of a
// machine, from what the host has heard of it (heard_linux.go). It says nothing of who the guest is.

// mostAddresses of one interface are told.
const mostAddresses = 50

// mostLinks of one guest are told.
const mostLinks = 15

// meets has what the guest at a place has learned, before it is answered there.
func (h *Network) meets(s *seat, where place) {
	if h.cfg.Learn == nil || s.learnedAt == where {
		return
	}
	s.Learned = s.learnedBefore()
	s.learnedAt, s.learned = where, nil
	h.learned(s, h.learn(s, where))
}

// learnedBefore is what was learned of a seat's guest, here or at its place before, by this Network or an earlier one.
func (s *seat) learnedBefore() []GuestLink {
	if s.learned != nil {
		return s.learned
	}
	return s.Learned
}

// learned tells what was learned of a guest. What is not known now, as of a machine that is silent, stays as it was.
func (h *Network) learned(s *seat, links []GuestLink) {
	links, shared := oneOfEach(links)
	if len(links) == 0 || reflect.DeepEqual(links, s.learned) {
		return
	}
	if len(shared) > 0 {
		h.cfg.Log.Debug("interfaces of a guest share a MAC address; it is told of the first", "endpoint", s.ID, "mac", shared)
	}
	s.learned = links
	h.cfg.Learn(s.ID, links)
}

// oneOfEach leaves the first interface of each MAC address, by which a guest is told of them, and names the addresses
// that more have: a VLAN's or an ipvlan's is that of the interface below.
func oneOfEach(links []GuestLink) (out []GuestLink, shared []string) {
	for _, l := range links {
		if slices.ContainsFunc(out, func(o GuestLink) bool { return o.MAC == l.MAC }) {
			shared = append(shared, l.MAC)
		} else if len(out) < mostLinks {
			out = append(out, l)
		}
	}
	return out, shared
}

// learn looks what the guest at a place has; nil: that is not known.
func (h *Network) learn(s *seat, where place) []GuestLink {
	l := h.links.byIndex[where.ifindex]
	if where.ifindex != 0 && !l.leadsElsewhere() {
		return h.heard(s, l, where.bridge)
	}
	return h.ask(s, l)
}

// ask is learn of those whose guests' own network the kernel shows: of the guest behind a link, or in a namespace if that
// is none. It changes nothing, and may be asked for many at the same time.
func (h *Network) ask(s *seat, l link) []GuestLink {
	if l.index != 0 {
		other, err := otherEnd(l)
		if err != nil {
			return nil
		}
		return []GuestLink{other}
	}
	ns := s.ns
	if ns == nil && s.at != nil {
		ns = s.at.ns
	}
	if ns == nil {
		return nil
	}
	return h.learnInside(ns)
}

func (h *Network) learnInside(ns *namespace) (links []GuestLink) {
	_ = h.visitor.in(ns.file, func() (err error) {
		links, err = linksHere()
		return err
	})
	return links
}

// likeEthernet are the kinds of links by which a namespace is connected; those within it, such as the bridge of
// containers in a container, are its own affair.
var likeEthernet = []string{"veth", "netkit", "macvlan", "ipvlan", "device", "vlan", "bond"}

// linksHere are the interfaces of the namespace that this thread is in: first the one with the default route, then
// those by which it is connected elsewhere.
func linksHere() ([]GuestLink, error) {
	var all []netlink.Link
	if err := again(func() (err error) { all, err = netlink.LinkList(); return err }); err != nil {
		return nil, err
	}
	var addrs []netlink.Addr
	if err := again(func() (err error) { addrs, err = netlink.AddrList(nil, netlink.FAMILY_ALL); return err }); err != nil {
		return nil, err
	}
	first := defaultLink()
	of := map[int][]netlink.Addr{}
	for _, a := range addrs {
		of[a.LinkIndex] = append(of[a.LinkIndex], a)
	}
	slices.SortFunc(all, func(a, b netlink.Link) int { return rank(a, first) - rank(b, first) })
	var out []GuestLink
	for _, l := range all {
		attrs := l.Attrs()
		own := ownAddresses(of[attrs.Index])
		connected := attrs.MasterIndex == 0 && slices.Contains(likeEthernet, l.Type()) && (len(own) > 0 || len(out) == 0 && first == 0)
		if len(attrs.HardwareAddr) != stationLen || attrs.Index != first && !connected {
			continue
		}
		out = append(out, GuestLink{MAC: attrs.HardwareAddr.String(), Addresses: own})
	}
	return out, nil
}

// rank puts the first interface before all others, which stay in the order in which they came to be.
func rank(l netlink.Link, first int) int {
	if l.Attrs().Index == first {
		return 0
	}
	return l.Attrs().Index
}

// defaultLink is the interface by which a namespace reaches what is not said otherwise; 0: none.
func defaultLink() int {
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(f, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		if err != nil {
			continue
		}
		routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return linkOf(r) == 0 || r.Type != unix.RTN_UNICAST })
		if len(routes) > 0 {
			return linkOf(slices.MinFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority }))
		}
	}
	return 0
}

func linkOf(r netlink.Route) int {
	if r.LinkIndex == 0 && len(r.MultiPath) > 0 {
		return r.MultiPath[0].LinkIndex
	}
	return r.LinkIndex
}

// ownAddresses are those that others know a guest by: not those of its link alone, nor those that it changes every day
// (RFC 8981), or cannot use.
func ownAddresses(all []netlink.Addr) []netip.Prefix {
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_OPTIMISTIC
	var v4s, v6s []netip.Prefix
	for _, a := range all {
		addr, ok := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		if !ok {
			continue
		}
		p := netip.PrefixFrom(addr.Unmap(), bits)
		if !isGuests(p.Addr()) || bits == 0 {
			continue
		}
		switch {
		case p.Addr().Is4():
			v4s = append(v4s, p)
		case a.Flags&(unusable|unix.IFA_F_TEMPORARY) == 0:
			v6s = append(v6s, p)
		}
	}
	v4s = v4s[:min(len(v4s), mostAddresses)]
	return append(v4s, v6s[:min(len(v6s), mostAddresses-len(v4s))]...)
}

// isGuests says whether an address can be a guest's own, by which others know it.
func isGuests(a netip.Addr) bool {
	return a.IsValid() && a != addr4 && a != addr6 && !a.IsLinkLocalUnicast() && !a.IsLoopback() && !a.IsMulticast() && !a.IsUnspecified()
}

// otherEnd is what the other end of a pair has, which is in the guest's namespace: the kernel tells of it by the host's
// number for that.
func otherEnd(l link) (GuestLink, error) {
	if !l.leadsElsewhere() {
		return GuestLink{}, errAbsent
	}
	s, err := nl.GetNetlinkSocketAt(-1, -1, unix.NETLINK_ROUTE)
	if err != nil {
		return GuestLink{}, fmt.Errorf("netlink: %w", err)
	}
	defer s.Close()
	// Without it the kernel does not read whose addresses are asked for.
	if err := unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		return GuestLink{}, fmt.Errorf("netlink: %w", err)
	}
	sockets := map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	in := nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(l.netnsid)))
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	req.Sockets = sockets
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.peer)
	req.AddData(msg)
	req.AddData(in)
	answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil || len(answers) == 0 {
		return GuestLink{}, fmt.Errorf("the other end of %s: %w", l.name, err)
	}
	other, err := netlink.LinkDeserialize(nil, answers[0])
	if err != nil || len(other.Attrs().HardwareAddr) != stationLen {
		return GuestLink{}, fmt.Errorf("the other end of %s has no address: %w", l.name, err)
	}
	out := GuestLink{MAC: other.Attrs().HardwareAddr.String()}
	req = nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.Sockets = sockets
	of := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	of.Index = uint32(l.peer)
	req.AddData(of)
	req.AddData(nl.NewRtAttr(unix.IFA_TARGET_NETNSID, nl.Uint32Attr(uint32(l.netnsid))))
	if answers, err = req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR); err != nil {
		return GuestLink{}, fmt.Errorf("addresses of the other end of %s: %w", l.name, err)
	}
	out.Addresses = ownAddresses(addressesIn(answers, l.peer))
	return out, nil
}

// addressesIn reads the answers to RTM_GETADDR.
func addressesIn(answers [][]byte, index int) (out []netlink.Addr) {
	for _, m := range answers {
		msg := nl.DeserializeIfAddrmsg(m)
		attrs, err := nl.ParseRouteAttr(m[msg.Len():])
		if err != nil || int(msg.Index) != index {
			continue
		}
		a := netlink.Addr{LinkIndex: index, Flags: int(msg.Flags)}
		for _, attr := range attrs {
			switch attr.Attr.Type {
			case unix.IFA_LOCAL: // IPv4's own; the other one is the peer's of a point-to-point link
				a.IPNet = ipNet(attr.Value, int(msg.Prefixlen))
			case unix.IFA_ADDRESS:
				if a.IPNet == nil {
					a.IPNet = ipNet(attr.Value, int(msg.Prefixlen))
				}
			case unix.IFA_FLAGS:
				a.Flags = int(nl.NativeEndian().Uint32(attr.Value))
			}
		}
		if a.IPNet != nil {
			out = append(out, a)
		}
	}
	return out
}

func ipNet(addr []byte, bits int) *net.IPNet {
	return &net.IPNet{IP: addr, Mask: net.CIDRMask(bits, 8*len(addr))}
}
