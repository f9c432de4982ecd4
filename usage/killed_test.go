package usage_test

import (
	"slices"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

// begun is a process that counts the calls of one running guest.
func begun(t *testing.T, kept store.Store, c *clock) (*usage.Meter, *usage.Tally) {
	t.Helper()
	r := newRecorder(kept, c)
	if err := r.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	g := r.Guest(id, "web-1")
	g.Running(true)
	return r, g
}

// partial are the offsets from noon of the samples of which not all is known, and told the sums of those that are told.
func partial(t *testing.T, r *usage.Meter, metric string) (unknown []time.Duration, told map[time.Duration]float64) {
	t.Helper()
	all := points(t, r, metric, noon.Add(-time.Hour), noon.Add(20*time.Hour), openimds.MetricPeriod)
	for _, p := range all {
		if p.Partial > 0 {
			unknown = append(unknown, p.Start.Sub(noon))
		}
	}
	left, whole := openimds.ToldPoints(all)
	if whole != (unknown == nil) {
		t.Errorf("all is known: %v, but of %v", whole, unknown)
	}
	told = map[time.Duration]float64{}
	for _, p := range left {
		told[p.Start.Sub(noon)] = p.Sum
	}
	return unknown, told
}

// TestKilled: of the samples in which a process was killed, and in which the next began, nobody is told that there were no
// calls; those before and after are whole, and a process that ends well leaves none.
func TestKilled(t *testing.T) {
	const m = time.Minute
	for name, s := range map[string]struct {
		flushes []time.Duration // since noon, of the process that is killed
		again   time.Duration   // when the next begins
		unknown []time.Duration
		told    []time.Duration // with a sum of 0
	}{
		"in the same sample":      {[]time.Duration{m, 2 * m}, 3 * m, []time.Duration{0}, nil},
		"in the next one":         {[]time.Duration{m, 2 * m}, 7 * m, []time.Duration{0, 5 * m}, nil},
		"long after":              {[]time.Duration{m, 2 * m}, 33 * m, []time.Duration{0, 30 * m}, nil},
		"with whole ones before":  {[]time.Duration{m, 6 * m, 7 * m, 11 * m, 12 * m}, 13 * m, []time.Duration{10 * m}, []time.Duration{0, 5 * m}},
		"when one has just begun": {[]time.Duration{m, 6 * m, 7 * m, 10*m + time.Second}, 11 * m, []time.Duration{5 * m, 10 * m}, []time.Duration{0}},
		"before the first flush":  {nil, 2 * m, []time.Duration{0}, nil},
		"on another day":          {[]time.Duration{11*60*m + 56*m, 11*60*m + 57*m}, 12*60*m + m, []time.Duration{11*60*m + 55*m, 12 * 60 * m}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, kept := newClock(), mem.New()
			at := func(since time.Duration) { c.forward(noon.Add(since).Sub(c.now())) }
			if len(s.flushes) > 0 && s.flushes[0] > time.Hour {
				at(s.flushes[0] - m)
			}
			r, g := begun(t, kept, c)
			for _, since := range s.flushes {
				at(since)
				flush(t, r)
			}
			call(g, c, usage.NoToken, 3) // and killed
			at(s.again)
			check := func(what string, r *usage.Meter, sum float64) {
				t.Helper()
				unknown, told := partial(t, r, openimds.MetricNoToken)
				if !slices.Equal(unknown, s.unknown) {
					t.Errorf("%s: of %v not all is known, want %v", what, unknown, s.unknown)
				}
				for _, zero := range s.told {
					if n, ok := told[zero]; !ok || n != 0 {
						t.Errorf("%s: of %s is told %v, %v", what, zero, n, ok)
					}
				}
				if n, ok := told[s.unknown[len(s.unknown)-1]]; ok != (sum > 0) || n != sum {
					t.Errorf("%s: of a sample of which not all is known is told %v, %v", what, n, ok)
				}
			}
			r, g = begun(t, kept, c)
			check("from memory", r, 0)
			sums, err := r.Sums(t.Context(), openimds.MetricNoToken, noon, c.now().Add(1))
			if err != nil || !sums[id].Partial {
				t.Errorf("among all: %+v, %v", sums, err)
			}
			flush(t, r)
			call(g, c, usage.NoToken, 2)
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			r, _ = begun(t, kept, c) // after one that ended well
			check("afterwards", r, 2)
			for _, since := range []time.Duration{s.again + 5*m, s.again + 6*m, s.again + 10*m} {
				at(since)
				flush(t, r)
			}
			check("later", r, 2)
			c.forward(70 * 24 * time.Hour) // and when only hours are left
			if err := r.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, p := range points(t, newRecorder(kept, c), openimds.MetricNoToken, noon.Add(-time.Hour), noon.Add(20*time.Hour), time.Hour) {
				n += p.Partial
			}
			if n != len(s.unknown) {
				t.Errorf("in hours, not all is known of %d samples, want %d", n, len(s.unknown))
			}
		})
	}
}
