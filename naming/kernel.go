package naming

import (
	"sync"
	"time"

	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/trace"
)

// Bounds of the calls that the kernel may still name: how many there are, and how long after the call it is heard. It
// tells of a call when that has its answer, or after five seconds.
const (
	mostOpen = 4096
	heardFor = 10 * time.Second
)

// maxCPU is what this whole process may take of a core until only a sample of the connections is followed.
const maxCPU = 0.5

// open are the calls that nobody has named yet, by the port that they come from.
type open struct {
	mu     sync.Mutex
	byPort map[uint16][]imds.Sighting
	order  []imds.Sighting // as they came
}

func (o *open) add(s imds.Sighting) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byPort == nil {
		o.byPort = map[uint16][]imds.Sighting{}
	}
	for len(o.order) > 0 && (len(o.order) == mostOpen || s.At.Sub(o.order[0].At) > heardFor) {
		o.remove(o.order[0])
		o.order = o.order[1:]
	}
	o.byPort[s.Source.Port()] = append(o.byPort[s.Source.Port()], s)
	o.order = append(o.order, s)
}

// remove says whether the call was still there.
func (o *open) remove(s imds.Sighting) bool {
	port := s.Source.Port()
	for i, other := range o.byPort[port] {
		if other == s {
			rest := append(o.byPort[port][:i:i], o.byPort[port][i+1:]...)
			if o.byPort[port] = rest; len(rest) == 0 {
				delete(o.byPort, port)
			}
			return true
		}
	}
	return false
}

// take is remove for whoever has named the call: only the first one may.
func (o *open) take(s imds.Sighting) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.remove(s)
}

// near is how far the two clocks' times of one call may be apart, and how long a request may wait to be read.
const near = 2 * time.Second

// match takes the one call that the kernel can mean. Guests have ports of their own, so there may be several of a port:
// then nobody knows.
func (o *open) match(c trace.Call) (found imds.Sighting, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, s := range o.byPort[c.Port] {
		if s.Source.Addr().Is4() == c.Address.Is4() && s.At.Sub(c.Time).Abs() < near && speaks(s, c) {
			found = s
			n++
		}
	}
	if n != 1 {
		return imds.Sighting{}, false
	}
	return found, o.remove(found)
}

// speaks says whether both are of one version, as far as that was seen.
func speaks(s imds.Sighting, c trace.Call) bool {
	version := s.Call.Version()
	switch c.Version {
	case trace.V1:
		return version != "v2"
	case trace.V2, trace.Token:
		return version != "v1"
	}
	return true
}

// follow has the kernel tell who calls, where it lets this process ask it. It sees calls of 169.254.169.254 and
// fd00:ec2::254 from all network namespaces, also by processes that end at once.
func (n *Namer) follow() {
	n.following.Do(func() {
		n.work.Go(func() {
			err := trace.Run(n.ctx, trace.Config{
				KernelOnly: true, MaxCPU: maxCPU, Call: n.told, Ready: func() { n.kernel.Store(true) }, Note: func(text string) { n.log.Debug("callers: " + text) },
			})
			n.kernel.Store(false)
			if err != nil && n.ctx.Err() == nil {
				n.log.Debug("the kernel does not tell who calls: what ends at once is not named", "error", err)
			}
		})
	})
}

// told names the call that the kernel tells of, if it is one of this server's.
func (n *Namer) told(c trace.Call) {
	if c.Service != trace.Metadata || len(c.Process.Argv) == 0 {
		return
	}
	if s, ok := n.open.match(c); ok {
		s.Who.Is(shown(c.Process), s.Call, s.At)
	}
}
