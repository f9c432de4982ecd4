package imds

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/usage"
	"golang.org/x/sys/unix"
)

// newDeaf serves an instance on the listener, and counts. Deaf clients call it.
func newDeaf(t *testing.T, l net.Listener, patience time.Duration, change func(*Config)) (*wire, *usage.Meter) {
	t.Helper()
	now := func() time.Time { return noon }
	recorder := newRecorder(now)
	cfg := Config{Now: now, Usage: recorder}
	if change != nil {
		change(&cfg)
	}
	s := NewServer(cfg)
	s.patience.arrival, s.patience.linger = patience, 10*time.Millisecond
	in := fixedInstance()
	in.Options.IPv6 = openimds.EndpointEnabled
	return serveWire(t, s, in, l), recorder
}

// deafen makes a connection hear nothing any more: its side acknowledges nothing either, as if what
// is sent to it ended on the way.
func deafen(t *testing.T, c *net.TCPConn) {
	t.Helper()
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	filter(t, c, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
	})
}

// undeafen ends it.
func undeafen(t *testing.T, c *net.TCPConn) {
	t.Helper()
	filter(t, c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
}

func filter(t *testing.T, c *net.TCPConn, set func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var serr error
	if err := raw.Control(func(fd uintptr) { serr = set(int(fd)) }); err != nil || serr != nil {
		t.Fatal(err, serr)
	}
}

// dialDeaf connects with packets of so many hops (0: the system's own), and hears nothing from then on.
func (w *wire) dialDeaf(t *testing.T, hops int) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Control: func(network, _ string, raw syscall.RawConn) (err error) {
		if hops == 0 {
			return nil
		}
		if cerr := raw.Control(func(fd uintptr) { err = setHopLimitFD(int(fd), network == "tcp6", hops) }); cerr != nil {
			return cerr
		}
		return err
	}}
	c, err := d.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	deafen(t, c.(*net.TCPConn))
	return c.(*net.TCPConn)
}

func (w *wire) putDeaf(t *testing.T, hops int, headers ...string) *net.TCPConn {
	t.Helper()
	c := w.dialDeaf(t, hops)
	if _, err := io.WriteString(c, put(tokenPath, append(headers, ttlIs+"60")...)); err != nil {
		t.Fatal(err)
	}
	return c
}

// awaited is how many answers the guest has under observation.
func (w *wire) awaited() int {
	w.guest.arrivals.mu.Lock()
	defer w.guest.arrivals.mu.Unlock()
	return len(w.guest.arrivals.waiting)
}

// settled waits until no answer is under observation.
func (w *wire) settled(t *testing.T) {
	t.Helper()
	w.waitFor(t, "the fate of all answers", func() bool { return w.awaited() == 0 })
}

