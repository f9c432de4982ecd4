package imds

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/openimds/openimds/usage"
)

// Observation is one request that was answered, or that got no answer on purpose, as whoever develops or tests a
// client wants to see it. Header values that hold secrets are not part of it.
type Observation struct {
	// Time is when its answer was ready.
	Time time.Time
	// Instance is the name of the instance that was asked.
	Instance string
	// Source is the caller's end of the connection; the zero value if that is no matter of IP.
	Source netip.AddrPort
	// Method is as sent, cut to a bound; empty: none that could be read.
	Method string
	// Target is the path with the query, as sent.
	Target    string
	UserAgent string
	// Call says what the request was as far as tokens go; Call.Version tells IMDSv1 from IMDSv2.
	Call usage.Call
	// Status is 0 if the connection was reset or left without a word on purpose.
	Status int
}

var methodNames = [...]string{methodGet: "GET", methodHead: "HEAD", methodPut: "PUT", methodOptions: "OPTIONS"}

// Observer sees the requests of a guest from [Guest.Observe] to [Observer.Close]. No request waits for it:
// what it has no room for is lost, and counted.
type Observer struct {
	guest *Guest
	on    net.Listener // nil: any
	room  int
	more  chan struct{}

	mu   sync.Mutex
	seen []Observation
	lost map[string]int
}

// Observe begins to see the guest's requests while it is served: of those that arrive by on, as it was given
// to [Server.Serve], or of all if it is nil. An observation is there before its answer leaves. room is how
// many are kept that nobody has taken.
func (g *Guest) Observe(on net.Listener, room int) *Observer {
	o := &Observer{guest: g, on: on, room: room, more: make(chan struct{}, 1), lost: map[string]int{}}
	g.exchangeObservers(func(all []*Observer) []*Observer { return append(all, o) })
	return o
}

// exchangeObservers puts another list in the place of the one that requests see.
func (g *Guest) exchangeObservers(with func([]*Observer) []*Observer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*Observer
	if was := g.observers.Load(); was != nil {
		all = slices.Clone(*was)
	}
	if all = with(all); len(all) == 0 {
		g.observers.Store(nil)
		return
	}
	g.observers.Store(&all)
}

// Close ends seeing. What was seen can still be taken.
func (o *Observer) Close() {
	o.guest.exchangeObservers(func(all []*Observer) []*Observer {
		return slices.DeleteFunc(all, func(other *Observer) bool { return other == o })
	})
}

// More receives after something was seen that [Observer.Take] has not returned yet.
func (o *Observer) More() <-chan struct{} { return o.more }

// Take returns what was seen since it was last called, in the order of the answers.
func (o *Observer) Take() []Observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.seen
	o.seen = nil
	return seen
}

// Lost tells how many requests there was no room for since the beginning, by their protocol
// ([usage.Call.Version]).
func (o *Observer) Lost() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.lost)
}

func (o *Observer) see(one *Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) >= o.room {
		o.lost[one.Call.Version()]++
		return
	}
	o.seen = append(o.seen, *one)
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// restricted is a listener that not everybody may call.
type restricted struct {
	net.Listener
	admit func(caller, service netip.AddrPort) bool
}

// Restricted makes a listener of whose connections [Server.Serve] answers only those that admit lets in,
// by their two ends: the others are closed before anything of them is read. The connection waits for it, and may
// have others of the listener wait behind it. Calls may be concurrent.
func Restricted(l net.Listener, admit func(caller, service netip.AddrPort) bool) net.Listener {
	return &restricted{l, admit}
}

// around is the listener that [Server.Serve] was given, and what it was wrapped in.
type around struct {
	listener net.Listener
	admit    func(caller, service netip.AddrPort) bool
	see      func(Sighting) // nil: nobody is told
	service  netip.AddrPort // where all connections end; the zero value: each has its own
}

func unwrap(l net.Listener) (net.Listener, around) {
	a := around{listener: l}
	for {
		switch outer := l.(type) {
		case *restricted:
			l, a.admit = outer.Listener, both(a.admit, outer.admit)
		case *watched:
			l, a.see = outer.Listener, outer.see
		default:
			a.service = endOf(l)
			return l, a
		}
	}
}

// both lets in whom each of two lets in; nil lets everybody in.
func both(a, b func(caller, service netip.AddrPort) bool) func(caller, service netip.AddrPort) bool {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func(caller, service netip.AddrPort) bool { return a(caller, service) && b(caller, service) }
}

// turnsAway says whether a connection is not to be answered.
func (a around) turnsAway(c net.Conn) bool {
	return a.admit != nil && !a.admit(addrPortOf(c.RemoteAddr()), addrPortOf(c.LocalAddr()))
}

// addrPortOf is the zero value for what is no address of TCP, which nobody admits. An IPv4 address is one, also
// where a socket of IPv6 writes it as ::ffff:192.0.2.1.
func addrPortOf(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		end := tcp.AddrPort()
		return netip.AddrPortFrom(end.Addr().Unmap(), end.Port())
	}
	return netip.AddrPort{}
}

// methodName is how a request's method is called.
func (r *request) methodName() string {
	if r.method == methodOther {
		return string(r.other[:min(len(r.other), maxMethodName)])
	}
	return methodNames[r.method]
}

// maxMethodName is enough for all methods that are registered.
const maxMethodName = 32

// tell tells the observers of the request in the workspace. Without any it costs a look at a nil pointer.
func (g *Guest) tell(instance string, resp *response, w *workspace) {
	observers := g.observers.Load()
	if observers == nil {
		return
	}
	r := &w.request
	one := Observation{
		Time: g.server.cfg.Now(), Instance: instance, Source: w.source, Method: r.methodName(), Target: string(r.target),
		UserAgent: string(r.userAgent), Call: resp.call, Status: resp.status,
	}
	for _, o := range *observers {
		if o.on == nil || o.on == w.listener {
			o.see(&one)
		}
	}
}
