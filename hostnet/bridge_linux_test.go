package hostnet_test

import (
	"testing"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
)

// bridge makes a bridge of the host, with an address if given.
func bridge(t testing.TB, name, prefix string) {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}}))
	t.Cleanup(func() { unplug(name) })
	up(t, name)
	if prefix != "" {
		address(t, name, prefix)
	}
}

// plug makes an interface a port of a bridge.
func plug(t testing.TB, port, bridge string) {
	t.Helper()
	must(t, netlink.LinkSetMaster(link(t, port), link(t, bridge)))
}

func TestBridgePorts(t *testing.T) {
	h, _ := newHost(t)
	bridge(t, "br0", "10.0.0.1/24")
	b1 := machine(t, "b1", "p1", "10.0.0.5/24")
	b2 := machine(t, "b2", "p2", "10.0.0.6/24")
	b3 := machine(t, "b3", "p3", "10.0.0.7/24")
	for _, p := range []string{"p1", "p2", "p3"} {
		plug(t, p, "br0")
	}
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "p1", IPv6: true}, {ID: "two", Interface: "p2", IPv6: true}}))
	b1.hears(metadata4, "one")
	b2.hears(metadata4, "two")
	b3.hearsNothing(metadata4)
	b1.hears(metadata6, "one")
	b2.hears(metadata6, "two")
	b3.hearsNothing(metadata6)
}
