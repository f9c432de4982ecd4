package imds

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// Every request is seen before its answer arrives, with the caller's own port, however it came in; by who
// looks at one listener, only those of that.
func TestObserve(t *testing.T) {
	listeners, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{listeners[0], plain} {
		w := serveWire(t, NewServer(Config{}), fixedInstance(), l)
		all, here, elsewhere := w.guest.Observe(nil, 1), w.guest.Observe(l, 1), w.guest.Observe(Restricted(l, nil), 1)
		for send, want := range map[string]Observation{
			get(amiPath+"?a=b", "User-Agent: me/1"):      {Method: "GET", Target: amiPath + "?a=b", UserAgent: "me/1", Status: 200},
			put(tokenPath, ttlIs+"60"):                   {Method: "PUT", Target: tokenPath, Status: 200},
			get(amiPath, "X-aws-ec2-metadata-token: no"): {Method: "GET", Target: amiPath, Status: 401},
			lines("BREW /pot HTTP/1.1"):                  {Method: "BREW", Target: "/pot", Status: 405},
		} {
			c := w.dial(t)
			if _, err := c.Write([]byte(send)); err != nil {
				t.Fatal(err)
			}
			readAll(t, c)
			for _, o := range []*Observer{all, here} {
				<-o.More()
				got := o.Take()
				if len(got) != 1 || got[0].Source.String() != c.LocalAddr().String() || got[0].Time.IsZero() {
					t.Fatalf("%q: seen as %+v", send, got)
				}
				want.Instance, want.Source, want.Call, want.Time = fixedInstance().Name, got[0].Source, got[0].Call, got[0].Time
				if got[0] != want {
					t.Errorf("%q:\n got %+v\nwant %+v", send, got[0], want)
				}
			}
		}
		if seen, lost := elsewhere.Take(), here.Lost(); len(seen) > 0 || len(lost) > 0 {
			t.Errorf("at another listener %+v was seen; lost: %v", seen, lost)
		}
	}
}

// Nobody waits for an observer: what it has no room for is lost, by its protocol. Observers come and go while
// the guest is served, and who is gone sees nothing more.
func TestObserversComeAndGo(t *testing.T) {
	w := newWire(t, nil)
	slow := w.guest.Observe(nil, 2)
	w.raw(t, get(amiPath))
	late := w.guest.Observe(nil, 10)
	for range 3 {
		w.raw(t, get(amiPath))
	}
	w.raw(t, put(tokenPath, ttlIs+"60"))
	late.Close()
	w.raw(t, get(amiPath))
	if seen, lost := slow.Take(), slow.Lost(); len(seen) != 2 || lost["v1"] != 3 || lost["v2"] != 1 {
		t.Errorf("the slow one has seen %d and lost %v", len(seen), lost)
	}
	if seen, lost := late.Take(), late.Lost(); len(seen) != 4 || len(lost) > 0 {
		t.Errorf("the late one has seen %d and lost %v", len(seen), lost)
	}
	w.raw(t, get(amiPath))
	if seen := slow.Take(); len(seen) != 1 {
		t.Errorf("after it was read, the slow one has seen %d", len(seen))
	}
	slow.Close()
	if w.guest.observers.Load() != nil {
		t.Error("requests look for observers that are gone")
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
		w := serveWire(t, NewServer(Config{Connections: 1}), fixedInstance(), Restricted(l, admit))
		observer := w.guest.Observe(nil, 100)
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
		if seen := observer.Take(); len(seen) > 0 {
			t.Errorf("a request of who was turned away was read: %+v", seen)
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

// A listener that was restricted twice answers whom both let in.
func TestRestrictedTwice(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var inner, outer atomic.Bool
	door := func(open *atomic.Bool) func(caller, service netip.AddrPort) bool {
		return func(_, _ netip.AddrPort) bool { return open.Load() }
	}
	w := serveWire(t, NewServer(Config{}), fixedInstance(), Restricted(Restricted(Restricted(plain, door(&inner)), nil), door(&outer)))
	for _, open := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
		inner.Store(open[0])
		outer.Store(open[1])
		c := w.dial(t)
		if _, err := c.Write([]byte(get(amiPath))); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(c)
		if let := len(answer) > 0; let != (open[0] && open[1]) {
			t.Errorf("with the inner and the outer door open: %v, the answer is %q", open, answer)
		}
	}
}

// A caller by IPv4 has one address, whatever the socket writes it as.
func TestMappedAddress(t *testing.T) {
	mapped := &net.TCPAddr{IP: net.ParseIP("127.0.0.1").To16(), Port: 7}
	if got, want := addrPortOf(mapped), netip.MustParseAddrPort("127.0.0.1:7"); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
