package hostnet_test

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestForgedSource has a guest use another's address. It is answered as itself, or not at all; and the
// other one is never answered as the forger.
func TestForgedSource(t *testing.T) {
	h, _ := newHost(t)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	g2 := machine(t, "g2", "i2", "10.0.0.6/24")
	to(t, "10.0.0.5/32", "", "i1")
	to(t, "10.0.0.6/32", "", "i2")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}}))
	g2.do(func() { address(t, "eth0", "10.0.0.5/32") })
	for range 20 {
		var got string
		g2.do(func() { got, _ = ask(metadata4, patience, "10.0.0.5:0") })
		if got != "two" && got != "" {
			t.Fatalf("with the address of one, two is answered as %q", got)
		}
		g1.hears(metadata4, "one")
	}
}

// TestSameConnection has two guests use one address and one port at the same time.
func TestSameConnection(t *testing.T) {
	h, g := newHost(t)
	g.hold.Store(true)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	g2 := machine(t, "g2", "i2", "10.0.0.5/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}}))
	for port := uint16(40000); port < 40050; port++ {
		from := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.5"), port).String()
		for ns, id := range map[*namespace]string{g1: "one", g2: "two"} {
			ns.do(func() {
				if got, err := ask(metadata4, forever, from); got != id {
					t.Errorf("port %d of %s: answered as %q, %v", port, id, got, err)
				}
			})
		}
	}
}

// TestTakenAddress has one guest of a bridge take the address of another, as seen by the host: by ARP,
// by its MAC address and by a poisoned neighbour table. It must not be answered as the other, nor get
// the other's answers, nor keep the other from getting them.
func TestTakenAddress(t *testing.T) {
	for _, iptables := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+iptables, func(t *testing.T) {
			h, _ := newHost(t)
			bridge(t, "br0", "10.0.0.1/24")
			callIPTables(t, iptables)
			b1 := machine(t, "b1", "p1", "10.0.0.5/24")
			b2 := machine(t, "b2", "p2", "10.0.0.6/24")
			plug(t, "p1", "br0")
			plug(t, "p2", "br0")
			must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "p1"}, {ID: "two", Interface: "p2"}}))
			b1.hears(metadata4, "one")
			b2.hears(metadata4, "two")

			b2.do(func() { address(t, "eth0", "10.0.0.5/32") })
			mac := func(ns *namespace) (a net.HardwareAddr) {
				ns.do(func() { a = link(t, "eth0").Attrs().HardwareAddr })
				return a
			}
			// The host believes that b1's address is at b2.
			poison := &netlink.Neigh{
				LinkIndex: link(t, "br0").Attrs().Index, IP: net.ParseIP("10.0.0.5"),
				HardwareAddr: mac(b2), State: netlink.NUD_PERMANENT,
			}
			must(t, netlink.NeighSet(poison))
			var got string
			b2.do(func() { got, _ = ask(metadata4, patience, "10.0.0.5:0") })
			if got != "two" && got != "" {
				t.Errorf("with the address of one, two is answered as %q", got)
			}
			b1.hears(metadata4, "one") // its answers go to where its questions came from
			b2.do(func() {
				mine, err := netlink.ParseAddr("10.0.0.5/32")
				must(t, err)
				must(t, netlink.AddrDel(link(t, "eth0"), mine))
			})
			must(t, netlink.NeighDel(poison))
			b1.hears(metadata4, "one")
		})
	}
}

func callIPTables(t *testing.T, value string) {
	t.Helper()
	path := "/proc/sys/net/bridge/bridge-nf-call-iptables"
	old, err := os.ReadFile(path)
	if os.IsNotExist(err) && value == "0" {
		return
	}
	if os.IsNotExist(err) {
		t.Skip("the kernel lacks br_netfilter")
	}
	must(t, os.WriteFile(path, []byte(value), 0o644))
	t.Cleanup(func() { must(t, os.WriteFile(path, []byte(strings.TrimSpace(string(old))), 0o644)) })
}

// TestPosing has a guest of a bridge claim to be the metadata service.
func TestPosing(t *testing.T) {
	h, _ := newHost(t)
	bridge(t, "br0", "10.0.0.1/24")
	b1 := machine(t, "b1", "p1", "10.0.0.5/24")
	plug(t, "p1", "br0")
	for name, attached := range map[string]bool{"attached": true, "unknown": false} {
		evil := newNamespace(t, name)
		evil.cable(name, "eth0")
		plug(t, name, "br0")
		evil.do(func() {
			for _, a := range []string{metadata4 + "/32", metadata6 + "/128", "10.0.0.66/24"} {
				address(t, "eth0", a)
			}
		})
		stop := answerAs(t, evil, "evil")
		t.Cleanup(stop)
		endpoints := []hostnet.Endpoint{{ID: "one", Interface: "p1", IPv6: true}}
		if attached {
			endpoints = append(endpoints, hostnet.Endpoint{ID: "evil", Interface: name, IPv6: true})
		}
		must(t, h.Set(endpoints))
		for range 20 {
			b1.do(func() { // it knows nothing yet
				must(t, netlink.LinkSetDown(link(t, "eth0")))
				must(t, netlink.LinkSetUp(link(t, "eth0")))
				to(t, metadata4+"/32", "", "eth0")
				linkLocal(t, "eth0")
				to(t, metadata6+"/128", "", "eth0")
			})
			b1.hears(metadata4, "one")
		}
		b1.hears(metadata6, "one")
	}
}

