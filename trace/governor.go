package trace

import (
	"fmt"
	"time"
)

// governor decides which share of connections is looked at: one of 2^n.
type governor struct {
	most  float64
	n     uint
	at    time.Time
	spent time.Duration
	spare time.Duration // CPU time that was not taken lately
	calm  int           // seconds in a row in which there was room
}

// spareFor is how long CPU time that was not taken may still be: a new program is looked for in all packages, which
// costs a tenth of a second once, and none of it is saved by missing connections.
const spareFor = 10 * time.Second

// mostSampling is the smallest share: one of 1,024.
const mostSampling = 10

func newGovernor(most float64) *governor {
	g := &governor{most: most}
	g.spare = g.allowed(spareFor)
	return g
}

// allowed is the CPU time that may be taken in a time.
func (g *governor) allowed(in time.Duration) time.Duration {
	return time.Duration(min(g.most, 1e6) * float64(in))
}

// measure is told the CPU time that was spent so far. It returns what changes, in words; empty: nothing.
func (g *governor) measure(now time.Time, spent time.Duration) string {
	passed, used := now.Sub(g.at), spent-g.spent
	first := g.at.IsZero()
	g.at, g.spent = now, spent
	if g.most <= 0 || first || passed <= 0 {
		return ""
	}
	share := float64(used) / float64(passed)
	g.spare = min(max(g.spare+g.allowed(passed)-used, 0), g.allowed(spareFor))
	switch {
	case share > g.most && g.spare > 0:
		g.calm = 0
		return ""
	case share > g.most && g.n < mostSampling:
		g.n++
		g.calm = 0
	case share < g.most/3 && g.n > 0: // twice as much has to fit
		if g.calm++; g.calm < 5 {
			return ""
		}
		g.n--
		g.calm = 0
	default:
		g.calm = 0
		return ""
	}
	if g.n == 0 {
		return "looking at every connection again"
	}
	return fmt.Sprintf("took %.1f %% of a core, more than is wanted or just less: looking at one of %d connections; the others' callers are unknown", share*100, 1<<g.n)
}
