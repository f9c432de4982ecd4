package imds

import (
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
)

// rehearsal is what an instance's requests without a token meet while required tokens are tried out. A
// guest without one has none: then a request costs a look at a nil pointer.
type rehearsal struct {
	openimds.Rehearsal
	// end is when it is over by the clock that no one can turn. What ends it is the first of both clocks:
	// so a clock that is turned back makes no brown-out longer, and a machine that slept ends it in time.
	end time.Time
	// over: it has ended, and a clock that is turned back does not begin it anew.
	over atomic.Bool
	row  atomic.Uint64 // requests without a token that it was for
}

// newRehearsal goes on with before if the rehearsal is the same, so that another change of the instance
// does not begin its row anew. One that has ended is none.
func newRehearsal(r *openimds.Rehearsal, before *rehearsal, now time.Time) *rehearsal {
	switch {
	case before != nil && r != nil && before.Rehearsal == *r:
		return before
	case !r.UnderWay(now):
		return nil
	}
	// By a clock that is a little behind it lasts no longer than it was to.
	left := min(r.Until.Sub(now), r.Until.Sub(r.Since))
	return &rehearsal{Rehearsal: *r, end: now.Add(left)}
}

// underWay says whether it has an effect at that time. In now there are both clocks; Until has but the one
// on the wall, and end goes by the other.
func (r *rehearsal) underWay(now time.Time) bool {
	if r.over.Load() {
		return false
	}
	if !now.Before(r.Until) || !now.Before(r.end) {
		r.over.Store(true)
		return false
	}
	return true
}

// refuses says whether a request without a token is to be refused as if one were required. The row is that
// of faults: the same requests after the same beginning meet the same.
func (r *rehearsal) refuses(now time.Time) bool {
	if r.Mode != openimds.RehearseBrownOut || !r.underWay(now) {
		return false
	}
	return draw(r.row.Add(1)) < r.Share
}

// draw is the number from 0 to 1 that decides what the n-th request of a row meets.
func draw(n uint64) float64 { return float64(n*golden>>11) / (1 << 53) }

// tellRehearsal says that calls without a token are refused though none is required, or no longer.
func (g *Guest) tellRehearsal(in *openimds.Instance, was, is *rehearsal) {
	brownOut := func(r *rehearsal) bool { return r != nil && r.Mode == openimds.RehearseBrownOut }
	switch log := g.server.cfg.Log; {
	case was == is:
	case brownOut(is):
		log.Warn("a brown-out is on: calls without a session token are refused, whatever the options say", "instance", in.Name, "rehearsal", in.Rehearsal.String())
	case brownOut(was):
		log.Info("the brown-out is over", "instance", in.Name)
	}
}
