package lightsail_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/store/mem"
	samples "github.com/openimds/openimds/usage/history"
)

// modelDays are the days of three models, as the history keeps them, by model and day: one that is quiet, one that calls
// with a token in half of all samples, one that calls without in a third.
func modelDays(b *testing.B, begin time.Time, end time.Time) (days [3]map[string][]byte) {
	kept := mem.New()
	now := begin
	h := samples.New(samples.Config{Store: kept, Now: func() time.Time { return now }})
	random := rand.New(rand.NewPCG(1, 2))
	for ; now.Before(end); now = now.Add(openimds.MetricPeriod) {
		for model := range days {
			id := fmt.Sprint("i-", model)
			h.Begin(id, now)
			if model == 1 && random.IntN(2) == 0 {
				h.Add(id, now, openimds.MetricWithToken, 1+random.Uint64N(9))
			}
			if model == 2 && random.IntN(3) == 0 {
				h.Add(id, now, openimds.MetricNoToken, 1+random.Uint64N(50))
			}
		}
	}
	if err := h.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	page, err := kept.List(b.Context(), store.Range{Prefix: "usage/300/"})
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range page.Records {
		part := strings.Split(r.Key, "/") // usage/300/DAY/ID/HOST
		model := int(part[3][2] - '0')
		if days[model] == nil {
			days[model] = map[string][]byte{}
		}
		days[model][part[2]] = r.Value
	}
	return days
}

// cpuTime is what this process has used, in user and system, which other load of the machine adds little to.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkFleet asks what the console asks, of 10,000 instances in a store on disk: of ten, four are quiet, five call with a
// token, and one calls without.
func BenchmarkFleet(b *testing.B) {
	const instances, day = 10_000, 24 * time.Hour
	begin := time.Now().UTC().Truncate(day).Add(-14 * day)
	end := begin.Add(14*day + 15*time.Hour)
	kept, err := bolt.Open(filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	h := samples.New(samples.Config{Store: kept, Now: func() time.Time { return end }})
	now := begin
	s := newServerOn(b, kept, func(c *control.Config) { c.Now, c.History = func() time.Time { return now }, h })
	for i := 0; i < instances; i += 20 {
		var names []string
		for j := range 20 {
			names = append(names, fmt.Sprintf("web-%05d", i+j))
		}
		_, err := s.service.CreateInstances(b.Context(), control.InstancesLaunch{
			Names: names, UserData: make([]byte, 512), Tags: []openimds.Tag{{Key: "Team", Value: fmt.Sprint("team-", i%50)}, {Key: "Stage", Value: "production"}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	all, _, err := s.service.Instances(b.Context(), "", instances+1)
	if err != nil {
		b.Fatal(err)
	}
	models := modelDays(b, begin, end)
	var changes []store.Change
	for i, in := range all {
		model := [10]int{0, 0, 0, 0, 1, 1, 1, 1, 1, 2}[i%10]
		for date, value := range models[model] {
			if changes = append(changes, store.Change{Key: "usage/300/" + date + "/" + in.ID + "/local", Value: value}); len(changes) == 1000 {
				if _, err := kept.Commit(b.Context(), changes...); err != nil {
					b.Fatal(err)
				}
				changes = changes[:0]
			}
		}
	}
	if _, err := kept.Commit(b.Context(), changes...); err != nil {
		b.Fatal(err)
	}
	now = end
	since := func(d time.Duration) string { return fmt.Sprintf(`"since":%d`, end.Add(-d).Unix()) }
	times := func(d, period time.Duration) string {
		return fmt.Sprintf(`{"metricName":"MetadataNoToken","startTime":%d,"endTime":%d,"period":%d}`, end.Add(-d).Unix(), end.Unix(), int(period/time.Second))
	}
	// What a host flushes is another record of this day; that one is enough to read all of the day anew.
	date := end.Format(time.DateOnly)
	today := store.Change{Key: "usage/300/" + date + "/" + all[0].ID + "/local", Value: models[0][date], If: store.Whatever}
	before := heap()
	for _, c := range []struct {
		name, target, body string
		changed            bool // before each call
	}{
		{"search by a word", "SearchInstances", `{"query":"team-40","pageSize":100,` + since(day) + `}`, false},
		{"search by calls of a day", "SearchInstances", `{"sortBy":"noToken","descending":true,` + since(day) + `}`, false},
		{"search by calls of two weeks", "SearchInstances", `{"sortBy":"noToken","descending":true,` + since(14*day) + `}`, false},
		{"fleet of two weeks", "GetFleet", `{` + since(14*day) + `}`, false},
		{"fleet of two weeks after a flush", "GetFleet", `{` + since(14*day) + `}`, true},
		{"metric of a day", "GetFleetMetricData", times(day, 5*time.Minute), false},
		{"metric of two weeks", "GetFleetMetricData", times(14*day, time.Hour), false},
		{"metric of two weeks after a flush", "GetFleetMetricData", times(14*day, time.Hour), true},
	} {
		b.Run(c.name, func(b *testing.B) {
			// What is read once is read; on a busy machine the first of two weeks takes longer than a request may.
			before := cpuTime(b)
			for first := 1; first < 20 && s.send(s.request(s.full, "OpenIMDS_20261122."+c.target, c.body)).status != 200; first++ {
			}
			once := cpuTime(b) - before
			before = cpuTime(b)
			for b.Loop() {
				if c.changed {
					if _, err := kept.Commit(b.Context(), today); err != nil {
						b.Fatal(err)
					}
				}
				s.must("OpenIMDS_20261122."+c.target, c.body)
			}
			b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(once.Milliseconds()), "first-cpu-ms")
		})
	}
	b.Logf("%d MiB more are in memory", (heap()-before)>>20)
}

// heap is how much of it is in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
