package usage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

// fleetIDs are the instances of a fleet; the last one never calls.
var fleetIDs = []string{"i-0", "i-1", "i-2", "i-3"}

// checkFleet sees that what a fleet's history tells of all is what it tells of each; whole says that all is known of it.
func checkFleet(t *testing.T, r *usage.Meter, without int, metric string, start, end time.Time, period time.Duration) (whole bool) {
	t.Helper()
	partial := false
	sums, err := r.Sums(t.Context(), metric, start, end)
	if err != nil {
		t.Fatal(err)
	}
	type point struct {
		sum     int64
		samples int
	}
	together := map[time.Time]point{}
	of := func(id string, start time.Time, period time.Duration) []openimds.MetricPoint {
		points, err := r.Points(t.Context(), id, []string{metric}, start, end, period)
		if err != nil {
			t.Fatal(err)
		}
		return points[0]
	}
	for _, id := range fleetIDs {
		for _, p := range of(id, start, period) {
			if id != fleetIDs[without] { // FleetPoints below leaves it out
				was := together[p.Start]
				together[p.Start] = point{was.sum + int64(p.Sum), was.samples + p.Samples}
			}
		}
		want := openimds.MetricSum{}
		for _, p := range of(id, start, time.Minute) {
			want.Sum += int64(p.Sum)
			want.Partial = want.Partial || p.Partial > 0
		}
		for _, p := range of(id, start.Add(-openimds.MetricPeriod), time.Minute) { // the one before is told of too
			number := p.Start.Unix() / 300
			if p.Partial > 0 {
				continue
			}
			want.Samples.Add(openimds.SampleRun{From: number, Until: number + 1})
		}
		if got := sums[id]; got != want {
			t.Fatalf("%s of %s from %s to %s: %+v, want %+v", metric, id, start, end, got, want)
		}
		partial = partial || want.Partial
	}
	points, err := r.FleetPoints(t.Context(), func(id string) bool { return id != fleetIDs[without] }, metric, start, end, period)
	if err != nil {
		t.Fatal(err)
	}
	if partial { // in which samples a host that has not told all has seen nothing is not a part of what it counted
		return false
	}
	for i, p := range points {
		if want := together[p.Start]; p.Sum != want.sum || p.Samples != want.samples || i > 0 && !p.Start.After(points[i-1].Start) {
			t.Fatalf("%s from %s to %s by %s: %+v, want %+v", metric, start, end, period, p, want)
		}
	}
	if len(points) != len(together) {
		t.Fatalf("%s from %s to %s by %s: %d points, want %d", metric, start, end, period, len(points), len(together))
	}
	return true
}

// Whatever two hosts count of the same and of other instances, flushed or not: all together is what each has.
func TestFleetIsItsInstances(t *testing.T) {
	c := newClock()
	kept := mem.New()
	hosts := []*usage.Meter{newHostRecorder(kept, "a", c), newHostRecorder(kept, "b", c)}
	random := rand.New(rand.NewPCG(5, 8))
	begin := c.now()
	const days = 5
	for step := 0; c.now().Before(begin.Add(days * 24 * time.Hour)); step++ {
		host := hosts[random.IntN(len(hosts))]
		id := fleetIDs[random.IntN(len(fleetIDs)-1)]
		g := host.Guest(id, id)
		g.Running(random.IntN(4) > 0)
		call(g, c, []usage.Call{usage.NoToken, usage.WithToken, usage.TokenIssued}[random.IntN(3)], random.IntN(5))
		if step%7 == 0 {
			flush(t, host)
		}
		c.forward(time.Duration(random.Int64N(int64(25 * time.Minute))))
		if step%23 == 0 {
			start := begin.Add(time.Duration(random.Int64N(int64(c.now().Sub(begin) + time.Hour))))
			end := start.Add(time.Duration(random.Int64N(int64(days * 24 * time.Hour))))
			period := []time.Duration{time.Minute, 5 * time.Minute, 7 * time.Minute, time.Hour, 24 * time.Hour}[random.IntN(5)]
			checkFleet(t, host, random.IntN(len(fleetIDs)), openimds.Metrics()[random.IntN(4)], start, end, period)
			// Both hosts have what they were not asked to keep.
			other := hosts[0]
			if host == other {
				other = hosts[1]
			}
			flush(t, other)
			flush(t, other) // and that it has
			if !checkFleet(t, host, random.IntN(len(fleetIDs)), openimds.MetricNoToken, begin, c.now().Add(1), time.Hour) {
				t.Fatal("what both hosts have told is not known as a whole")
			}
		}
	}
	for _, r := range []*usage.Meter{hosts[0], newRecorder(kept, c)} {
		for _, host := range append(hosts, hosts...) {
			flush(t, host)
		}
		checkFleet(t, r, random.IntN(len(fleetIDs)), openimds.MetricNoToken, begin, c.now().Add(1), 5*time.Minute)
	}
}

// What a past day came to is kept, and told anew when this host changes it, at once; when another does, in ten minutes.
func TestFleetOfPastDays(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r, other := newHostRecorder(kept, "a", c), newHostRecorder(kept, "b", c)
	yesterday := c.now()
	r.Guest("i-0", "web").Count(usage.NoToken, source, path, agent, yesterday)
	flush(t, r)
	c.forward(24 * time.Hour)
	sum := func() int64 {
		t.Helper()
		sums, err := r.Sums(t.Context(), openimds.MetricNoToken, yesterday.Truncate(24*time.Hour), c.now())
		if err != nil {
			t.Fatal(err)
		}
		return sums["i-0"].Sum
	}
	if n := sum(); n != 1 {
		t.Fatalf("%d calls, want 1", n)
	}
	r.Guest("i-0", "web").Count(usage.NoToken, source, path, agent, yesterday)
	if n := sum(); n != 2 {
		t.Errorf("after one that this host counts late: %d, want 2", n)
	}
	flush(t, r)
	if n := sum(); n != 2 {
		t.Errorf("after it is stored: %d, want 2", n)
	}
	other.Guest("i-0", "web").Count(usage.NoToken, source, path, agent, yesterday)
	flush(t, other)
	c.forward(10 * time.Minute)
	if n := sum(); n != 3 {
		t.Errorf("ten minutes after another host told one late: %d, want 3", n)
	}
}