// lost is how many tokens were counted as undelivered, of all callers together and of each.
func lost(t *testing.T, r *usage.Meter, w *wire) (sum int, callers map[string]openimds.UndeliveredToken) {
	t.Helper()
	all, err := r.Callers(context.Background(), w.in.ID, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	callers = map[string]openimds.UndeliveredToken{}
	for _, c := range all {
		n := c.Counts[openimds.MetricTokenUndelivered]
		sum += int(n)
		if (c.Undelivered != nil) != (n > 0) || n > 0 && c.PathGroup != "api/token" {
			t.Errorf("a caller is %+v", c)
		}
		if c.Undelivered != nil {
			callers[c.Source+" "+c.UserAgent] = *c.Undelivered
		}
	}
	return sum, callers
}

// An answer with a token that is never acknowledged is counted, whichever way the request came in,
// with the hop limit that it would have needed; all others are not.
func TestUndelivered(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		listeners, err := Listen(t.Context(), net.JoinHostPort(addr, "0"))
		if err != nil {
			t.Skipf("this machine has no IPv6: %v", err)
		}
		plain, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
		if err != nil {
			t.Fatal(err)
		}
		for kind, l := range map[string]net.Listener{"deferred": listeners[0], "plain": plain} {
			t.Run(addr+" "+kind, func(t *testing.T) {
				w, recorder := newDeaf(t, l, 300*time.Millisecond, nil)
				w.in.Options.HopLimit = 3
				if err := w.guest.Set(w.in); err != nil {
					t.Fatal(err)
				}
				want := map[string]openimds.UndeliveredToken{}
				for hops, needed := range map[int]int{64: 1, 63: 2, 62: 3, 1: 64, 128: 1, 127: 2, 255: 1, 250: 6, 150: 0} {
					agent := fmt.Sprintf("from %d", hops)
					w.putDeaf(t, hops, "User-Agent: "+agent)
					want[addr+" "+agent] = openimds.UndeliveredToken{Time: noon, HopLimit: 3, NeededHopLimit: needed}
				}
				w.putDeaf(t, 63, "User-Agent: with a body", "Content-Length: 3")
				want[addr+" with a body"] = openimds.UndeliveredToken{Time: noon, HopLimit: 3, NeededHopLimit: 2}
				pieces := w.dialDeaf(t, 63)
				for _, piece := range strings.SplitAfter(put(tokenPath, ttlIs+"60", "User-Agent: in pieces"), "HTTP/1.1\r\n") {
					if _, err := io.WriteString(pieces, piece); err != nil {
						t.Fatal(err)
					}
					w.waitFor(t, "the server has the first piece", func() bool { return w.holds(pieces) || w.awaited() > 0 })
				}
				want[addr+" in pieces"] = openimds.UndeliveredToken{Time: noon, HopLimit: 3, NeededHopLimit: 2}

				w.token(t) // arrives
				for _, send := range []string{put(tokenPath), get(amiPath), put(amiPath, ttlIs+"60")} {
					if _, err := io.WriteString(w.dialDeaf(t, 0), send); err != nil { // no token to lose
						t.Fatal(err)
					}
				}
				var got map[string]openimds.UndeliveredToken
				w.waitFor(t, "all lost answers are counted", func() bool {
					var n int
					n, got = lost(t, recorder, w)
					return n >= len(want)
				})
				w.settled(t)
				if n, _ := lost(t, recorder, w); n != len(want) || !reflect.DeepEqual(got, want) {
					t.Errorf("%d are counted:\n%+v\nwant\n%+v", n, got, want)
				}
				if n := counted(t, recorder, w.in)[openimds.MetricTokenUndelivered]; int(n) != len(want) {
					t.Errorf("the history has %v", n)
				}
			})
		}
	}
}

// A client that is gone, or to whom the answer comes late, is not one whom the answer cannot reach.
func TestGoneIsNotUndelivered(t *testing.T) {
	w, recorder := newDeaf(t, listenOn(t, "127.0.0.1:0"), patienceOfTests, nil)
	for n := range 5 { // killed before the answer came
		c := w.dial(t)
		if _, err := io.WriteString(c, put(tokenPath, ttlIs+"60")); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		w.waitFor(t, "the answer", func() bool {
			return counted(t, recorder, w.in)[openimds.MetricTokenRequests] == float64(n+1) && w.guest.Connections() == 0
		})
	}
	w.settled(t)
	reset := w.putDeaf(t, 0) // killed before it could hear the answer
	w.waitFor(t, "the answer", func() bool { return w.awaited() == 1 })
	_ = reset.SetLinger(0)
	_ = reset.Close()
	w.settled(t)
	late := w.putDeaf(t, 0) // the answer came at the second attempt
	w.waitFor(t, "the answer", func() bool { return w.awaited() == 1 })
	undeafen(t, late)
	if got := readAll(t, late); statusOf(got) != "200" {
		t.Errorf("late: %q", got)
	}
	w.settled(t)
	if n, callers := lost(t, recorder, w); n != 0 {
		t.Errorf("%d are counted: %v", n, callers)
	}
}

