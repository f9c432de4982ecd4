package hostnet_test

import (
	"os"
	"testing"

	"github.com/openimds/openimds/hostnet"
)

func TestInterface(t *testing.T) {
	h, _ := newHost(t)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	g2 := machine(t, "g2", "i2", "10.0.0.5/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}}))
	g1.hears(metadata4, "one")
	g2.hears(metadata4, "two")
	g1.hearsNothing(metadata6)
}

func TestInterfaceIPv6(t *testing.T) {
	h, _ := newHost(t)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", IPv6: true}}))
	g1.hears(metadata4, "one")
	g1.hears(metadata6, "one")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", IPv6: false}}))
	g1.hears(metadata4, "one")
	g1.hearsNothing(metadata6)
}

func TestNamespace(t *testing.T) {
	h, _ := newHost(t)
	c1 := newNamespace(t, "c1")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Netns: "c1", IPv6: true}}))
	c1.hears(metadata4, "one")
	c1.hears(metadata6, "one")
	must(t, h.Set([]hostnet.Endpoint{{ID: "two", Netns: "c1"}}))
	c1.hears(metadata4, "two")
	c1.hearsNothing(metadata6)
	must(t, h.Set(nil))
	c1.hearsNothing(metadata4)
}

// TestReversePath has the host check sources strictly, as some distributions set it: guests to which
// the host has a route by their interface are heard.
func TestReversePath(t *testing.T) {
	h, _ := newHost(t)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	to(t, "10.0.0.5/32", "", "i1")
	bridge(t, "br0", "10.1.0.1/24")
	b1 := machine(t, "b1", "p1", "10.1.0.5/24")
	plug(t, "p1", "br0")
	for _, dev := range []string{"i1", "p1", "br0"} {
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+dev+"/rp_filter", []byte("1"), 0o644))
	}
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "p1"}}))
	g1.hears(metadata4, "one")
	b1.hears(metadata4, "two")
}

// TestTap attaches what virtual machines have: a tap, whose other end is a program.
func TestTap(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "tap0", IPv6: true}}))
	becomes(t, h, "vm", hostnet.Waiting)
	manyInterfaces(t, []hostnet.Endpoint{{Interface: "tap0"}})
	status := becomes(t, h, "vm", hostnet.Attached)
	if !status.IPv4 || !status.IPv6Answers || status.Reason != "interface tap0 is down: run 'ip link set tap0 up'" {
		t.Errorf("the status is %+v", status)
	}
	up(t, "tap0")
	isWell(t, h, "vm")
}
