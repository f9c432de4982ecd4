package socketowner

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"syscall"
)

// TestMain makes this test binary a client too: it connects, says from where, and waits for its input's end.
func TestMain(m *testing.M) {
	addr := os.Getenv("SOCKETOWNER_CLIENT")
	if addr == "" {
		os.Exit(m.Run())
	}
	c, err := net.Dial(os.Getenv("SOCKETOWNER_NETWORK"), addr)
	if err != nil {
		_, _ = os.Stdout.WriteString("failed " + err.Error() + "\n")
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(c.LocalAddr().String() + "\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = c.Close()
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func finder(t *testing.T) *Finder {
	t.Helper()
	f, err := New()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// places are ways to call from this machine.
var places = []struct{ name, network, listen, dial string }{
	{"IPv4", "tcp4", "127.0.0.1:0", "127.0.0.1"},
	{"all of IPv4", "tcp4", "0.0.0.0:0", "127.0.0.7"},
	{"IPv6", "tcp6", "[::1]:0", "::1"},
	{"both, by IPv4", "tcp", "[::]:0", "127.0.0.1"},
	{"both, by IPv6", "tcp", "[::]:0", "::1"},
	{"mapped", "tcp", "[::]:0", "::ffff:127.0.0.1"},
}

func TestOwner(t *testing.T) {
	f := finder(t)
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			l := listen(t, p.network, p.listen)
			_, port, _ := net.SplitHostPort(l.Addr().String())
			c, err := net.Dial("tcp", net.JoinHostPort(p.dial, port))
			if err != nil {
				t.Skip(err)
			}
			defer func() { _ = c.Close() }()
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			caller, service := addrPort(s.RemoteAddr()), addrPort(s.LocalAddr())
			if uid, err := f.Owner(caller, service); err != nil || int(uid) != os.Geteuid() {
				t.Errorf("%d, %v", uid, err)
			}
			// Who has sent all is still known.
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if uid, err := f.Owner(caller, service); err != nil || int(uid) != os.Geteuid() {
				t.Errorf("half closed: %d, %v", uid, err)
			}
			for name, other := range map[string][2]netip.AddrPort{
				"another port":       {netip.AddrPortFrom(caller.Addr(), caller.Port()^1), service},
				"another port of us": {caller, netip.AddrPortFrom(service.Addr(), service.Port()^1)},
				"another address":    {netip.AddrPortFrom(netip.MustParseAddr("127.9.9.9"), caller.Port()), service},
				"a remote address":   {netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), caller.Port()), service},
				"nothing":            {},
			} {
				if uid, err := f.Owner(other[0], other[1]); !errors.Is(err, ErrUnknown) {
					t.Errorf("%s: %d, %v", name, uid, err)
				}
			}
			// A closed connection has no owner, although the kernel speaks of root.
			_ = c.Close()
			if uid, err := f.Owner(caller, service); !errors.Is(err, ErrUnknown) {
				t.Errorf("closed: %d, %v", uid, err)
			}
			_ = s.Close() // now it waits in TIME_WAIT
			if uid, err := f.Owner(caller, service); !errors.Is(err, ErrUnknown) {
				t.Errorf("waiting: %d, %v", uid, err)
			}
		})
	}
}

// A remote caller comes from a port at which this machine listens: the kernel offers that listener.
func TestOwnerIsNoListener(t *testing.T) {
	f := finder(t)
	for _, at := range []string{"0.0.0.0:0", "[::]:0", "127.0.0.1:0", "[::1]:0"} {
		l := listen(t, "tcp", at)
		port := addrPort(l.Addr()).Port()
		for _, pair := range [][2]string{{"192.0.2.1", "127.0.0.1"}, {"127.0.0.1", "127.0.0.1"}, {"2001:db8::1", "::1"}, {"::1", "::1"}} {
			caller := netip.AddrPortFrom(netip.MustParseAddr(pair[0]), port)
			service := netip.AddrPortFrom(netip.MustParseAddr(pair[1]), 1338)
			if uid, err := f.Owner(caller, service); !errors.Is(err, ErrUnknown) {
				t.Errorf("%s, %v: %d, %v", at, pair, uid, err)
			}
		}
	}
}

// Other users are told apart: the process's at the time when it made the socket.
func TestOwnerOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("another user needs root")
	}
	f := finder(t)
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			l := listen(t, p.network, p.listen)
			_, port, _ := net.SplitHostPort(l.Addr().String())
			const uid = 54321
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{"SOCKETOWNER_NETWORK=tcp", "SOCKETOWNER_CLIENT=" + net.JoinHostPort(p.dial, port)}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
			input, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			output, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Skip(err) // the test's file is where that user may not go
			}
			defer func() { _ = input.Close(); _ = cmd.Wait() }()
			line := make([]byte, 100)
			n, _ := output.Read(line)
			if strings.HasPrefix(string(line[:n]), "failed") {
				t.Skip(string(line[:n]))
			}
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if got, err := f.Owner(addrPort(s.RemoteAddr()), addrPort(s.LocalAddr())); err != nil || got != uid {
				t.Errorf("%s, %v, of %s", strconv.Itoa(int(got)), err, line[:n])
			}
		})
	}
}

func TestOwnersAtOnce(t *testing.T) {
	f := finder(t)
	l := listen(t, "tcp", "127.0.0.1:0")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				if uid, err := f.Owner(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())); err != nil || int(uid) != os.Geteuid() {
					t.Errorf("%d, %v", uid, err)
				}
				_ = c.Close()
			}
		})
	}
	all.Wait()
}

func BenchmarkOwner(b *testing.B) {
	f, err := New()
	if err != nil {
		b.Skip(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	caller, service := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Owner(caller, service); err != nil {
			b.Fatal(err)
		}
	}
}