// A guest that hears nothing holds no more than its share of descriptors, and none for good.
func TestUndeliveredAreBounded(t *testing.T) {
	w, recorder := newDeaf(t, listenOn(t, "127.0.0.1:0"), 300*time.Millisecond, func(c *Config) { c.Connections = 2 })
	w.token(t)
	w.settled(t)
	before := descriptors(t)
	var clients []*net.TCPConn
	for range 5 * maxArrivals {
		clients = append(clients, w.putDeaf(t, 0))
		if n := w.awaited(); n > maxArrivals {
			t.Fatalf("%d connections are kept", n)
		}
		if n := w.guest.Connections(); n > 2 {
			t.Fatalf("%d connections count as open", n)
		}
	}
	w.waitFor(t, "as many as fit are counted", func() bool { n, _ := lost(t, recorder, w); return n >= maxArrivals })
	w.settled(t)
	for _, c := range clients {
		_ = c.Close()
	}
	w.waitFor(t, "no more descriptors than before", func() bool { return descriptors(t) <= before })
	if got := w.raw(t, get(amiPath)); statusOf(got) != "200" {
		t.Errorf("afterwards: %q", got)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// What is under observation keeps nobody: not a shutdown, and not the end of an instance or its place.
func TestUndeliveredHoldNothingUp(t *testing.T) {
	for name, end := range map[string]func(*wire, net.Listener) error{
		"shutdown": func(w *wire, _ net.Listener) error { return w.server.Shutdown(context.Background()) },
		"stop":     func(w *wire, _ net.Listener) error { return w.guest.Set(nil) },
		"detach":   func(_ *wire, l net.Listener) error { return l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			l := listenOn(t, "127.0.0.1:0")
			recorder := newRecorder(nil)
			s := NewServer(Config{Usage: recorder})
			s.patience.arrival = time.Hour
			w := &wire{server: s, in: fixedInstance(), addr: l.Addr().String(), guest: s.NewGuest()}
			if err := w.guest.Set(w.in); err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve(l, w.guest) }()
			w.putDeaf(t, 0)
			w.waitFor(t, "the answer", func() bool { return w.awaited() == 1 })
			if err := end(w, l); err != nil {
				t.Fatal(err)
			}
			w.settled(t)
			if err := s.Shutdown(context.Background()); err != nil {
				t.Fatal(err)
			}
			<-served
			if n, _ := lost(t, recorder, w); n != 0 {
				t.Errorf("%d are counted", n)
			}
		})
	}
}

// Where nobody counts, nobody looks.
func TestUndeliveredUncounted(t *testing.T) {
	w := newWire(t, nil)
	w.putDeaf(t, 0)
	w.waitFor(t, "the answer is away", func() bool { return w.guest.Connections() == 0 })
	w.token(t)
	if n := w.awaited(); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}

// TCP's next attempts to deliver a token travel no further than the first, while the connection is
// kept and after it was let go.
func TestHopLimitOfRetransmissions(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		listeners, err := Listen(t.Context(), addr)
		if err != nil {
			t.Skipf("this machine has no IPv6: %v", err)
		}
		w, recorder := newDeaf(t, listeners[0], 300*time.Millisecond, nil)
		w.in.Options.HopLimit = 2
		if err := w.guest.Set(w.in); err != nil {
			t.Fatal(err)
		}
		server := netip.MustParseAddrPort(w.addr)
		s := newSniffer(t, server)
		client := netip.MustParseAddrPort(w.putDeaf(t, 0).LocalAddr().String())
		w.waitFor(t, "the loss is counted", func() bool { n, _ := lost(t, recorder, w); return n == 1 })
		w.settled(t)
		for seen := 0; seen < 8; { // four attempts: the loopback interface shows each coming and going
			for _, g := range s.connection(t, server, client) {
				if !g.syn && g.hops != 2 && (g.payload > 0 || g.fin) {
					t.Errorf("%s: %+v", addr, g)
				}
				if g.payload > 0 {
					seen++
				}
			}
		}
	}
}
