package hostnet_test

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
)

// TestHostState compares what the host becomes by a Set with what it should, and what it is after
// Close with what it was before.
func TestHostState(t *testing.T) {
	needHost(t)
	if os.Getenv(filterVariable) != "" {
		t.Skip("what is expected is of a host that does not check sources")
	}
	prefixes := func(s ...string) (out []netip.Prefix) {
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, test := range []struct {
		name string
		sets [][]hostnet.Endpoint
		fail string // what the last Set says
	}{
		{name: "interface", sets: [][]hostnet.Endpoint{{{ID: "a", Interface: "i1"}}}},
		{name: "interface-ipv6", sets: [][]hostnet.Endpoint{{{ID: "a", Interface: "i1", IPv6: true}}}},
		{name: "interface-ipv6-off-again", sets: [][]hostnet.Endpoint{
			{{ID: "a", Interface: "i1", IPv6: true}}, {{ID: "a", Interface: "i1"}}}},
		{name: "two-interfaces", sets: [][]hostnet.Endpoint{{{ID: "a", Interface: "i1"}, {ID: "b", Interface: "i2"}}}},
		{name: "one-of-two-left", sets: [][]hostnet.Endpoint{
			{{ID: "a", Interface: "i1"}, {ID: "b", Interface: "i2"}}, {{ID: "b", Interface: "i2"}}}},
		{name: "same-again", sets: [][]hostnet.Endpoint{{{ID: "a", Interface: "i1"}}, {{ID: "a", Interface: "i1"}}}},
		{name: "handed-over", sets: [][]hostnet.Endpoint{{{ID: "a", Interface: "i1"}}, {{ID: "b", Interface: "i1"}}}},
		{name: "bridge-ports", sets: [][]hostnet.Endpoint{{
			{ID: "a", Interface: "p1", IPv6: true}, {ID: "b", Interface: "p2"}}}},
		{name: "sources", sets: [][]hostnet.Endpoint{{
			{ID: "a", Interface: "br0", Sources: prefixes("10.0.0.7/32", "10.1.0.0/16")},
			{ID: "b", Interface: "br0", Sources: prefixes("10.0.0.8/32", "fd01::/64"), IPv6: true}}}},
		{name: "none", sets: [][]hostnet.Endpoint{{{ID: "a", Interface: "i1"}, {ID: "c", Netns: "c1"}}, nil}},
		{name: "namespace", sets: [][]hostnet.Endpoint{{{ID: "c", Netns: "c1"}}}},
		{name: "partial-failure", fail: "conflict", sets: [][]hostnet.Endpoint{{
			{ID: "a", Interface: "i1"}, {ID: "twice", Interface: "i2"}, {ID: "conflict", Interface: "i2"},
			{ID: "later", Interface: "i9"}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newNamespace(t, "c1")
			for _, dev := range []string{"i1", "i2", "p1", "p2"} {
				c.cable(dev, dev)
			}
			bridge(t, "br0", "10.0.0.1/24")
			plug(t, "p1", "br0")
			plug(t, "p2", "br0")
			before := state(t)
			t.Cleanup(func() {
				if d := changed(before, state(t)); d != "" {
					t.Errorf("after Close the host differs:\n%s", d)
				}
			})
			h, _ := newHost(t)
			var err error
			for _, endpoints := range test.sets {
				err = h.Set(endpoints)
			}
			if (err != nil) != (test.fail != "") || err != nil && !strings.Contains(err.Error(), test.fail) {
				t.Errorf("Set: %v, want %q", err, test.fail)
			}
			golden(t, test.name, changed(before, state(t)))
		})
	}
}

// TestNamespaceState is the same inside a namespace, one that was bare and one that had an address.
func TestNamespaceState(t *testing.T) {
	for name, had := range map[string]bool{"inside": false, "inside-with-address": true} {
		t.Run(name, func(t *testing.T) {
			needHost(t)
			c := newNamespace(t, "c1")
			var before, with, after []string
			c.do(func() {
				if had {
					address(t, "lo", metadata4+"/32")
				}
				before = state(t)
			})
			h, _ := newHost(t)
			must(t, h.Set([]hostnet.Endpoint{{ID: "c", Netns: "c1", IPv6: true}}))
			c.hears(metadata4, "c")
			c.do(func() { with = state(t) })
			golden(t, name, changed(before, withoutHops(with)))
			must(t, h.Set(nil))
			c.hearsNothing(metadata4)
			release(t, h)
			c.do(func() { after = state(t) })
			if d := changed(before, after); d != "" {
				t.Errorf("after it was detached the namespace differs:\n%s", d)
			}
		})
	}
}

// withoutHops leaves out the map from each number of hops to the next lower one.
func withoutHops(lines []string) (out []string) {
	for _, l := range lines {
		if !strings.HasPrefix(l, "nft inet openimds-guest hops ") {
			out = append(out, l)
		}
	}
	return out
}

// TestOwnWay checks that the host goes its own way to the metadata addresses: it may be a cloud
// instance itself.
func TestOwnWay(t *testing.T) {
	h, _ := newHost(t)
	cloud := newNamespace(t, "cloud")
	cloud.cable("uplink", "eth0")
	cloud.do(func() {
		for _, a := range []string{metadata4 + "/32", metadata6 + "/128", "192.0.2.1/24", "fd05::1/64"} {
			address(t, "eth0", a)
		}
	})
	address(t, "uplink", "192.0.2.2/24")
	address(t, "uplink", "fd05::2/64")
	to(t, metadata4+"/32", "", "uplink")
	to(t, metadata6+"/128", "", "uplink")
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	listen := answerAs(t, cloud, "cloud")
	defer listen()
	own := func() {
		t.Helper()
		for _, addr := range []string{metadata4, metadata6} {
			if got, err := ask(addr, forever, ""); got != "cloud" {
				t.Errorf("the host asks %s: answered as %q, %v; want cloud", addr, got, err)
			}
			routes, err := netlink.RouteGet(net.ParseIP(addr))
			if err != nil || len(routes) != 1 || routes[0].LinkIndex != link(t, "uplink").Attrs().Index {
				t.Errorf("the host's route to %s: %v, %v", addr, routes, err)
			}
		}
	}
	own()
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", IPv6: true}}))
	own()
	g.hears(metadata4, "one")
	g.hears(metadata6, "one")
	own()
	must(t, h.Set(nil))
	own()
	g.hearsNothing(metadata4)
}
