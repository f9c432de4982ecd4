package history_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

const id, other = "i-00000000000000001", "i-00000000000000002"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock stands still until it is told to go on.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) forward(d time.Duration) { c.nanos.Add(int64(d)) }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(noon.UnixNano())
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// never is told of no record that cannot be read.
func never(t *testing.T) func(error) {
	return func(err error) {
		t.Helper()
		t.Errorf("it cannot be read: %v", err)
	}
}

// all are the points of an instance.
func all(t *testing.T, h *history.History, instanceID string, c *clock, period time.Duration) [][]openimds.MetricPoint {
	t.Helper()
	points, err := h.Points(t.Context(), instanceID, []string{openimds.MetricNoToken}, noon.Add(-24*time.Hour), c.now().Add(1), period)
	must(t, err)
	return points
}

var errAway = errors.New("the store is away")

// failing is a store that fails from a commit on: the one of that number is carried out or not, and its outcome unknown.
type failing struct {
	store.Store
	left   *int
	does   bool
	before func(changes []store.Change)
}

func (f *failing) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if f.before != nil {
		f.before(changes)
	}
	if *f.left--; *f.left < 0 {
		if f.does && *f.left == -1 {
			_, _ = f.Store.Commit(ctx, changes...)
		}
		return 0, errAway
	}
	return f.Store.Commit(ctx, changes...)
}

// What a host counted in the shared store, between times in which it had its own, is carried over and added up, once,
// wherever the carrying is interrupted and whatever it counts meanwhile.
func TestCarry(t *testing.T) {
	for stops := range 7 {
		for _, does := range []bool{false, true} {
			c, shared, own, whole := newClock(), mem.New(), mem.New(), mem.New()
			counts := func(h *history.History) {
				t.Helper()
				model := history.New(history.Config{Store: whole, Now: c.now})
				for range 3 {
					for i, id := range []string{id, other} {
						for _, h := range []*history.History{h, model} {
							h.Begin(id, c.now())
							h.Add(id, c.now(), openimds.MetricNoToken, uint64(i+3))
							must(t, h.Flush(t.Context()))
						}
					}
					c.forward(2 * time.Minute)
				}
				must(t, h.Close(t.Context()))
				must(t, model.Close(t.Context()))
			}
			with := func(shared, own store.Store) *history.History {
				return history.New(history.Config{Store: own, Now: c.now, Earlier: shared, EarlierHost: "rack/17"})
			}
			counts(with(shared, own))
			counts(history.New(history.Config{Store: shared, Host: "rack/17", Now: c.now}))
			c.forward(-2 * time.Minute) // within a sample that both have
			another := history.New(history.Config{Store: shared, Host: "rack", Now: c.now})
			another.Add(id, c.now(), openimds.MetricNoToken, 1000)
			must(t, another.Close(t.Context()))

			left := stops
			h := with(&failing{Store: shared, left: &left, does: does}, &failing{Store: own, left: &left, does: does})
			err := h.Carry(t.Context(), never(t))
			if left < 0 && !errors.Is(err, errAway) {
				t.Fatalf("stopped at commit %d it says %v", stops, err)
			}
			forever, raced := 1<<30, false
			var again *history.History
			again = with(shared, &failing{Store: own, left: &forever, before: func(changes []store.Change) {
				if !raced && changes[len(changes)-1].Key == "usage/carried" {
					raced = true
					must(t, again.Flush(t.Context()))
				}
			}})
			for _, id := range []string{id, other} {
				again.Add(id, c.now(), openimds.MetricNoToken, 50)
			}
			model := history.New(history.Config{Store: whole, Now: c.now})
			for _, id := range []string{id, other} {
				model.Add(id, c.now(), openimds.MetricNoToken, 50)
			}
			all(t, again, id, c, time.Hour) // so that it knows what the store had
			must(t, again.Carry(t.Context(), never(t)))
			if stops == 0 && !does && !raced {
				t.Error("no flush met the carrying")
			}
			for _, id := range []string{id, other} {
				if got, want := all(t, again, id, c, 5*time.Minute), all(t, model, id, c, 5*time.Minute); !reflect.DeepEqual(got, want) {
					t.Errorf("stopped at commit %d (carried out: %t), %s has %v, want %v", stops, does, id, got, want)
				}
			}
			must(t, again.Flush(t.Context()))
			must(t, again.Carry(t.Context(), never(t))) // once more changes nothing
			for _, id := range []string{id, other} {
				if got, want := all(t, history.New(history.Config{Store: own, Now: c.now}), id, c, 5*time.Minute), all(t, model, id, c, 5*time.Minute); !reflect.DeepEqual(got, want) {
					t.Errorf("stopped at commit %d (carried out: %t), %s has %v in the store, want %v", stops, does, id, got, want)
				}
			}
			page, err := shared.List(t.Context(), store.Range{Prefix: history.SamplePrefix})
			must(t, err)
			if len(page.Records) != 1 || !strings.HasSuffix(page.Records[0].Key, "/rack") {
				t.Errorf("the shared store has %v", page.Records)
			}
		}
	}
}

