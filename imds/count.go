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
	st.usage.Count(resp.call, w.source.Addr(), w.path, w.request.userAgent, started)
	st.usage.Answered(resp.call, resp.status, g.server.cfg.Now().Sub(started))
}

// counters returns the counters of the instance that is at this place from now on; nil is none.
func (g *Guest) counters(in *openimds.Instance) *usage.Guest {
	recorder := g.server.cfg.Usage
	if recorder == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.counted != "" && (in == nil || in.ID != g.counted) {
		recorder.Forget(g.counted)
		g.counted = ""
	}
	if in == nil {
		return nil
	}
	g.counted = in.ID
	counters := recorder.Guest(in.ID, in.Name)
	counters.Running(in.State == openimds.StateRunning)
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
