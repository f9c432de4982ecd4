package imds

import (
	"net"
	"net/netip"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/usage"
)

// count notes what a request was, who made it, and how it was answered.
func (g *Guest) count(st *state, resp *response, started time.Time, w *workspace) {
	if st.usage == nil {
		return // not even the clock is asked
	}
	w.seen(st.usage.Count(resp.call, w.source.Addr(), w.path, w.request.userAgent, started), resp.call, started)
	if resp.rehearsed {
		st.usage.WouldBeRefused(w.source.Addr(), w.path, w.request.userAgent, started)
	}
	st.usage.Answered(resp.call, resp.status, g.server.cfg.Now().Sub(started))
}

// cameToNothing tells, of what a request can be that got no further than its head, which one it is: with
// nothing to do with tokens, of IMDSv1 or of IMDSv2. It notes what was asked for.
func cameToNothing(r *request, w *workspace, neither, v1, v2 usage.Call) usage.Call {
	w.path = w.path[:0]
	if len(r.target) > 0 {
		path, _, _ := splitTarget(r.target)
		w.path, _ = cleanPath(w.path, path)
	}
	reads := r.method == methodGet || r.method == methodHead
	switch {
	case r.method == methodPut, r.hasToken(), !reads && r.tokenCount > 0:
		return v2
	case reads && !r.partial: // else a token might have come in the rest
		return v1
	}
	return neither
}

// counters returns the counters of the instance that is at this place from now on; nil is none.
func (g *Guest) counters(in *openimds.Instance) *usage.Tally {
	meter := g.server.cfg.Usage
	if meter == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.counted != "" && (in == nil || in.ID != g.counted) {
		meter.Forget(g.counted)
		g.counted = ""
	}
	if in == nil {
		return nil
	}
	g.counted = in.ID
	counters := meter.Guest(in.ID, in.Name)
	counters.Running(in.State.Answers())
	counters.Faulty(in.Faults != nil)
	return counters
}

// sourceOf returns where a connection comes from; the zero value if that is no matter of IP.
func sourceOf(c net.Conn) netip.AddrPort {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		from := tcp.AddrPort()
		return netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
	}
	return netip.AddrPort{}
}
