package hostnet_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// count is how many lines hold a text.
func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for line := range strings.Lines(j.text.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func logging(j *journal) func(*hostnet.Config) {
	return func(c *hostnet.Config) { c.Log = slog.New(slog.NewTextHandler(j, nil)) }
}

// TestPutBack has others undo a part of what a Host made of the network of its host. It is put back, and said
// once.
func TestPutBack(t *testing.T) {
	table := &nftables.Table{Name: "openimds", Family: nftables.TableFamilyINet}
	chain := &nftables.Chain{Name: "prerouting", Table: table}
	ports := &nftables.Table{Name: "openimds", Family: nftables.TableFamilyBridge}
	const tables, routing = "another program has changed the tables", "another program has removed a part of the routing"
	for name, test := range map[string]struct {
		undo func(*testing.T, *nftables.Conn)
		said string
	}{
		"everything":    {func(_ *testing.T, c *nftables.Conn) { c.FlushRuleset() }, tables},
		"a table":       {func(_ *testing.T, c *nftables.Conn) { c.DelTable(table) }, tables},
		"bridge table":  {func(_ *testing.T, c *nftables.Conn) { c.DelTable(ports) }, tables},
		"all rules":     {func(_ *testing.T, c *nftables.Conn) { c.FlushTable(table) }, tables},
		"rules of one":  {func(_ *testing.T, c *nftables.Conn) { c.FlushChain(chain) }, tables},
		"a set":         {func(_ *testing.T, c *nftables.Conn) { c.FlushSet(&nftables.Set{Table: table, Name: "attached4"}) }, tables},
		"guards":        {func(_ *testing.T, c *nftables.Conn) { c.FlushSet(&nftables.Set{Table: ports, Name: "interfaces"}) }, tables},
		"a rule more":   {func(_ *testing.T, c *nftables.Conn) { c.InsertRule(&nftables.Rule{Table: table, Chain: chain}) }, tables},
		"a rule less":   {removeRule(chain), tables},
		"routing rules": {removeRules, routing},
		"routes":        {removeRoutes, routing},
	} {
		t.Run(name, func(t *testing.T) {
			var log journal
			h, _ := newHost(t, logging(&log))
			bridge(t, "br0", "10.0.0.1/24")
			g := machine(t, "g1", "i1", "10.0.0.5/24")
			b := machine(t, "b1", "p1", "10.0.0.5/24")
			plug(t, "p1", "br0")
			must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", IPv6: true}, {ID: "two", Interface: "p1", IPv6: true}}))
			run(t, h)
			g.hears(metadata4, "one")
			whole := state(t)
			conn, err := nftables.New()
			must(t, err)
			test.undo(t, conn)
			must(t, conn.Flush())
			start := time.Now()
			for log.count(test.said) == 0 {
				if time.Since(start) > forever {
					t.Fatal("nothing was said")
				}
				time.Sleep(time.Millisecond)
			}
			_ = h.Status() // which waits for what is under way
			t.Logf("put back after %v", time.Since(start).Round(time.Millisecond))
			for time.Sleep(patience); changed(whole, state(t)) != ""; time.Sleep(patience) {
				if time.Since(start) > forever {
					t.Fatalf("not put back: %s", changed(whole, state(t)))
				}
			}
			g.hears(metadata4, "one")
			b.hears(metadata4, "two")
			time.Sleep(patience)
			if n := log.count(test.said); n == 0 || n > 2 { // one for each family
				t.Errorf("said %d times: %s", n, log.text.String())
			}
		})
	}
}

func removeRule(chain *nftables.Chain) func(*testing.T, *nftables.Conn) {
	return func(t *testing.T, c *nftables.Conn) {
		rules, err := c.GetRules(chain.Table, chain)
		must(t, err)
		must(t, c.DelRule(rules[len(rules)-1]))
	}
}

func removeRules(t *testing.T, _ *nftables.Conn) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := netlink.RuleList(family)
		must(t, err)
		for _, r := range rules {
			if r.Mark != 0 {
				must(t, netlink.RuleDel(&r))
			}
		}
	}
}

func removeRoutes(t *testing.T, _ *nftables.Conn) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: hostnet.DefaultTable}, netlink.RT_FILTER_TABLE)
		must(t, err)
		for _, r := range routes {
			must(t, netlink.RouteDel(&r))
		}
	}
}

// TestRoutingGone has the routing rule removed on a host that forwards: until it is put back no packet of a
// guest goes on to the host's own metadata service.
func TestRoutingGone(t *testing.T) {
	cloud(t)
	h, _ := newHost(t) // nobody follows it
	g := routed(t, "g1", "i1", "", 1)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "i1", IPv6: true}}))
	g.hearsBoth("vm")
	removeRules(t, nil)
	g.hearsBoth("")
}

