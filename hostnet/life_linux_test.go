package hostnet_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestComesAndGoes attaches before there is an interface or a namespace, and follows whatever has the name.
func TestComesAndGoes(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "i1", IPv6: true, ByName: true}, {ID: "box", Netns: "c1", ByName: true}}))
	becomes(t, h, "vm", hostnet.Waiting)
	becomes(t, h, "box", hostnet.Waiting)
	for range 3 {
		g := machine(t, "g1", "i1", "10.0.0.5/24")
		c := newNamespace(t, "c1")
		becomes(t, h, "vm", hostnet.Attached)
		becomes(t, h, "box", hostnet.Attached)
		g.hears(metadata4, "vm")
		g.hears(metadata6, "vm")
		c.hears(metadata4, "box")
		unplug("i1")
		c.remove()
		becomes(t, h, "vm", hostnet.Waiting)
		becomes(t, h, "box", hostnet.Waiting)
		g.remove()
	}
}

// TestOnce ends endpoints that are for one interface or namespace only.
func TestOnce(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "i1", Once: true}, {ID: "box", Netns: "c1", Once: true}}))
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	c := newNamespace(t, "c1")
	becomes(t, h, "vm", hostnet.Attached)
	becomes(t, h, "box", hostnet.Attached)
	unplug("i1")
	c.remove()
	becomes(t, h, "vm", hostnet.Gone)
	becomes(t, h, "box", hostnet.Gone)
	g.remove()
	next := machine(t, "g1", "i1", "10.0.0.5/24")
	box := newNamespace(t, "c1")
	next.hearsNothing(metadata4)
	box.hearsNothing(metadata4)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "i1", Once: true}, {ID: "other", Netns: "c1"}}))
	next.hearsNothing(metadata4) // the same endpoint as before
	box.hears(metadata4, "other")
}

// TestRenamed takes an interface's name away and gives it to another one: the name is what was asked for.
func TestRenamed(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	g2 := machine(t, "g2", "i2", "10.0.0.6/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", ByName: true}, {ID: "two", Interface: "i2", ByName: true}}))
	must(t, netlink.LinkSetName(link(t, "i1"), "aside"))
	t.Cleanup(func() { unplug("aside") })
	becomes(t, h, "one", hostnet.Waiting)
	g1.hearsNothing(metadata4)
	must(t, netlink.LinkSetName(link(t, "i2"), "i1"))
	becomes(t, h, "one", hostnet.Attached)
	becomes(t, h, "two", hostnet.Waiting)
	g2.hears(metadata4, "one") // the name is what was asked for
	g1.hearsNothing(metadata4)
}

// TestMovedToBridge makes an attached interface the port of a bridge and takes it off again.
func TestMovedToBridge(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	bridge(t, "br0", "10.0.0.1/24")
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1", IPv6: true}}))
	on := func(bridge string) {
		t.Helper()
		for end := time.Now().Add(forever); h.Status()[0].Bridge != bridge; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the endpoint is at %+v, want bridge %q", h.Status()[0], bridge)
			}
		}
		g1.do(func() { forget(t, "eth0") })
		g1.hears(metadata4, "one")
		g1.hears(metadata6, "one")
	}
	on("")
	plug(t, "i1", "br0")
	on("br0")
	must(t, netlink.LinkSetNoMaster(link(t, "i1")))
	on("")
}

// forget empties the neighbour table of an interface.
func forget(t *testing.T, dev string) {
	t.Helper()
	neighbours, err := netlink.NeighList(link(t, dev).Attrs().Index, netlink.FAMILY_ALL)
	must(t, err)
	for _, n := range neighbours {
		if n.State != netlink.NUD_NOARP {
			must(t, netlink.NeighDel(&n))
		}
	}
}

