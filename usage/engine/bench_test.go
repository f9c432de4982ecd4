package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/engine/enginetest"
	"github.com/openimds/openimds/usage/history"
)

// A day of 1,000 instances, of which one in ten is called, told at once; then read: of one instance, and of all.
func BenchmarkDay(b *testing.B) {
	const instances = 1000
	for _, name := range []string{"prometheus", "victoria-metrics"} {
		b.Run(name, func(b *testing.B) {
			e := enginetest.Start(b, name)
			begin := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
			c := newClock(begin)
			h := newHost(b, mem.New(), "a", e.Write(), e.From(), c)
			id := func(i int) string { return fmt.Sprintf("i-%017d", i) }
			for range 288 {
				for i := range instances {
					h.Begin(id(i), c.now())
					if i%10 == 0 {
						h.Add(id(i), c.now(), openimds.MetricNoToken, uint64(i+1))
						h.Add(id(i), c.now(), openimds.MetricWithToken, 7)
					}
				}
				must(b, h.Flush(b.Context()))
				c.forward(openimds.MetricPeriod)
			}
			started := time.Now()
			c.forward(time.Minute)
			h.tell(b)
			told := time.Since(started)
			e.Settle()
			day := begin.Unix() / int64(openimds.MetricPeriod/time.Second)
			reader := newHost(b, mem.New(), "b", e.Write(), e.From(), c)
			b.Run("one", func(b *testing.B) {
				for b.Loop() {
					points, err := reader.Points(b.Context(), id(10), openimds.Metrics(), begin, begin.Add(24*time.Hour), 24*time.Hour)
					if err != nil || len(points[0]) != 1 || points[0][0].Sum != 11*288 {
						b.Fatal(points, err)
					}
				}
			})
			b.Run("all", func(b *testing.B) {
				for b.Loop() {
					seen := map[string]uint64{}
					must(b, reader.reader.Runs(b.Context(), "", day, day+288, func(_, id string, first, end int64, c history.Counts) {
						seen[id] += c[0] * uint64(end-first)
					}))
					if len(seen) != instances || seen[id(10)] != 11*288 {
						b.Fatal(len(seen), seen[id(10)])
					}
				}
			})
			b.Logf("a day of %d instances was told in %v", instances, told)
		})
	}
}
