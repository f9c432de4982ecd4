package hostnet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests change a host's network, so the test binary starts itself again in a network namespace of
// its own, which is the host of all tests, in a mount namespace of its own for /run/netns, and in a PID
// namespace of its own, in which it does not find the namespaces of what else runs on this machine.

const insideVariable = "HOSTNET_TEST_INSIDE"

// filterVariable has the host of all tests check sources: 1 or 2, as net.ipv4.conf.all.rp_filter.
const filterVariable = "HOSTNET_TEST_RP_FILTER"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "hold-host" {
		holdHost()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "hold-name" {
		holdName()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "fill-namespace" {
		fillNamespace()
		return
	}
	fuzzing := func(arg string) bool { return arg == "-test.fuzzworker" || strings.HasPrefix(arg, "-test.fuzz=") }
	if slices.ContainsFunc(os.Args[1:], fuzzing) {
		os.Exit(m.Run()) // fuzz targets need no host, and their workers speak to who starts them
	}
	if os.Getenv(insideVariable) != "" {
		// The first thread cannot end, so it must not be one that goes into a namespace.
		runtime.LockOSThread()
		if err := prepareHost(); err != nil {
			fmt.Fprintln(os.Stderr, "the host of the tests:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // those that need a host skip
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig is of the thread
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case errors.Is(err, unix.EPERM):
		os.Exit(m.Run()) // root without the right to make namespaces: as if not root
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func prepareHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, ""); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	// What sysfs shows is of the namespace it was mounted in.
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	if how := os.Getenv(filterVariable); how != "" {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte(how), 0o644); err != nil {
			return err
		}
	}
	return noDAD()
}

// noDAD makes link-local addresses of interfaces to come usable at once.
func noDAD() error {
	return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644)
}

func needHost(t testing.TB) {
	t.Helper()
	if os.Getenv(insideVariable) == "" {
		t.Skip("needs root, to make network namespaces")
	}
}

// guests is a server that answers every connection with the ID of the endpoint it came from.
type guests struct {
	t *testing.T
	// hold keeps connections open after the answer.
	hold     atomic.Bool
	accepted atomic.Int64

	mu      sync.Mutex
	conns   map[net.Conn]bool
	serving sync.WaitGroup
	open    atomic.Int64 // listeners
}

func (g *guests) serve(id string, l *hostnet.Listener) func() {
	g.open.Add(1)
	g.serving.Add(1)
	mine := map[net.Conn]bool{}
	go func() {
		defer g.serving.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.accepted.Add(1)
			_, _ = fmt.Fprintf(c, "%s %s\n", id, c.RemoteAddr())
			if !g.hold.Load() {
				_ = c.Close()
				continue
			}
			g.mu.Lock()
			g.conns[c], mine[c] = true, true
			g.mu.Unlock()
		}
	}()
	return func() {
		g.open.Add(-1)
		_ = l.Close()
	}
}

// newHost makes a Host that is followed and closed with the test, and checks that Close leaves the
// host as it was.
func newHost(t *testing.T, change ...func(*hostnet.Config)) (*hostnet.Network, *guests) {
	t.Helper()
	needHost(t)
	g := &guests{t: t, conns: map[net.Conn]bool{}}
	cfg := hostnet.Config{Serve: g.serve}
	for _, c := range change {
		c(&cfg)
	}
	h, err := hostnet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Set(nil); err == nil { // else it was closed
			release(t, h)
		}
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for c := range g.conns {
			_ = c.Close()
		}
		g.serving.Wait()
		if n := g.open.Load(); n != 0 {
			t.Errorf("%d listeners were not closed", n)
		}
	})
	return h, g
}

// release gives up all guards, which outlive a Host.
func release(t *testing.T, h *hostnet.Network) {
	t.Helper()
	_, err := h.Release()
	must(t, err)
	if left := h.Guarded(); len(left) > 0 {
		t.Errorf("after Release these are guarded: %v", left)
	}
}

