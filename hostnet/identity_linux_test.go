package hostnet_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// These tests give the name, the number or the marks of what an endpoint is bound to to somebody else.

// another checks that an endpoint waits because another link or namespace is at its place.
func another(t *testing.T, h *hostnet.Network, id string) hostnet.EndpointStatus {
	t.Helper()
	for end := time.Now().Add(forever); ; time.Sleep(time.Millisecond) {
		for _, s := range h.Status() {
			if s.ID != id || s.State != hostnet.Waiting || s.Found == nil {
				continue
			}
			if !strings.Contains(s.Reason, "is not the one it") {
				t.Errorf("the reason does not say that it is another: %q", s.Reason)
			}
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not wait for what it is bound to: %+v", id, h.Status())
		}
	}
}

// rewire makes a guest's link anew, whose host end has that name and what change sets before it is up.
func (ns *namespace) rewire(hostEnd string, change func(*netlink.LinkAttrs)) {
	ns.t.Helper()
	unplug(hostEnd)
	attrs := netlink.LinkAttrs{Name: hostEnd, TxQLen: -1}
	if change != nil {
		change(&attrs)
	}
	must(ns.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.file.Fd()))}))
	if attrs.Alias != "" {
		must(ns.t, netlink.LinkSetAlias(link(ns.t, hostEnd), attrs.Alias))
	}
	up(ns.t, hostEnd)
	ns.do(func() {
		up(ns.t, "eth0")
		address(ns.t, "eth0", "10.0.0.5/24")
		to(ns.t, metadata4+"/32", "", "eth0")
	})
	ns.t.Cleanup(func() { unplug(hostEnd) })
}

// comesToHear waits until the guest is answered as the endpoint. It may be the first to ask its link for
// the address, and then asks again.
func (ns *namespace) comesToHear(id string) {
	ns.t.Helper()
	for end := time.Now().Add(forever); ; {
		var got string
		var err error
		ns.do(func() { got, err = ask(metadata4, patience, "") })
		if err == nil && got == id {
			return
		}
		if got != "" || time.Now().After(end) {
			ns.t.Fatalf("%s: answered as %q, %v; want %q", ns.name, got, err, id)
		}
	}
}

func mac(text string) net.HardwareAddr {
	hw, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return hw
}

// TestNameReused deletes the bound link and gives its name to another machine's.
func TestNameReused(t *testing.T) {
	for _, number := range []int{0, 4711} { // 4711: the number too
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			h, _ := newHost(t)
			run(t, h)
			numbered := func(a *netlink.LinkAttrs) { a.Index = number }
			g1, g2 := newNamespace(t, "g1"), newNamespace(t, "g2")
			g1.rewire("i1", numbered)
			must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}}))
			g1.hears(metadata4, "one")
			g2.rewire("i1", numbered)
			another(t, h, "one")
			g2.hearsNothing(metadata4)
			unplug("i1")
			becomes(t, h, "one", hostnet.Waiting)
			g2.rewire("i1", numbered)
			another(t, h, "one")
			g2.hearsNothing(metadata4)
			// What was found is taken when it is asked for.
			must(t, h.Set([]hostnet.Endpoint{{ID: "two", Interface: "i1"}}))
			g2.hears(metadata4, "two")
		})
	}
}

