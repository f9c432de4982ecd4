package usage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

// countSeries makes one sample of each number of calls from noon on.
func countSeries(r *usage.Meter, c *clock, calls ...int) {
	g := r.Guest(id, "web-1")
	for _, n := range calls {
		if n >= 0 { // else there is no sample
			g.Running(true)
			call(g, c, usage.NoToken, n)
			g.Running(false)
		}
		c.forward(openimds.MetricPeriod)
	}
}

func TestPoints(t *testing.T) {
	c := newClock()
	r := newRecorder(mem.New(), c)
	// 12:00 to 13:05; none at 12:15 and 12:20.
	countSeries(r, c, 1, 2, 3, -1, -1, 0, 7, 1, 1, 1, 1, 1, 5)
	type p struct {
		at                 string
		sum, minimum, most float64
		samples            int
	}
	for _, c := range []struct {
		start, end string
		period     time.Duration
		want       []p
	}{
		{"12:00:00", "12:15:00", 5 * time.Minute, []p{{at: "12:00", sum: 1, minimum: 1, most: 1, samples: 1}, {at: "12:05", sum: 2, minimum: 2, most: 2, samples: 1}, {at: "12:10", sum: 3, minimum: 3, most: 3, samples: 1}}},
		// The start is rounded down to the minute; the end counts to the nanosecond.
		{"12:00:59.999999999", "12:05:00.000000001", 5 * time.Minute, []p{{at: "12:00", sum: 1, minimum: 1, most: 1, samples: 1}, {at: "12:05", sum: 2, minimum: 2, most: 2, samples: 1}}},
		{"12:05:00", "12:10:00", 5 * time.Minute, []p{{at: "12:05", sum: 2, minimum: 2, most: 2, samples: 1}}},
		{"12:01:00", "12:04:59", 5 * time.Minute, []p{}},
		// A gap makes no point, a zero does.
		{"12:10:00", "12:30:00", 5 * time.Minute, []p{{at: "12:10", sum: 3, minimum: 3, most: 3, samples: 1}, {at: "12:25", samples: 1}}},
		{"12:15:00", "12:25:00", 5 * time.Minute, []p{}},
		// Shorter than a sample: points only where samples begin.
		{"12:00:00", "12:10:00", time.Minute, []p{{at: "12:00", sum: 1, minimum: 1, most: 1, samples: 1}, {at: "12:05", sum: 2, minimum: 2, most: 2, samples: 1}}},
		// Periods begin at the start, which is no multiple of them.
		{"12:03:00", "12:30:00", 10 * time.Minute, []p{{at: "12:03", sum: 5, minimum: 2, most: 3, samples: 2}, {at: "12:23", samples: 1}}},
		{"12:01:00", "14:00:00", time.Hour, []p{{at: "12:01", sum: 22, minimum: 0, most: 7, samples: 10}}},
		{"11:50:00", "13:10:00", 24 * time.Hour, []p{{at: "11:50", sum: 23, minimum: 0, most: 7, samples: 11}}},
		{"11:50:00", "13:10:00", 2628000 * time.Second, []p{{at: "11:50", sum: 23, minimum: 0, most: 7, samples: 11}}},
		// No multiple of a sample: periods begin at 12:00, 12:07, 12:14, ….
		{"12:00:00", "12:30:01", 7 * time.Minute, []p{{at: "12:00", sum: 3, minimum: 1, most: 2, samples: 2}, {at: "12:07", sum: 3, minimum: 3, most: 3, samples: 1}, {at: "12:21", samples: 1}, {at: "12:28", sum: 7, minimum: 7, most: 7, samples: 1}}},
		// A period ends with the window.
		{"12:00:00", "12:00:01", time.Hour, []p{{at: "12:00", sum: 1, minimum: 1, most: 1, samples: 1}}},
		{"12:00:00", "13:00:01", time.Hour, []p{{at: "12:00", sum: 18, minimum: 0, most: 7, samples: 10}, {at: "13:00", sum: 5, minimum: 5, most: 5, samples: 1}}},
		{"12:00:01", "14:00:00", time.Hour, []p{{at: "12:00", sum: 18, minimum: 0, most: 7, samples: 10}, {at: "13:00", sum: 5, minimum: 5, most: 5, samples: 1}}},
		{"00:00:00", "12:00:00", 24 * time.Hour, []p{}},
		{"00:00:00", "14:00:00", 24 * time.Hour, []p{{at: "00:00", sum: 23, minimum: 0, most: 7, samples: 11}}},
		{"13:00:00", "12:00:00", time.Hour, []p{}},
	} {
		t.Run(fmt.Sprintf("%s-%s by %s", c.start, c.end, c.period), func(t *testing.T) {
			got := []p{}
			for _, point := range points(t, r, openimds.MetricNoToken, clockTime(t, c.start), clockTime(t, c.end), c.period) {
				if laid := clockTime(t, c.start).Truncate(time.Minute); point.Start.Sub(laid)%c.period != 0 {
					t.Errorf("a point begins at %s", point.Start)
				}
				got = append(got, p{at: point.Start.Format("15:04"), sum: point.Sum, minimum: point.Min, most: point.Max, samples: point.Samples})
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
	if _, err := r.Points(context.Background(), id, openimds.Metrics(), noon, noon.Add(time.Hour), 90*time.Second); err == nil {
		t.Error("a period of 90 seconds is accepted")
	}
	for _, unknown := range [][2]string{{"i-unknown", openimds.MetricNoToken}, {id, "CPUUtilization"}} {
		got, err := r.Points(context.Background(), unknown[0], []string{unknown[1]}, noon, noon.Add(time.Hour), time.Hour)
		if err != nil || len(got) != 1 || len(got[0]) != 0 {
			t.Errorf("points of %v: %v, %v", unknown, got, err)
		}
	}
}

// Whatever the period, each sample of the time is in one point, which begins no later than the sample and
// less than a period before it.
func TestPointsAreWhole(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	random := rand.New(rand.NewPCG(1, 2))
	const days = 66 // the first of them are left by the hour at the end
	for range days {
		g := r.Guest(id, "web-1")
		for range 30 {
			call(g, c, usage.NoToken, 1+random.IntN(9))
			c.forward(time.Duration(random.Int64N(int64(90 * time.Minute))))
		}
		c.nanos.Store(c.now().Truncate(24 * time.Hour).Add(24 * time.Hour).UnixNano())
		flush(t, r)
	}
	for _, pruned := range []bool{false, true} {
		if pruned {
			if err := r.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for range 60 {
			start := noon.Add(time.Duration(random.Int64N(int64(days * 24 * time.Hour))))
			end := start.Add(time.Duration(random.Int64N(int64(5 * 24 * time.Hour))))
			want := 0.0
			for i, period := range []time.Duration{time.Minute, 5 * time.Minute, 7 * time.Minute, time.Hour, 23 * time.Hour, 24 * time.Hour, 2628000 * time.Second} {
				sum, last := 0.0, time.Time{}
				for _, p := range points(t, r, openimds.MetricNoToken, start, end, period) {
					sum += p.Sum
					if !p.Start.After(last) || !p.Start.Before(end) {
						t.Fatalf("from %s to %s by %s a point begins at %s, after one at %s", start, end, period, p.Start, last)
					}
					last = p.Start
				}
				if i == 0 {
					want = sum
				}
				if sum != want {
					t.Fatalf("from %s to %s there are %v by %s, %v by minutes (pruned: %t)", start, end, sum, period, want, pruned)
				}
			}
		}
	}
}

// A recorded answer of Lightsail: asked for months from 01:00 on, long ago.
func TestRecordedPoints(t *testing.T) {
	const start, period = 1546304400, 2628000
	for _, prune := range []bool{false, true} {
		c := newClock()
		r := newRecorder(mem.New(), c)
		for _, month := range []int64{3, 4} {
			c.nanos.Store(time.Unix(1546300800+month*period, 0).UnixNano())
			call(r.Guest(id, "web-1"), c, usage.NoToken, 1) // in its first and in its last sample
			c.forward(period*time.Second - openimds.MetricPeriod)
			call(r.Guest(id, "web-1"), c, usage.NoToken, 1)
		}
		flush(t, r)
		c.forward(70 * 24 * time.Hour)
		if prune {
			if err := r.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got := points(t, r, openimds.MetricNoToken, time.Unix(start, 0), c.now(), period*time.Second)
		if len(got) != 2 || got[0].Start.Unix() != 1546300800+3*period || got[1].Start.Unix() != 1546300800+4*period || got[0].Sum != 2 || got[1].Sum != 2 {
			t.Errorf("pruned %t: %+v", prune, got)
		}
	}
}

func clockTime(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05", noon.Format(time.DateOnly)+" "+text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func keys(t *testing.T, s store.Store, prefix string) []string {
	t.Helper()
	page, err := s.List(context.Background(), store.Range{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, r := range page.Records {
		keys = append(keys, r.Key)
	}
	return keys
}

// TestPrune follows one day of two hosts through its ages.
func TestPrune(t *testing.T) {
	c := newClock()
	store := mem.New()
	for _, host := range []string{"a", "b"} {
		c.nanos.Store(noon.UnixNano())
		r := newHostRecorder(store, host, c)
		countSeries(r, c, 1, 2, 3, -1, -1, 0, 7, 1, 1, 1, 1, 1, 5)
		flush(t, r)
	}
	c.nanos.Store(noon.UnixNano())
	r := newRecorder(store, c)
	prune := func(age time.Duration) {
		t.Helper()
		c.nanos.Store(noon.Truncate(24 * time.Hour).Add(age).UnixNano())
		for range 2 { // the second finds nothing to do
			if err := r.Prune(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	hourly := func() []openimds.MetricPoint {
		return points(t, r, openimds.MetricNoToken, noon.Add(-24*time.Hour), noon.Add(24*time.Hour), time.Hour)
	}
	const day = 24 * time.Hour
	want := []openimds.MetricPoint{
		{Start: noon, Sum: 36, Min: 0, Max: 14, Samples: 10},
		{Start: noon.Add(time.Hour), Sum: 10, Min: 10, Max: 10, Samples: 1},
	}
	prune(64*day - time.Nanosecond) // the last sample of the day is 63 days old
	if n := len(keys(t, store, "usage/300/")); n != 2 {
		t.Errorf("before their time, %d records of samples are left", n)
	}
	if got := hourly(); !reflect.DeepEqual(got, want) {
		t.Errorf("hours of samples: %+v, want %+v", got, want)
	}
	prune(64 * day)
	if left := keys(t, store, "usage/300/"); len(left) != 0 {
		t.Errorf("samples are left: %v", left)
	}
	if got := hourly(); !reflect.DeepEqual(got, want) {
		t.Errorf("hours when samples are gone: %+v, want %+v", got, want)
	}
	if got := points(t, r, openimds.MetricNoToken, noon, noon.Add(time.Hour), 5*time.Minute); !reflect.DeepEqual(got, want[:1]) {
		t.Errorf("samples when they are gone: %+v, want the hour", got)
	}
	prune(456*day - time.Nanosecond)
	if got := hourly(); !reflect.DeepEqual(got, want) {
		t.Errorf("hours on their last day: %+v, want %+v", got, want)
	}
	prune(456 * day)
	left := slices.DeleteFunc(keys(t, store, "usage/"), func(key string) bool { return strings.HasPrefix(key, "usage/open/") })
	if len(left) != 0 {
		t.Errorf("left at last: %v", left)
	}
}

func TestPruneManyPages(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	for n := range 250 {
		r.Guest(fmt.Sprintf("i-%03d", n), "web").Running(true)
	}
	flush(t, r)
	if n := len(keys(t, store, "usage/300/")); n != 250 {
		t.Fatalf("%d records", n)
	}
	c.forward(70 * 24 * time.Hour)
	if err := r.Prune(context.Background()); err != nil {
		t.Fatal(err)
	}
	if young, old := len(keys(t, store, "usage/300/")), len(keys(t, store, "usage/3600/")); young != 0 || old != 250 {
		t.Errorf("%d records of samples, %d of hours", young, old)
	}
	c.forward(400 * 24 * time.Hour)
	if err := r.Prune(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, store, "usage/3600/"); len(left) != 0 {
		t.Errorf("%d records of hours are left", len(left))
	}
}

// A process that does not live for an hour prunes all the same.
func TestRunPrunesAtOnce(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	countSeries(r, c, 1)
	flush(t, r)
	c.forward(70 * 24 * time.Hour)
	page, err := kept.List(context.Background(), store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	ended := make(chan struct{})
	go func() { newRecorder(kept, c).Run(ctx); close(ended) }()
	if _, err := kept.Watch("usage/3600/", page.Revision).Next(ctx); err != nil {
		t.Errorf("no hours are made: %v", err)
	}
	stop()
	<-ended
}

var errAway = errors.New("the store is away")

// shaky is a store whose commits fail at times, some after they were carried out.
type shaky struct {
	store.Store
	// fate says what becomes of the nth commit: "", "lost", "unknown" (carried out, not said), or
	// "late" (carried out just before the next one).
	fate func(n int) string
	n    int
	late func()
}

func (s *shaky) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if s.late != nil {
		s.late()
		s.late = nil
	}
	s.n++
	switch s.fate(s.n) {
	case "lost":
		return 0, errAway
	case "unknown":
		_, _ = s.Store.Commit(ctx, changes...)
		return 0, errAway
	case "late":
		s.late = func() { _, _ = s.Store.Commit(ctx, changes...) }
		return 0, errAway
	}
	return s.Store.Commit(ctx, changes...)
}

// TestUnknownOutcomes counts each call once, whatever became of the commits.
func TestUnknownOutcomes(t *testing.T) {
	for pattern := range 4 * 4 * 4 * 4 {
		fates := make([]string, 4)
		for i, rest := 0, pattern; i < len(fates); i, rest = i+1, rest/4 {
			fates[i] = []string{"", "lost", "unknown", "late"}[rest%4]
		}
		c := newClock()
		inner := mem.New()
		store := &shaky{Store: inner, fate: func(n int) string {
			if n <= len(fates) {
				return fates[n-1]
			}
			return ""
		}}
		r := newRecorder(store, c)
		g := r.Guest(id, "web-1")
		want := map[time.Duration]float64{}
		for n := range 8 {
			call(g, c, usage.NoToken, n+1)
			want[c.now().Sub(noon).Truncate(openimds.MetricPeriod)] += float64(n + 1)
			_ = r.Flush(context.Background())
			c.forward(2 * time.Minute)
			wantSamples(t, r, openimds.MetricNoToken, want)
		}
		flush(t, r)
		wantSamples(t, newRecorder(inner, c), openimds.MetricNoToken, want)
		callers := callersOf(t, newRecorder(inner, c), noon)
		if len(callers) != 1 || callers[0].Counts[openimds.MetricNoToken] != 36 {
			t.Errorf("callers: %+v", callers)
		}
		if t.Failed() {
			t.Fatalf("commits were %q", fates)
		}
	}
}

// A record that cannot be read is not overwritten, and hinders no other.
func TestDamagedRecords(t *testing.T) {
	for _, damaged := range []string{"", "\x01\xff", "\x01\x00\x00\x01\x01\x01\x01\x01", "\x00", "\x05", "\x01\xa0\x02\x01\x01\x01\x01\x01\x01"} {
		c := newClock()
		kept := mem.New()
		key := "usage/300/2026-03-01/" + id + "/local"
		if _, err := kept.Commit(context.Background(), store.Change{Key: key, Value: []byte(damaged)},
			store.Change{Key: "usage/callers/" + id + "/local", Value: []byte(`{"schema":3}`)}); err != nil {
			t.Fatal(err)
		}
		r := newRecorder(kept, c)
		call(r.Guest(id, "web-1"), c, usage.NoToken, 1)
		r.Guest("i-other", "web-2").Count(usage.NoToken, source, path, agent, c.now())
		if err := r.Flush(context.Background()); err == nil || !strings.Contains(err.Error(), "usage/callers/"+id) || !strings.Contains(err.Error(), key) {
			t.Errorf("%q: the flush says %v", damaged, err)
		}
		other, err := newRecorder(kept, c).Points(context.Background(), "i-other", []string{openimds.MetricNoToken}, noon, c.now().Add(1), time.Hour)
		if err != nil || len(other[0]) != 1 || other[0][0].Sum != 1 {
			t.Errorf("%q: the other instance has %+v, %v", damaged, other, err)
		}
		if record, err := kept.Get(context.Background(), key); err != nil || string(record.Value) != damaged {
			t.Errorf("%q became %q, %v", damaged, record.Value, err)
		}
	}
}

// What cannot be read is told of, with what helps, and hinders nothing else from being dropped.
func TestPruneBesideDamage(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	for n := range 3 {
		g := r.Guest(fmt.Sprintf("i-%d", n), "web")
		g.Running(true)
		call(g, c, usage.NoToken, 1)
	}
	flush(t, r)
	c.forward(70 * 24 * time.Hour)
	second := newRecorder(kept, c)
	const callers, hours = "usage/callers/i-0/damaged", "usage/3600/1/damaged" // before the others
	for _, key := range []string{callers, hours} {
		if _, err := kept.Commit(t.Context(), store.Change{Key: key, Value: []byte("\x03\xff")}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		err := second.Prune(t.Context())
		for _, text := range []string{callers + ": it is damaged; delete it", hours + "\", which is none of the history; delete it"} {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%v, want %q", err, text)
			}
		}
		if left := keys(t, kept, "usage/callers/"); !slices.Equal(left, []string{callers}) {
			t.Errorf("left of the callers: %q", left)
		}
		c.forward(400 * 24 * time.Hour)
	}
	if left := keys(t, kept, "usage/3600/"); !slices.Equal(left, []string{hours}) {
		t.Errorf("left of the hours: %q", left)
	}
}
