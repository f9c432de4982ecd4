package usage_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
)

const id = "i-0123456789abcdef0"

// noon is when the tests begin: at the start of a sample.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var (
	source = netip.MustParseAddr("10.0.0.7")
	path   = []byte("latest/meta-data/iam/security-credentials/web")
	agent  = []byte("curl/8.5.0")
)

// clock is a clock that stands still until it is told to go on.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(noon.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) forward(d time.Duration) { c.nanos.Add(int64(d)) }

func newRecorder(store store.Store, c *clock) *usage.Meter { return newHostRecorder(store, "", c) }

func newHostRecorder(store store.Store, host string, c *clock) *usage.Meter {
	return usage.NewMeter(usage.Config{
		Store: store, Host: host, Now: c.now, History: history.New(history.Config{Store: store, Host: host, Now: c.now}),
	})
}

func flush(t *testing.T, r *usage.Meter) {
	t.Helper()
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// call makes n calls.
func call(g *usage.Tally, c *clock, kind usage.Call, n int) {
	for range n {
		g.Count(kind, source, path, agent, c.now())
	}
}

func points(t *testing.T, r *usage.Meter, metric string, start, end time.Time, period time.Duration) []openimds.MetricPoint {
	t.Helper()
	got, err := r.Points(context.Background(), id, []string{metric}, start, end, period)
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

// samples returns the sums of the metric's samples from noon on, by their offset from it.
func samples(t *testing.T, r *usage.Meter, metric string) map[time.Duration]float64 {
	t.Helper()
	sums := map[time.Duration]float64{}
	for _, p := range points(t, r, metric, noon, noon.Add(24*time.Hour), openimds.MetricPeriod) {
		if p.Samples != 1 || p.Min != p.Sum || p.Max != p.Sum {
			t.Errorf("a sample is %+v", p)
		}
		sums[p.Start.Sub(noon)] = p.Sum
	}
	return sums
}

func wantSamples(t *testing.T, r *usage.Meter, metric string, want map[time.Duration]float64) {
	t.Helper()
	if got := samples(t, r, metric); !reflect.DeepEqual(got, want) {
		t.Errorf("samples of %s: %v, want %v", metric, got, want)
	}
}

// TestNothingIsLost counts from many goroutines, each with its own idea of the time around the ends
// of samples and of the day, while others flush and read.
func TestNothingIsLost(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	g.Running(true)
	kinds := map[usage.Call]string{
		usage.NoToken:         openimds.MetricNoToken,
		usage.NoTokenRejected: openimds.MetricNoTokenRejected,
		usage.TokenIssued:     openimds.MetricTokenRequests,
		usage.WithToken:       openimds.MetricWithToken,
	}
	const callers, calls = 8, 4000
	var want [callers]map[string]map[int64]float64
	var calling, watching sync.WaitGroup
	stop := make(chan struct{})
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = r.Flush(context.Background())
			_, _ = r.Points(context.Background(), id, openimds.Metrics(), noon, noon.Add(24*time.Hour), openimds.MetricPeriod)
		}
	})
	start := noon.Add(11*time.Hour + 50*time.Minute) // midnight is in the middle
	for i := range callers {
		want[i] = map[string]map[int64]float64{}
		calling.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for n := range calls {
				at := start.Add(time.Duration(n)*time.Second/3 + time.Duration(random.IntN(2000))*time.Millisecond)
				for kind, metric := range kinds {
					g.Count(kind, source, path, agent, at)
					if want[i][metric] == nil {
						want[i][metric] = map[int64]float64{}
					}
					want[i][metric][at.Truncate(openimds.MetricPeriod).Unix()]++
				}
			}
		})
	}
	calling.Wait()
	close(stop)
	watching.Wait()
	c.forward(12 * time.Hour)
	for _, metric := range kinds {
		total := map[int64]float64{}
		for _, w := range want {
			for at, n := range w[metric] {
				total[at] += n
			}
		}
		for _, stage := range []string{"in memory", "stored"} {
			got := map[int64]float64{}
			for _, p := range points(t, r, metric, start, start.Add(time.Hour), openimds.MetricPeriod) {
				if p.Sum > 0 {
					got[p.Start.Unix()] = p.Sum
				}
			}
			if !reflect.DeepEqual(got, total) {
				t.Errorf("%s, %s: %v, want %v", metric, stage, got, total)
			}
			flush(t, r)
		}
	}
}

func TestOnlySuccessCounts(t *testing.T) {
	c := newClock()
	r := newRecorder(mem.New(), c)
	g := r.Guest(id, "web-1")
	for n, kind := range []usage.Call{
		usage.NoToken, usage.NoTokenRejected, usage.TokenIssued, usage.WithToken,
		usage.NoTokenMissed, usage.WithTokenMissed, usage.WithTokenRejected, usage.TokenRefused, usage.Throttled, usage.Other,
	} {
		call(g, c, kind, n+1)
	}
	for n, metric := range []string{
		openimds.MetricNoToken, openimds.MetricNoTokenRejected, openimds.MetricTokenRequests, openimds.MetricWithToken,
	} {
		wantSamples(t, r, metric, map[time.Duration]float64{0: float64(n + 1)})
	}
}

