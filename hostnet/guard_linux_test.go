package hostnet_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cloud makes the host one that forwards, and has a metadata service of its own behind an uplink.
func cloud(t *testing.T) *namespace {
	t.Helper()
	needHost(t)
	for _, file := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		must(t, os.WriteFile(file, []byte("1"), 0o644))
		t.Cleanup(func() { must(t, os.WriteFile(file, []byte("0"), 0o644)) })
	}
	c := newNamespace(t, "cloud")
	c.cable("uplink", "eth0")
	c.do(func() {
		for _, a := range []string{metadata4 + "/32", metadata6 + "/128", "192.0.2.1/24", "fd05::1/64"} {
			address(t, "eth0", a)
		}
		to(t, "10.0.0.0/8", "192.0.2.2", "eth0")
		to(t, "fd06::/16", "fd05::2", "eth0")
	})
	address(t, "uplink", "192.0.2.2/24")
	address(t, "uplink", "fd05::2/64")
	to(t, metadata4+"/32", "192.0.2.1", "uplink")
	to(t, metadata6+"/128", "fd05::1", "uplink")
	t.Cleanup(answerAs(t, c, "cloud"))
	return c
}

// routed makes a guest whose way everywhere is the host, by an interface or a bridge of it.
func routed(t *testing.T, name, hostEnd, bridgeName string, n int) *namespace {
	t.Helper()
	g := newNamespace(t, name)
	g.cable(hostEnd, "eth0")
	dev := hostEnd
	if bridgeName != "" {
		plug(t, hostEnd, bridgeName)
		dev = bridgeName
	}
	address(t, dev, fmt.Sprintf("10.%d.0.1/24", n))
	address(t, dev, fmt.Sprintf("fd06:%d::1/64", n))
	g.do(func() {
		address(t, "eth0", fmt.Sprintf("10.%d.0.5/24", n))
		address(t, "eth0", fmt.Sprintf("fd06:%d::5/64", n))
		to(t, "0.0.0.0/0", fmt.Sprintf("10.%d.0.1", n), "eth0")
		to(t, "::/0", fmt.Sprintf("fd06:%d::1", n), "eth0")
	})
	return g
}

func (ns *namespace) hearsBoth(id string) {
	ns.t.Helper()
	for _, addr := range []string{metadata4, metadata6} {
		if id == "" {
			ns.hearsNothing(addr)
		} else {
			ns.hears(addr, id)
		}
	}
}

// TestGuarded follows places through all that ends the answering: from none of them the host's own
// metadata service may be reached, until the place is released.
func TestGuarded(t *testing.T) {
	cloud(t)
	bridge(t, "br0", "10.99.0.1/24")
	places := map[string]hostnet.Endpoint{"vm": {Interface: "i1"}, "port": {Interface: "p1"}, "box": {Netns: "c1"}}
	guests := map[string]*namespace{
		"vm": routed(t, "g1", "i1", "", 1), "port": routed(t, "b1", "p1", "br0", 2), "box": routed(t, "c1", "v1", "", 3),
	}
	var endpoints []hostnet.Endpoint
	for id, e := range places {
		e.ID, e.IPv6 = id, true
		endpoints = append(endpoints, e)
	}
	expect := func(when string, want func(id string) string) {
		t.Helper()
		for id, g := range guests {
			g.hearsBoth(want(id))
		}
		if t.Failed() {
			t.Fatal(when)
		}
	}
	all := func(answer string) func(string) string { return func(string) string { return answer } }
	self := func(id string) string { return id }

	expect("before", all("cloud"))
	h, _ := newHost(t)
	must(t, h.Set(endpoints))
	expect("attached", self)
	must(t, h.Set(nil))
	expect("detached", all(""))
	must(t, h.Set(endpoints))
	expect("attached again", self)
	must(t, h.Close())
	expect("stopped", all(""))
	h, _ = newHost(t)
	must(t, h.Sweep())
	expect("started, and nothing attached", all(""))
	must(t, h.Set(endpoints))
	expect("attached after the start", self)
	must(t, h.Close())

	holder := startHolder(t) // attaches i1, p1 and c1
	must(t, holder.Process.Kill())
	_ = holder.Wait()
	expect("killed", all(""))
	h, _ = newHost(t)
	must(t, h.Set(nil))
	expect("started after it was killed", all(""))
	if got := fmt.Sprint(h.Guarded()); !strings.HasPrefix(got, "[{i1 } {p1 }") {
		t.Errorf("guarded: %s", got)
	}
	if _, err := h.Release("nowhere"); err == nil {
		t.Error("what is not guarded was released")
	}
	if released, err := h.Release("i1"); err != nil || fmt.Sprint(released) != "[{i1 }]" {
		t.Errorf("released: %v, %v", released, err)
	}
	guests["vm"].hearsBoth("cloud")
	guests["port"].hearsBoth("")
	must(t, h.Set(endpoints[:1]))
	must(t, h.Sweep()) // finds the namespace
	release(t, h)
	expect("all but one released", func(id string) string {
		if id == endpoints[0].ID {
			return id
		}
		return "cloud"
	})
}