// TestUnknown checks that callers without an attachment get no answer by any way into the host.
func TestUnknown(t *testing.T) {
	h, g := newHost(t)
	machine(t, "g1", "i1", "10.0.0.5/24")
	stranger := machine(t, "g2", "i2", "10.0.0.6/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", IPv6: true}}))
	stranger.hearsNothing(metadata4)
	stranger.hearsNothing(metadata6)
	for _, addr := range []string{metadata4, metadata6} { // the host itself
		if got, err := ask(addr, patience, ""); err == nil {
			t.Errorf("the host asks %s: answered as %q", addr, got)
		}
	}
	if n := g.accepted.Load(); n != 0 {
		t.Errorf("%d connections were accepted", n)
	}
}

// TestOnlyPort80 checks that the metadata addresses open no other way into the host.
func TestOnlyPort80(t *testing.T) {
	h, _ := newHost(t)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	bridge(t, "br0", "10.0.0.1/24")
	b1 := machine(t, "b1", "p1", "10.0.0.5/24")
	plug(t, "p1", "br0")
	l, err := net.Listen("tcp", ":0") // a service of the host on all addresses
	must(t, err)
	defer func() { _ = l.Close() }()
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", IPv6: true}, {ID: "two", Interface: "p1", IPv6: true}}))
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	for _, ns := range []*namespace{g1, b1} {
		ns.do(func() {
			for _, addr := range []string{metadata4, metadata6} {
				c, err := (&net.Dialer{Timeout: patience}).Dial("tcp", net.JoinHostPort(addr, port))
				if err == nil {
					_ = c.Close()
					t.Errorf("%s reaches port %s of the host by %s", ns.name, port, addr)
				}
			}
		})
	}
}

// TestBusyPort checks that a web server on port 80 neither keeps the service out nor is kept out.
func TestBusyPort(t *testing.T) {
	h, _ := newHost(t)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	c1 := newNamespace(t, "c1")
	early, err := net.Listen("tcp", ":80")
	must(t, err)
	defer func() { _ = early.Close() }()
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Netns: "c1"}}))
	c1.do(func() {
		late, err := net.Listen("tcp", ":80")
		must(t, err)
		t.Cleanup(func() { _ = late.Close() })
	})
	g1.hears(metadata4, "one")
	c1.hears(metadata4, "two")
}

// TestSources tells guests of one bridge apart by their addresses.
func TestSources(t *testing.T) {
	h, _ := newHost(t)
	bridge(t, "br0", "10.0.0.1/24")
	guests := map[string]*namespace{}
	for id, prefix := range map[string]string{"a": "10.0.0.7/24", "b": "10.0.0.8/24", "stranger": "10.0.0.9/24"} {
		guests[id] = machine(t, id, "p"+id, prefix)
		plug(t, "p"+id, "br0")
	}
	must(t, h.Set([]hostnet.Endpoint{
		{ID: "a", Interface: "br0", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")}},
		{ID: "b", Interface: "br0", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.8/31").Masked()}},
	}))
	guests["a"].hears(metadata4, "a")
	guests["b"].hears(metadata4, "b")
	guests["stranger"].hears(metadata4, "b") // 10.0.0.8/31 is .8 and .9
	must(t, h.Set([]hostnet.Endpoint{
		{ID: "a", Interface: "br0", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")}},
		{ID: "b", Interface: "br0", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.8/32")}},
	}))
	guests["b"].hears(metadata4, "b")
	guests["stranger"].hearsNothing(metadata4)

	err := h.Set([]hostnet.Endpoint{
		{ID: "a", Interface: "br0", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")}},
		{ID: "b", Interface: "br0", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28"), netip.MustParsePrefix("10.9.0.0/16")}},
	})
	if err == nil {
		t.Error("overlapping sources were accepted")
	}
	guests["a"].hearsNothing(metadata4) // ambiguous: nobody is preferred
	guests["b"].hearsNothing(metadata4)
}

// TestLinkLocal asks from link-local addresses that are the same on two interfaces.
func TestLinkLocal(t *testing.T) {
	h, _ := newHost(t)
	want := map[*namespace]string{}
	var endpoints []hostnet.Endpoint
	for _, id := range []string{"g1", "g2"} {
		ns := machine(t, id, "i"+id, "10.0.0.5/24")
		ns.do(func() {
			l := link(t, "eth0")
			addrs, err := netlink.AddrList(l, unix.AF_INET6)
			must(t, err)
			for _, a := range addrs {
				must(t, netlink.AddrDel(l, &a))
			}
			address(t, "eth0", "fe80::5/64")
		})
		want[ns] = id
		endpoints = append(endpoints, hostnet.Endpoint{ID: id, Interface: "i" + id, IPv6: true})
	}
	must(t, h.Set(endpoints))
	for range 10 {
		for ns, id := range want {
			ns.hears(metadata6, id)
		}
	}
}
