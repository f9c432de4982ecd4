package imds

import (
	"net"
	"net/netip"
	"time"

	"github.com/openimds/openimds/usage"
)

// Sighting is a call that was counted, while its caller waits for the answer.
type Sighting struct {
	Who  usage.Who
	Call usage.Call
	// Source and Service are the caller's end of the connection and this one.
	Source, Service netip.AddrPort
	At              time.Time
}

// watched is a listener of whose calls somebody is told at once.
type watched struct {
	net.Listener
	see func(Sighting)
}

// Watched makes a listener of whose calls see is told when each is counted, so that the process that called can be
// looked for while it is there. See must not wait for anything: the answer is behind it. Calls may be concurrent.
func Watched(l net.Listener, see func(Sighting)) net.Listener { return &watched{l, see} }

// watch makes the workspace one of a connection that somebody is told of, if there is somebody.
func (w *workspace) watch(with around, local func() netip.AddrPort) {
	if w.see = with.see; with.see == nil {
		return
	}
	if w.service = with.service; !w.service.IsValid() {
		w.service = local()
	}
}

// seen tells of a call that was counted.
func (w *workspace) seen(who usage.Who, call usage.Call, at time.Time) {
	if w.see != nil {
		w.see(Sighting{who, call, w.source, w.service, at})
	}
}

// endOf is where all connections of a listener end; the zero value: they may differ.
func endOf(l net.Listener) netip.AddrPort {
	at := addrPortOf(l.Addr())
	if !at.Addr().IsValid() || at.Addr().IsUnspecified() {
		return netip.AddrPort{}
	}
	return at
}
