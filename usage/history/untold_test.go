package history_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

// Of what a host counts others take no sample for known as a whole of which it may not have told all: the one in which it
// was cut off or killed, from a while after its end on. What it tells afterwards is known, and so is all of one that has
// ended well. Points and sums say the same, and so do the hours when single samples are gone.
func TestCutOff(t *testing.T) {
	const minute = time.Minute
	for name, then := range map[string]struct {
		what    func(t *testing.T, h *history.History, c *clock)
		partial int // of the two samples that the host has counted in
	}{
		"it goes on": {func(t *testing.T, h *history.History, c *clock) {
			flushTwice(t, h)
			c.forward(minute)
			flushTwice(t, h)
		}, 0},
		"it is cut off":   {func(*testing.T, *history.History, *clock) {}, 1},
		"it ends well":    {func(t *testing.T, h *history.History, _ *clock) { must(t, h.Close(t.Context())) }, 0},
		"it tells of all": {func(t *testing.T, h *history.History, c *clock) { c.forward(time.Hour); flushTwice(t, h) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, kept := newClock(), mem.New()
			h := history.New(history.Config{Store: kept, Host: "a", Now: c.now})
			must(t, h.Open(t.Context()))
			h.Add(id, c.now(), openimds.MetricNoToken, 2)
			flushTwice(t, h)
			c.forward(openimds.MetricPeriod)
			h.Add(id, c.now(), openimds.MetricNoToken, 3)
			flushTwice(t, h)
			b := history.New(history.Config{Store: kept, Host: "b", Now: c.now})
			check := func(when string, want int) {
				t.Helper()
				sum, partial := 0.0, 0
				for _, p := range all(t, b, id, c, openimds.MetricPeriod)[0] {
					sum, partial = sum+p.Sum, partial+p.Partial
				}
				sums, err := b.Sums(t.Context(), openimds.MetricNoToken, noon.Add(-time.Hour), c.now().Add(1))
				must(t, err)
				if s := sums[id]; sum != 5 || partial != want || s.Sum != 5 || s.Partial != (want > 0) || s.Samples.First.Until-s.Samples.First.From != int64(2-want) {
					t.Errorf("%s: %v calls, %d samples are not known as a whole, of all together %+v; want 5 and %d", when, sum, partial, s, want)
				}
			}
			check("under way", 0)
			c.forward(openimds.MetricPeriod + 20*time.Second)
			check("just past", 0)
			c.forward(10 * time.Second)
			then.what(t, h, c)
			check("afterwards", then.partial)
			c.forward(70 * 24 * time.Hour)
			must(t, b.Prune(t.Context()))
			partial := 0
			points, err := b.Points(t.Context(), id, []string{openimds.MetricNoToken}, noon, noon.Add(time.Hour), time.Hour)
			must(t, err)
			for _, p := range points[0] {
				partial += p.Partial
			}
			marks, err := kept.List(t.Context(), store.Range{Prefix: "usage/open/a"})
			must(t, err)
			if partial != then.partial || len(marks.Records) != 0 {
				t.Errorf("by the hour %d samples are not known as a whole, want %d; the marks are %v", partial, then.partial, marks.Records)
			}
		})
	}
}

