package imds

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"golang.org/x/sys/unix"
)

// segment is what a TCP segment of the server looked like on the wire.
type segment struct {
	hops    int
	syn     bool // part of the handshake
	fin     bool
	payload int
}

// sniffer sees what a server sends over the loopback interface.
type sniffer struct{ fd int }

func newSniffer(t *testing.T, server netip.AddrPort) *sniffer {
	t.Helper()
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skipf("no loopback interface to look at: %v", err)
	}
	all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Skipf("seeing packets takes CAP_NET_RAW: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: loopback.Index}); err != nil {
		t.Fatal(err)
	}
	s := &sniffer{fd}
	s.lookAt(t, server)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patienceOfTests / time.Second)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// lookAt keeps away whatever else this machine says to itself, lest it fill the socket's buffer: it
// passes on only what has the server's port where a TCP header without IP options has its source.
func (s *sniffer) lookAt(t *testing.T, server netip.AddrPort) {
	t.Helper()
	source := uint32(20)
	if server.Addr().Is6() {
		source = 40
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: source},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(server.Port())},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	if err != nil {
		t.Fatal(err)
	}
}

// connection returns what the server sent on one connection, up to its FIN.
func (s *sniffer) connection(t *testing.T, server, client netip.AddrPort) []segment {
	t.Helper()
	var seen []segment
	for buf := make([]byte, 64<<10); ; {
		n, _, err := unix.Recvfrom(s.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("after %+v: %v", seen, err)
		}
		if g, ok := parseSegment(buf[:n], server.Port(), client.Port()); ok {
			seen = append(seen, g)
			if g.fin {
				return seen
			}
		}
	}
}

// parseSegment reads an IP packet with a TCP segment from one port to the other.
func parseSegment(b []byte, from, to uint16) (segment, bool) {
	var g segment
	var tcp []byte
	switch {
	case len(b) >= 40 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_TCP:
		g.hops, tcp = int(b[8]), b[int(b[0]&15)*4:binary.BigEndian.Uint16(b[2:])]
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP:
		g.hops, tcp = int(b[7]), b[40:40+int(binary.BigEndian.Uint16(b[4:]))]
	default:
		return g, false
	}
	if len(tcp) < 20 || binary.BigEndian.Uint16(tcp) != from || binary.BigEndian.Uint16(tcp[2:]) != to {
		return g, false
	}
	g.fin, g.syn = tcp[13]&1 != 0, tcp[13]&2 != 0
	g.payload = len(tcp) - int(tcp[12]>>4)*4
	return g, true
}

// defaultHops is what packets leave with when nobody says otherwise.
func defaultHops(t *testing.T, overIPv6 bool) int {
	t.Helper()
	file := "/proc/sys/net/ipv4/ip_default_ttl"
	if overIPv6 {
		file = "/proc/sys/net/ipv6/conf/lo/hop_limit"
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("the system's default is not readable: %v", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The answer to a PUT, whatever it says, and the end of the connection travel no further than the
// instance's hop limit; handshakes and all other answers, as far as any packet.
func TestHopLimit(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		listeners, err := Listen(t.Context(), addr)
		if err != nil {
			t.Skipf("this machine has no IPv6: %v", err)
		}
		plain, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		usual := defaultHops(t, addr[0] == '[')
		for _, l := range []net.Listener{listeners[0], plain} {
			w := serveWire(t, NewServer(Config{Now: func() time.Time { return noon }}), fixedInstance(), l)
			s := newSniffer(t, netip.MustParseAddrPort(w.addr))
			for _, limit := range []int{openimds.MinHopLimit, 2, 3, openimds.MaxHopLimit - 1} {
				in := fixedInstance()
				in.Options.HopLimit, in.Options.IPv6 = limit, openimds.EndpointEnabled
				if err := w.guest.Set(in); err != nil {
					t.Fatal(err)
				}
				for send, want := range map[string]int{
					put(tokenPath, ttlIs+"60"): limit, put(tokenPath): limit, put(amiPath): limit, put("/1.0/api/token"): limit,
					put(tokenPath, ttlIs+"60", "Expect: x"): limit, put(tokenPath, ttlIs+"60", "Content-Length: 9") + "b": limit,
					get(amiPath): usual, get(tokenPath): usual, get(noSuch): usual, lines("OPTIONS " + tokenPath + " HTTP/1.1"): usual,
				} {
					s.check(t, w, send, usual, want)
				}
			}
		}
	}
}

// check sends a request and looks at the hops of each segment of the answer.
func (s *sniffer) check(t *testing.T, w *wire, send string, handshake, want int) {
	t.Helper()
	c := w.dial(t)
	if _, err := c.Write([]byte(send)); err != nil {
		t.Fatal(err)
	}
	server, client := netip.MustParseAddrPort(w.addr), netip.MustParseAddrPort(c.LocalAddr().String())
	readAll(t, c)
	answered := false
	for _, g := range s.connection(t, server, client) {
		switch {
		case g.syn && g.hops != handshake:
			t.Errorf("the handshake left with %d hops", g.hops)
		case (g.payload > 0 || g.fin) && g.hops != want:
			t.Errorf("%.60q: %+v, want %d hops", send, g, want)
		}
		answered = answered || g.payload > 0
	}
	if !answered {
		t.Errorf("%.60q: no answer was seen", send)
	}
}

// The limit is a promise: where it cannot be set, there is no answer.
func TestNoAnswerWithoutHopLimit(t *testing.T) {
	w := newWire(t, nil)
	near, far := net.Pipe() // of which no IP header can be changed
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		w.server.send(near, w.guest, exchange{out: []byte("a token"), hopLimit: 1})
		_ = near.Close()
	}()
	if got := readAll(t, far); got != "" {
		t.Errorf("%q", got)
	}
	<-sent
	// The same where a connection is answered as soon as it is accepted. Sockets of this kind have no IP header, either; what
	// needs no limit is answered on them.
	for request, want := range map[string]string{put(tokenPath, ttlIs+"60"): "", get(amiPath): "200"} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := connOf(pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		if !w.guest.enter() {
			t.Fatal("no room for a connection")
		}
		w.server.serveNow(pair[0], w.guest, false, newWorkspace())
		if got := statusOf(readAll(t, peer)); got != want {
			t.Errorf("%.20q on a socket whose hop limit cannot be set: %q, want %q", request, got, want)
		}
		_ = peer.Close()
	}
}