func TestARunningInstanceHasSamples(t *testing.T) {
	c := newClock()
	r := newRecorder(mem.New(), c)
	g := r.Guest(id, "web-1")
	flush(t, r) // not running: none
	c.forward(5 * time.Minute)
	g.Running(true)
	c.forward(5 * time.Minute)
	flush(t, r)
	c.forward(5 * time.Minute)
	g.Running(false)
	c.forward(5 * time.Minute)
	g.Running(false)
	flush(t, r)
	want := map[time.Duration]float64{5 * time.Minute: 0, 10 * time.Minute: 0, 15 * time.Minute: 0}
	for _, metric := range openimds.Metrics() {
		wantSamples(t, r, metric, want)
		wantSamples(t, newRecorder(mem.New(), c), metric, map[time.Duration]float64{})
	}
}

func TestNothingChangedIsNotWritten(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	g.Running(true)
	call(g, c, usage.NoToken, 1)
	flush(t, r)
	before := revision(t, store)
	for range 10 {
		c.forward(time.Second)
		flush(t, r)
	}
	if after := revision(t, store); after != before {
		t.Errorf("idle flushes committed %d times", after-before)
	}
}

func revision(t *testing.T, s store.Store) int64 {
	t.Helper()
	page, err := s.List(context.Background(), store.Range{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	return page.Revision
}

// TestCrash leaves recorders behind without closing them.
func TestCrash(t *testing.T) {
	c := newClock()
	store := mem.New()
	want := 0
	for life := range 4 {
		r := newRecorder(store, c)
		g := r.Guest(id, "web-1")
		g.Running(true)
		call(g, c, usage.NoToken, 10+life)
		want += 10 + life
		// Known before the first flush of this life, too.
		wantSamples(t, r, openimds.MetricNoToken, map[time.Duration]float64{0: float64(want)})
		flush(t, r)
		call(g, c, usage.NoToken, 1000) // lost
		c.forward(time.Minute)
	}
	r := newRecorder(store, c)
	wantSamples(t, r, openimds.MetricNoToken, map[time.Duration]float64{0: float64(want)})
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	callers, err := r.Callers(context.Background(), id, noon)
	if err != nil || len(callers) != 1 || callers[0].Counts[openimds.MetricNoToken] != int64(want) {
		t.Errorf("callers after the crashes: %+v, %v; want one with %d", callers, err, want)
	}
}

func TestClose(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	for n := range 3 {
		call(g, c, usage.WithToken, n+1)
		c.forward(openimds.MetricPeriod)
	}
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantSamples(t, newRecorder(store, c), openimds.MetricWithToken,
		map[time.Duration]float64{0: 1, 5 * time.Minute: 2, 10 * time.Minute: 3})
}

func TestHosts(t *testing.T) {
	c := newClock()
	store := mem.New()
	var guests []*usage.Tally
	var recorders []*usage.Meter
	for _, host := range []string{"host-a", "host-b/../c"} {
		r := newHostRecorder(store, host, c)
		recorders, guests = append(recorders, r), append(guests, r.Guest(id, "web-1"))
	}
	for n := range 10 {
		call(guests[n%2], c, usage.NoToken, n)
		flush(t, recorders[n%2])
	}
	for _, r := range recorders {
		wantSamples(t, r, openimds.MetricNoToken, map[time.Duration]float64{0: 45})
		callers, err := r.Callers(context.Background(), id, noon)
		if err != nil || len(callers) != 1 || callers[0].Counts[openimds.MetricNoToken] != 45 {
			t.Errorf("callers: %+v, %v", callers, err)
		}
	}
}

func TestForget(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	g.Running(true)
	call(g, c, usage.NoToken, 3)
	r.Forget(id)
	if r.Guest(id, "web-1") != g {
		t.Error("an instance that came back before its counts were stored has new ones")
	}
	g.Running(true)
	c.forward(openimds.MetricPeriod)
	r.Forget(id)
	r.Forget("i-unknown")
	c.forward(openimds.MetricPeriod)
	flush(t, r)
	want := map[time.Duration]float64{0: 3, 5 * time.Minute: 0}
	wantSamples(t, r, openimds.MetricNoToken, want)
	wantSamples(t, newRecorder(store, c), openimds.MetricNoToken, want)
}

func TestNilGuestCountsNothing(t *testing.T) {
	var g *usage.Tally
	g.Running(true)
	g.Count(usage.NoToken, source, path, agent, noon)
	g.Answered(usage.NoToken, 200, time.Microsecond)
}

func TestNoAllocation(t *testing.T) {
	c := newClock()
	g := newRecorder(mem.New(), c).Guest(id, "web-1")
	now := c.now()
	for _, kind := range []usage.Call{usage.TokenIssued, usage.WithToken, usage.NoToken, usage.NoTokenMissed, usage.Throttled} {
		count := func() {
			g.Count(kind, source, path, agent, now)
			g.Answered(kind, 200, 20*time.Microsecond)
		}
		count()
		if n := testing.AllocsPerRun(1000, count); n != 0 {
			t.Errorf("call %d allocates %v times", kind, n)
		}
	}
	ua := []byte("attacker 0000")
	n := 0
	vary := func() {
		n++
		ua[9], ua[10], ua[11], ua[12] = byte('a'+n%26), byte('a'+n/26%26), byte('a'+n/676%26), byte('a'+n/17576%26)
		g.Count(usage.NoToken, source, path, ua, now)
	}
	for range 1000 {
		vary()
	}
	if n := testing.AllocsPerRun(1000, vary); n != 0 {
		t.Errorf("a caller too many allocates %v times", n)
	}
}

func BenchmarkCount(b *testing.B) {
	c := newClock()
	g := newRecorder(mem.New(), c).Guest(id, "web-1")
	now := c.now()
	b.ReportAllocs()
	for b.Loop() {
		g.Count(usage.WithToken, source, path, agent, now)
		g.Answered(usage.WithToken, 200, 20*time.Microsecond)
	}
}
