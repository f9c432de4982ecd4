package hostdoor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostlink"
	"golang.org/x/time/rate"
)

// What one host may ask: requests a second and at once, and under way; documents to be signed a second and at once, since
// each costs the replica milliseconds; streams at once. An agent has up to 64 requests of a region under way.
const (
	callRate, callBurst = 1000, 4000
	maxCalls            = 512
	signRate, signBurst = 50, 2000
	maxStreams          = 4
)

// What all may ask that have no certificate, and only want to join: requests a second and at once, and under way, of which
// one source may have a quarter. What it is of is small.
const (
	redeemRate, redeemBurst = 100, 1000
	maxRedeems              = 64
	maxRedeem               = 32 << 10 // bytes
)

// defaultConnections is how many connections there may be at once, of which one source may have half, as of the API's.
const defaultConnections = 8192

type limits struct {
	calls, signs *rate.Limiter
	underWay     atomic.Int64
}

var errTooMany = refusal{http.StatusTooManyRequests, hostlink.CodeSlowDown, "too many requests; ask again in a moment"}

// identify finds out which host asks, and takes a place for its request, which leave gives back.
func (c *call) identify(ctx context.Context) (leave func(), err error) {
	c.host, err = c.door.cfg.Authority.HostOf(ctx, *c.r.TLS)
	if errors.Is(err, hostcert.ErrAskedTooOften) {
		return nil, errTooMany
	}
	if err != nil {
		return nil, err
	}
	l := c.door.limitsOf(c.host.Name)
	if !l.calls.Allow() {
		return nil, errTooMany
	}
	if c.r.URL.Path == hostlink.PathFollow {
		return func() {}, nil // streams are counted by themselves
	}
	if l.underWay.Add(1) > maxCalls {
		l.underWay.Add(-1)
		return nil, errTooMany
	}
	return func() { l.underWay.Add(-1) }, nil
}

// stranger takes a place for a request of somebody who wants to join, and has no name before it is read.
func (c *call) stranger(context.Context) (leave func(), err error) {
	if !c.door.redeeming.take(c.r.RemoteAddr) {
		return nil, errTooMany
	}
	if !c.door.redeems.Allow() {
		c.door.redeeming.leave(c.r.RemoteAddr)
		return nil, errTooMany
	}
	return func() { c.door.redeeming.leave(c.r.RemoteAddr) }, nil
}

// limitsOf are those of a host; hosts are few and known.
func (d *Door) limitsOf(host string) *limits {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.limits[host]
	if l == nil {
		l = &limits{calls: rate.NewLimiter(callRate, callBurst), signs: rate.NewLimiter(signRate, signBurst)}
		d.limits[host] = l
	}
	return l
}

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
