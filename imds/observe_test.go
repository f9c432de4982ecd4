package imds

import (
	"net"
	"net/netip"
	"sync"
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