// What a day came to that was not over is not believed once it is: others may have told of its last minutes since.
func TestFleetAtMidnight(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r, other := newHostRecorder(kept, "a", c), newHostRecorder(kept, "b", c)
	c.forward(c.now().Truncate(24 * time.Hour).Add(24*time.Hour - time.Minute).Sub(c.now()))
	begin, all := c.now().Truncate(24*time.Hour), func(string) bool { return true }
	count := func(host *usage.Meter) {
		host.Guest("i-0", "web").Count(usage.NoToken, source, path, agent, c.now())
		flush(t, host)
	}
	check := func(want int64) {
		t.Helper()
		sums, err := r.Sums(t.Context(), openimds.MetricNoToken, begin, begin.Add(24*time.Hour))
		if err != nil || sums["i-0"].Sum != want {
			t.Errorf("%+v, %v, want %d calls", sums, err, want)
		}
		points, err := r.FleetPoints(t.Context(), all, openimds.MetricNoToken, begin, begin.Add(24*time.Hour), 24*time.Hour)
		if err != nil || len(points) != 1 || points[0].Sum != want || points[0].Samples != 1 {
			t.Errorf("%+v, %v, want %d calls", points, err, want)
		}
	}
	count(r)
	check(1)
	count(other)
	check(2)
	count(r)
	count(other)
	c.forward(2 * time.Minute)
	check(4)
	check(4)
}

// An instance that is gone is in no point, whenever it went, and in those of who asks for it nevertheless.
func TestFleetWithoutThoseGone(t *testing.T) {
	c := newClock()
	r := newRecorder(mem.New(), c)
	begin := c.now()
	const instances = 40
	for i := range instances {
		call(r.Guest(fmt.Sprint("i-", i), "web"), c, usage.NoToken, 1+i)
	}
	flush(t, r)
	c.forward(24 * time.Hour)
	random := rand.New(rand.NewPCG(1, 3))
	gone := map[string]bool{}
	for range 300 {
		changes := 1
		if random.IntN(10) == 0 {
			changes = instances // too many to put them in one by one
		}
		for range changes {
			id := fmt.Sprint("i-", random.IntN(instances))
			gone[id] = !gone[id]
		}
		want, samples := int64(0), 0
		for i := range instances {
			if !gone[fmt.Sprint("i-", i)] {
				want, samples = want+int64(1+i), samples+1
			}
		}
		points, err := r.FleetPoints(t.Context(), func(id string) bool { return !gone[id] }, openimds.MetricNoToken, begin, c.now(), 48*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		got, count := int64(0), 0
		for _, p := range points {
			got, count = got+p.Sum, count+p.Samples
		}
		if got != want || count != samples {
			t.Fatalf("%d calls in %d samples, want %d in %d", got, count, want, samples)
		}
	}
}

// Of days whose samples are gone a fleet is told nothing, as of those to come.
func TestFleetKept(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	call(r.Guest("i-0", "web"), c, usage.NoToken, 1)
	flush(t, r)
	begin := c.now()
	c.forward(70 * 24 * time.Hour)
	for range 2 {
		sums, err := r.Sums(t.Context(), openimds.MetricNoToken, begin.Add(-time.Hour), c.now())
		points, err2 := r.FleetPoints(t.Context(), func(string) bool { return true }, openimds.MetricNoToken, begin.Add(-time.Hour), c.now(), time.Hour)
		if err != nil || err2 != nil || len(sums)+len(points) != 0 {
			t.Errorf("%v, %v, %v, %v; want nothing", sums, err, points, err2)
		}
		if err := r.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.FleetPoints(t.Context(), func(string) bool { return true }, openimds.MetricNoToken, begin, c.now(), 90*time.Second); err == nil {
		t.Error("a period of 90 seconds is accepted")
	}
	if sums, err := r.Sums(t.Context(), "CPUUtilization", begin, c.now()); err != nil || len(sums) != 0 {
		t.Errorf("of a metric that is not counted: %v, %v", sums, err)
	}
}

// What cannot be read of one instance is said of it, and hinders no other.
func TestFleetBesideDamage(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	call(r.Guest("i-0", "web"), c, usage.NoToken, 1)
	flush(t, r)
	for i, damaged := range []string{"", "\x01\xff", "\x05"} {
		key := fmt.Sprintf("usage/300/%s/i-%d/other", c.now().Format(time.DateOnly), i+1)
		if _, err := kept.Commit(context.Background(), store.Change{Key: key, Value: []byte(damaged)}); err != nil {
			t.Fatal(err)
		}
	}
	sums, err := r.Sums(t.Context(), openimds.MetricNoToken, c.now().Add(-time.Hour), c.now().Add(1))
	if err != nil || sums["i-0"].Sum != 1 || sums["i-0"].Damaged {
		t.Errorf("%+v, %v", sums, err)
	}
	for _, id := range []string{"i-1", "i-2", "i-3"} {
		if !sums[id].Damaged {
			t.Errorf("%s is damaged, and told as %+v", id, sums[id])
		}
	}
}