// TestGuardedNext has the interface of a name that is attached come again while nothing serves it, as a
// machine does that is started again.
func TestGuardedNext(t *testing.T) {
	cloud(t)
	h, _ := newHost(t)
	g := routed(t, "g1", "i1", "", 1)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "i1", IPv6: true}}))
	g.hearsBoth("vm")
	must(t, h.Close())
	unplug("i1")
	g.remove()
	g = routed(t, "g1", "i1", "", 1)
	g.hearsBoth("")
	must(t, netlink.LinkSetName(link(t, "i1"), "aside"))
	t.Cleanup(func() { unplug("aside") })
	// The next process has nobody at that name; and no such interface is there any more.
	h, _ = newHost(t)
	must(t, h.Set(nil))
	if left := h.Guarded(); len(left) != 0 {
		t.Errorf("guarded without an interface: %v", left)
	}
}

// TestGuardedNamespace has root inside an attached namespace remove all that is in it: the host's end of
// its link is guarded too.
func TestGuardedNamespace(t *testing.T) {
	cloud(t)
	bridge(t, "br0", "10.99.0.1/24")
	h, _ := newHost(t)
	guests := []*namespace{routed(t, "c1", "v1", "", 1), routed(t, "c2", "v2", "br0", 2)}
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Netns: "c1", IPv6: true}, {ID: "two", Netns: "c2", IPv6: true}}))
	for _, g := range guests {
		g.do(func() { ruin(t) })
		g.hearsBoth("")
	}
}

// ruin removes what a Host put into the thread's namespace.
func ruin(t *testing.T) {
	t.Helper()
	conn, err := nftables.New()
	must(t, err)
	conn.FlushRuleset()
	must(t, conn.Flush())
	for _, a := range []string{metadata4 + "/32", metadata6 + "/128"} {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		must(t, netlink.AddrDel(link(t, "lo"), addr))
	}
}

// TestUplinks guards all interfaces but the named ones, whatever was attached.
func TestUplinks(t *testing.T) {
	cloud(t)
	bridge(t, "br0", "10.99.0.1/24")
	stranger, port := routed(t, "g2", "i2", "", 2), routed(t, "b2", "p2", "br0", 3)
	stranger.hearsBoth("cloud")
	h, _ := newHost(t, func(c *hostnet.Config) { c.Uplinks = []string{"uplink"} })
	own := func() {
		t.Helper()
		if got, err := ask(metadata4, forever, ""); got != "cloud" {
			t.Errorf("the host's own call: %q, %v", got, err)
		}
	}
	check := func() {
		t.Helper()
		stranger.hearsBoth("")
		port.hearsBoth("")
		own()
	}
	must(t, h.Set(nil))
	check()
	g := routed(t, "g1", "i1", "", 1)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "i1", IPv6: true}}))
	g.hearsBoth("vm")
	check()
	must(t, h.Close())
	g.hearsBoth("")
	check()
	h, _ = newHost(t) // without the option
	must(t, h.Set(nil))
	stranger.hearsBoth("cloud")
	g.hearsBoth("")
}

// TestTakenPort has a program take the ports of a process that was killed. It needs no rights for that,
// and must not get what guests ask.
func TestTakenPort(t *testing.T) {
	needHost(t)
	bridge(t, "br0", "10.99.0.1/24")
	guests := []*namespace{routed(t, "g1", "i1", "", 1), routed(t, "b1", "p1", "br0", 2)}
	newNamespace(t, "c1")
	// Without this a program's answers do not carry the mark, and nobody gets them.
	const inherit = "/proc/sys/net/ipv4/tcp_fwmark_accept"
	must(t, os.WriteFile(inherit, []byte("1"), 0o644))
	t.Cleanup(func() { must(t, os.WriteFile(inherit, []byte("0"), 0o644)) })
	holder := startHolder(t)
	must(t, holder.Process.Kill())
	_ = holder.Wait()
	conn, err := nftables.New()
	must(t, err)
	taken := 0
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyBridge} {
		for _, set := range []string{"listeners4", "listeners6"} {
			elements, err := conn.GetSetElements(&nftables.Set{Table: &nftables.Table{Name: "openimds", Family: family}, Name: set})
			must(t, err)
			for _, e := range elements {
				l, err := net.Listen("tcp", fmt.Sprintf(":%d", int(e.Val[0])<<8|int(e.Val[1])))
				must(t, err)
				taken++
				defer func() { _ = l.Close() }()
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						_, _ = fmt.Fprintf(c, "evil %s\n", c.RemoteAddr())
						_ = c.Close()
					}
				}()
			}
		}
	}
	if taken != 4 {
		t.Fatalf("%d ports were taken", taken)
	}
	for _, g := range guests {
		g.hearsBoth("")
	}
	h, _ := newHost(t)
	must(t, h.Set(held("")))
	guests[0].hearsBoth("vm")
	guests[1].hearsBoth("port")
}

