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
	calm  int // seconds in a row in which there was room
}

// mostSampling is the smallest share: one of 1,024.
const mostSampling = 10

func newGovernor(most float64) *governor { return &governor{most: most} }

// measure is told the CPU time that was spent so far. It returns what changes, in words; empty: nothing.
func (g *governor) measure(now time.Time, spent time.Duration) string {
	passed, used := now.Sub(g.at), spent-g.spent
	first := g.at.IsZero()
	g.at, g.spent = now, spent
	if g.most <= 0 || first || passed <= 0 {
		return ""
	}
	share := float64(used) / float64(passed)
	switch {
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
