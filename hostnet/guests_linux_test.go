package hostnet_test

import (
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
