package usage

import (
	"net/netip"
	"time"
)

// undelivered is an answer with a token that the caller's side did not acknowledge. It is stored with
// the caller as it is.
type undelivered struct {
	At       int64 `json:"at"` // Unix nanoseconds
	HopLimit int   `json:"hopLimit"`
	Needed   int   `json:"needed,omitempty"` // hop limit; 0: not known
}

func latest(a, b *undelivered) *undelivered {
	if a == nil || b != nil && b.At > a.At {
		return b
	}
	return a
}

// Undelivered counts an answer with a token that left with that hop limit and was not acknowledged in
// time by the caller's side. needed is the least hop limit that reaches the caller; 0: not known. The
// request itself is counted already, so this is not a time at which the caller was seen.
func (g *Tally) Undelivered(source netip.Addr, userAgent []byte, hopLimit, needed int, now time.Time) {
	if g == nil {
		return
	}
	g.undelivered.Add(1)
	g.add(tokenUndelivered, now)
	c := g.caller(source, groupToken, userAgent, now)
	// Before the count, which tells the next save that there is something new.
	c.lost.Store(&undelivered{At: now.UnixNano(), HopLimit: hopLimit, Needed: needed})
	c.counts[tokenUndelivered].Add(1)
}
