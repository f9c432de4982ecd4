package control_test

import (
	"context"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// What was not counted is not known, and is told apart from nothing.
func TestKnown(t *testing.T) {
	var none time.Time
	for name, c := range map[string]struct {
		samples  []int // which of the five-minute samples since the instance's creation there are
		since    time.Duration
		want     openimds.Known
		from, to int // the samples of Since and Until; -1: none
	}{
		"all":             {samples: []int{0, 1, 2, 3}, want: openimds.Known{Complete: true}, from: 0, to: 4},
		"not begun yet":   {samples: []int{0, 1, 2}, want: openimds.Known{Complete: true}, from: 0, to: 3},
		"a part":          {samples: []int{0, 1, 2, 3}, since: 7 * time.Minute, want: openimds.Known{Complete: true}, from: 1, to: 4},
		"nothing":         {from: -1, to: -1},
		"from later on":   {samples: []int{1, 2, 3}, from: 1, to: 4},
		"until before":    {samples: []int{0, 1}, from: 0, to: 2},
		"a gap":           {samples: []int{0, 3}, want: openimds.Known{Missing: 10 * time.Minute}, from: 0, to: 4},
		"a part without":  {samples: []int{0}, since: 7 * time.Minute, from: -1, to: -1},
		"before it began": {samples: []int{0, 1, 2, 3}, since: -time.Hour, want: openimds.Known{Complete: true}, from: 0, to: 4},
	} {
		t.Run(name, func(t *testing.T) {
			h := &history{samples: map[time.Time]float64{}}
			f := newFixture(t, withHistory(h))
			f.create("web")
			created := f.get("web").CreatedAt
			first := created.Truncate(openimds.MetricPeriod)
			for _, n := range c.samples {
				h.samples[first.Add(time.Duration(n)*openimds.MetricPeriod)] = 0
			}
			f.sleep(first.Add(17 * time.Minute).Sub(created))
			start := none
			if c.since != 0 {
				start = first.Add(c.since)
			}
			want := c.want
			if c.from >= 0 {
				want.Since, want.Until = first.Add(time.Duration(c.from)*openimds.MetricPeriod), first.Add(time.Duration(c.to)*openimds.MetricPeriod)
			}
			if got, err := f.Known(t.Context(), "web", start, none); err != nil || got != want {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		})
	}
}

// hourly has one point for all of an hour, as a history has of old days.
type hourly struct{ points []openimds.MetricPoint }

func (h hourly) Points(context.Context, string, []string, time.Time, time.Time, time.Duration) ([][]openimds.MetricPoint, error) {
	return [][]openimds.MetricPoint{h.points}, nil
}

// The hour in which an instance was born has fewer samples than others, and is known as a whole.
func TestKnownSinceLongAgo(t *testing.T) {
	for _, samples := range []int{0, 1} { // how many are missing
		h := &hourly{}
		f := newFixture(t, func(c *control.Config, _ *store.Store) { c.History = h })
		f.sleep(27 * time.Minute) // into an hour
		f.create("web")
		created := f.get("web").CreatedAt
		first, hour := created.Truncate(openimds.MetricPeriod), created.Truncate(time.Hour)
		if first.Equal(hour) {
			t.Fatalf("the instance was created at %s, want a later part of the hour", created)
		}
		whole := int(time.Hour / openimds.MetricPeriod)
		h.points = []openimds.MetricPoint{
			{Start: hour, Samples: whole - int(first.Sub(hour)/openimds.MetricPeriod) - samples}, {Start: hour.Add(time.Hour), Samples: whole},
		}
		f.sleep(hour.Add(2 * time.Hour).Sub(created))
		want := openimds.Known{Since: first, Until: hour.Add(2 * time.Hour), Complete: samples == 0, Missing: time.Duration(samples) * openimds.MetricPeriod}
		if got, err := f.Known(t.Context(), "web", time.Time{}, time.Time{}); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
}
