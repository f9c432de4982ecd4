package imds

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/session"
	"github.com/openimds/openimds/usage"
)

// workspace is what one request needs to be read and answered without allocating.
type workspace struct {
	in      []byte
	out     []byte
	path    []byte
	token   [session.TokenSize]byte
	scratch session.Scratch
	request request
	// source is where the connection comes from. It is counted, and decides nothing.
	source netip.AddrPort
	// listener is what it came by. It may be observed, and decides nothing.
	listener net.Listener
	// era is the guest's when the connection was admitted.
	era uint64
	// see is told of calls, which arrive at service; nil: nobody is.
	see     func(Sighting)
	service netip.AddrPort
}

var workspaces = sync.Pool{New: func() any { return newWorkspace() }}

func newWorkspace() *workspace {
	return &workspace{in: make([]byte, 2<<10), out: make([]byte, 0, 2<<10), path: make([]byte, 0, 256)}
}

// exchange is the answer to one request, ready to be sent.
type exchange struct {
	// out has the answer's bytes; empty: close without an answer.
	out []byte
	// hopLimit is the IP TTL that the answer must leave with; 0: the system's own.
	hopLimit int
	// linger says that the peer may still be sending.
	linger bool
	// delay is how long the answer is held back; reset ends the connection without one, silent leaves it so.
	delay         time.Duration
	reset, silent bool
	// counters: of an answer with a token, who counts it if it does not arrive; else nil.
	counters *usage.Tally
}

// respond answers the request at the start of buf. complete is false while its head is not all there.
// overIPv6 says how the connection arrived.
func (g *Guest) respond(buf []byte, overIPv6 bool, w *workspace) (x exchange, complete bool) {
	end, err := headEnd(buf)
	if err == nil && end == 0 {
		return exchange{}, false
	}
	s := g.server
	st := g.state.Load()
	if st == nil || overIPv6 && st.instance.Options.IPv6 != openimds.EndpointEnabled {
		g.notAtHome(st, w)
		return exchange{}, true
	}
	started := s.cfg.Now()
	r := &w.request
	w.path = w.path[:0]
	minor := 1 // of what cannot be told
	if err == nil {
		err = r.parse(buf[:end])
		minor = r.minor
	}
	if err != nil {
		r.salvage(buf, end)
		r.minor = minor
	}
	var met fate
	if st.faults != nil {
		var counted bool
		if met, counted = st.faults.next(r, started, w); counted && s.cfg.FaultMet != nil {
			s.cfg.FaultMet(st.instance.Name)
		}
		if met.refused || met.dropped {
			g.unanswered(st, met, started, w)
			return exchange{reset: met.refused, silent: met.dropped}, true
		}
		x.delay = met.delay
	}
	resp := g.decide(st, r, err, met.status, started, w)
	x.out = resp.append(w.out[:0], r.minor, r.method == methodHead, s.dateText(started))
	w.out = x.out
	x.linger = err != nil || r.hasBody || end < len(buf) || len(buf) == len(w.in)
	if r.method == methodPut {
		x.hopLimit = st.instance.Options.HopLimit
	}
	if resp.call == usage.TokenIssued {
		x.counters = st.usage
	}
	g.count(st, &resp, started, w)
	if resp.refusal != usage.NotRefused {
		g.refused(st, resp.refusal, w)
	}
	g.tell(st.instance.Name, &resp, w)
	return x, true
}

// unanswered counts and tells of a request that gets no answer on purpose.
func (g *Guest) unanswered(st *state, met fate, started time.Time, w *workspace) {
	resp := response{call: cameToNothing(&w.request, w, usage.Faulted, usage.FaultedV1, usage.FaultedV2)}
	if met.dropped {
		st.usage.Dropped()
	} else {
		st.usage.Refused()
	}
	w.seen(st.usage.Count(resp.call, w.source.Addr(), w.path, w.request.userAgent, started), resp.call, started)
	g.tell(st.instance.Name, &resp, w)
}

// decide answers a request that could be read, or refuses one that could not. With fails it is
// answered with that status on purpose. A fault in the service costs the one request.
func (g *Guest) decide(st *state, r *request, broken error, fails int, now time.Time, w *workspace) (resp response) {
	defer func() {
		if fault := recover(); fault != nil {
			g.server.cfg.Log.Error("a metadata request failed", "instance", st.instance.Name, "fault", faultText(fault), "stack", string(debug.Stack()))
			resp = empty(500)
			resp.refusal = usage.RefusedInternal
		}
	}()
	if !g.admit(now) {
		resp = empty(503)
		resp.refusal = usage.RefusedRate
		resp.call = cameToNothing(r, w, usage.Throttled, usage.ThrottledV1, usage.ThrottledV2)
		return resp
	}
	if status, ok := errors.AsType[statusError](broken); ok {
		return refusal(empty(int(status)), refusalOf(status), r, w)
	}
	if fails != 0 {
		resp = failed(fails)
		resp.call = cameToNothing(r, w, usage.Faulted, usage.FaultedV1, usage.FaultedV2)
		return resp
	}
	return st.answer(r, now, w)
}

// faultText says what a panic was. Only the runtime's own words are safe to log: any other value may
// hold what the request was about, a credential for instance. The stack tells the place.
func faultText(fault any) string {
	if err, ok := fault.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a panic with a value of type %T", fault)
}

// dateText is the value of Date during one second.
type dateText struct {
	second int64
	text   []byte
}

func (s *Server) dateText(now time.Time) []byte {
	d := s.date.Load()
	if d == nil || d.second != now.Unix() {
		d = &dateText{second: now.Unix(), text: now.UTC().AppendFormat(nil, http.TimeFormat)}
		s.date.Store(d)
	}
	return d.text
}
