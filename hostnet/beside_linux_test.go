package hostnet_test

import (
	"testing"

	"github.com/openimds/openimds/hostnet"
)

// TestBesideNamespace has a container beside an attached one, on the bridge that both are on, take that one
// for its router to the metadata service.
func TestBesideNamespace(t *testing.T) {
	h, _ := newHost(t)
	bridge(t, "br0", "10.0.0.1/24")
	address(t, "br0", "fd0a::1/64")
	c1, c2 := newNamespace(t, "c1"), newNamespace(t, "c2")
	for i, c := range []*namespace{c1, c2} {
		port := []string{"p1", "p2"}[i]
		c.cable(port, "eth0")
		plug(t, port, "br0")
		c.do(func() {
			address(t, "eth0", []string{"10.0.0.5/24", "10.0.0.6/24"}[i])
			address(t, "eth0", []string{"fd0a::5/64", "fd0a::6/64"}[i])
			linkLocal(t, "eth0")
			to(t, "0.0.0.0/0", "10.0.0.1", "eth0")
			to(t, "::/0", "fd0a::1", "eth0")
		})
	}
	c2.do(func() {
		to(t, metadata4+"/32", "10.0.0.5", "eth0")
		to(t, metadata6+"/128", "fd0a::5", "eth0")
	})
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Netns: "c1", IPv6: true}}))
	for _, service := range []string{metadata4, metadata6} {
		c1.hears(service, "one")
		c2.hearsNothing(service)
	}
}