// What a host may have counted of an instance that it has no more, and has not told, is not known, whatever the next host
// has of the same time: from its mark on, and as long as it had the instance or may answer for it.
func TestFormerHost(t *testing.T) {
	const sample = openimds.MetricPeriod
	for name, then := range map[string]struct {
		what           func(t *testing.T, a *history.History, c *clock)
		since, until   time.Duration // after noon, when the former host had it
		open, elsewise bool          // it may have it still; it had another instance
		goesOn         bool          // it is there, and flushes what there is
		partial        string        // which of the next host's samples, from the second on
	}{
		"cut off":               {open: true, partial: "234"},
		"let go of in a sample": {until: 3 * sample, partial: "23"},
		"let go of before":      {until: time.Second, partial: ""},
		"had it later":          {since: 3*sample + time.Minute, open: true, partial: "34"},
		"another instance":      {open: true, elsewise: true, partial: ""},
		"it has told of all": {what: func(t *testing.T, a *history.History, c *clock) {
			a.Add(id, noon.Add(2*sample), openimds.MetricNoToken, 10)
			flushTwice(t, a)
			flushTwice(t, a)
		}, open: true, partial: ""},
		"it counts nothing more": {what: func(t *testing.T, a *history.History, _ *clock) { flushTwice(t, a) }, goesOn: true, open: true, partial: ""},
		"it has ended well":      {what: func(t *testing.T, a *history.History, _ *clock) { must(t, a.Close(t.Context())) }, open: true, partial: ""},
	} {
		for _, host := range []string{"a", "a~00ff"} {
			t.Run(name+" "+host, func(t *testing.T) {
				c, kept := newClock(), mem.New()
				a := history.New(history.Config{Store: kept, Host: host, Now: c.now})
				must(t, a.Open(t.Context()))
				a.Add(id, c.now(), openimds.MetricNoToken, 1)
				flushTwice(t, a)
				b := history.New(history.Config{Store: kept, Host: "b", Now: c.now})
				must(t, b.Open(t.Context()))
				for n := 2; n <= 4; n++ {
					c.forward(noon.Add(time.Duration(n) * sample).Sub(c.now()))
					b.Begin(id, c.now())
					b.Begin("i-other", c.now())
					flushTwice(t, b)
					if then.goesOn {
						flushTwice(t, a)
					}
				}
				c.forward(2 * sample)
				flushTwice(t, b)
				flushTwice(t, b)
				if then.what != nil {
					then.what(t, a, c)
				}
				reader := history.New(history.Config{Store: kept, Host: "c", Now: c.now, Former: func(_ context.Context, asked string) ([]openimds.FormerHost, error) {
					f := openimds.FormerHost{InstanceID: id, Host: "a", Since: noon.Add(then.since), Until: noon.Add(then.until)}
					if then.open {
						f.Until = time.Time{}
					}
					if then.elsewise {
						f.InstanceID = "i-third"
					}
					if asked != "" && asked != f.InstanceID {
						return nil, nil
					}
					return []openimds.FormerHost{f}, nil
				}})
				partial := ""
				for _, p := range all(t, reader, id, c, sample)[0] {
					if n := int(p.Start.Sub(noon) / sample); p.Partial > 0 && n > 0 {
						partial += strconv.Itoa(n)
					}
				}
				sums, err := reader.Sums(t.Context(), openimds.MetricNoToken, noon.Add(2*sample), c.now().Add(1))
				must(t, err)
				known := 0
				for n := int64(2); n <= 4; n++ {
					at := noon.Unix()/int64(sample/time.Second) + n
					if r := sums[id].Samples; at >= r.First.From && at < r.First.Until || at >= r.Last.From && at < r.Last.Until {
						known++
					}
				}
				fleet, err := reader.FleetPoints(t.Context(), func(instance string) bool { return instance == id }, openimds.MetricNoToken, noon.Add(2*sample), c.now().Add(1), sample)
				must(t, err)
				if partial != then.partial || sums[id].Partial != (then.partial != "") || known != 3-len(then.partial) || sums["i-other"].Partial || len(fleet) != known {
					t.Errorf("not known are %q, want %q; of all together %+v, of the other %+v, of the fleet %+v", partial, then.partial, sums[id], sums["i-other"], fleet)
				}
			})
		}
	}
}

