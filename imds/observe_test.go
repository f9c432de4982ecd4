package imds

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Every request is seen before its answer arrives, with the caller's own port, however it came in.
func TestObserve(t *testing.T) {
	var mu sync.Mutex
	seen := map[netip.AddrPort]Observation{}
	see := func(o Observation) {
		mu.Lock()
		defer mu.Unlock()
		seen[o.Source] = o
	}
	listeners, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{listeners[0], plain} {
		w := serveWire(t, NewServer(Config{}), fixedInstance(), Observed(l, see))
		for send, want := range map[string]Observation{
			get(amiPath+"?a=b", "User-Agent: me/1"):      {Method: "GET", Target: amiPath + "?a=b", UserAgent: "me/1", Status: 200},
			put(tokenPath, ttlIs+"60"):                   {Method: "PUT", Target: tokenPath, Status: 200},
			get(amiPath, "X-aws-ec2-metadata-token: no"): {Method: "GET", Target: amiPath, Status: 401},
			lines("BREW /pot HTTP/1.1"):                  {Target: "/pot", Status: 405},
		} {
			c := w.dial(t)
			if _, err := c.Write([]byte(send)); err != nil {
				t.Fatal(err)
			}
			readAll(t, c)
			mu.Lock()
			got, ok := seen[netip.MustParseAddrPort(c.LocalAddr().String())]
			mu.Unlock()
			want.Instance, want.Source, want.Call = fixedInstance().Name, got.Source, got.Call
			if !ok || got != want {
				t.Errorf("%q:\n got %+v\nwant %+v", send, got, want)
			}
		}
	}
}

// Who is turned away gets no answer, and does not take a place among the guest's connections. Both ends
// are told as they are.
func TestRestricted(t *testing.T) {
	listeners, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{listeners[0], plain} {
		var open atomic.Bool
		ends := make(chan [2]netip.AddrPort, 100)
		admit := func(caller, service netip.AddrPort) bool {
			ends <- [2]netip.AddrPort{caller, service}
			return open.Load()
		}
		seen := make(chan Observation, 100)
		w := serveWire(t, NewServer(Config{Connections: 1}), fixedInstance(), Observed(Restricted(l, admit), func(o Observation) { seen <- o }))
		for range 10 {
			for _, send := range []string{get(amiPath), put(tokenPath, ttlIs+"60"), "G", lines("BREW / HTTP/1.1")} {
				c := w.dial(t)
				if _, err := c.Write([]byte(send)); err != nil {
					t.Fatal(err)
				}
				if answer, err := io.ReadAll(c); len(answer) > 0 {
					t.Fatalf("%q: %q, %v", send, answer, err)
				}
				got := <-ends
				if got[0].String() != c.LocalAddr().String() || got[1].String() != c.RemoteAddr().String() {
					t.Errorf("the ends are %v, not %v and %v", got, c.LocalAddr(), c.RemoteAddr())
				}
			}
		}
		if len(seen) > 0 {
			t.Errorf("a request of who was turned away was read: %+v", <-seen)
		}
		open.Store(true)
		c := w.dial(t)
		if _, err := c.Write([]byte(get(amiPath))); err != nil {
			t.Fatal(err)
		}
		if answer := readAll(t, c); !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			t.Errorf("who is let in gets %q", answer)
		}
	}
}
