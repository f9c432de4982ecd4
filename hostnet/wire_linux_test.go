package hostnet_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wire is a packet socket on an interface of a namespace: it hears all frames, and sends any.
type wire struct {
	t     *testing.T
	fd    int
	mac   net.HardwareAddr
	index int

	mu     sync.Mutex
	frames [][]byte
	empty  int // how often there was nothing to hear
}

func tap(t *testing.T, ns *namespace, dev string) *wire {
	t.Helper()
	w := &wire{t: t}
	ns.do(func() {
		l := link(t, dev)
		w.mac, w.index = l.Attrs().HardwareAddr, l.Attrs().Index
		var err error
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		must(t, unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 10_000}))
		must(t, unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: w.index})) // ETH_P_ALL
	})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := unix.Recvfrom(w.fd, buf, 0)
			select {
			case <-stop:
				return
			default:
			}
			if errors.Is(err, unix.EAGAIN) {
				w.mu.Lock()
				w.empty++
				w.mu.Unlock()
			}
			ll, ok := from.(*unix.SockaddrLinklayer)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || !ok || ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			w.mu.Lock()
			w.frames = append(w.frames, bytes.Clone(buf[:n]))
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		_ = unix.Close(w.fd)
	})
	return w
}

// quiet waits until all has been read that was sent by now.
func (w *wire) quiet() {
	w.mu.Lock()
	empty := w.empty
	w.mu.Unlock()
	for now := empty; now < empty+5; {
		time.Sleep(time.Millisecond)
		w.mu.Lock()
		now = w.empty
		w.mu.Unlock()
	}
}

// heard counts the frames that came in and match.
func (w *wire) heard(match func([]byte) bool) (n int) {
	w.quiet()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.frames {
		if len(f) > 14 && match(f) {
			n++
		}
	}
	return n
}

func (w *wire) send(to net.HardwareAddr, ethertype uint16, payload []byte) {
	w.t.Helper()
	frame := append(append(append([]byte{}, to...), w.mac...), byte(ethertype>>8), byte(ethertype))
	must(w.t, unix.Sendto(w.fd, append(frame, payload...), 0, &unix.SockaddrLinklayer{Ifindex: w.index}))
}

func isARPOf(addr string, sender bool) func([]byte) bool {
	at := 14 + 24
	if sender {
		at = 14 + 14
	}
	want := netip.MustParseAddr(addr).AsSlice()
	return func(f []byte) bool { return f[12] == 8 && f[13] == 6 && bytes.Equal(f[at:at+4], want) }
}

// isND matches neighbour discovery of a type about an address.
func isND(kind byte, addr string) func([]byte) bool {
	want := netip.MustParseAddr(addr).AsSlice()
	return func(f []byte) bool {
		return f[12] == 0x86 && f[13] == 0xdd && len(f) >= 14+40+24 && f[14+6] == unix.IPPROTO_ICMPV6 &&
			f[14+40] == kind && bytes.Equal(f[14+40+8:14+40+24], want)
	}
}

func isFrom(addr string) func([]byte) bool {
	want := netip.MustParseAddr(addr).AsSlice()
	return func(f []byte) bool { return f[12] == 8 && f[13] == 0 && bytes.Equal(f[14+12:14+16], want) }
}

// arpReply is an unasked answer that addr is at the sender's station.
func arpReply(sender net.HardwareAddr, addr string, to net.HardwareAddr, target string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 2}
	b = append(append(b, sender...), netip.MustParseAddr(addr).AsSlice()...)
	return append(append(b, to...), netip.MustParseAddr(target).AsSlice()...)
}

// TestBridgeWire listens on the ports of a bridge: no guest hears another's questions for the metadata
// service or its answers, and none hears anybody but the host speak as the service.
func TestBridgeWire(t *testing.T) {
	h, _ := newHost(t)
	bridge(t, "br0", "10.0.0.1/24")
	b1 := machine(t, "b1", "p1", "10.0.0.5/24")
	evil := machine(t, "evil", "p2", "10.0.0.6/24")
	plug(t, "p1", "br0")
	plug(t, "p2", "br0")
	victim, attacker := tap(t, b1, "eth0"), tap(t, evil, "eth0")
	for _, attached := range []bool{true, false} {
		endpoints := []hostnet.Endpoint{{ID: "one", Interface: "p1", IPv6: true}}
		if attached {
			endpoints = append(endpoints, hostnet.Endpoint{ID: "evil", Interface: "p2", IPv6: true})
		}
		must(t, h.Set(endpoints))
		b1.do(func() { forget(t, "eth0") })
		b1.hears(metadata4, "one")
		b1.hears(metadata6, "one")
		if n := attacker.heard(isARPOf(metadata4, false)) + attacker.heard(isND(135, metadata6)); n != 0 {
			t.Errorf("attached %t: the neighbour heard %d questions for the metadata service", attached, n)
		}
		attacker.send(victim.mac, unix.ETH_P_ARP, arpReply(attacker.mac, metadata4, victim.mac, "10.0.0.5"))
		attacker.send(victim.mac, unix.ETH_P_ARP, arpReply(attacker.mac, "10.0.0.66", victim.mac, "10.0.0.5"))
		fromAttacker := func(match func([]byte) bool) int {
			return victim.heard(func(f []byte) bool { return bytes.Equal(f[6:12], attacker.mac) && match(f) })
		}
		if n := fromAttacker(isARPOf(metadata4, true)); n != 0 {
			t.Errorf("attached %t: a guest heard its neighbour claim the metadata address %d times", attached, n)
		}
		if n := fromAttacker(isARPOf("10.0.0.66", true)); n == 0 {
			t.Errorf("attached %t: other ARP does not pass", attached)
		}
	}

	// The host is made to believe that b1's address is at its neighbour's station.
	must(t, netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link(t, "br0").Attrs().Index, IP: net.ParseIP("10.0.0.5"),
		HardwareAddr: attacker.mac, State: netlink.NUD_PERMANENT,
	}))
	b1.hears(metadata4, "one")
	if n := attacker.heard(isFrom(metadata4)); n != 0 {
		t.Errorf("%d packets for one guest went to its neighbour", n)
	}
}

// TestKnownPort has the host own the metadata address itself, so that any interface reaches it, and a
// stranger on a bridge who knows the port of a neighbour's listener.
func TestKnownPort(t *testing.T) {
	address(t, needLoopback(t), metadata4+"/32")
	t.Cleanup(func() {
		mine, err := netlink.ParseAddr(metadata4 + "/32")
		must(t, err)
		must(t, netlink.AddrDel(link(t, "lo"), mine))
	})
	var known string
	h, _ := newHost(t, func(c *hostnet.Config) {
		serve := c.Serve
		c.Serve = func(id string, l *hostnet.Listener) func() {
			known = l.Addr().String()
			return serve(id, l)
		}
	})
	bridge(t, "br0", "10.0.0.1/24")
	b1 := machine(t, "b1", "p1", "10.0.0.5/24")
	stranger := machine(t, "b2", "p2", "10.0.0.6/24")
	plug(t, "p1", "br0")
	plug(t, "p2", "br0")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "p1"}}))
	b1.hears(metadata4, "one")
	stranger.do(func() {
		c, err := net.DialTimeout("tcp", known, patience)
		if err == nil {
			_ = c.Close()
			t.Errorf("a stranger reached %s", known)
		}
	})
}

func needLoopback(t *testing.T) string {
	needHost(t)
	return "lo"
}
