package hostnet_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
)

// learner notes what is learned of guests.
type learner struct {
	t     *testing.T
	mu    sync.Mutex
	links map[string][]hostnet.GuestLink
	bound map[string]bool // that were to be bound, and whether something was learned before
}

func newLearner(t *testing.T) *learner {
	return &learner{t: t, links: map[string][]hostnet.GuestLink{}, bound: map[string]bool{}}
}

func (l *learner) configure(c *hostnet.Config) {
	c.Learn = func(id string, links []hostnet.GuestLink) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.links[id] = links
	}
}

// comes waits until what was learned of an endpoint's guest reads like that.
func (l *learner) comes(id, want string) {
	l.t.Helper()
	var got string
	for end := time.Now().Add(forever); time.Now().Before(end); time.Sleep(time.Millisecond) {
		l.mu.Lock()
		got = describe(l.links[id])
		l.mu.Unlock()
		if got == want {
			return
		}
	}
	l.t.Fatalf("learned of %s: %s, want %s", id, got, want)
}

func describe(links []hostnet.GuestLink) string {
	var out []string
	for _, l := range links {
		out = append(out, strings.TrimSpace(l.MAC+" "+strings.Trim(fmt.Sprint(l.Addresses), "[]")))
	}
	return strings.Join(out, ", ")
}

const guestsMAC = "e2:bc:00:12:34:56"

// TestLearnsOfPair: what the guest's end of a veth has is known before the guest is answered, and followed.
func TestLearnsOfPair(t *testing.T) {
	l := newLearner(t)
	h, _ := newHost(t, l.configure, func(c *hostnet.Config) {
		c.Bind = func(id string, _ hostnet.Face) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.bound[id] = len(l.links[id]) > 0
		}
	})
	g1 := newNamespace(t, "g1")
	g1.rewire("i1", nil)
	g1.do(func() { must(t, netlink.LinkSetHardwareAddr(link(t, "eth0"), mac(guestsMAC))) })
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "late", Interface: "i2"}}))
	l.comes("one", guestsMAC+" 10.0.0.5/24")
	if !l.bound["one"] {
		t.Error("it was to be bound before it was known what the guest has")
	}
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", ByName: true}}))
	run(t, h)
	g1.do(func() {
		must(t, netlink.AddrDel(link(t, "eth0"), &netlink.Addr{IPNet: network("10.0.0.5/24")}))
		address(t, "eth0", "10.0.0.77/25")
		address(t, "eth0", "2001:db8::77/64")
	})
	l.comes("one", guestsMAC+" 10.0.0.77/25 2001:db8::77/64")
}

// TestLearnsOfNamespace: the interface with the default route is the first; what a namespace has within is its own.
func TestLearnsOfNamespace(t *testing.T) {
	l := newLearner(t)
	h, _ := newHost(t, l.configure)
	c1 := newNamespace(t, "c1")
	c1.cable("i1", "eth0")
	c1.cable("i2", "eth1")
	c1.cable("i3", "eth2") // without an address
	c1.do(func() {
		for name, hw := range map[string]string{"eth0": "e2:bc:00:00:00:01", "eth1": "e2:bc:00:00:00:02"} {
			must(t, netlink.LinkSetHardwareAddr(link(t, name), mac(hw)))
		}
		address(t, "eth0", "10.9.1.2/24")
		address(t, "eth1", "10.9.2.2/24")
		address(t, "eth1", "10.9.2.3/24")
		must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}))
		up(t, "docker0")
		address(t, "docker0", "172.17.0.1/16")
	})
	must(t, h.Set([]hostnet.Endpoint{{ID: "box", Netns: "c1"}}))
	run(t, h)
	const first, second = "e2:bc:00:00:00:01 10.9.1.2/24", "e2:bc:00:00:00:02 10.9.2.2/24 10.9.2.3/24"
	l.comes("box", first+", "+second)
	c1.do(func() { to(t, "0.0.0.0/0", "10.9.2.1", "eth1") })
	l.comes("box", second+", "+first)
}

// TestLearnsOfMachine: a machine on a bridge is known by the frames that came in at its port, and by what it has
// answered to.
func TestLearnsOfMachine(t *testing.T) {
	l := newLearner(t)
	h, _ := newHost(t, l.configure)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", TxQLen: -1, HardwareAddr: mac("02:00:00:00:00:01")}}
	must(t, netlink.LinkAdd(bridge))
	t.Cleanup(func() { unplug("br0") })
	up(t, "br0")
	address(t, "br0", "10.0.0.1/24")
	// Of a pair with both ends here nothing is shown but what a tap shows.
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "tap0", TxQLen: -1}, PeerName: "machine"}))
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/machine/disable_ipv6", []byte("1"), 0o644)) // it is silent
	up(t, "machine")
	t.Cleanup(func() { unplug("tap0") })
	must(t, netlink.LinkSetMaster(link(t, "tap0"), link(t, "br0")))
	up(t, "tap0")
	run(t, h)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "tap0"}}))
	becomes(t, h, "vm", hostnet.Attached)
	l.comes("vm", "")
	hears := func(hw string, addrs ...string) {
		must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: link(t, "tap0").Attrs().Index, Family: 7, Flags: netlink.NTF_MASTER, State: netlink.NUD_REACHABLE, HardwareAddr: mac(hw)}))
		for _, a := range addrs {
			must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: link(t, "br0").Attrs().Index, State: netlink.NUD_REACHABLE, IP: netip.MustParseAddr(a).AsSlice(), HardwareAddr: mac(hw)}))
		}
	}
	hears("52:54:00:12:34:56", "10.0.0.9")
	l.comes("vm", "52:54:00:12:34:56 10.0.0.9/24")
	// With a second station behind the port nothing is clear any more, and nothing is told anew; a hypervisor's tap
	// tells which of them is the guest's.
	hears("52:54:00:12:34:99", "10.0.0.8")
	must(t, netlink.LinkSetHardwareAddr(link(t, "tap0"), mac("fe:54:00:12:34:99")))
	l.comes("vm", "52:54:00:12:34:99 10.0.0.8/24")
}

// TestPairWithAddress: an address that the other end of a pair has is a mark as good as none: of the link that is
// found first.
func TestPairWithAddress(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	with := func(ns *namespace, hw string) {
		ns.rewire("i1", nil)
		ns.do(func() { must(t, netlink.LinkSetHardwareAddr(link(t, "eth0"), mac(hw))) })
	}
	g1, g2 := newNamespace(t, "g1"), newNamespace(t, "g2")
	with(g1, "e2:bc:00:12:34:57")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", MAC: guestsMAC}}))
	another(t, h, "one")
	with(g1, guestsMAC)
	becomes(t, h, "one", hostnet.Attached)
	g1.comesToHear("one")
	g1.do(func() { must(t, netlink.LinkSetHardwareAddr(link(t, "eth0"), mac("e2:bc:00:12:34:58"))) })
	g1.comesToHear("one") // it is this very link
	unplug("i1")
	becomes(t, h, "one", hostnet.Waiting)
	with(g2, guestsMAC)
	another(t, h, "one")
	g2.hearsNothing(metadata4)
}

func network(prefix string) *net.IPNet {
	n, err := netlink.ParseIPNet(prefix)
	if err != nil {
		panic(err)
	}
	return n
}
