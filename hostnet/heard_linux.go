package hostnet

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A machine's link shows nothing of what is behind it, so what the host's tables say has to do: at which port of a
// bridge frames of a MAC address came in, and which addresses have answered to that name. The first is what the machine
// says of itself. The second is too where the machine has the link alone; on a bridge any station can say it of any
// other, as who sends an ARP request names a MAC address in it that need not be the frame's. So there only what is said
// alone is believed, and never in the place of what was believed before.

// heardFor is how long what the host's tables say is not asked for again: it is one answer for all guests.
const heardFor = 2 * time.Second

// hearsay is what the host's tables say of stations.
type hearsay struct {
	at      time.Time
	behind  map[int][]string                // MAC addresses that a port of a bridge leads to
	known   map[int]map[string][]netip.Addr // addresses of a MAC address, by the interface that it is on
	subnets map[int][]netip.Prefix          // of the host's own interfaces
}

// hearsay asks for what the host's tables say, if that is not known from a moment ago.
func (h *Network) hearsay() *hearsay {
	if h.said != nil && time.Since(h.said.at) < heardFor {
		return h.said
	}
	now := &hearsay{
		at: time.Now(), behind: map[int][]string{}, known: map[int]map[string][]netip.Addr{},
		subnets: map[int][]netip.Prefix{},
	}
	h.said = now
	const lasting = netlink.NUD_PERMANENT | netlink.NUD_NOARP
	if entries, err := netlink.NeighList(0, unix.AF_BRIDGE); err == nil {
		for _, n := range entries {
			if n.State&netlink.NUD_PERMANENT == 0 && len(n.HardwareAddr) == stationLen && n.Flags&netlink.NTF_SELF == 0 {
				now.behind[n.LinkIndex] = append(now.behind[n.LinkIndex], n.HardwareAddr.String())
			}
		}
	}
	const valid = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | lasting
	if entries, err := netlink.NeighList(0, 0); err == nil {
		for _, n := range entries {
			addr, ok := netip.AddrFromSlice(n.IP)
			if !ok || n.State&valid == 0 || len(n.HardwareAddr) != stationLen || !isGuests(addr.Unmap()) {
				continue
			}
			if now.known[n.LinkIndex] == nil {
				now.known[n.LinkIndex] = map[string][]netip.Addr{}
			}
			mac := n.HardwareAddr.String()
			now.known[n.LinkIndex][mac] = append(now.known[n.LinkIndex][mac], addr.Unmap())
		}
	}
	if addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL); err == nil {
		for _, a := range addrs {
			if addr, ok := netip.AddrFromSlice(a.IP); ok {
				bits, _ := a.Mask.Size()
				now.subnets[a.LinkIndex] = append(now.subnets[a.LinkIndex], netip.PrefixFrom(addr.Unmap(), bits).Masked())
			}
		}
	}
	return now
}

// heard is what the host has heard of the machine behind a link; nil: nothing that is clear.
func (h *Network) heard(s *seat, l link, bridge int) []GuestLink {
	said := h.hearsay()
	device := l.index
	var macs []string
	if bridge != 0 {
		device, macs = bridge, slices.Clone(said.behind[l.index])
	} else {
		for mac := range said.known[l.index] {
			macs = append(macs, mac)
		}
	}
	own := net.HardwareAddr(l.mac).String()
	macs = slices.DeleteFunc(macs, func(mac string) bool { return mac == own })
	slices.Sort(macs)
	macs = slices.Compact(macs)
	// A hypervisor's tap tells which of several is the guest's: it has the same address but for its beginning.
	if i := slices.IndexFunc(macs, func(mac string) bool { return ofDomain(mac) == own }); i >= 0 {
		macs = macs[i : i+1]
	}
	if len(macs) != 1 || len(s.Sources) > 0 && h.severalAt(l.index) {
		return nil
	}
	var was []netip.Prefix
	if before := s.learnedBefore(); len(before) == 1 && before[0].MAC == macs[0] {
		was = before[0].Addresses
	}
	addresses := said.addresses(device, macs[0])
	if bridge != 0 || l.kind == "bridge" {
		addresses = believed(was, addresses)
	} else if amongAll(was, addresses) { // entries end when nobody uses them, which says nothing of the machine
		addresses = was
	}
	return []GuestLink{{MAC: macs[0], Addresses: addresses}}
}

// addresses are those of a MAC address on a device, the lowest of each family first.
func (h *hearsay) addresses(device int, mac string) (out []netip.Prefix) {
	addrs := slices.Clone(h.known[device][mac])
	slices.SortFunc(addrs, func(a, b netip.Addr) int {
		if a.Is4() != b.Is4() {
			return a.BitLen() - b.BitLen()
		}
		return a.Compare(b)
	})
	for _, a := range addrs[:min(len(addrs), mostAddresses)] {
		p := netip.PrefixFrom(a, a.BitLen())
		for _, subnet := range h.subnets[device] {
			if subnet.Contains(a) {
				p = netip.PrefixFrom(a, subnet.Bits())
			}
		}
		out = append(out, p)
	}
	return out
}

// believed are the addresses of a station that others can speak for: of each family those that were believed before,
// or else the only one that is said. Of several nobody knows which the station said itself.
func believed(was, said []netip.Prefix) (out []netip.Prefix) {
	for _, is4 := range []bool{true, false} {
		other := func(p netip.Prefix) bool { return p.Addr().Is4() != is4 }
		family := slices.DeleteFunc(slices.Clone(was), other)
		if len(family) == 0 {
			family = slices.DeleteFunc(slices.Clone(said), other)
			if len(family) > 1 {
				continue
			}
		}
		out = append(out, family...)
	}
	return out
}

// amongAll says whether all of some addresses are among others.
func amongAll(all, some []netip.Prefix) bool {
	return !slices.ContainsFunc(some, func(p netip.Prefix) bool { return !slices.Contains(all, p) })
}

// severalAt says whether more than one endpoint has the link: then what is behind it is nobody's alone.
func (h *Network) severalAt(index int) bool {
	n := 0
	for _, s := range h.seats {
		if s.at != nil && s.at.where.ifindex == index {
			n++
		}
	}
	return n > 1
}
