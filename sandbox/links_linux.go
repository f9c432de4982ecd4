package sandbox

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// On an instance the metadata addresses are behind its network, so software that binds to its link, or
// calls from an address of it, must find them as well. The addresses of lo alone are out of its reach.

// The only link of a command that has no network, and the link's other end.
const (
	onlyLink = "eth0"
	otherEnd = "eth0-end"
)

// Sources of calls by a link that has no address of the kind. They lead nowhere else.
var (
	source4 = netip.AddrFrom4([4]byte{169, 254, 0, 1})
	source6 = netip.MustParseAddr("fd00:ec2:0:1::1")
)

// behindLinks makes the metadata addresses answer by every link of the thread's namespace. Where there is
// no IPv6 only those of IPv4 do.
func behindLinks() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := upLinks(h)
	if err == nil && len(links) == 0 {
		if err = addLink(h); err == nil {
			links, err = upLinks(h)
		}
	}
	if err != nil {
		return fmt.Errorf("a link of the namespace: %w", err)
	}
	for _, l := range links {
		for _, a := range []netip.AddrPort{addr4, addr6} {
			if err := behind(h, l, a.Addr()); err != nil && a == addr4 {
				return fmt.Errorf("%v behind interface %s: %w", a.Addr(), l.Attrs().Name, err)
			}
		}
	}
	return nil
}

// upLinks lists the links that the command can call by. A namespace may have others from its beginning, of
// the kernel's tunnels, which are down.
func upLinks(h *netlink.Handle) ([]netlink.Link, error) {
	all, err := h.LinkList()
	return slices.DeleteFunc(all, func(l netlink.Link) bool {
		a := l.Attrs()
		return a.Flags&net.FlagLoopback != 0 || a.Flags&net.FlagUp == 0 || a.Name == otherEnd
	}), err
}

// addLink makes a link that leads nowhere.
func addLink(h *netlink.Handle) error {
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: onlyLink, TxQLen: -1}, PeerName: otherEnd}); err != nil {
		return err
	}
	for _, name := range []string{otherEnd, onlyLink} {
		l, err := h.LinkByName(name)
		if err == nil {
			err = h.LinkSetUp(l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// behind delivers what is sent to an address by a link to this host. The source is an address of the link,
// so that the answers are seen to come by it, too.
func behind(h *netlink.Handle, l netlink.Link, to netip.Addr) error {
	family, bits, own := unix.AF_INET, to.BitLen(), source4
	if to.Is6() {
		family, own = unix.AF_INET6, source6
	}
	addresses, err := h.AddrList(l, family)
	if err != nil {
		return err
	}
	var source net.IP
	for _, a := range addresses {
		if source == nil && !(to.Is6() && a.IP.IsLinkLocalUnicast()) {
			source = a.IP
		}
	}
	if source == nil {
		source = own.AsSlice()
		a := &netlink.Addr{IPNet: &net.IPNet{IP: source, Mask: net.CIDRMask(bits, bits)}, Scope: unix.RT_SCOPE_LINK}
		if to.Is6() {
			a.Scope, a.Flags, a.PreferedLft, a.ValidLft = 0, unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE, 0, math.MaxUint32
		}
		if err := h.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return h.RouteAdd(&netlink.Route{
		LinkIndex: l.Attrs().Index, Family: family, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
		Priority: l.Attrs().Index, Src: source, Dst: &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(bits, bits)},
	})
}
