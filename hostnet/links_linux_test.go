package hostnet

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// TestAskedForAPort asks for a port of a bridge before anything was told of either, as a Set that follows
// at once on "ip link set … master" does.
func TestAskedForAPort(t *testing.T) {
	for _, l := range []netlink.Link{
		&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "asked-br", TxQLen: -1}},
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "asked-p", TxQLen: -1}, PeerName: "asked-g"},
	} {
		if err := netlink.LinkAdd(l); err != nil {
			t.Skipf("skipped: this test makes interfaces, which needs root (%v)", err)
		}
		defer func() { _ = netlink.LinkDel(l) }()
	}
	br, err := netlink.LinkByName("asked-br")
	if err != nil {
		t.Fatal(err)
	}
	port, err := netlink.LinkByName("asked-p")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMaster(port, br); err != nil {
		t.Fatal(err)
	}
	ls := newLinks()
	ls.ask("asked-p")
	l, ok := ls.find("asked-p")
	if bridge, err := ls.reach(l); !ok || err != nil || bridge != br.Attrs().Index {
		t.Errorf("found %v, at bridge %d, %v; want bridge %d", ok, bridge, err, br.Attrs().Index)
	}
}
