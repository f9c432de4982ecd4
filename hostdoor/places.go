package hostdoor

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/openimds/openimds/api/front"
)

// places are a number of them, for all and for each source.
type places struct {
	most, ofOne int

	mu      sync.Mutex
	taken   int
	sources map[netip.Addr]int
}

// take takes a place for whoever is at an address; false: there is none.
func (p *places) take(address string) bool {
	source := front.SourceOf(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.most || p.sources[source] >= p.ofOne {
		return false
	}
	if p.sources == nil {
		p.sources = map[netip.Addr]int{}
	}
	p.taken++
	p.sources[source]++
	return true
}

func (p *places) leave(address string) {
	source := front.SourceOf(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.sources[source]--; p.sources[source] == 0 {
		delete(p.sources, source)
	}
}

// admitting lets in no more connections than there may be, in all and of one source.
type admitting struct {
	net.Listener
	door *Door
}

// Accept implements [net.Listener].
func (a admitting) Accept() (net.Conn, error) {
	for {
		c, err := a.Listener.Accept()
		if err != nil || a.door.open.take(c.RemoteAddr().String()) {
			return c, err
		}
		_ = c.Close()
	}
}

// count gives back the place of a connection that ends; [admitting] has taken it.
func (d *Door) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateClosed, http.StateHijacked:
		d.open.leave(c.RemoteAddr().String())
	}
}
