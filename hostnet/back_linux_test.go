package hostnet_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// checkSources has the host check sources as of net.ipv4.conf.all.rp_filter until the test ends.
func checkSources(t testing.TB, how string) {
	t.Helper()
	const path = "/proc/sys/net/ipv4/conf/all/rp_filter"
	before, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(how), 0o644))
	t.Cleanup(func() { must(t, os.WriteFile(path, before, 0o644)) })
}

// TestSourcesChecked has a host without addresses or routes of its own towards the guests, two of which
// have the same address. However it checks sources: guests are heard, by their interface or by a bridge,
// and at the metadata addresses only.
func TestSourcesChecked(t *testing.T) {
	for _, how := range []string{"0", "1", "2"} {
		t.Run("rp_filter="+how, func(t *testing.T) {
			needHost(t)
			checkSources(t, how)
			address(t, "lo", "192.0.2.1/32")
			t.Cleanup(func() { unaddress(t, "lo", "192.0.2.1/32") })
			g1 := machine(t, "g1", "i1", "10.0.0.5/24")
			g2 := machine(t, "g2", "i2", "10.0.0.5/24")
			bridge(t, "br0", "")
			b1 := machine(t, "b1", "p1", "10.0.0.5/24")
			b2 := machine(t, "b2", "p2", "10.0.0.6/24")
			plug(t, "p1", "br0")
			plug(t, "p2", "br0")
			for _, g := range []*namespace{g1, b1} {
				g.do(func() { to(t, "192.0.2.1/32", "", "eth0") })
			}
			before := state(t)
			heardElsewhere := func() {
				t.Helper()
				for device, g := range map[string]*namespace{"i1": g1, "br0": b1} {
					if heard := g.isHeardAt("192.0.2.1", device, how == "0"); heard != (how == "0") {
						t.Errorf("%s is heard at another address of the host: %v", g.name, heard)
					}
				}
			}
			heardElsewhere()
			h, _ := newHost(t)
			for range 2 {
				must(t, h.Set([]hostnet.Endpoint{
					{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}, {ID: "three", Interface: "p1"}, {ID: "four", Interface: "p2"},
				}))
				g1.hears(metadata4, "one")
				g2.hears(metadata4, "two")
				b1.hears(metadata4, "three")
				b2.hears(metadata4, "four")
				heardElsewhere()
				for _, s := range h.Status() {
					if s.State != hostnet.Attached || s.Reason != "" {
						t.Errorf("%s is %s: %s", s.ID, s.State, s.Reason)
					}
				}
				must(t, h.Set([]hostnet.Endpoint{{ID: "two", Interface: "i2"}}))
				g1.hearsNothing(metadata4)
				g2.hears(metadata4, "two")
				must(t, h.Set(nil))
			}
			release(t, h)
			if d := changed(before, state(t)); d != "" {
				t.Errorf("after all are detached the host differs:\n%s", d)
			}
		})
	}
}

// isHeardAt says whether the host hears a guest, who calls by one of its devices, at an address of its own. It
// need not answer. Where it is to hear the guest that may take its time.
func (ns *namespace) isHeardAt(addr, device string, wanted bool) bool {
	ns.t.Helper()
	t := ns.t
	hears, err := net.ListenPacket("udp4", net.JoinHostPort(addr, "0"))
	must(t, err)
	defer func() { _ = hears.Close() }()
	station := link(t, device).Attrs().HardwareAddr
	ns.do(func() { // whether the host answers ARP is another matter
		must(t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link(t, "eth0").Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
			IP: net.ParseIP(addr), HardwareAddr: station,
		}))
		c, err := net.Dial("udp4", hears.LocalAddr().String())
		must(t, err)
		defer func() { _ = c.Close() }()
		_, err = fmt.Fprint(c, "x")
		must(t, err)
	})
	wait := patience
	if wanted {
		wait = forever
	}
	must(t, hears.SetReadDeadline(time.Now().Add(wait)))
	_, _, err = hears.ReadFrom(make([]byte, 1))
	return err == nil
}

func unaddress(t testing.TB, dev, prefix string) {
	t.Helper()
	addr, err := netlink.ParseAddr(prefix)
	must(t, err)
	must(t, netlink.AddrDel(link(t, dev), addr))
}

// blackhole has a routing rule before all others drop what is for the metadata service.
func blackhole(t *testing.T) (remove func()) {
	t.Helper()
	r := netlink.NewRule()
	r.Family, r.Priority, r.Type = unix.AF_INET, 1, unix.FR_ACT_BLACKHOLE
	r.Dst = &net.IPNet{IP: net.ParseIP(metadata4).To4(), Mask: net.CIDRMask(32, 32)}
	must(t, netlink.RuleAdd(r))
	t.Cleanup(func() { _ = netlink.RuleDel(r) })
	return func() { must(t, netlink.RuleDel(r)) }
}

