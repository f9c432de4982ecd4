package imds

import (
	"net"
	"net/netip"

	"github.com/openimds/openimds/usage"
)

// Observation is one answered request, as whoever develops or tests a client wants to see it. Header
// values that hold secrets are not part of it.
type Observation struct {
	// Instance is the name of the instance that was asked.
	Instance string
	// Source is the caller's end of the connection; the zero value if that is no matter of IP.
	Source netip.AddrPort
	// Method is GET, HEAD, PUT or OPTIONS; empty: another, or none that could be read.
	Method string
	// Target is the path with the query, as sent.
	Target    string
	UserAgent string
	// Call says what the request was as far as tokens go; Call.Version tells IMDSv1 from IMDSv2.
	Call   usage.Call
	Status int
}

var methodNames = [...]string{methodGet: "GET", methodHead: "HEAD", methodPut: "PUT", methodOptions: "OPTIONS"}

// observed is a listener whose requests are told of.
type observed struct {
	net.Listener
	observe func(Observation)
}

// Observed makes a listener of whose requests [Server.Serve] tells: of each one that was read, before
// its answer leaves; the request waits for it. Calls may be concurrent.
func Observed(l net.Listener, observe func(Observation)) net.Listener { return &observed{l, observe} }

// restricted is a listener that not everybody may call.
type restricted struct {
	net.Listener
	admit func(caller, service netip.AddrPort) bool
}

// Restricted makes a listener of whose connections [Server.Serve] answers only those that admit lets in,
// by their two ends: the others are closed before anything of them is read. Calls may be concurrent.
func Restricted(l net.Listener, admit func(caller, service netip.AddrPort) bool) net.Listener {
	return &restricted{l, admit}
}

// around is what a listener was wrapped in.
type around struct {
	observe func(Observation)
	admit   func(caller, service netip.AddrPort) bool
}

func unwrap(l net.Listener) (net.Listener, around) {
	var a around
	for {
		switch outer := l.(type) {
		case *observed:
			l, a.observe = outer.Listener, outer.observe
		case *restricted:
			l, a.admit = outer.Listener, outer.admit
		default:
			return l, a
		}
	}
}

// turnsAway says whether a connection is not to be answered.
func (a around) turnsAway(c net.Conn) bool {
	return a.admit != nil && !a.admit(addrPortOf(c.RemoteAddr()), addrPortOf(c.LocalAddr()))
}

// addrPortOf is the zero value for what is no address of TCP, which nobody admits.
func addrPortOf(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// tell tells of the request in the workspace.
func (w *workspace) tell(instance string, resp *response) {
	if w.observe == nil {
		return
	}
	r := &w.request
	w.observe(Observation{
		Instance: instance, Source: w.source, Method: methodNames[r.method], Target: string(r.target),
		UserAgent: string(r.userAgent), Call: resp.call, Status: resp.status,
	})
}
