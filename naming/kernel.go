package naming

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/trace"
)

// mostOpen is how many calls there are at most that the kernel may still name.
const mostOpen = 4096

// patience is what naming may take before calls stay without names.
type patience struct {
	// cpu is what this whole process may take of a core until only a sample of the connections is followed; 0: all of it.
	cpu float64
	// listener is how long a guest's listener waits for the kernel to tell of its first caller too.
	listener time.Duration
	// near is how far the two clocks' times of one call may be apart, and how long a request may wait to be read.
	near time.Duration
	// heard is how long after a call the kernel is heard, which tells of it when it has its answer, or after five seconds.
	heard time.Duration
}

var usual = patience{cpu: 0.5, listener: time.Second, near: 2 * time.Second, heard: 10 * time.Second}

// namespaces are those in which the callers of a listener may be.
type namespaces interface {
	// has says whether one is among them, by its cookie; it may take its time.
	has(netns uint64) bool
}

// unnamed is a call that nobody has named yet.
type unnamed struct {
	imds.Sighting
	in namespaces
}

func (s unnamed) source() netip.AddrPort { return plain(s.Source) }

// plain is an address as both this server and the kernel have it.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// mostEarly is how many calls are kept that the kernel has told of and the listener not yet: it looks for the processes
// of those before meanwhile, while the kernel tells of a call as soon as it is answered.
const mostEarly = 1024

// open are the calls that nobody has named yet, by where they come from.
type open struct {
	patience patience

	mu       sync.Mutex
	bySource map[netip.AddrPort][]unnamed
	order    []unnamed // as they came
	early    []*trace.Call
}

// add takes note of a call, and returns those that the kernel has told of already and that it may be.
func (o *open) add(s unnamed) (early []*trace.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	source := s.source()
	for _, c := range o.early {
		if c.Source == source && o.mayBe(s, *c) {
			early = append(early, c)
		}
	}
	if o.bySource == nil {
		o.bySource = map[netip.AddrPort][]unnamed{}
	}
	for len(o.order) > 0 && (len(o.order) == mostOpen || s.At.Sub(o.order[0].At) > o.patience.heard) {
		o.remove(o.order[0])
		o.order = o.order[1:]
	}
	o.bySource[source] = append(o.bySource[source], s)
	o.order = append(o.order, s)
	return early
}

// wait keeps what the kernel has told of a call that no listener has told of so far.
func (o *open) wait(c trace.Call) *trace.Call {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.early) > 0 && (len(o.early) == mostEarly || c.Time.Sub(o.early[0].Time) > o.patience.heard) {
		o.early = o.early[1:]
	}
	c.Source = plain(c.Source)
	o.early = append(o.early, &c)
	return &c
}

// heard forgets what the kernel has told of a call that is named by now.
func (o *open) heard(c *trace.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.early = slices.DeleteFunc(o.early, func(other *trace.Call) bool { return other == c })
}

// remove says whether the call was still there.
func (o *open) remove(s unnamed) bool {
	source := s.source()
	for i, other := range o.bySource[source] {
		if other == s {
			rest := append(o.bySource[source][:i:i], o.bySource[source][i+1:]...)
			if o.bySource[source] = rest; len(rest) == 0 {
				delete(o.bySource, source)
			}
			return true
		}
	}
	return false
}

// take is remove for whoever has named the call: only the first one may.
func (o *open) take(s unnamed) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.remove(s)
}

// match takes the one call that the kernel can mean: of that source, out of a namespace in which the listener's
// callers are. Another namespace may have the same addresses and ports, and guests may be behind a translation of
// addresses: where it is not known, or not only one call can be meant, nobody is named.
func (o *open) match(c trace.Call) (found unnamed, ok bool) {
	if c.Netns == 0 || !c.Source.IsValid() {
		return unnamed{}, false
	}
	n := 0
	for _, s := range o.of(c) { // nobody waits for the lock while it is found out where namespaces are
		if s.in.has(c.Netns) {
			found = s
			n++
		}
	}
	if n != 1 {
		return unnamed{}, false
	}
	return found, o.take(found)
}

// of are the calls that it may be if it is of their namespace.
func (o *open) of(c trace.Call) (all []unnamed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.bySource[plain(c.Source)] {
		if o.mayBe(s, c) {
			all = append(all, s)
		}
	}
	return all
}

// mayBe says whether both can be one call, as far as time and version tell.
func (o *open) mayBe(s unnamed, c trace.Call) bool {
	return s.At.Sub(c.Time).Abs() < o.patience.near && speaks(s.Sighting, c)
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

// Follow has the kernel tell who calls, where it lets this process ask it: at 169.254.169.254 and fd00:ec2::254 out of
// guests' namespaces, and at the listeners of this process's namespace that are watched before, also by processes that
// end at once. It waits for nothing.
func (n *Namer) Follow() {
	if n == nil || n.followed.Swap(true) {
		return
	}
	n.work.Go(func() {
		begun := sync.OnceFunc(func() { close(n.begun) })
		defer begun()
		err := namespacesDiffer()
		if err == nil {
			err = trace.Run(n.ctx, trace.Config{
				Server: &trace.Server{Listeners: n.listeners, May: func(netns uint64) bool { return n.theirs.may(netns, time.Now()) }},
				MaxCPU: n.open.patience.cpu, Call: n.told, Note: func(text string) { n.log.Debug("callers: " + text) },
				Ready: func() { n.kernel.Store(true); begun() },
			})
		}
		n.kernel.Store(false)
		if err != nil && n.ctx.Err() == nil {
			n.log.Debug("the kernel does not tell who calls: what ends at once is not named", "error", err)
		}
	})
}

// await waits until the kernel tells who calls, or never will, if it was asked to.
func (n *Namer) await() {
	if !n.followed.Load() {
		return
	}
	select {
	case <-n.begun:
	case <-n.ctx.Done():
	case <-time.After(n.open.patience.listener):
	}
}

// told names the call that the kernel tells of, if it is one of this server's.
func (n *Namer) told(c trace.Call) {
	if c.Service != trace.Metadata || len(c.Process.Argv) == 0 {
		return
	}
	if !n.nameAs(c) && c.Netns != 0 && c.Source.IsValid() {
		kept := n.open.wait(c)
		if n.nameAs(c) { // it was told of in between
			n.open.heard(kept)
			return
		}
		n.theirs.unclaimed(c.Netns, time.Now())
	}
}

// nameAs names the one call that the kernel can mean.
func (n *Namer) nameAs(c trace.Call) bool {
	s, ok := n.open.match(c)
	if ok {
		n.theirs.claimed(c.Netns)
		s.Who.Is(shown(c.Process), s.Call, s.At)
	}
	return ok
}

// opened takes note of a call that is not named yet, unless the kernel has told of it already.
func (n *Namer) opened(s unnamed) {
	for _, c := range n.open.add(s) {
		if n.nameAs(*c) {
			n.open.heard(c)
		}
	}
}
