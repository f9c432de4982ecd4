package hostnet_test

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// station is a machine behind a device of the host, of which nothing is seen but its frames.
type station struct {
	t     *testing.T
	index int
	mac   string
}

// newStation has a machine that is silent behind a device, at a port of a bridge; "": at none.
func newStation(t *testing.T, device, bridge, hw string) *station {
	t.Helper()
	inside := "in" + device
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: device, TxQLen: -1}, PeerName: inside}))
	t.Cleanup(func() { unplug(device) })
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+inside+"/disable_ipv6", []byte("1"), 0o644))
	must(t, netlink.LinkSetHardwareAddr(link(t, inside), mac(hw)))
	up(t, inside)
	if bridge != "" {
		plug(t, device, bridge)
	}
	up(t, device)
	return &station{t: t, index: link(t, inside).Attrs().Index, mac: hw}
}

// asks sends ARP requests for the host, in which the sender of an address is whom it says, until the host knows it so.
func (s *station) asks(sender, addr, host, device string) {
	s.t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(s.t, err)
	defer unix.Close(fd)
	frame := append(append([]byte{255, 255, 255, 255, 255, 255}, mac(s.mac)...), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	frame = append(append(frame, mac(sender)...), netip.MustParseAddr(addr).AsSlice()...)
	frame = append(append(frame, 0, 0, 0, 0, 0, 0), netip.MustParseAddr(host).AsSlice()...)
	for end := time.Now().Add(forever); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		must(s.t, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: s.index}))
		known, err := netlink.NeighList(link(s.t, device).Attrs().Index, netlink.FAMILY_V4)
		must(s.t, err)
		for _, n := range known {
			if n.IP.String() == addr && n.HardwareAddr.String() == sender {
				return
			}
		}
	}
	s.t.Fatalf("the host does not take %s for the station of %s", sender, addr)
}

// TestNeighbourSpeaksForAnother: what one machine on a bridge says of another one changes nothing of what that is told.
func TestNeighbourSpeaksForAnother(t *testing.T) {
	const aa, bb, cc = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"
	l := newLearner(t)
	h, _ := newHost(t, l.configure)
	bridge(t, "br0", "10.0.0.1/24")
	a, b := newStation(t, "tapa", "br0", aa), newStation(t, "tapb", "br0", bb)
	c := newStation(t, "tapc", "", cc)
	address(t, "tapc", "10.0.3.1/24")
	run(t, h)
	all := []hostnet.Endpoint{{ID: "aa", Interface: "tapa"}, {ID: "bb", Interface: "tapb"}, {ID: "cc", Interface: "tapc"}}
	must(t, h.Set(all))
	a.asks(aa, "10.0.0.10", "10.0.0.1", "br0")
	b.asks(bb, "10.0.0.20", "10.0.0.1", "br0")
	l.comes("aa", aa+" 10.0.0.10/24")
	const own = bb + " 10.0.0.20/24"
	l.comes("bb", own)
	// What is heard of cc twice is heard of all others between.
	addrs := ""
	round := func(first, second string) {
		t.Helper()
		for _, n := range []string{first, second} {
			c.asks(cc, "10.0.3."+n, "10.0.3.1", "tapc")
			addrs += " 10.0.3." + n + "/24"
			l.comes("cc", cc+addrs)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if got := describe(l.links["bb"]); got != own {
			t.Fatalf("a neighbour had it learned that bb has %s", got)
		}
	}
	a.asks(bb, "10.0.0.3", "10.0.0.1", "br0")
	round("11", "12")
	a.asks(aa, "10.0.0.20", "10.0.0.1", "br0") // so that the other one is the only one
	round("13", "14")
	// So it is when openimds begins anew, with what was learned, and without that nothing is clear.
	b.asks(bb, "10.0.0.20", "10.0.0.1", "br0")
	all[1].ID, all[1].Learned = "again", []hostnet.GuestLink{{MAC: bb, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.20/24")}}}
	must(t, h.Set(all))
	l.comes("again", own)
	round("15", "16")
	all[1].ID, all[1].Learned = "anew", nil
	must(t, h.Set(all))
	l.comes("anew", bb)
}

// TestLearnsOfSharedMAC: of interfaces with one MAC address, as a VLAN and the one below have it, the first is told, that
// with the default route.
func TestLearnsOfSharedMAC(t *testing.T) {
	l := newLearner(t)
	h, _ := newHost(t, l.configure)
	c1 := newNamespace(t, "c1")
	for _, n := range []string{"1", "2", "3"} {
		c1.cable("i"+n, "eth"+n)
	}
	c1.do(func() {
		for name, hw := range map[string]string{"eth1": "e2:bc:00:00:00:01", "eth2": "e2:bc:00:00:00:02", "eth3": "e2:bc:00:00:00:01"} {
			must(t, netlink.LinkSetHardwareAddr(link(t, name), mac(hw)))
			address(t, name, "10.9."+name[3:]+".2/24")
		}
	})
	must(t, h.Set([]hostnet.Endpoint{{ID: "box", Netns: "c1"}}))
	run(t, h)
	l.comes("box", "e2:bc:00:00:00:01 10.9.1.2/24, e2:bc:00:00:00:02 10.9.2.2/24")
	c1.do(func() { to(t, "0.0.0.0/0", "10.9.3.1", "eth3") })
	l.comes("box", "e2:bc:00:00:00:01 10.9.3.2/24, e2:bc:00:00:00:02 10.9.2.2/24")
}
