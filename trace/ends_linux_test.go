package trace

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listener answers on this machine's loopback until the test ends.
func listener(t *testing.T, network, addr string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Skip(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(metadata)}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// ask is a script that asks at an address and ends as soon as the answer begins.
func ask(at netip.AddrPort) string {
	return fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d; printf "GET /latest/meta-data/x HTTP/1.1\r\nHost: x\r\n\r\n" >&3; read -r l <&3`, at.Addr(), at.Port())
}

// A server's own listeners are looked at in its network namespace, and others there or elsewhere are not.
func TestListeners(t *testing.T) {
	bash := program(t, "bash")
	ours4, ours6 := listener(t, "tcp4", "127.0.0.1:0"), listener(t, "tcp6", "[::1]:0")
	others := listener(t, "tcp4", "127.0.0.1:0")
	elsewhere := newNetwork(t)
	w := watch(t, Config{Server: &Server{Listeners: []netip.AddrPort{ours4, ours6}, May: func(uint64) bool { return true }}})
	var their net.Listener
	var err error
	elsewhere.in(func() { their, err = net.Listen("tcp4", ours4.String()) }) // the same address in another network namespace
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(metadata)}
	go func() { _ = server.Serve(their) }()
	defer server.Close()
	mine := map[int]bool{elsewhere.run(bash, "-c", ask(ours4)): true} // others of this machine call too
	run := func(at netip.AddrPort) int {
		here := network{t: t, do: make(chan func())}
		go func() {
			for f := range here.do {
				f()
			}
		}()
		defer close(here.do)
		pid := here.run(bash, "-c", ask(at))
		mine[pid] = true
		return pid
	}
	run(others)
	for _, at := range []netip.AddrPort{ours4, ours6, ours4} {
		pid := run(at)
		c := w.of(1, func(c Call) bool { return mine[c.Process.PID] })[0] // neither of the first two comes before it
		if c.Process.PID != pid || c.Address != at.Addr() || c.Source.Addr() != at.Addr() || c.Version != V1 || c.Status != 200 || c.Service != Metadata ||
			c.Path != "/latest/meta-data/x" || c.Netns == 0 || !strings.Contains(strings.Join(c.Process.Argv, " "), "/dev/tcp/") || c.Process.Exe == "" {
			t.Errorf("%v by %d: %+v", at, pid, c)
		}
	}
}

// What cannot be a server's is left in the kernel, and asked about again.
func TestLeft(t *testing.T) {
	bash := program(t, "bash")
	mine, foreign := newNetwork(t), newNetwork(t)
	mine.serve(http.HandlerFunc(metadata))
	foreign.serve(http.HandlerFunc(metadata))
	own, other := mine.cookie(), foreign.cookie()
	var asked, known atomic.Int64
	w := watch(t, Config{Server: &Server{May: func(netns uint64) bool {
		if netns == own {
			return true
		}
		if netns == other { // others of this machine call too
			asked.Add(1)
		}
		return known.Load() == int64(netns)
	}}})
	const calls = 20
	began := time.Now()
	for range calls {
		foreign.run(bash, "-c", instant)
		pid := mine.run(bash, "-c", instant)
		if c := w.next(); c.Process.PID != pid || c.Netns != own {
			t.Fatalf("a call of %d, want %d's: %+v", c.Process.PID, pid, c)
		}
	}
	if n, most := asked.Load(), 2+int64(time.Since(began)/time.Second); n == 0 || n > most { // once, and once a second
		t.Errorf("of %d calls %d were asked about, want %d at most", calls, n, most)
	}
	known.Store(int64(other)) // a guest is attached there
	for {
		foreign.run(bash, "-c", instant)
		select {
		case c := <-w.calls:
			if c.Netns == own || len(c.Process.Argv) == 0 {
				t.Errorf("%+v", c)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// The kernel takes the programs of whatever listeners a server has.
func TestProgramsOfListeners(t *testing.T) {
	var many []netip.AddrPort
	for port := range uint16(mostListeners + 1) {
		many = append(many, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 1000+port))
	}
	for name, listeners := range map[string][]netip.AddrPort{
		"none": nil, "IPv4": many[:1], "IPv6": {netip.MustParseAddrPort("[::1]:80")}, "any": {netip.MustParseAddrPort("0.0.0.0:8080")},
		"any of IPv6": {netip.MustParseAddrPort("[::]:8080"), many[0]}, "too many": many,
	} {
		k, err := openKernel(findLayout, &Server{Listeners: listeners, May: func(uint64) bool { return true }})
		if err != nil && notAllowed(err) {
			t.Skip(err)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(k.ends.listeners) != min(len(listeners), mostListeners) {
			t.Errorf("%s: %d are looked at", name, len(k.ends.listeners))
		}
		k.close()
	}
}

// A listener at no address is at all of them.
func TestListenerAnywhere(t *testing.T) {
	bash := program(t, "bash")
	n := newNetwork(t)
	own := n.cookie()
	var l net.Listener
	var k *kernel
	var err, openErr error
	n.in(func() {
		if l, err = net.Listen("tcp", "0.0.0.0:0"); err == nil {
			k, openErr = openKernel(findLayout, &Server{Listeners: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}, May: func(netns uint64) bool { return netns == own }})
		}
	})
	if err != nil || openErr != nil {
		t.Skip(err, openErr)
	}
	defer k.close()
	server := &http.Server{Handler: http.HandlerFunc(metadata)}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Addr().(*net.TCPAddr).AddrPort().Port())
	pid := n.run(bash, "-c", ask(to))
	kinds := []eventKind{kindConnectArgs, kindSent, kindAnswer}
	until := time.Now().Add(time.Duration(waitSeconds) * time.Second)
	for i := 0; i < len(kinds); {
		want := kinds[i]
		e, err := k.next(until)
		if err == nil && e.addr != to.Addr() && time.Now().Before(until) {
			continue // others of this machine call a service
		}
		if err == nil && i > 0 && e.kind == kinds[i-1] {
			continue // a line of the request after another
		}
		i++
		if err != nil || e.kind != want || e.addr != to.Addr() || want == kindConnectArgs && e.image.pid != pid {
			t.Fatalf("%+v, %v", e, err)
		}
	}
}