// TestLastingMarks makes the bound link anew with marks that outlast it, and without.
func TestLastingMarks(t *testing.T) {
	const domain, tap = "52:54:00:12:34:56", "fe:54:00:12:34:56"
	with := func(address, alias string) func(*netlink.LinkAttrs) {
		return func(a *netlink.LinkAttrs) {
			a.Alias = alias
			if address != "" {
				a.HardwareAddr = mac(address)
			}
		}
	}
	for name, c := range map[string]struct {
		endpoint    hostnet.Endpoint
		first, next func(*netlink.LinkAttrs)
		is          bool
	}{
		"random":                   {hostnet.Endpoint{}, nil, nil, false},
		"address set":              {hostnet.Endpoint{}, with(tap, ""), with(tap, ""), true},
		"another address":          {hostnet.Endpoint{}, with(tap, ""), with("fe:54:00:12:34:57", ""), false},
		"address lost":             {hostnet.Endpoint{}, with(tap, ""), nil, false},
		"alias":                    {hostnet.Endpoint{}, with("", "web"), with("", "web"), true},
		"another alias":            {hostnet.Endpoint{}, with("", "web"), with("", "db"), false},
		"address, another alias":   {hostnet.Endpoint{}, with(tap, "web"), with(tap, "db"), false},
		"alias, another address":   {hostnet.Endpoint{}, with(tap, "web"), with("fe:54:00:12:34:57", "web"), false},
		"declared":                 {hostnet.Endpoint{MAC: tap}, with(tap, ""), with(tap, "new"), true},
		"declared of the domain":   {hostnet.Endpoint{MAC: domain}, with(tap, ""), with(tap, ""), true},
		"declared, another":        {hostnet.Endpoint{MAC: domain}, with(tap, ""), with("fe:54:00:12:34:57", ""), false},
		"declared, random":         {hostnet.Endpoint{MAC: domain}, with(tap, ""), nil, false},
		"declared alias":           {hostnet.Endpoint{Alias: "web"}, with("", "web"), with("", "web"), true},
		"declared alias, address":  {hostnet.Endpoint{Alias: "web"}, with(tap, "web"), with("fe:54:00:12:34:57", "web"), true},
		"declared alias, another":  {hostnet.Endpoint{Alias: "web"}, with(tap, "web"), with(tap, "db"), false},
		"by name, whatever it has": {hostnet.Endpoint{ByName: true}, with(tap, "web"), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := newHost(t)
			run(t, h)
			g1, g2 := newNamespace(t, "g1"), newNamespace(t, "g2")
			e := c.endpoint
			e.ID, e.Interface = "one", "i1"
			g1.rewire("i1", c.first)
			must(t, h.Set([]hostnet.Endpoint{e}))
			g1.hears(metadata4, "one")
			unplug("i1")
			becomes(t, h, "one", hostnet.Waiting)
			g2.rewire("i1", c.next)
			if c.is {
				g2.hears(metadata4, "one")
				return
			}
			another(t, h, "one")
			g2.hearsNothing(metadata4)
		})
	}
}

// TestBoundToAllMarks: what an endpoint is bound to has the marks that the link had when the endpoint was set, whatever the
// kernel had told of the link by then. Bound to its address alone, it would take for its own what has another alias.
func TestBoundToAllMarks(t *testing.T) {
	found := make(chan hostnet.Face, 100)
	h, _ := newHost(t, func(c *hostnet.Config) { c.Bind = func(_ string, now hostnet.Face) { found <- now } })
	run(t, h)
	g1 := newNamespace(t, "g1")
	for n := range 50 {
		g1.rewire("i1", func(a *netlink.LinkAttrs) { a.Alias, a.HardwareAddr = "web", mac("fe:54:00:12:34:56") })
		must(t, h.Set([]hostnet.Endpoint{{ID: fmt.Sprint("one", n), Interface: "i1"}}))
		if now := <-found; now.Alias != "web" {
			t.Fatalf("bound to %v", now)
		}
		must(t, h.Set(nil))
		for len(found) > 0 {
			<-found
		}
	}
}

// TestMarksComeLater: hypervisors make a tap first and set its address a moment later.
func TestMarksComeLater(t *testing.T) {
	const tap = "fe:54:00:12:34:56"
	h, _ := newHost(t)
	run(t, h)
	g1, g2 := newNamespace(t, "g1"), newNamespace(t, "g2")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2", MAC: tap}}))
	g1.rewire("i1", nil)
	becomes(t, h, "one", hostnet.Attached)
	g2.rewire("i2", nil)
	another(t, h, "two")
	must(t, netlink.LinkSetHardwareAddr(link(t, "i2"), mac(tap)))
	becomes(t, h, "two", hostnet.Attached)
	must(t, netlink.LinkSetHardwareAddr(link(t, "i2"), mac("fe:54:00:12:34:57")))
	another(t, h, "two")
	must(t, netlink.LinkSetHardwareAddr(link(t, "i1"), mac(tap)))
	unplug("i2")
	becomes(t, h, "two", hostnet.Waiting) // nothing tells that the address is noted, but it was changed before
	unplug("i1")
	becomes(t, h, "one", hostnet.Waiting)
	g2.rewire("i1", func(a *netlink.LinkAttrs) { a.HardwareAddr = mac(tap) })
	becomes(t, h, "one", hostnet.Attached)
}