// TestProcess attaches the namespace of a process and follows the process, not its PID.
func TestProcess(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	c := newNamespace(t, "c1")
	var sleep *exec.Cmd
	c.do(func() {
		sleep = exec.Command("sleep", "1000")
		must(t, sleep.Start())
	})
	endpoint := hostnet.Endpoint{ID: "p", PID: sleep.Process.Pid}
	must(t, h.Set([]hostnet.Endpoint{endpoint}))
	c.hears(metadata4, "p")
	must(t, sleep.Process.Kill())
	_ = sleep.Wait()
	becomes(t, h, "p", hostnet.Gone)
	c.hearsNothing(metadata4)
	if err := h.Set([]hostnet.Endpoint{endpoint}); err != nil {
		t.Errorf("the same endpoint again: %v", err)
	}
	becomes(t, h, "p", hostnet.Gone)
	if err := h.Set([]hostnet.Endpoint{{ID: "q", PID: sleep.Process.Pid}}); err == nil {
		t.Error("a process that has ended was attached")
	}
	self := exec.Command("sleep", "1000") // the main thread of this process may be anywhere
	must(t, self.Start())
	defer func() { _ = self.Wait() }()
	defer func() { _ = self.Process.Kill() }()
	if err := h.Set([]hostnet.Endpoint{{ID: "self", PID: self.Process.Pid}}); err == nil {
		t.Error("the host's own namespace was attached")
	}
}

// TestOldConnections keeps connections of an endpoint open, and gives its place to another one with the
// same address: nothing that the old one is sent arrives, and nothing sent on them is heard.
func TestOldConnections(t *testing.T) {
	for _, place := range []hostnet.Endpoint{{Interface: "i1"}, {Netns: "g1"}} {
		t.Run(place.Interface+place.Netns, func(t *testing.T) {
			var heard atomic.Int64
			server := func(id string, l *hostnet.Listener) func() {
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						_, _ = fmt.Fprintln(c, id)
						go func() { // it stays open, as if the caller of hostnet had forgotten it
							n, _ := io.Copy(io.Discard, c)
							heard.Add(n)
						}()
					}
				}()
				return func() { _ = l.Close() }
			}
			h, _ := newHost(t, func(c *hostnet.Config) { c.Serve = server })
			g1 := machine(t, "g1", "i1", "10.0.0.5/24")
			old, next := place, place
			old.ID, next.ID = "old", "next"
			must(t, h.Set([]hostnet.Endpoint{old}))
			var c net.Conn
			g1.do(func() {
				var err error
				c, err = net.Dial("tcp", net.JoinHostPort(metadata4, "80"))
				must(t, err)
			})
			defer func() { _ = c.Close() }()
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil || line != "old\n" {
				t.Fatalf("answered %q, %v", line, err)
			}
			must(t, h.Set([]hostnet.Endpoint{next}))
			g1.hearsID(metadata4, "next")
			_, _ = c.Write([]byte("GET /latest/meta-data/ HTTP/1.1\r\n\r\n"))
			time.Sleep(patience)
			if n := heard.Load(); n != 0 {
				t.Errorf("%d bytes were heard on a connection of an endpoint that is gone", n)
			}
		})
	}
}

// hearsID is hears for a server that answers with the ID alone.
func (ns *namespace) hearsID(addr, id string) {
	ns.t.Helper()
	ns.do(func() {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "80"), forever)
		must(ns.t, err)
		defer func() { _ = c.Close() }()
		if got, err := bufio.NewReader(c).ReadString('\n'); got != id+"\n" {
			ns.t.Errorf("answered %q, %v; want %q", got, err, id)
		}
	})
}

// TestFlushed has somebody else remove the tables, and the rules and routes.
func TestFlushed(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	bridge(t, "br0", "10.0.0.1/24")
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	b1 := machine(t, "b1", "p1", "10.0.0.5/24")
	plug(t, "p1", "br0")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "p1"}}))
	becomes(t, h, "two", hostnet.Attached)
	g1.hears(metadata4, "one")
	conn, err := nftables.New()
	must(t, err)
	conn.FlushRuleset()
	must(t, conn.Flush())
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := netlink.RuleList(family)
		must(t, err)
		for _, r := range rules {
			if r.Mark != 0 {
				must(t, netlink.RuleDel(&r))
			}
		}
	}
	// A SYN is sent again for as long as it takes.
	g1.hears(metadata4, "one")
	b1.hears(metadata4, "two")
}

