package engine_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/engine"
	"github.com/openimds/openimds/usage/engine/enginetest"
	"github.com/openimds/openimds/usage/history"
)

const benchInstances = 1000

func benchID(i int) string { return fmt.Sprintf("i-%017d", i) }

// countDay counts a day of the instances, of which one in ten is called.
func countDay(b *testing.B, h *history.History, c *clock) {
	b.Helper()
	for range 288 {
		for i := range benchInstances {
			h.Begin(benchID(i), c.now())
			if i%10 == 0 {
				h.Add(benchID(i), c.now(), openimds.MetricNoToken, uint64(i+1))
				h.Add(benchID(i), c.now(), openimds.MetricWithToken, 7)
			}
		}
		flush(b, h)
		c.forward(openimds.MetricPeriod)
	}
}

// readDay reads the day from a history that remembers nothing: of one instance, and of all.
func readDay(b *testing.B, begin time.Time, fresh func() *history.History) {
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			points, err := fresh().Points(b.Context(), benchID(10), openimds.Metrics(), begin, begin.Add(24*time.Hour), 24*time.Hour)
			if err != nil || len(points[0]) != 1 || points[0][0].Sum != 11*288 {
				b.Fatal(points, err)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			sums, err := fresh().Sums(b.Context(), openimds.MetricNoToken, begin, begin.Add(24*time.Hour))
			if err != nil || len(sums) != benchInstances || sums[benchID(10)].Sum != 11*288 {
				b.Fatal(len(sums), sums[benchID(10)], err)
			}
		}
	})
}

// A day of 1,000 instances, of which one in ten is called, read: from a file of this machine, as one host has it, and from
// engines that were told it at once by another host, as they are after an outage of a day.
func BenchmarkDay(b *testing.B) {
	begin := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	b.Run("bbolt", func(b *testing.B) {
		kept, err := bolt.Open(filepath.Join(b.TempDir(), "day.db"))
		must(b, err)
		defer func() { must(b, kept.Close()) }()
		c := newClock(begin)
		fresh := func() *history.History { return history.New(history.Config{Store: kept, Now: c.now}) }
		countDay(b, fresh(), c)
		c.forward(time.Minute)
		readDay(b, begin, fresh)
	})
	for _, name := range []string{"prometheus", "victoria-metrics"} {
		b.Run(name, func(b *testing.B) {
			e := enginetest.Start(b, name)
			c := newClock(begin)
			h := newHost(b, mem.New(), "a", e.Write(), e.From(), c)
			countDay(b, h.History, c)
			c.forward(time.Minute)
			told := 0
			b.Run("tell", func(b *testing.B) {
				for b.Loop() { // each time in another installation's name
					w, err := engine.OpenWriter(b.Context(), engine.WriterConfig{
						URL: e.Write(), Store: mem.New(), Installation: fmt.Sprint("bench-", told), Host: "a", Now: c.now,
					})
					must(b, err)
					told++
					w.From(h.History)
					must(b, w.Close(b.Context()))
				}
			})
			h.tell(b)
			e.Settle()
			reader := newHost(b, mem.New(), "b", e.Write(), e.From(), c)
			readDay(b, begin, func() *history.History {
				return history.New(history.Config{Store: mem.New(), Now: c.now, Others: reader.reader, Name: reader.writer.Name()})
			})
		})
	}
}
