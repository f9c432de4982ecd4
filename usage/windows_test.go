package usage_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

const day = 24 * time.Hour

// A caller that was taught to use tokens is no caller without them from then on.
func TestCallerThatWasUpgraded(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	g := r.Guest(id, "web-1")
	call(g, c, usage.NoToken, 3)
	c.forward(time.Hour)
	call(g, c, usage.FaultedV1, 1)
	last := c.now()
	for range 10 {
		c.forward(day)
		call(g, c, usage.WithToken, 2)
		flush(t, r)
	}
	for name, r := range map[string]*usage.Meter{"in memory": r, "stored": newRecorder(kept, c)} {
		t.Run(name, func(t *testing.T) {
			for _, since := range []time.Time{c.now().Add(-7 * day), last.Add(time.Second)} {
				one := callersOf(t, r, since)[0]
				if openimds.V1Calls(one.Counts) != 0 || !one.FirstV1.Equal(noon) || !one.LastV1.Equal(last) {
					t.Errorf("since %s: %+v", since, one)
				}
			}
			if one := callersOf(t, r, c.now().Add(-7*day))[0]; one.Counts[openimds.MetricWithToken] != 16 || one.CountedSince.After(c.now().Add(-7*day)) {
				t.Errorf("in a week: %+v", one)
			}
			if one := callersOf(t, r, c.now())[0]; one.Counts[openimds.MetricWithToken] != 2 || !one.CountedSince.Equal(c.now()) {
				t.Errorf("just now: %+v", one)
			}
			for _, since := range []time.Time{{}, noon} {
				one := callersOf(t, r, since)[0]
				if one.Counts[openimds.MetricNoToken] != 3 || one.Counts[openimds.CountNoTokenFailed] != 1 || one.Counts[openimds.MetricWithToken] != 20 || !one.CountedSince.Equal(noon) {
					t.Errorf("since %s: %+v", since, one)
				}
			}
		})
	}
}

// Whatever is asked for, the counts are those from CountedSince on, which is not after it and not long before.
func TestCountsAreOfTheWindow(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	c := newClock()
	kept := mem.New()
	recorders := []*usage.Meter{newHostRecorder(kept, "a", c), newHostRecorder(kept, "b", c)}
	var calls []time.Time
	for i := range 4000 {
		c.forward(time.Duration(random.Int64N(int64(30 * time.Minute))))
		if random.IntN(30) == 0 {
			c.forward(time.Duration(random.Int64N(int64(8 * time.Hour))))
		}
		host := i % 2
		recorders[host].Guest(id, "web-1").Count(usage.NoToken, source, path, agent, c.now())
		calls = append(calls, c.now())
		if i%500 == 499 { // one of them begins anew
			flush(t, recorders[host])
			recorders[host] = newHostRecorder(kept, []string{"a", "b"}[host], c)
		}
	}
	for _, r := range recorders {
		flush(t, r)
	}
	r := newHostRecorder(kept, "reader", c)
	for range 200 {
		since := c.now().Add(-time.Duration(random.Int64N(int64(62 * day))))
		callers := callersOf(t, r, since)
		var exact, counted int64
		for _, at := range calls {
			if !at.Before(since) {
				exact++
			}
			if len(callers) > 0 && !at.Before(callers[0].CountedSince) {
				counted++
			}
		}
		if exact == 0 && len(callers) == 0 {
			continue
		}
		one := callers[0]
		coarse := 5 * time.Minute
		if age := c.now().Sub(since); age > 7*day {
			coarse = day
		} else if age > 2*time.Hour {
			coarse = time.Hour
		}
		got := one.Counts[openimds.MetricNoToken]
		// The hosts' windows may begin at different times: then there may be more of one of them.
		if got < exact || got > counted || one.CountedSince.After(since) || since.Sub(one.CountedSince) > coarse {
			t.Fatalf("since %s: %d calls since %s; there were %d, and %d since then", since, got, one.CountedSince, exact, counted)
		}
	}
}