// TestLockedOut has a user without rights hold the name that earlier releases locked.
func TestLockedOut(t *testing.T) {
	needHost(t)
	cmd := exec.Command("/proc/self/exe", "hold-name") // its directory is closed to others
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line := make([]byte, 5); true {
		if _, err := out.Read(line); err != nil || string(line) != "held\n" {
			t.Fatalf("the holder said %q, %v", line, err)
		}
	}
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	h, _ := newHost(t)
	must(t, h.Set([]hostnet.Endpoint{{ID: "vm", Interface: "i1"}}))
	g.hears(metadata4, "vm")
}

// holdName is the program of a user who would keep a Host from starting.
func holdName() {
	l, err := net.Listen("unix", "@openimds/hostnet")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	for {
		if _, err := l.Accept(); err != nil {
			return
		}
	}
}

// TestTakesOver has another process serve the host at first: when it ends, what was set is attached.
func TestTakesOver(t *testing.T) {
	needHost(t)
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	machine(t, "b1", "p1", "10.0.1.5/24")
	newNamespace(t, "c1")
	holder := startHolder(t)
	h, _ := newHost(t)
	run(t, h)
	if err := h.Set([]hostnet.Endpoint{{ID: "mine", Interface: "i1"}}); !errors.Is(err, hostnet.ErrBusy) {
		t.Errorf("attached while another process serves the host: %v", err)
	}
	if s := becomes(t, h, "mine", hostnet.Failed); !strings.Contains(s.Reason, "another openimds process") {
		t.Errorf("the reason is %q", s.Reason)
	}
	if h.Blocked() == nil {
		t.Error("nothing is said to be in the way")
	}
	must(t, holder.Process.Kill())
	_ = holder.Wait()
	becomes(t, h, "mine", hostnet.Attached)
	g.hears(metadata4, "mine")
	if err := h.Blocked(); err != nil {
		t.Errorf("in the way: %v", err)
	}
}

// TestManyRules has a user without rights fill a namespace of a user namespace of his own with rules, one that
// nobody attached and one that is attached. RULES is how many.
func TestManyRules(t *testing.T) {
	needHost(t)
	rules := 20000
	if text := os.Getenv("RULES"); text != "" {
		var err error
		rules, err = strconv.Atoi(text)
		must(t, err)
	}
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	endpoints := []hostnet.Endpoint{{ID: "vm", Interface: "i1"}}
	// first is the work of this process, and of the kernel for it, until a guest has its answer and what is not
	// attached is swept.
	first := func(endpoints []hostnet.Endpoint) time.Duration {
		t.Helper()
		h, _ := newHost(t)
		start := worked(t)
		must(t, h.Set(endpoints))
		g.hears(metadata4, "vm")
		answered := worked(t) - start
		must(t, h.Sweep())
		swept := worked(t) - start
		t.Logf("first answer after %v, swept after %v", answered, swept)
		must(t, h.Close())
		return swept
	}
	before := first(endpoints)
	cmd := exec.Command("/proc/self/exe", "fill-namespace", strconv.Itoa(rules))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: 65534, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: 65534, Size: 1}},
		Credential: &syscall.Credential{NoSetGroups: true}, // root in there
	}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "filled\n" {
		t.Fatalf("filling said %q, %v", line, err)
	}
	if took := first(endpoints); took > before+5*time.Second { // a second, on a quiet machine
		t.Errorf("with %d rules elsewhere it cost %v, and %v without", rules, took, before)
	}
	if took := first(append(endpoints, hostnet.Endpoint{ID: "full", PID: cmd.Process.Pid})); took > before+5*time.Second {
		t.Errorf("with %d rules in an attached namespace it cost %v, and %v without", rules, took, before)
	}
}

// worked is the processor time of this process: other than the time that passes, it is not another's load.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// fillNamespace makes rules where a Host would look for its own.
func fillNamespace() {
	count, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = addRules(count)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("filled")
	select {}
}

func addRules(count int) error {
	table := &nftables.Table{Name: "openimds-guest", Family: nftables.TableFamilyINet}
	for count > 0 {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		conn.AddTable(table)
		chain := conn.AddChain(&nftables.Chain{Name: "prerouting", Table: table})
		for n := min(count, 150); n > 0; n-- { // as many as an unprivileged socket takes acknowledgements for
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain})
			count--
		}
		if err := conn.Flush(); err != nil {
			return err
		}
	}
	return nil
}
