package history_test

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

// Of what a host counts others take no sample for known as a whole of which it may not have told all: the one in which it
// was cut off or killed, from a while after its end on. What it tells afterwards is known, and so is all of one that has
// ended well. Points and sums say the same, and so do the hours when single samples are gone.
func TestCutOff(t *testing.T) {
	const minute = time.Minute
	for name, then := range map[string]struct {
		what    func(t *testing.T, h *history.History, c *clock)
		partial int // of the two samples that the host has counted in
	}{
		"it goes on": {func(t *testing.T, h *history.History, c *clock) {
			flushTwice(t, h)
			c.forward(minute)
			flushTwice(t, h)
		}, 0},
		"it is cut off":   {func(*testing.T, *history.History, *clock) {}, 1},
		"it ends well":    {func(t *testing.T, h *history.History, _ *clock) { must(t, h.Close(t.Context())) }, 0},
		"it tells of all": {func(t *testing.T, h *history.History, c *clock) { c.forward(time.Hour); flushTwice(t, h) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, kept := newClock(), mem.New()
			h := history.New(history.Config{Store: kept, Host: "a", Now: c.now})
			must(t, h.Open(t.Context()))
			h.Add(id, c.now(), openimds.MetricNoToken, 2)
			flushTwice(t, h)
			c.forward(openimds.MetricPeriod)
			h.Add(id, c.now(), openimds.MetricNoToken, 3)
			flushTwice(t, h)
			b := history.New(history.Config{Store: kept, Host: "b", Now: c.now})
			check := func(when string, want int) {
				t.Helper()
				sum, partial := 0.0, 0
				for _, p := range all(t, b, id, c, openimds.MetricPeriod)[0] {
					sum, partial = sum+p.Sum, partial+p.Partial
				}
				sums, err := b.Sums(t.Context(), openimds.MetricNoToken, noon.Add(-time.Hour), c.now().Add(1))
				must(t, err)
				if s := sums[id]; sum != 5 || partial != want || s.Sum != 5 || s.Partial != (want > 0) || s.Samples.First.Until-s.Samples.First.From != int64(2-want) {
					t.Errorf("%s: %v calls, %d samples are not known as a whole, of all together %+v; want 5 and %d", when, sum, partial, s, want)
				}
			}
			check("under way", 0)
			c.forward(openimds.MetricPeriod + 20*time.Second)
			check("just past", 0)
			c.forward(10 * time.Second)
			then.what(t, h, c)
			check("afterwards", then.partial)
			c.forward(70 * 24 * time.Hour)
			must(t, b.Prune(t.Context()))
			partial := 0
			points, err := b.Points(t.Context(), id, []string{openimds.MetricNoToken}, noon, noon.Add(time.Hour), time.Hour)
			must(t, err)
			for _, p := range points[0] {
				partial += p.Partial
			}
			marks, err := kept.List(t.Context(), store.Range{Prefix: "usage/open/a"})
			must(t, err)
			if partial != then.partial || len(marks.Records) != 0 {
				t.Errorf("by the hour %d samples are not known as a whole, want %d; the marks are %v", partial, then.partial, marks.Records)
			}
		})
	}
}

// flushTwice stores what was counted, and then that this was all of the samples that are past.
func flushTwice(t *testing.T, h *history.History) {
	t.Helper()
	must(t, h.Flush(t.Context()))
	must(t, h.Flush(t.Context()))
}