// TestKilled kills a process that has attached, and checks that Sweep makes the host as it was.
func TestKilled(t *testing.T) {
	needHost(t)
	bridge(t, "br0", "10.0.0.1/24")
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	b1 := machine(t, "b1", "p1", "10.0.0.6/24")
	plug(t, "p1", "br0")
	c1 := newNamespace(t, "c1")
	before := state(t)
	var inside, insideAfter []string
	c1.do(func() { inside = state(t) })
	holder := startHolder(t)
	h, _ := newHost(t)
	if err := h.Set(held("new-")); !errors.Is(err, hostnet.ErrBusy) || !errors.Is(h.Blocked(), hostnet.ErrBusy) {
		t.Errorf("two processes serve one host: %v, %v", err, h.Blocked())
	}
	must(t, holder.Process.Kill())
	_ = holder.Wait()
	must(t, h.Set(nil))

	must(t, h.Sweep())
	for _, ns := range []*namespace{g1, b1, c1} {
		ns.hearsNothing(metadata4)
	}
	if got := fmt.Sprint(h.Guarded()); got != "[{ /run/netns/c1} {i1 } {p1 }]" {
		t.Errorf("what the process left guarded: %s", got)
	}
	release(t, h)
	if d := changed(before, state(t)); d != "" {
		t.Errorf("after Sweep and Release the host differs:\n%s", d)
	}
	c1.do(func() { insideAfter = state(t) })
	if d := changed(inside, insideAfter); d != "" {
		t.Errorf("after Sweep and Release the namespace differs:\n%s", d)
	}
	// Without a sweep, attaching takes over what is left.
	must(t, h.Close())
	holder = startHolder(t)
	must(t, holder.Process.Kill())
	_ = holder.Wait()
	h, _ = newHost(t)
	must(t, h.Set(held("new-")))
	for _, ns := range []*namespace{g1, b1} {
		ns.do(func() { forget(t, "eth0") }) // that nobody said where the address is
	}
	g1.hears(metadata4, "new-vm")
	b1.hears(metadata4, "new-port")
	c1.hears(metadata4, "new-box")
	must(t, h.Sweep()) // which touches nothing that is in use
	g1.hears(metadata4, "new-vm")
	c1.hears(metadata4, "new-box")
	must(t, h.Set(nil))
	release(t, h)
	if d := changed(before, state(t)); d != "" {
		t.Errorf("after detaching the host differs:\n%s", d)
	}
	c1.do(func() { insideAfter = state(t) })
	if d := changed(inside, insideAfter); d != "" {
		t.Errorf("after detaching the namespace differs:\n%s", d)
	}
}

func held(prefix string) []hostnet.Endpoint {
	return []hostnet.Endpoint{
		{ID: prefix + "vm", Interface: "i1", IPv6: true}, {ID: prefix + "port", Interface: "p1", IPv6: true},
		{ID: prefix + "box", Netns: "c1", IPv6: true},
	}
}

// startHolder starts a process that attaches and then waits to be killed.
func startHolder(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, "hold-host")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the holder said %q, %v", line, err)
	}
	return cmd
}

func holdHost() {
	h, err := hostnet.New(hostnet.Config{Serve: func(string, *hostnet.Listener) func() { return func() {} }})
	if err == nil {
		err = h.Set(held(""))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("held")
	select {}
}

// TestChurn detaches and attaches under constant requests, each time as another endpoint. A request is
// answered as the endpoint of the moment or not at all; one that began after a Set returned is never
// answered as an earlier endpoint.
func TestChurn(t *testing.T) {
	h, g := newHost(t)
	g1 := machine(t, "g1", "i1", "10.0.0.5/24")
	c1 := newNamespace(t, "c1")
	const lives = 100
	for life := range lives {
		vm, box := fmt.Sprintf("vm%d", life), fmt.Sprintf("box%d", life)
		stop := make(chan struct{})
		done := make(chan error, 2)
		flood := func(ns *namespace, kind string) {
			done <- onThread(func() error {
				if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
					return err
				}
				for {
					select {
					case <-stop:
						return nil
					default:
					}
					got, err := ask(metadata4, patience/10, "")
					// Before the Set it is the life before; which is all that may be.
					if err == nil && got != fmt.Sprintf("%s%d", kind, life) && got != fmt.Sprintf("%s%d", kind, life-1) {
						return fmt.Errorf("in life %d answered as %q", life, got)
					}
				}
			})
		}
		go flood(g1, "vm")
		go flood(c1, "box")
		must(t, h.Set([]hostnet.Endpoint{{ID: vm, Interface: "i1"}, {ID: box, Netns: "c1"}}))
		g1.hears(metadata4, vm)
		c1.hears(metadata4, box)
		if life%4 == 0 {
			must(t, h.Set(nil))
		}
		close(stop)
		if err := errors.Join(<-done, <-done); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.accepted.Load(); n < 2*lives {
		t.Errorf("only %d requests were answered", n)
	}
}