// TestWayBackIsPutBack takes away, one after the other, all that lets guests be heard, as other programs and
// links without a carrier do.
func TestWayBackIsPutBack(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	checkSources(t, "1")
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	g2 := machine(t, "g2", "i2", "10.0.0.5/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}}))
	for name, take := range map[string]func(){
		"nothing": func() {},
		"rules": func() {
			rules, err := netlink.RuleList(unix.AF_INET)
			must(t, err)
			for _, r := range rules {
				if r.Priority == hostnet.DefaultPriority+1 {
					must(t, netlink.RuleDel(&r))
				}
			}
		},
		"routes": func() {
			routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
			must(t, err)
			n := 0
			for _, r := range routes {
				if r.Table >= hostnet.DefaultMark {
					must(t, netlink.RouteDel(&netlink.Route{Table: r.Table, Dst: r.Dst, Scope: r.Scope}))
					n++
				}
			}
			if n == 0 {
				t.Error("there are no routes back")
			}
		},
		"src_valid_mark": func() {
			must(t, os.WriteFile("/proc/sys/net/ipv4/conf/i1/src_valid_mark", []byte("0"), 0o644))
		},
		"carrier": func() {
			g1.do(func() { must(t, netlink.LinkSetDown(link(t, "eth0"))) })
			for end := time.Now().Add(forever); link(t, "i1").Attrs().RawFlags&unix.IFF_LOWER_UP != 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			g2.hears(metadata4, "two")
			g1.do(func() {
				up(t, "eth0")
				to(t, metadata4+"/32", "", "eth0")
			})
		},
		"link": func() {
			must(t, netlink.LinkSetDown(link(t, "i1")))
			says(t, h, "one", "ip link set i1 up")
			up(t, "i1")
		},
		"the filter is set later": func() {
			must(t, h.Set(nil))
			checkSources(t, "0")
			must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "i2"}}))
			g1.hears(metadata4, "one")
			must(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			take()
			for id, g := range map[string]*namespace{"one": g1, "two": g2} {
				g.hears(metadata4, id)
				says(t, h, id)
			}
		})
	}
}

// TestSourcesCheckedMeanwhile has rp_filter set at any moment while something is attached. At the next change a
// device that has a way back has the kernel look at marks, too, without which the way is none.
func TestSourcesCheckedMeanwhile(t *testing.T) {
	h, _ := newHost(t)
	machine(t, "g1", "i1", "10.0.0.5/24")
	machine(t, "g2", "i2", "10.0.0.5/24")
	one, two := hostnet.Endpoint{ID: "one", Interface: "i1"}, hostnet.Endpoint{ID: "two", Interface: "i2"}
	for i := range 40 {
		must(t, h.Set(nil))
		checkSources(t, "0")
		all, err := os.OpenFile("/proc/sys/net/ipv4/conf/all/rp_filter", os.O_WRONLY, 0) // of this thread's namespace
		must(t, err)
		var set sync.WaitGroup
		set.Go(func() {
			for until := time.Now().Add(time.Duration(i%50) * 200 * time.Microsecond); time.Now().Before(until); {
				runtime.Gosched()
			}
			_, err := all.WriteString("1")
			if err = errors.Join(err, all.Close()); err != nil {
				t.Error(err)
			}
		})
		must(t, h.Set([]hostnet.Endpoint{one}))
		set.Wait()
		must(t, h.Set([]hostnet.Endpoint{one, two}))
		if text, err := os.ReadFile("/proc/sys/net/ipv4/conf/i1/src_valid_mark"); err != nil || string(text) != "1\n" {
			t.Fatalf("attempt %d: src_valid_mark is %q, %v", i, text, err)
		}
	}
}

// TestManyWaysBack has more devices than there are routing tables for their ways back.
func TestManyWaysBack(t *testing.T) {
	h, _ := newHost(t)
	checkSources(t, "1")
	others := newNamespace(t, "others")
	var endpoints []hostnet.Endpoint
	for i := range 100 {
		name := fmt.Sprintf("dm%d", i)
		others.cable(name, name)
		endpoints = append(endpoints, hostnet.Endpoint{ID: name, Interface: name})
	}
	first := machine(t, "g1", "i1", "10.0.0.5/24")
	last := machine(t, "g2", "i2", "10.0.0.5/24")
	must(t, h.Set(append(endpoints, hostnet.Endpoint{ID: "one", Interface: "i1"}, hostnet.Endpoint{ID: "two", Interface: "i2"})))
	first.hears(metadata4, "one")
	last.hears(metadata4, "two")
	rules, err := netlink.RuleList(unix.AF_INET)
	must(t, err)
	rules = slices.DeleteFunc(rules, func(r netlink.Rule) bool { return r.Priority != hostnet.DefaultPriority+1 })
	for i, r := range rules { // else all that the host receives walks up to all of them
		if skips := r.Goto == hostnet.DefaultPriority+2; skips != (i == 0) {
			t.Errorf("rule %d of %d skips the others: %v", i, len(rules), skips)
		}
	}
	if len(rules) < 2 {
		t.Errorf("there are %d rules", len(rules))
	}
	must(t, h.Set(endpoints[50:]))
	must(t, h.Set([]hostnet.Endpoint{{ID: "two", Interface: "i2"}}))
	first.hearsNothing(metadata4)
	last.hears(metadata4, "two")
}

// TestUnderSourceChecks runs the core of these tests again on hosts that check sources.
func TestUnderSourceChecks(t *testing.T) {
	needHost(t)
	const core = "^Test(Interface|InterfaceIPv6|BridgePorts|Sources|Hops|ComesAndGoes|MovedToBridge|OnlyPort80|ForgedSource|BridgeWire|" +
		"RoutingGone|Flushed|Killed|TakesOver|OldConnections|NumberReused|TwoHosts)$"
	if os.Getenv(filterVariable) != "" {
		t.Skip("this is such a host")
	}
	for how, name := range map[string]string{"1": "strictly", "2": "loosely"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("/proc/self/exe", "-test.run="+core)
			cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, insideVariable+"=") })
			cmd.Env = append(cmd.Env, filterVariable+"="+how)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