// Until all is carried over, the sample in which a process began is not known as a whole: what the one before it counted in
// that may be in the other store.
func TestCarryIsUnderWay(t *testing.T) {
	c, shared, own := newClock(), mem.New(), mem.New()
	before := history.New(history.Config{Store: shared, Host: "a", Now: c.now})
	before.Add(id, c.now(), openimds.MetricNoToken, 3)
	must(t, before.Close(t.Context()))
	c.forward(time.Minute)
	h := history.New(history.Config{Store: own, Now: c.now, Earlier: shared, EarlierHost: "a"})
	for range 2 {
		h.Begin(id, c.now())
		must(t, h.Flush(t.Context()))
		c.forward(openimds.MetricPeriod)
	}
	check := func(when string, sum float64, partial int) {
		t.Helper()
		points := all(t, h, id, c, openimds.MetricPeriod)[0]
		sums, err := h.Sums(t.Context(), openimds.MetricNoToken, noon, c.now())
		must(t, err)
		if s := sums[id]; len(points) != 2 || points[0].Sum != sum || points[0].Partial != partial || points[1].Partial != 0 || s.Sum != int64(sum) || s.Partial != (partial > 0) || s.Samples.Last.Until-s.Samples.First.From != int64(2-partial) {
			t.Errorf("%s: %+v, of all together %+v", when, points, s)
		}
	}
	check("under way", 0, 1)
	must(t, h.Carry(t.Context(), never(t)))
	check("carried over", 3, 0)
}

// Where the process that counted in the shared store was killed, the samples that it wrote last are not known as a whole.
func TestCarryKilled(t *testing.T) {
	c, shared, own := newClock(), mem.New(), mem.New()
	h := history.New(history.Config{Store: shared, Host: "a", Now: c.now})
	for range 4 {
		h.Begin(id, c.now())
		must(t, h.Flush(t.Context()))
		c.forward(openimds.MetricPeriod)
	} // and killed
	for range 2 {
		h = history.New(history.Config{Store: own, Now: c.now, Earlier: shared, EarlierHost: "a"})
		must(t, h.Carry(t.Context(), never(t)))
	}
	var partial []time.Duration
	for _, p := range all(t, h, id, c, openimds.MetricPeriod)[0] {
		if p.Partial > 0 {
			partial = append(partial, p.Start.Sub(noon))
		}
	}
	if want := []time.Duration{10 * time.Minute, 15 * time.Minute}; !reflect.DeepEqual(partial, want) {
		t.Errorf("not known as a whole: %v, want %v", partial, want)
	}
	page, err := shared.List(t.Context(), store.Range{})
	must(t, err)
	if len(page.Records) > 0 {
		t.Errorf("the shared store still has %v", page.Records)
	}
}

// A record that cannot be read stays where it is, is told of, and does not hinder the others.
func TestCarryUnreadable(t *testing.T) {
	c, shared, own := newClock(), mem.New(), mem.New()
	for host, s := range map[string]store.Store{"a": shared, "": own} {
		h := history.New(history.Config{Store: s, Host: host, Now: c.now})
		for _, id := range []string{id, other} {
			h.Add(id, c.now(), openimds.MetricNoToken, 3)
		}
		must(t, h.Close(t.Context()))
	}
	damaged := history.SamplePrefix + noon.Format(time.DateOnly) + "/" + id + "/a"
	_, err := shared.Commit(t.Context(), store.Change{Verb: store.Put, Key: damaged, Value: []byte("?"), If: store.Whatever})
	must(t, err)
	h := history.New(history.Config{Store: own, Now: c.now, Earlier: shared, EarlierHost: "a"})
	told := 0
	must(t, h.Carry(t.Context(), func(err error) {
		if told++; !strings.Contains(err.Error(), damaged) {
			t.Errorf("it is told of by %v", err)
		}
	}))
	if told != 1 {
		t.Errorf("it was told of %d times", told)
	}
	for id, want := range map[string]float64{id: 3, other: 6} {
		if points := all(t, h, id, c, time.Hour)[0]; len(points) != 1 || points[0].Sum != want {
			t.Errorf("%s has %v, want %v", id, points, want)
		}
	}
	if _, err := shared.Get(t.Context(), damaged); err != nil {
		t.Errorf("the damaged record: %v", err)
	}
}

// Of days of which hours are left, what was counted in the shared store is read there, and dropped in its time.
func TestEarlierHours(t *testing.T) {
	c, shared, own := newClock(), mem.New(), mem.New()
	for _, host := range []string{"a", "b"} { // b never comes back
		h := history.New(history.Config{Store: shared, Host: host, Now: c.now})
		h.Add(id, c.now(), openimds.MetricNoToken, 7)
		must(t, h.Close(t.Context()))
	}
	h := history.New(history.Config{Store: own, Now: c.now, Earlier: shared, EarlierHost: "a"})
	h.Add(id, c.now(), openimds.MetricNoToken, 100)
	must(t, h.Flush(t.Context()))
	for days := range 3 {
		c.forward(time.Duration(min(days+62, 63)) * 24 * time.Hour)
		must(t, h.Carry(t.Context(), never(t)))
		for _, pruned := range []bool{false, true} {
			if pruned {
				must(t, h.Prune(t.Context()))
			}
			want := 107.0 // what other hosts had there while single samples are kept is not read
			if days > 0 {
				want = 114
			}
			if points := all(t, h, id, c, time.Hour)[0]; len(points) != 1 || points[0].Sum != want || points[0].Samples != 1 {
				t.Errorf("turn %d, pruned %t: %v, want %v", days, pruned, points, want)
			}
		}
	}
	c.forward(456 * 24 * time.Hour)
	must(t, h.Prune(t.Context()))
	for name, s := range map[string]store.Store{"shared": shared, "own": own} {
		page, err := s.List(t.Context(), store.Range{Prefix: "usage/3"})
		must(t, err)
		if len(page.Records) > 0 {
			t.Errorf("the %s store still has %v", name, page.Records)
		}
	}
}
