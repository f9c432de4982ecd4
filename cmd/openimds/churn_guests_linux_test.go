package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/openimds/openimds/control"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// prepareInside makes fresh namespaces fit to be a host.
func prepareInside() error {
	return errors.Join(ownNames(), setUp("lo"))
}

func setUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return netlink.LinkSetUp(l)
}

// spots makes guests of each kind, and the instances that will be attached there.
func (h *churnHost) spots() []*spot {
	must(h.t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	must(h.t, address("br0", "10.8.0.1/24"))
	var spots []*spot
	for i, kind := range []string{"routed", "routed", "port", "port", "namespace", "namespace"} {
		s := &spot{name: fmt.Sprintf("%s%d", kind, i)}
		s.phase.Store(-1)
		s.guest = makeNamespace(h.t, s.name)
		switch kind {
		case "namespace":
			s.place = map[string]string{"networkNamespace": s.name}
		case "port":
			s.place = map[string]string{"interface": s.name}
			cable(h.t, s.name, s.guest, fmt.Sprintf("10.8.0.%d/24", i+2), "10.8.0.1")
			bridge, err := netlink.LinkByName("br0")
			must(h.t, err)
			port, err := netlink.LinkByName(s.name)
			must(h.t, err)
			must(h.t, netlink.LinkSetMaster(port, bridge))
		default:
			s.place = map[string]string{"interface": s.name}
			cable(h.t, s.name, s.guest, fmt.Sprintf("10.9.%d.2/24", i), fmt.Sprintf("10.9.%d.1", i))
			must(h.t, address(s.name, fmt.Sprintf("10.9.%d.1/24", i)))
		}
		for n := range s.names {
			s.names[n] = fmt.Sprintf("%s-%d", s.name, n)
		}
		_, err := h.server.Service().CreateInstances(h.t.Context(), control.InstancesLaunch{
			Names: s.names[:], Zone: defaultRegion + "a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0",
		})
		must(h.t, err)
		for n, name := range s.names {
			in, err := h.server.Service().Instance(h.t.Context(), name)
			must(h.t, err)
			s.ids[n] = in.ID
		}
		spots = append(spots, s)
	}
	return spots
}

// makeNamespace makes one with a name, as ip-netns(8) does.
func makeNamespace(t *testing.T, name string) *os.File {
	t.Helper()
	path := filepath.Join("/run/netns", name)
	must(t, os.WriteFile(path, nil, 0o644))
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		if err == nil {
			err = setUp("lo")
		}
		made <- err
	}()
	must(t, <-made)
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// cable leads from an interface of the host to eth0 of a guest.
func cable(t *testing.T, name string, ns *os.File, guest, gateway string) {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd())),
	}))
	must(t, setUp(name))
	must(t, inside(ns, func() error {
		if err := address("eth0", guest); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)})
	}))
}

// inside runs a function in a namespace.
func inside(ns *os.File, do func() error) error {
	var g errorGroup
	g.run(ns, do)
	return g.wait()
}

func address(name, prefix string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(l, addr), netlink.LinkSetUp(l))
}

// errorGroup runs functions, each on a thread of its own inside a namespace, and gathers their errors.
type errorGroup struct {
	running sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

func (g *errorGroup) run(ns *os.File, do func() error) {
	g.running.Go(func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = do()
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.errs = append(g.errs, err)
	})
}

func (g *errorGroup) wait() error {
	g.running.Wait()
	return errors.Join(g.errs...)
}

// whoAmI asks the metadata service, from the thread's namespace, for the caller's instance id.
func whoAmI(patience time.Duration) (string, error) {
	c, err := net.DialTimeout("tcp", "169.254.169.254:80", patience)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	head, id, whole := strings.Cut(string(answer), "\r\n\r\n")
	if !whole || !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		return "", fmt.Errorf("not an answer: %q", answer)
	}
	return id, nil
}

// traces are what attachments could leave behind, in this process and in its namespaces.
type traces struct {
	goroutines, descriptors int
	network                 []string
}

// missing says what later traces have that these have not.
func (before traces) missing(after traces) string {
	var left []string
	if after.goroutines > before.goroutines {
		left = append(left, fmt.Sprintf("%d goroutines, and %d before", after.goroutines, before.goroutines))
	}
	if after.descriptors > before.descriptors {
		left = append(left, fmt.Sprintf("%d descriptors, and %d before", after.descriptors, before.descriptors))
	}
	for _, line := range after.network {
		if !slices.Contains(before.network, line) {
			left = append(left, line)
		}
	}
	return strings.Join(left, "; ")
}

func (h *churnHost) traces(spots []*spot) traces {
	h.client.CloseIdleConnections()
	host, err := os.Open("/proc/self/ns/net")
	must(h.t, err)
	var t traces
	var mu sync.Mutex
	var inside errorGroup
	look := func(name string, ns *os.File) {
		inside.run(ns, func() error {
			lines, err := networkLines(name)
			mu.Lock()
			defer mu.Unlock()
			t.network = append(t.network, lines...)
			return err
		})
	}
	look("host", host)
	for _, s := range spots {
		look(s.name, s.guest)
	}
	must(h.t, inside.wait())
	_ = host.Close()
	open, err := os.ReadDir("/proc/self/fd")
	must(h.t, err)
	t.goroutines, t.descriptors = runtime.NumGoroutine(), len(open)
	return t
}

// networkLines tells of the thread's namespace: addresses, rules, routes, tables of nftables, and
// listeners.
func networkLines(ns string) (lines []string, err error) {
	say := func(format string, args ...any) { lines = append(lines, ns+": "+fmt.Sprintf(format, args...)) }
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if a.IP.To4() == nil && a.IP.IsLinkLocalUnicast() {
			continue // as such routes below
		}
		say("address %v of %d", a.IPNet, a.LinkIndex)
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := netlink.RuleList(family)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			say("rule %v", r)
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP.To4() == nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast()) {
				continue // they come with interfaces, when it pleases the kernel
			}
			say("route %v dev %d table %d", r.Dst, r.LinkIndex, r.Table)
		}
	}
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	tables, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		say("table %s of nftables, family %d", t.Name, t.Family)
	}
	for _, file := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 3 && f[3] == "0A" { // TCP_LISTEN
				say("listener at %s", f[1])
			}
		}
	}
	return lines, nil
}