// TestSharedAddress: an address that several links have, as some network plugins give it, is no mark.
func TestSharedAddress(t *testing.T) {
	all := func(a *netlink.LinkAttrs) { a.HardwareAddr = mac("ee:ee:ee:ee:ee:ee") }
	h, _ := newHost(t)
	run(t, h)
	g1, g2 := newNamespace(t, "g1"), newNamespace(t, "g2")
	g1.rewire("i1", all)
	g2.rewire("i2", all)
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}}))
	g1.hears(metadata4, "one")
	unplug("i1")
	becomes(t, h, "one", hostnet.Waiting)
	must(t, netlink.LinkSetDown(link(t, "i2")))
	must(t, netlink.LinkSetName(link(t, "i2"), "i1"))
	another(t, h, "one")
	unplug("i1")
}

// TestPredictableAddress: an address that systemd has made of the name is no mark: it comes with the name.
func TestPredictableAddress(t *testing.T) {
	address := hostnet.Predictable("i1")
	if address == "" {
		t.Skip("this machine has no ID")
	}
	named := func(a *netlink.LinkAttrs) { a.HardwareAddr = mac(address) }
	h, _ := newHost(t)
	run(t, h)
	g1, g2 := newNamespace(t, "g1"), newNamespace(t, "g2")
	g1.rewire("i1", named)
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}}))
	g1.hears(metadata4, "one")
	g2.rewire("i1", named)
	another(t, h, "one")
	g2.hearsNothing(metadata4)
}

// TestFollowsItsLink renames the bound links, in turns: the guests behind them stay who they are.
func TestFollowsItsLink(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	g2 := machine(t, "g2", "i2", "10.0.0.6/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}}))
	must(t, netlink.LinkSetName(link(t, "i1"), "aside"))
	must(t, netlink.LinkSetName(link(t, "i2"), "i1"))
	must(t, netlink.LinkSetName(link(t, "aside"), "i2"))
	calls := func(id, name string) {
		t.Helper()
		for end := time.Now().Add(forever); ; time.Sleep(time.Millisecond) {
			s := becomes(t, h, id, hostnet.Attached)
			if strings.Contains(s.Reason, "called "+name) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%+v, want that its link is called %s", s, name)
			}
		}
	}
	calls("one", "i2")
	calls("two", "i1")
	g1.hears(metadata4, "one")
	g2.hears(metadata4, "two")
	// The new names belong to those who are bound; others that go by them are refused.
	err := h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}, {ID: "three", Interface: "i2", ByName: true}})
	if err != nil && !strings.Contains(err.Error(), "three") {
		t.Error(err)
	}
	g1.hears(metadata4, "one")
	g2.hears(metadata4, "two")
	must(t, h.Set([]hostnet.Endpoint{{ID: "two", Interface: "i2"}, {ID: "three", Interface: "i2"}}))
	g1.hears(metadata4, "three")
	g2.hears(metadata4, "two")
}

// TestAlternativeName: an endpoint's name as an alternative name of another link means nothing.
func TestAlternativeName(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	g2 := machine(t, "g2", "i2", "10.0.0.6/24")
	must(t, netlink.LinkAddAltName(link(t, "i2"), "i1"))
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}}))
	becomes(t, h, "one", hostnet.Waiting)
	g2.hearsNothing(metadata4)
}

// TestMovedAway moves the bound link into another namespace and back, and to another bridge.
func TestMovedAway(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	away := newNamespace(t, "away")
	home, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	defer func() { _ = home.Close() }()
	bridge(t, "br0", "10.0.0.1/24")
	bridge(t, "br1", "10.0.0.1/24")
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}}))
	g1.hears(metadata4, "one")
	must(t, netlink.LinkSetNsFd(link(t, "i1"), int(away.file.Fd())))
	becomes(t, h, "one", hostnet.Waiting)
	away.do(func() { must(t, netlink.LinkSetNsFd(link(t, "i1"), int(home.Fd()))) })
	up(t, "i1")
	becomes(t, h, "one", hostnet.Attached)
	g1.do(func() { forget(t, "eth0") })
	g1.hears(metadata4, "one")
	for _, br := range []string{"br0", "br1"} {
		plug(t, "i1", br)
		for end := time.Now().Add(forever); h.Status()[0].Bridge != br; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%+v, want it at %s", h.Status()[0], br)
			}
		}
		g1.do(func() { forget(t, "eth0") })
		g1.hears(metadata4, "one")
	}
}

