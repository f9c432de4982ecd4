package usage

import (
	"net/netip"
	"time"

	"github.com/openimds/openimds"
)

// Rehearsing says what the latest rehearsal of the instance is; nil: there was none.
func (g *Tally) Rehearsing(r *openimds.Rehearsal) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rehearsal = r
}

// WouldBeRefused counts a request that is counted already, as one that was answered during a rehearsal of
// what would have refused it.
func (g *Tally) WouldBeRefused(source netip.Addr, path, userAgent []byte, now time.Time) {
	if g == nil {
		return
	}
	g.wouldBeRefused.Add(1)
	g.add(wouldBeRefused, now)
	g.caller(source, groupOf(path), userAgent, now).count(g, wouldBeRefused, now)
}