// TestRuined has root in an attached namespace remove what is inside, in several ways, and end the listener:
// it is noticed, said and put back.
func TestRuined(t *testing.T) {
	for name, harm := range map[string]func(*testing.T){
		"all": ruin,
		"address": func(t *testing.T) {
			addr, err := netlink.ParseAddr(metadata4 + "/32")
			must(t, err)
			must(t, netlink.AddrDel(link(t, "lo"), addr))
		},
		"lo": func(t *testing.T) { must(t, netlink.LinkSetDown(link(t, "lo"))) },
		"table": func(t *testing.T) {
			conn, err := nftables.New()
			must(t, err)
			conn.DelTable(&nftables.Table{Name: "openimds-guest", Family: nftables.TableFamilyINet})
			must(t, conn.Flush())
		},
		"element": func(t *testing.T) {
			conn, err := nftables.New()
			must(t, err)
			conn.FlushSet(&nftables.Set{Table: &nftables.Table{Name: "openimds-guest", Family: nftables.TableFamilyINet}, Name: "hops"})
			must(t, conn.Flush())
		},
		"rule": func(t *testing.T) {
			conn, err := nftables.New()
			must(t, err)
			table := &nftables.Table{Name: "openimds-guest", Family: nftables.TableFamilyINet}
			conn.InsertRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: "prerouting", Table: table}})
			must(t, conn.Flush())
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log journal
			h, _ := newHost(t, logging(&log))
			run(t, h)
			c := newNamespace(t, "c1")
			must(t, h.Set([]hostnet.Endpoint{{ID: "box", Netns: "c1", IPv6: true}}))
			c.hearsBoth("box")
			c.do(func() { harm(t) })
			told(t, h, "put back at")
			c.hearsBoth("box")
			if n := log.count("an attachment is put back"); n != 1 {
				t.Errorf("said %d times: %s", n, log.text.String())
			}
		})
	}
}

// told waits until the only endpoint's reason holds a text.
func told(t *testing.T, h *hostnet.Network, text string) {
	t.Helper()
	for end := time.Now().Add(forever); ; time.Sleep(5 * time.Millisecond) {
		s := h.Status()[0]
		if strings.Contains(s.Reason, text) {
			t.Logf("%s: %s", s.State, s.Reason)
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is %s (%s), and not told: %s", s.State, s.Reason, text)
		}
	}
}

// TestListenerTakenOver: who serves a listener may go on with a descriptor of its own; that is no end of it.
func TestListenerTakenOver(t *testing.T) {
	var log journal
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	c := newNamespace(t, "c1")
	h, _ := newHost(t, logging(&log), func(c *hostnet.Config) {
		c.Serve = func(id string, l *hostnet.Listener) func() {
			file, err := l.File()
			must(t, err)
			_ = l.Close()
			again, err := net.FileListener(file)
			_ = file.Close()
			must(t, err)
			go func() {
				for {
					conn, err := again.Accept()
					if err != nil {
						return
					}
					_, _ = fmt.Fprintf(conn, "%s -\n", id)
					_ = conn.Close()
				}
			}()
			return func() { _ = again.Close() }
		}
	})
	run(t, h)
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Netns: "c1"}}))
	time.Sleep(3 * time.Second) // it is looked at every second
	g.hears(metadata4, "one")
	c.hears(metadata4, "two")
	if n := log.count("an attachment is put back"); n != 0 {
		t.Errorf("said %d times: %s", n, log.text.String())
	}
}

// TestListenerEnded ends the listeners of an interface and of a namespace from outside, as ss --kill does.
func TestListenerEnded(t *testing.T) {
	for _, place := range []hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "one", Netns: "g1"}} {
		t.Run(place.Interface+place.Netns, func(t *testing.T) {
			var log journal
			var mu sync.Mutex
			var latest *net.TCPListener
			g := machine(t, "g1", "i1", "10.0.0.5/24")
			h, guests := newHost(t, logging(&log))
			_ = h.Close()
			h, _ = newHost(t, logging(&log), func(c *hostnet.Config) {
				c.Serve = func(id string, l *hostnet.Listener) func() {
					mu.Lock()
					defer mu.Unlock()
					latest = l.TCPListener
					return guests.serve(id, l)
				}
			})
			run(t, h)
			must(t, h.Set([]hostnet.Endpoint{place}))
			g.hears(metadata4, "one")
			mu.Lock()
			raw, err := latest.SyscallConn()
			mu.Unlock()
			must(t, err)
			must(t, raw.Control(func(fd uintptr) { must(t, unix.Shutdown(int(fd), unix.SHUT_RD)) }))
			told(t, h, "was ended")
			g.hears(metadata4, "one")
			if n := log.count("an attachment is put back"); n != 1 {
				t.Errorf("said %d times: %s", n, log.text.String())
			}
		})
	}
}

// TestFighting has root in a namespace remove what is inside all the time: that is put back ever more
// seldom, and the status says what is amiss.
func TestFighting(t *testing.T) {
	var log journal
	h, _ := newHost(t, logging(&log))
	run(t, h)
	c := newNamespace(t, "c1")
	must(t, h.Set([]hostnet.Endpoint{{ID: "box", Netns: "c1"}}))
	failed, start := false, time.Now()
	put := func() int { return log.count("an attachment is put back") }
	for ; put() < 3 || !failed; time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > forever {
			t.Fatalf("put back %d times, and told to have failed: %t", put(), failed)
		}
		c.do(func() {
			if addr, err := netlink.ParseAddr(metadata4 + "/32"); err == nil {
				_ = netlink.AddrDel(link(t, "lo"), addr)
			}
		})
		failed = failed || h.Status()[0].State == hostnet.Failed
	}
	// Two seconds after the first time, four after the second, and so on.
	if n, took := put(), time.Since(start); took < time.Second*(1<<n-2) {
		t.Errorf("put back %d times in %v", n, took)
	}
}
