package usage_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

// TestClockSteps: a clock that is turned on and back while calls are counted loses none of them, and shows nobody as first seen
// after being last seen.
func TestClockSteps(t *testing.T) {
	for name, step := range map[string]time.Duration{"a minute": time.Minute, "hours": 3 * time.Hour, "a day": 26 * time.Hour, "a month": 30 * 24 * time.Hour} {
		for _, direction := range []time.Duration{1, -1} {
			t.Run(fmt.Sprint(name, [...]string{" back", "", " on"}[direction+1]), func(t *testing.T) {
				c, kept := newClock(), mem.New()
				r, g := begun(t, kept, c)
				calls := 0
				count := func() {
					call(g, c, usage.NoToken, 3)
					calls += 3
					flush(t, r)
					c.forward(10 * time.Second)
				}
				count()
				c.forward(direction * step)
				count()
				g.Count(usage.NoToken, source, path, []byte("came-meanwhile/1"), c.now())
				count()
				c.forward(-direction * step)
				count()
				g.Count(usage.NoToken, source, path, []byte("came-meanwhile/1"), c.now())
				calls += 2
				count()
				sum, later := 0.0, newClock()
				later.forward(31 * 24 * time.Hour) // by when all samples are of the past
				for _, p := range points(t, newRecorder(kept, later), openimds.MetricNoToken, noon.Add(-40*24*time.Hour), later.now(), time.Hour) {
					sum += p.Sum
				}
				if int(sum) != calls {
					t.Errorf("of %d calls %v are in the samples", calls, sum)
				}
				check := func(what string, r *usage.Meter) {
					t.Helper()
					all := callersOf(t, r, time.Time{})
					if len(all) != 2 {
						t.Fatalf("%s: %d callers", what, len(all))
					}
					seen := int64(0)
					for _, one := range all {
						seen += one.Counts[openimds.MetricNoToken]
						if one.FirstSeen.After(one.LastSeen) || one.FirstV1.After(one.LastV1) || one.LastSeen.After(c.now()) {
							t.Errorf("%s: %s from %v to %v, without a token from %v to %v; it is %v", what, one.UserAgent, one.FirstSeen, one.LastSeen, one.FirstV1, one.LastV1, c.now())
						}
					}
					if int(seen) != calls {
						t.Errorf("%s: of %d calls the callers have %d", what, calls, seen)
					}
					for _, one := range callersOf(t, r, c.now().Add(-time.Hour)) {
						if one.Counts[openimds.MetricNoToken] == 0 {
							t.Errorf("%s: %s has called in the last hour, and is shown without a call", what, one.UserAgent)
						}
					}
				}
				check("in memory", r)
				check("in the store", newRecorder(kept, c))
			})
		}
	}
}

// TestKilledAfterAStep: a process that is killed after its clock was turned back leaves the samples marked whose last calls it
// had not stored, as any does.
func TestKilledAfterAStep(t *testing.T) {
	const m = time.Minute
	for name, flushed := range map[string]bool{"before the next flush": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			c, kept := newClock(), mem.New()
			at := func(since time.Duration) { c.forward(noon.Add(since).Sub(c.now())) }
			r, g := begun(t, kept, c)
			for _, since := range []time.Duration{m, 6 * m, 26*60*m + 7*m, 26*60*m + 8*m, 26*60*m + 13*m, 26*60*m + 14*m} {
				at(since)
				call(g, c, usage.NoToken, 1)
				flush(t, r)
			}
			at(14 * m) // back
			if flushed {
				call(g, c, usage.NoToken, 2)
				flush(t, r)
			}
			call(g, c, usage.NoToken, 3) // and killed
			at(16 * m)
			r, _ = begun(t, kept, c)
			unknown, told := partial(t, r, openimds.MetricNoToken)
			for _, at := range unknown {
				delete(told, at)
			}
			if n, ok := told[10*m]; ok {
				t.Errorf("of the sample in which it was killed %v calls are told, as if that were all; unknown are %v", n, unknown)
			}
			if n, ok := told[15*m]; ok {
				t.Errorf("of the sample in which the next began %v calls are told, as if that were all; unknown are %v", n, unknown)
			}
			if n, ok := told[0]; n != 1 && (ok || flushed) { // too much may be unknown where nothing tells what was lost
				t.Errorf("of a whole sample %v calls are told, want 1; unknown are %v", n, unknown)
			}
		})
	}
}