// run follows the host until the test ends.
func run(t *testing.T, h *hostnet.Network) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

const (
	metadata4 = "169.254.169.254"
	metadata6 = "fd00:ec2::254"
)

// machine is a guest with an address on its own link, on which the metadata addresses are too.
func machine(t testing.TB, name, hostEnd, prefix string) *namespace {
	t.Helper()
	ns := newNamespace(t, name)
	ns.cable(hostEnd, "eth0")
	ns.do(func() {
		address(t, "eth0", prefix)
		linkLocal(t, "eth0")
		to(t, metadata4+"/32", "", "eth0")
		to(t, metadata6+"/128", "", "eth0")
	})
	return ns
}

// patience is for what must not happen; forever bounds what must, and no test waits for it unless it fails.
const (
	patience = 300 * time.Millisecond
	forever  = 2 * time.Minute
)

// ask connects from the thread's namespace and returns what the connection is answered with.
func ask(addr string, timeout time.Duration, from string) (string, error) {
	d := net.Dialer{Timeout: timeout}
	if from != "" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			})
		}
	}
	c, err := d.Dial("tcp", net.JoinHostPort(addr, "80"))
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(time.Now().Add(timeout))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	var id, peer string
	_, err = fmt.Sscan(line, &id, &peer)
	return id, err
}

// hears checks that the guest is answered as the endpoint.
func (ns *namespace) hears(addr, id string) {
	ns.t.Helper()
	var got string
	var err error
	for range 3 { // it may be about to give up a question for the address from before somebody answered there
		ns.do(func() { got, err = ask(addr, forever, "") })
		if !errors.Is(err, unix.EHOSTUNREACH) {
			break
		}
	}
	if err != nil || got != id {
		ns.t.Errorf("%s asks %s: answered as %q, %v; want %q", ns.name, addr, got, err, id)
	}
}

// hearsNothing checks that the guest gets no answer.
func (ns *namespace) hearsNothing(addr string) {
	ns.t.Helper()
	var got string
	var err error
	ns.do(func() { got, err = ask(addr, patience, "") })
	if err == nil {
		ns.t.Errorf("%s asks %s: answered as %q, want no answer", ns.name, addr, got)
	}
}

// becomes waits until an endpoint has a state.
func becomes(t testing.TB, h *hostnet.Network, id string, want hostnet.State) hostnet.EndpointStatus {
	t.Helper()
	var last hostnet.EndpointStatus
	for end := time.Now().Add(forever); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, s := range h.Status() {
			if s.ID == id {
				last = s
			}
		}
		if last.State == want {
			return last
		}
	}
	t.Fatalf("%s is %s (%s), want %s", id, last.State, last.Reason, want)
	return last
}

// isWell waits until an attached endpoint has nothing amiss.
func isWell(t testing.TB, h *hostnet.Network, id string) {
	t.Helper()
	reason := becomes(t, h, id, hostnet.Attached).Reason
	for end := time.Now().Add(forever); reason != "" && time.Now().Before(end); time.Sleep(time.Millisecond) {
		reason = becomes(t, h, id, hostnet.Attached).Reason
	}
	if reason != "" {
		t.Errorf("%s: %s", id, reason)
	}
}

// answerAs serves port 80 of both metadata addresses inside a namespace, as a cloud would.
func answerAs(t *testing.T, ns *namespace, id string) (stop func()) {
	t.Helper()
	var open []net.Listener
	ns.do(func() {
		for _, addr := range []string{metadata4, metadata6} {
			l, err := net.Listen("tcp", net.JoinHostPort(addr, "80"))
			must(t, err)
			open = append(open, l)
		}
	})
	var serving sync.WaitGroup
	for _, l := range open {
		serving.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "%s %s\n", id, c.RemoteAddr())
				_ = c.Close()
			}
		})
	}
	return func() {
		for _, l := range open {
			_ = l.Close()
		}
		serving.Wait()
	}
}