// TestNamespaceReused gives a namespace's name to another namespace.
func TestNamespaceReused(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	must(t, h.Set([]hostnet.Endpoint{{ID: "box", Netns: "c1"}, {ID: "any", Netns: "c2", ByName: true}}))
	c1, c2 := newNamespace(t, "c1"), newNamespace(t, "c2")
	becomes(t, h, "box", hostnet.Attached)
	becomes(t, h, "any", hostnet.Attached)
	c1.remove()
	c2.remove()
	becomes(t, h, "box", hostnet.Waiting)
	becomes(t, h, "any", hostnet.Waiting)
	c1, c2 = newNamespace(t, "c1"), newNamespace(t, "c2")
	another(t, h, "box")
	becomes(t, h, "any", hostnet.Attached)
	c1.hearsNothing(metadata4)
	c2.hears(metadata4, "any")
	// The name leads to the other one while its own is still alive.
	must(t, h.Set([]hostnet.Endpoint{{ID: "box2", Netns: "c1"}}))
	c1.hears(metadata4, "box2")
	must(t, unix.Unmount(filepath.Join("/run/netns", "c1"), unix.MNT_DETACH))
	must(t, unix.Mount(filepath.Join("/run/netns", "c2"), filepath.Join("/run/netns", "c1"), "", unix.MS_BIND, ""))
	another(t, h, "box2")
	c1.hearsNothing(metadata4)
	c2.hearsNothing(metadata4)
}

// TestBoundBefore has endpoints that an earlier process bound, in this boot and in an earlier one.
func TestBoundBefore(t *testing.T) {
	const tap = "fe:54:00:12:34:56"
	var h *hostnet.Network
	found := map[string]hostnet.Face{}
	h, _ = newHost(t, func(c *hostnet.Config) { c.Bind = func(id string, f hostnet.Face) { found[id] = f } })
	g1, g2 := newNamespace(t, "g1"), newNamespace(t, "g2")
	g1.rewire("i1", func(a *netlink.LinkAttrs) { a.HardwareAddr = mac(tap) })
	g2.rewire("i2", nil)
	c1 := newNamespace(t, "c1")
	// Nobody is answered before it is kept what the endpoint is bound to.
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}, {ID: "box", Netns: "c1"}}))
	for _, s := range h.Status() {
		if s.State != hostnet.Waiting || s.Found != nil || !strings.Contains(s.Reason, "is being bound") {
			t.Errorf("%+v, want that it is being bound", s)
		}
	}
	g1.hearsNothing(metadata4)
	one, two, box := found["one"], found["two"], found["box"]
	if one.MAC != tap || two.MAC != "" || one.Serial == 0 || box.Cookie == 0 || one.Boot == "" || one.Boot != box.Boot {
		t.Fatalf("found %+v", found)
	}
	set := func(one, two, box hostnet.Face) {
		t.Helper()
		must(t, h.Set([]hostnet.Endpoint{
			{ID: "one", Interface: "i1", Bound: &one}, {ID: "two", Interface: "i2", Bound: &two}, {ID: "box", Netns: "c1", Bound: &box},
		}))
	}
	set(one, two, box)
	g1.hears(metadata4, "one")
	g2.hears(metadata4, "two")
	c1.hears(metadata4, "box")
	must(t, h.Set(nil))
	for _, f := range []*hostnet.Face{&one, &two, &box} {
		f.Boot = "of yesterday"
	}
	clear(found)
	set(one, two, box)
	g1.hears(metadata4, "one") // by its MAC
	g2.hearsNothing(metadata4)
	c1.hearsNothing(metadata4)
	if s := another(t, h, "two"); !strings.Contains(s.Reason, "in an earlier boot") {
		t.Errorf("the reason is %q", s.Reason)
	}
	another(t, h, "box")
	if len(found) != 1 || found["one"].Boot == one.Boot {
		t.Errorf("what is to be kept now is %+v", found)
	}
}