// However many callers come in every window, what is kept of them stays small, and the counts are right.
func TestWindowsAreBounded(t *testing.T) {
	for _, callers := range []int{1, 10, 160} {
		c := newClock()
		kept := mem.New()
		r := newRecorder(kept, c)
		g := r.Guest(id, "web-1")
		const days = 64
		step := map[int]time.Duration{1: openimds.MetricPeriod, 10: time.Hour, 160: 3 * time.Hour}[callers]
		for at := time.Duration(0); at < days*day; at += step {
			for i := range callers {
				g.Count(usage.NoToken, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), path, agent, c.now())
			}
			c.forward(step)
		}
		flush(t, r)
		largest, _ := stored(t, kept, storedCallers)
		t.Logf("%d callers take up %d bytes", callers, largest)
		if largest > 8<<10+24<<10+12<<10+1<<10 || callers == 1 && largest > 2<<10 {
			t.Errorf("the record of %d callers has %d bytes", callers, largest)
		}
		for _, r := range []*usage.Meter{r, newRecorder(kept, c)} {
			week := callersOf(t, r, c.now().Add(-7*day))
			if len(week) != callers {
				t.Fatalf("%d callers of %d", len(week), callers)
			}
			for _, one := range week {
				if got, want := one.Counts[openimds.MetricNoToken], int64(c.now().Sub(one.CountedSince)/step); got != want || one.CountedSince.Before(c.now().Add(-14*day)) {
					t.Fatalf("of %d callers one has %d calls since %s, want %d", callers, got, one.CountedSince, want)
				}
			}
		}
	}
}

// A record of the format before, which tells nothing of when its calls were: too many of them are shown
// rather than too few.
func TestCallersOfTheThirdFormat(t *testing.T) {
	c := newClock()
	value := binary.AppendUvarint([]byte{3}, uint64(noon.UnixMilli()))
	value = append(value, "\x01\x04\x0a\x00\x00\x07\x01\x0acurl/8.5.0\x01\x0dmeta-data/iam"...)
	value = append(value, 1, 0, 0, 1|8, 5, 7) // five calls without a token, seven with one
	value = append(value, 0)
	value = binary.AppendUvarint(value, uint64((10 * day).Milliseconds()))
	kept := mem.New()
	if _, err := kept.Commit(t.Context(), store.Change{Key: storedCallers, Value: value, If: store.IfAbsent}); err != nil {
		t.Fatal(err)
	}
	check := func(what string, r *usage.Meter, since time.Time, v1, v2 int64, countedSince, lastV1 time.Time) {
		t.Helper()
		one := callersOf(t, r, since)[0]
		if one.Counts[openimds.MetricNoToken] != v1 || one.Counts[openimds.MetricWithToken] != v2 || !one.CountedSince.Equal(countedSince) || !one.LastV1.Equal(lastV1) {
			t.Errorf("%s: %+v", what, one)
		}
	}
	check("as it is", newRecorder(kept, c), noon.Add(-day), 5, 7, noon.Add(-10*day), noon)
	c.forward(time.Hour)
	r := newRecorder(kept, c)
	call(r.Guest(id, "web-1"), c, usage.WithToken, 2)
	for range 2 {
		check("gone on with", r, noon.Add(-day), 5, 9, noon.Add(-10*day), noon)
		check("since then", r, noon.Add(30*time.Minute), 0, 2, noon.Add(30*time.Minute), noon)
		flush(t, r)
		r = newRecorder(kept, c)
	}
}

// What failed before a token mattered is seen all the same.
func TestFailedCallsHaveCallers(t *testing.T) {
	for kind, want := range map[usage.Call]string{
		usage.NoTokenMissed: openimds.CountNoTokenFailed, usage.RefusedV1: openimds.CountNoTokenFailed,
		usage.ThrottledV1: openimds.CountNoTokenFailed, usage.FaultedV1: openimds.CountNoTokenFailed,
		usage.WithTokenMissed: openimds.CountWithTokenFailed, usage.WithTokenRejected: openimds.CountWithTokenFailed,
		usage.TokenRefused: openimds.CountWithTokenFailed, usage.RefusedV2: openimds.CountWithTokenFailed,
		usage.ThrottledV2: openimds.CountWithTokenFailed, usage.FaultedV2: openimds.CountWithTokenFailed,
		usage.Other: "", usage.OtherV2: "", usage.Throttled: "", usage.Faulted: "",
	} {
		c := newClock()
		r := newRecorder(mem.New(), c)
		call(r.Guest(id, "web-1"), c, kind, 2)
		callers := callersOf(t, r, noon)
		if want == "" {
			if len(callers) != 0 {
				t.Errorf("call %d has %+v", kind, callers)
			}
		} else if len(callers) != 1 || fmt.Sprint(callers[0].Counts) != fmt.Sprintf("map[%s:2]", want) || callers[0].LastV1.IsZero() != (want == openimds.CountWithTokenFailed) {
			t.Errorf("%s: %+v", want, callers)
		}
		for _, metric := range openimds.Metrics() {
			wantSamples(t, r, metric, map[time.Duration]float64{})
		}
	}
}
