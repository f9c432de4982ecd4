package control_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// What was not counted is not known, and is told apart from nothing. What is told to be known was watched: a sample is
// there if it was watched in a part.
func TestKnown(t *testing.T) {
	const m = time.Minute
	for name, c := range map[string]struct {
		samples     []int // which of the five-minute samples there are; the instance is created a minute into that of 0
		since       time.Duration
		from, until time.Duration // since the beginning of sample 0; both 0: nothing is known
		missing     time.Duration
		complete    bool
	}{
		"all":                  {samples: []int{0, 1, 2, 3, 4, 5, 6}, from: m, until: 32 * m, complete: true},
		"not begun yet":        {samples: []int{0, 1, 2, 3, 4, 5}, from: m, until: 30 * m, complete: true},
		"a part":               {samples: []int{0, 1, 2, 3, 4, 5, 6}, since: 7 * m, from: 7 * m, until: 32 * m, complete: true},
		"a part of the last":   {samples: []int{0, 1, 2, 3, 4, 5, 6}, since: 31 * m, from: 31 * m, until: 32 * m, complete: true},
		"nothing":              {},
		"from later on":        {samples: []int{1, 2, 3, 4, 5, 6}, from: 10 * m, until: 32 * m},
		"only just":            {samples: []int{6}, from: 32 * m, until: 32 * m},
		"until before":         {samples: []int{0, 1, 2}, from: m, until: 10 * m},
		"a gap":                {samples: []int{0, 1, 4, 5, 6}, from: m, until: 32 * m, missing: 20 * m},
		"a gap and little":     {samples: []int{0, 1, 6}, from: m, until: 32 * m, missing: 27 * m},
		"a part without":       {samples: []int{0}, since: 7 * m},
		"a part that begins":   {samples: []int{2, 3, 4, 5, 6}, since: 11 * m, from: 15 * m, until: 32 * m},
		"a part with the last": {samples: []int{1, 2, 3, 4, 5, 6}, since: 11 * m, from: 11 * m, until: 32 * m, complete: true},
		"before it began":      {samples: []int{0, 1, 2, 3, 4, 5, 6}, since: -time.Hour, from: m, until: 32 * m, complete: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := &history{samples: map[time.Time]float64{}}
			f := newFixture(t, withHistory(h))
			now := f.clock()
			f.sleep(now.Truncate(openimds.MetricPeriod).Add(6 * m).Sub(now))
			f.create("web")
			first := f.get("web").CreatedAt.Truncate(openimds.MetricPeriod)
			for _, n := range c.samples {
				h.samples[first.Add(time.Duration(n)*openimds.MetricPeriod)] = 0
			}
			f.sleep(31 * m)
			var start, none time.Time
			if c.since != 0 {
				start = first.Add(c.since)
			}
			want := openimds.Known{Missing: c.missing, Complete: c.complete}
			if c.until > 0 {
				want.Since, want.Until = first.Add(c.from), first.Add(c.until)
			}
			got, err := f.Known(t.Context(), "web", start, none)
			got.Since, got.Until, got.Missing = got.Since.Round(time.Second), got.Until.Round(time.Second), got.Missing.Round(time.Second)
			if err != nil || got != want {
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
		// What is missing may be anywhere in the hour, whose samples nobody can tell apart any more.
		want := openimds.Known{Since: created, Until: hour.Add(2 * time.Hour), Complete: samples == 0, Missing: time.Duration(3*samples) * openimds.MetricPeriod}
		got, err := f.Known(t.Context(), "web", time.Time{}, time.Time{})
		if got.Until = got.Until.Round(time.Second); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
}

// many is a history of one metric of one instance, which tells of many.
type many struct {
	history
	id string
}

func (h *many) Sums(_ context.Context, _ string, start, end time.Time) (map[string]openimds.MetricSum, error) {
	var sum openimds.MetricSum
	for _, at := range slices.SortedFunc(maps.Keys(h.samples), time.Time.Compare) {
		if begin := at.Unix() / 300; !at.Before(start.Add(-openimds.MetricPeriod)) && at.Before(end) {
			sum.Samples.Add(openimds.SampleRun{From: begin, Until: begin + 1})
		}
	}
	return map[string]openimds.MetricSum{h.id: sum}, nil
}

func (h *many) FleetPoints(context.Context, func(string) bool, string, time.Time, time.Time, time.Duration) ([]openimds.FleetPoint, error) {
	return nil, nil
}

// Of an instance among many as much is known as of it alone, whichever samples there are.
func TestKnownAmongMany(t *testing.T) {
	h := &many{}
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.History = h })
	f.sleep(2*time.Minute + 17*time.Second)
	f.create("web")
	created := f.get("web").CreatedAt
	h.id = f.get("web").ID
	f.sleep(2*time.Hour + time.Minute)
	now, random := f.clock(), rand.New(rand.NewPCG(7, 9))
	known := 0
	for range 500 {
		h.samples = map[time.Time]float64{}
		there, likely := true, 2+random.IntN(20)
		for at := created.Truncate(openimds.MetricPeriod); !at.After(now); at = at.Add(openimds.MetricPeriod) {
			if random.IntN(likely) == 0 {
				there = !there
			}
			if there {
				h.samples[at] = 0
			}
		}
		since := now.Add(-time.Duration(random.Int64N(int64(3 * time.Hour))))
		if random.IntN(3) == 0 {
			since = since.Truncate(openimds.MetricPeriod)
		}
		alone, err := f.Known(t.Context(), "web", since, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		want := time.Duration(0)
		if alone.Complete {
			known++
		} else {
			asked := since
			if asked.Before(created) {
				asked = created
			}
			want = now.Sub(asked) - (alone.Until.Sub(alone.Since) - alone.Missing)
		}
		for _, by := range []string{control.SortNoToken, control.SortName} { // of all, and of the page
			found, _, err := f.SearchInstances(t.Context(), control.InstanceSearch{Query: "web", SortBy: by, Since: since, PageSize: 1, Page: 1})
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			// The clock of a fixture ticks.
			if got := found[0]; got.Known.Complete != alone.Complete || (got.Unknown-want).Abs() > time.Second {
				t.Fatalf("by %s since %s: complete %t, unknown %s; alone: complete %t, unknown %s; samples %v", by, since, got.Known.Complete, got.Unknown, alone.Complete, want,
					slices.SortedFunc(maps.Keys(h.samples), time.Time.Compare))
			}
		}
	}
	if known < 20 || known > 480 {
		t.Errorf("%d of 500 are known as a whole", known)
	}
}

// A sample in which a process was killed tells that it was watched, and not that all of it was.
func TestKnownPartial(t *testing.T) {
	for _, at := range []int{3, 12} { // between others, and the one that is under way
		h := &hourly{}
		f := newFixture(t, func(c *control.Config, _ *store.Store) { c.History = h })
		f.create("web")
		begun := f.get("web").CreatedAt.Truncate(openimds.MetricPeriod)
		for n := range 13 {
			h.points = append(h.points, openimds.MetricPoint{Start: begun.Add(time.Duration(n) * openimds.MetricPeriod), Samples: 1})
		}
		f.sleep(begun.Add(61 * time.Minute).Sub(f.clock()))
		if got, err := f.Known(t.Context(), "web", time.Time{}, time.Time{}); err != nil || !got.Complete {
			t.Fatalf("%+v, %v", got, err)
		}
		h.points[at].Partial = 1
		got, err := f.Known(t.Context(), "web", time.Time{}, time.Time{})
		if err != nil || got.Complete || at == 3 && got.Missing < openimds.MetricPeriod {
			t.Errorf("%d: %+v, %v", at, got, err)
		}
		if got, err = f.Known(t.Context(), "web", begun.Add(30*time.Minute), begun.Add(50*time.Minute)); err != nil || !got.Complete {
			t.Errorf("beside %d: %+v, %v", at, got, err)
		}
	}
}
