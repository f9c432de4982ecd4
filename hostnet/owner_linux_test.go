package hostnet_test

import (
	"net"
	"strings"
	"testing"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
)

// otherHost makes a Host in a network namespace of its own, as that of a container is, with these
// endpoints. The function ends it.
func otherHost(t *testing.T, home *namespace, endpoints ...hostnet.Endpoint) (h *hostnet.Network, end func()) {
	t.Helper()
	g := &guests{t: t, conns: map[net.Conn]bool{}}
	home.do(func() {
		var err error
		h, err = hostnet.New(hostnet.Config{Serve: g.serve})
		must(t, err)
		must(t, h.Set(endpoints))
	})
	return h, func() {
		t.Helper()
		home.do(func() { must(t, h.Close()) })
		g.serving.Wait()
	}
}

// TestTwoHosts has two Hosts on one machine, each in a network namespace of its own, that find the same
// namespace: what the one has attached, the other neither sweeps nor takes.
func TestTwoHosts(t *testing.T) {
	h, _ := newHost(t)
	home, c1 := newNamespace(t, "home2"), newNamespace(t, "c1")
	var bare, left []string
	c1.do(func() { bare = state(t) })
	_, end := otherHost(t, home, hostnet.Endpoint{ID: "other", Netns: "c1", IPv6: true})
	c1.hears(metadata4, "other")

	must(t, h.Sweep())
	c1.hears(metadata4, "other")
	c1.hears(metadata6, "other")
	mine := []hostnet.Endpoint{{ID: "mine", Netns: "c1", IPv6: true}}
	if err := h.Set(mine); err == nil || strings.Count(err.Error(), "another openimds process") != 1 {
		t.Errorf("attaching what another process has attached: %v", err)
	}
	must(t, h.Set(nil))
	c1.hears(metadata4, "other")
	c1.hears(metadata6, "other")

	end()
	must(t, h.Set(mine))
	c1.hears(metadata6, "mine")
	must(t, h.Set(nil))
	release(t, h)
	c1.do(func() { left = state(t) })
	if d := changed(bare, left); d != "" {
		t.Errorf("after both the namespace differs:\n%s", d)
	}
}

// TestOtherHostKilled kills a process of another network namespace: what it left is anyone's to remove
// or to take over, for nobody may come again whose it was.
func TestOtherHostKilled(t *testing.T) {
	h, _ := newHost(t)
	home, c1 := newNamespace(t, "home2"), newNamespace(t, "c1")
	var bare, left []string
	c1.do(func() { bare = state(t) })
	kill := func() {
		t.Helper()
		home.do(func() {
			holder := startHolder(t)
			must(t, holder.Process.Kill())
			_ = holder.Wait()
		})
	}
	kill()
	c1.do(func() { left = state(t) })
	if changed(bare, left) == "" {
		t.Fatal("the process left nothing")
	}
	must(t, h.Sweep())
	c1.hearsNothing(metadata4)
	release(t, h)
	c1.do(func() { left = state(t) })
	if d := changed(bare, left); d != "" {
		t.Errorf("after Sweep and Release the namespace differs:\n%s", d)
	}
	kill()
	must(t, h.Set([]hostnet.Endpoint{{ID: "mine", Netns: "c1"}}))
	c1.hears(metadata4, "mine")
}

// TestHostInGuest has a Host in a namespace that another Host has attached: a container with virtual
// machines of its own. Each guest is answered as its own endpoint, and neither Host sweeps the other's.
func TestHostInGuest(t *testing.T) {
	h, _ := newHost(t)
	box, vm := newNamespace(t, "box"), newNamespace(t, "vm")
	box.do(func() {
		must(t, netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "tap0", TxQLen: -1}, PeerName: "eth0",
			PeerNamespace: netlink.NsFd(int(vm.file.Fd())),
		}))
		up(t, "tap0")
	})
	vm.do(func() {
		up(t, "eth0")
		address(t, "eth0", "10.0.0.5/24")
		linkLocal(t, "eth0")
		to(t, metadata4+"/32", "", "eth0")
		to(t, metadata6+"/128", "", "eth0")
	})
	outer := []hostnet.Endpoint{{ID: "box", Netns: "box", IPv6: true}}
	inner := []hostnet.Endpoint{{ID: "vm", Interface: "tap0", IPv6: true}}
	check := func() {
		t.Helper()
		for _, addr := range []string{metadata4, metadata6} {
			box.hears(addr, "box")
			vm.hears(addr, "vm")
		}
	}
	must(t, h.Set(outer)) // one is there first, then the other
	in, end := otherHost(t, box, inner...)
	check()
	must(t, h.Set(nil))
	must(t, h.Sweep())
	vm.hears(metadata4, "vm")
	must(t, h.Set(outer))
	check()
	must(t, h.Sweep())
	box.do(func() { must(t, in.Sweep()) })
	check()
	end()
	box.hears(metadata4, "box")
}