// The same where single samples are in an engine of metrics: there hosts have their marks in the store that they share.
func TestFormerHostBesideEngine(t *testing.T) {
	const sample = openimds.MetricPeriod
	number := func(at time.Time) int64 { return at.Unix() / int64(sample/time.Second) }
	began := number(noon)
	for name, then := range map[string]struct {
		marks   map[string]int64 // by name: so many samples after noon
		partial string           // of four samples
	}{
		"nobody is late":            {nil, ""},
		"cut off":                   {map[string]int64{"a~00ff~engine": 1}, "123"},
		"a server is cut off":       {map[string]int64{"a~engine": 2}, "23"},
		"it has told all but":       {map[string]int64{"a~00ff~engine": 3}, "3"},
		"it has told all":           {map[string]int64{"a~00ff~engine": 4}, ""},
		"it never told any":         {map[string]int64{"a~00ff~engine": -1 << 40}, "0123"},
		"it told a store before":    {map[string]int64{"a": 3, "a~engine": 1}, "123"},
		"it tells a store":          {map[string]int64{"a": 2}, "23"},
		"it has another file":       {map[string]int64{"a~00ff~engine": 1, "a~00fe~engine": 3}, "3"},
		"who reads has not told":    {map[string]int64{"reader~engine": 0}, ""},
		"another is late":           {map[string]int64{"b~engine": 0}, ""},
		"one of the reader's store": {map[string]int64{"local": 0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, shared := newClock(), mem.New()
			reader := history.New(history.Config{
				Store: mem.New(), Host: "local", Now: c.now, Marks: shared, MarkedAs: "reader", Others: silentOthers{}, Name: "mine",
				Former: func(context.Context, string) ([]openimds.FormerHost, error) {
					return []openimds.FormerHost{{InstanceID: id, Host: "a", Since: noon}}, nil
				},
			})
			must(t, reader.Open(t.Context()))
			for host, after := range then.marks {
				_, err := shared.Commit(t.Context(), store.Change{Key: history.MarkKey(host), Value: history.Mark(began+after, c.now()), If: store.IfAbsent})
				must(t, err)
			}
			for n := range 4 {
				c.forward(noon.Add(time.Duration(n) * sample).Sub(c.now()))
				reader.Begin(id, c.now())
				flushTwice(t, reader)
			}
			c.forward(sample + sample/2)
			flushTwice(t, reader)
			flushTwice(t, reader)
			partial := ""
			for _, p := range all(t, reader, id, c, sample)[0] {
				if n := number(p.Start) - began; p.Partial > 0 {
					partial += strconv.FormatInt(n, 10)
				}
			}
			sums, err := reader.Sums(t.Context(), openimds.MetricNoToken, noon, noon.Add(4*sample))
			must(t, err)
			fleet, err := reader.FleetPoints(t.Context(), func(string) bool { return true }, openimds.MetricNoToken, noon, noon.Add(4*sample), sample)
			must(t, err)
			if partial != then.partial || sums[id].Partial != (then.partial != "") || len(fleet) != 4-len(then.partial) {
				t.Errorf("not known are %q, want %q; of all together %+v, of the fleet %+v", partial, then.partial, sums[id], fleet)
			}
			c.forward(70 * 24 * time.Hour)
			must(t, reader.Prune(t.Context()))
			left, err := shared.List(t.Context(), store.Range{Prefix: history.MarkPrefix})
			must(t, err)
			if len(left.Records) > 0 && left.Records[0].Key != history.MarkKey("reader~engine") {
				t.Errorf("when single samples are gone the mark %s is there", left.Records[0].Key)
			}
		})
	}
}

// silentOthers have nothing.
type silentOthers struct{}

func (silentOthers) Samples(context.Context, string, int64, int64, func(string, int64, history.Counts)) error {
	return nil
}

func (silentOthers) Runs(context.Context, string, int64, int64, func(string, string, int64, int64, history.Counts)) error {
	return nil
}

// flushTwice stores what was counted, and then that this was all of the samples that are past.
func flushTwice(t *testing.T, h *history.History) {
	t.Helper()
	must(t, h.Flush(t.Context()))
	must(t, h.Flush(t.Context()))
}