// TestNumberReused deletes the bound link and makes another machine's with its name and its number, before
// the host is told: the kernel's tables and the listener go by the number, and yet the other machine must
// never be answered as the first.
func TestNumberReused(t *testing.T) {
	for _, br := range []string{"", "br0"} {
		t.Run("at "+br, func(t *testing.T) {
			const lives = 10
			h, g := newHost(t) // which is not run: no event ever comes
			if br != "" {
				bridge(t, br, "10.0.0.1/24")
			}
			guests := [2]*namespace{newNamespace(t, "g1"), newNamespace(t, "g2")}
			for life := range lives {
				mine, other := guests[life%2], guests[1-life%2]
				id := fmt.Sprint("life", life)
				mine.renumber(br)
				must(t, h.Set([]hostnet.Endpoint{{ID: id, Interface: "i1"}}))
				mine.comesToHear(id)
				other.renumber(br)
				before := g.accepted.Load()
				other.do(func() {
					for range 20 {
						if got, err := ask(metadata4, 20*time.Millisecond, ""); err == nil && got != "" {
							t.Fatalf("in life %d the other machine was answered as %q", life, got)
						}
					}
				})
				if n := g.accepted.Load() - before; n != 0 {
					t.Fatalf("in life %d the other machine was heard %d times", life, n)
				}
			}
		})
	}
}

// TestNumberReusedUnseen has a link replaced twice, each time by the other machine's of its number; the
// second time sysfs tells nothing of it, as while a link comes or goes. The number alone makes it nobody's.
func TestNumberReusedUnseen(t *testing.T) {
	h, _ := newHost(t) // which is not run
	mine, other := newNamespace(t, "g1"), newNamespace(t, "g2")
	attach := func() { must(t, h.Set([]hostnet.Endpoint{{ID: "mine", Interface: "i1"}})) }
	mine.renumber("")
	attach()
	mine.comesToHear("mine")
	other.renumber("")
	attach()
	another(t, h, "mine")
	must(t, unix.Mount("tmpfs", "/sys/class/net", "tmpfs", 0, ""))
	defer func() { _ = unix.Unmount("/sys/class/net", unix.MNT_DETACH) }()
	other.renumber("")
	attach()
	attach() // what was kept of the first look does not help the second
	other.hearsNothing(metadata4)
	must(t, unix.Unmount("/sys/class/net", unix.MNT_DETACH))
	attach()
	other.hearsNothing(metadata4)
	another(t, h, "mine")
}

// renumber makes the guest's link anew as i1, of always the same number.
func (ns *namespace) renumber(br string) {
	ns.rewire("i1", func(a *netlink.LinkAttrs) {
		a.Index = 5000
		if br != "" {
			a.MasterIndex = link(ns.t, br).Attrs().Index
		}
	})
}

// TestNumberReusedUnderRequests does so while events come, and both machines call without a pause.
func TestNumberReusedUnderRequests(t *testing.T) {
	const lives = 8
	h, _ := newHost(t)
	run(t, h)
	guests := [2]*namespace{newNamespace(t, "g1"), newNamespace(t, "g2")}
	var wrong atomic.Pointer[string]
	stop, done := make(chan struct{}), make(chan error, len(guests))
	for i, g := range guests {
		go func() {
			done <- onThread(func() error {
				if err := unix.Setns(int(g.file.Fd()), unix.CLONE_NEWNET); err != nil {
					return err
				}
				for {
					select {
					case <-stop:
						return nil
					default:
					}
					got, err := ask(metadata4, 20*time.Millisecond, "")
					if err == nil && got != "" && got != fmt.Sprint("guest", i) {
						text := fmt.Sprintf("guest%d was answered as %q", i, got)
						wrong.Store(&text)
					}
				}
			})
		}()
	}
	for life := range lives {
		g := guests[life%2]
		g.renumber("") // whoever was attached waits
		must(t, h.Set([]hostnet.Endpoint{{ID: fmt.Sprint("guest", life%2), Interface: "i1"}}))
		g.comesToHear(fmt.Sprint("guest", life%2))
		for range 3 { // more lives, of which nobody is told
			guests[(life+1)%2].renumber("")
		}
	}
	close(stop)
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	if text := wrong.Load(); text != nil {
		t.Fatal(*text)
	}
}
