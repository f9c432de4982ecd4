package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/engine"
	"github.com/openimds/openimds/usage/engine/enginetest"
	"github.com/openimds/openimds/usage/history"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock stands still until it is told to go on.
type clock struct{ nanos atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.nanos.Store(at.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) forward(d time.Duration) { c.nanos.Add(int64(d)) }

// host is one that counts, as a server is wired.
type host struct {
	store  store.Store
	writer *engine.Writer
	reader *engine.Reader
	*history.History
}

const installation = "0123456789abcdef"

// newHost makes one of what its store has.
func newHost(t testing.TB, kept store.Store, name, write, from string, c *clock) *host {
	t.Helper()
	w, err := engine.OpenWriter(t.Context(), engine.WriterConfig{URL: write, Store: kept, Installation: installation, Host: name, Now: c.now})
	must(t, err)
	r, err := engine.NewReader(engine.ReaderConfig{URL: from, Installation: installation, Now: c.now})
	must(t, err)
	h := history.New(history.Config{Store: kept, Now: c.now, Others: r, Name: w.Name(), Kept: w.Kept})
	w.From(h)
	return &host{kept, w, r, h}
}

// flush stores what was counted, and then that this was all of the samples that are past, as a server does every few seconds.
func flush(t testing.TB, h interface {
	Flush(ctx context.Context) error
}) {
	t.Helper()
	must(t, h.Flush(t.Context()))
	must(t, h.Flush(t.Context()))
}

// tell flushes what was counted and has the engine told.
func (h *host) tell(t testing.TB) {
	t.Helper()
	flush(t, h)
	must(t, h.writer.Close(t.Context()))
	if n := h.writer.Refused(); n > 0 {
		t.Fatalf("%d values were refused", n)
	}
}

// answers are all that a history is asked for.
func answers(t testing.TB, h *history.History, ids []string, since, now time.Time) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, id := range ids {
		for _, period := range []time.Duration{time.Minute, 5 * time.Minute, 7 * time.Minute, time.Hour, 24 * time.Hour, 30 * 24 * time.Hour} {
			for name, start := range map[string]time.Time{"all": since, "some": now.Add(-26*time.Hour - 7*time.Minute)} {
				points, err := h.Points(t.Context(), id, openimds.Metrics(), start, now.Add(1), period)
				must(t, err)
				all[fmt.Sprintf("points of %s, %s by %s", id, name, period)] = points
			}
		}
	}
	for _, metric := range openimds.Metrics() {
		for _, back := range []time.Duration{time.Hour, 25 * time.Hour, 50 * time.Hour} {
			sums, err := h.Sums(t.Context(), metric, now.Add(-back), now.Add(1))
			must(t, err)
			all[fmt.Sprintf("sums of %s for %s", metric, back)] = sums
			points, err := h.FleetPoints(t.Context(), func(id string) bool { return id != ids[0] }, metric, now.Add(-back), now.Add(1), time.Hour)
			must(t, err)
			all[fmt.Sprintf("points of %s of all for %s", metric, back)] = points
		}
	}
	return all
}

func same(t *testing.T, who string, got, want map[string]any) {
	t.Helper()
	different := 0
	for what, w := range want {
		if !reflect.DeepEqual(got[what], w) {
			if different++; different < 4 {
				t.Errorf("%s: %s\n  %.600v\nwant\n  %.600v", who, what, got[what], w)
			}
		}
	}
	if different > 0 {
		t.Fatalf("%s: %d of %d answers are others", who, different, len(want))
	}
}

// Two hosts and one that counts nothing answer by an engine what histories in one store do, to the last number: instances
// run and stop, move between the hosts within a period, are counted late, and a host is killed and begins anew from what
// its store has.
func TestTheSameNumbers(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, e *enginetest.Engine) {
		random := rand.New(rand.NewPCG(1, 2))
		begin := time.Now().UTC().Truncate(time.Hour).Add(-50 * time.Hour)
		c := newClock(begin)
		shared := mem.New()
		hosts := []*host{newHost(t, mem.New(), "a", e.Write(), e.From(), c), newHost(t, mem.New(), "b", e.Write(), e.From(), c)}
		model := []*history.History{
			history.New(history.Config{Store: shared, Host: "a", Now: c.now}), history.New(history.Config{Store: shared, Host: "b", Now: c.now}),
		}
		ids := []string{"i-00000000000000001", "i-00000000000000002", "i-00000000000000003"}
		at := make([]int, len(ids)) // which host each is at
		running := make([]bool, len(ids))
		for c.now().Before(begin.Add(49 * time.Hour)) {
			for i, id := range ids {
				switch random.IntN(40) {
				case 0:
					running[i] = !running[i]
				case 1:
					at[i] = 1 - at[i]
				}
				if !running[i] {
					continue
				}
				hosts[at[i]].Begin(id, c.now())
				model[at[i]].Begin(id, c.now())
				for range random.IntN(3) {
					metric, n, when := openimds.Metrics()[random.IntN(6)], random.Uint64N(5)+1, c.now()
					if random.IntN(20) == 0 {
						when = when.Add(-openimds.MetricPeriod) // its answer took that long
					}
					hosts[at[i]].Add(id, when, metric, n)
					model[at[i]].Add(id, when, metric, n)
				}
			}
			for i := range hosts {
				flush(t, model[i])
				if random.IntN(3) > 0 {
					hosts[i].tell(t)
				} else {
					flush(t, hosts[i])
				}
				if random.IntN(50) == 0 { // it is killed, and begins anew
					hosts[i] = newHost(t, hosts[i].store, fmt.Sprint("host-", i), e.Write(), e.From(), c)
					model[i] = history.New(history.Config{Store: shared, Host: string(rune('a' + i)), Now: c.now})
				}
			}
			c.forward(time.Duration(random.IntN(4)+1) * time.Minute)
		}
		c.forward(openimds.MetricPeriod) // so that all is closed
		for range 2 {
			for i, h := range hosts {
				flush(t, model[i]) // so that each knows that the other has told all
				h.tell(t)          // once more changes nothing
			}
		}
		e.Settle()
		hosts = append(hosts, newHost(t, mem.New(), "replica", e.Write(), e.From(), c))
		want := answers(t, model[0], ids, begin, c.now())
		for _, h := range hosts {
			same(t, "host", answers(t, h.History, ids, begin, c.now()), want)
		}
		// When single samples are gone from the stores, the engine's are told by the hour.
		c.forward(64 * 24 * time.Hour)
		want = answers(t, model[0], ids, begin, c.now())
		for _, prune := range []bool{false, true} {
			for i, h := range hosts {
				if prune {
					must(t, h.Prune(t.Context()))
				}
				same(t, fmt.Sprintf("host %d, pruned %t", i, prune), answers(t, h.History, ids, begin, c.now()), want)
			}
		}
	})
}

// What was counted while the engine was away is told when it is back, by the same process or the next one; meanwhile what
// others counted is an error, never nothing.
func TestEngineAway(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, e *enginetest.Engine) {
		const id = "i-00000000000000001"
		begin := time.Now().UTC().Truncate(time.Hour).Add(-30 * time.Hour)
		c := newClock(begin)
		a := newHost(t, mem.New(), "a", e.Write(), e.From(), c)
		count := func() {
			a.Add(id, c.now(), openimds.MetricNoToken, 1)
			flush(t, a)
		}
		count()
		a.tell(t)
		e.Stop()
		for range 200 {
			c.forward(openimds.MetricPeriod)
			count()
		}
		if err := a.writer.Close(t.Context()); err == nil {
			t.Error("an engine that is away was told")
		}
		reader := newHost(t, mem.New(), "b", e.Write(), e.From(), c)
		if points, err := reader.Points(t.Context(), id, openimds.Metrics(), begin, c.now(), time.Hour); err == nil {
			t.Errorf("an engine that is away says %v", points)
		}
		if sums, err := reader.Sums(t.Context(), openimds.MetricNoToken, begin, c.now()); err == nil {
			t.Errorf("an engine that is away says %v", sums)
		}
		a = newHost(t, a.store, "a", e.Write(), e.From(), c) // killed, and begun anew
		e.Again()
		a.tell(t)
		e.Settle()
		points, err := reader.Points(t.Context(), id, openimds.Metrics(), begin, c.now().Add(1), 48*time.Hour)
		must(t, err)
		if len(points[0]) != 1 || points[0][0].Sum != 201 || points[0][0].Samples != 201 {
			t.Errorf("afterwards it says %v", points[0])
		}
	})
}

// What is told twice is read once, and what was never told is not there: an engine that keeps each value that it is sent
// may have as many of some samples too many as it lacks of others.
func TestToldTwice(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, e *enginetest.Engine) {
		const id, samples, again = "i-00000000000000001", 24, 12
		begin := time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour)
		c := newClock(begin)
		h := newHost(t, mem.New(), "a", e.Write(), e.From(), c)
		for range samples {
			h.Begin(id, c.now())
			h.tell(t)
			c.forward(openimds.MetricPeriod)
		}
		c.forward(openimds.MetricPeriod) // so that the last one is closed
		h.tell(t)
		must(t, h.History.Close(t.Context()))
		h = newHost(t, h.store, "a", e.Write(), e.From(), c)
		h.tell(t)
		e.Settle()
		first := begin.Unix() / int64(openimds.MetricPeriod/time.Second)
		for missing := range int64(samples + again) {
			var got []int64
			must(t, h.reader.Runs(t.Context(), "", first-missing, first+samples, func(_, _ string, first, end int64, c history.Counts) {
				if c != (history.Counts{}) {
					t.Errorf("with %d missing, of %d to %d it says %v", missing, first, end, c)
				}
				got = append(got, first, end)
			}))
			if !slices.Equal(got, []int64{first, first + samples}) {
				t.Errorf("with %d missing there are samples %v, want %d to %d", missing, got, first, first+samples)
			}
		}
	})
}

// Of a sample that a host began to tell of, and no more came, nobody is told that this was all: it may have gone on counting.
// Until a while after its end it is taken as what it came to so far, as one under way is, and when the host tells the rest,
// it is known.
func TestToldInPart(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, e *enginetest.Engine) {
		const id = "i-00000000000000001"
		begin := time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour)
		c := newClock(begin.Add(5 * time.Second))
		b, a := newHost(t, mem.New(), "b", e.Write(), e.From(), c), newHost(t, mem.New(), "a", e.Write(), e.From(), c)
		b.Begin(id, c.now())
		b.tell(t)
		e.Settle()
		known := func(what string, sum float64, partial bool) {
			t.Helper()
			points, err := a.Points(t.Context(), id, []string{openimds.MetricNoToken}, begin, c.now(), openimds.MetricPeriod)
			must(t, err)
			if len(points[0]) != 1 || points[0][0].Sum != sum || (points[0][0].Partial > 0) != partial {
				t.Errorf("%s: %+v, want %v, partial: %t", what, points[0], sum, partial)
			}
			sums, err := a.Sums(t.Context(), openimds.MetricNoToken, begin, c.now())
			must(t, err)
			if s := sums[id]; float64(s.Sum) != sum || s.Partial != partial {
				t.Errorf("%s, of all: %+v, want %v, partial: %t", what, s, sum, partial)
			}
		}
		known("under way", 0, false)
		c.forward(5*time.Minute + 5*time.Second)
		known("just past", 0, false)
		c.forward(30 * time.Second)
		known("not told since", 0, true)
		b.Add(id, begin.Add(time.Minute), openimds.MetricNoToken, 200)
		b.tell(t)
		e.Settle()
		c.forward(20 * time.Second) // of another's answers the last ones are believed for a while
		known("told", 200, false)
	})
}

// A sample that is under way is told every 15 seconds at most, the one before it, which late counts are still of, too.
func TestToldSeldom(t *testing.T) {
	said := map[int64]int{}
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, v := range decode(t, r) {
			if v.labels["metric"] != "" {
				said[v.at.Unix()/int64(openimds.MetricPeriod/time.Second)]++
			}
		}
	}))
	defer engine.Close()
	begin := time.Now().UTC().Truncate(time.Hour)
	c := newClock(begin)
	h := newHost(t, mem.New(), "a", engine.URL, engine.URL, c)
	run := func() {
		flush(t, h)
		ctx, done := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); h.writer.Run(ctx) }()
		for !h.writer.Through().Equal(c.now()) {
			time.Sleep(time.Millisecond)
		}
		done()
		<-ended
	}
	for range 9 { // from the beginning of a period on, each second
		h.Add("i-1", c.now(), openimds.MetricNoToken, 1)
		h.Add("i-1", c.now().Add(-openimds.MetricPeriod), openimds.MetricNoToken, 1)
		run()
		c.forward(time.Second)
	}
	first := begin.Unix() / int64(openimds.MetricPeriod/time.Second)
	if want := map[int64]int{first: 1, first - 1: 1}; !maps.Equal(said, want) {
		t.Errorf("counts were told %v times, want %v", said, want)
	}
	c.forward(10 * time.Second)
	run()
	if want := map[int64]int{first: 2, first - 1: 2}; !maps.Equal(said, want) {
		t.Errorf("afterwards, counts were told %v times, want %v", said, want)
	}
}

// value is one that an engine is told.
type value struct {
	labels map[string]string
	at     time.Time
	value  float64
}

// decode reads a request of remote write 1.0.
func decode(t *testing.T, r *http.Request) (values []value) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		body, err = snappy.Decode(nil, body)
	}
	if err != nil {
		t.Errorf("a request cannot be read: %v", err)
		return nil
	}
	for _, series := range fields(body)[1] {
		labels := map[string]string{}
		for _, label := range fields(series)[1] {
			f := fields(label)
			labels[string(f[1][0])] = string(f[2][0])
		}
		for _, sample := range fields(series)[2] {
			f := fields(sample)
			bits, _ := protowire.ConsumeFixed64(f[1][0])
			at, _ := protowire.ConsumeVarint(f[2][0])
			values = append(values, value{labels, time.UnixMilli(int64(at)), math.Float64frombits(bits)})
		}
	}
	return values
}

// fields are the values of a message's fields, by their numbers.
func fields(b []byte) map[protowire.Number][][]byte {
	all := map[protowire.Number][][]byte{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		b = b[n:]
		n = protowire.ConsumeFieldValue(number, kind, b)
		one := b[:n]
		if kind == protowire.BytesType {
			one, _ = protowire.ConsumeBytes(one)
		}
		all[number] = append(all[number], one)
		b = b[n:]
	}
	return all
}

// An engine that has something wrong, or only a part, makes an error, as one does that says nonsense.
func TestWrongAnswers(t *testing.T) {
	const right = `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"instance_id":"i-1","metric":"MetadataNoToken","writer":"w"},"values":[[300,"7"]]},{"metric":{"instance_id":"i-1","writer":"w"},"values":[[300,"2"]]}]}}`
	for body, good := range map[string]bool{
		right:                             true,
		`{"status":"error","error":"no"}`: false,
		`{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}`:                                false,
		`{"status":"success","warnings":["a store is away"],"data":{"resultType":"matrix","result":[]}}`:                  false,
		`{"status":"success","data":{"resultType":"vector","result":[]}}`:                                                 false,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"writer":"w"},"values":[[300,"NaN"]]}]}}`: false,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"writer":"w"},"values":[[300,"1.5"]]}]}}`: false,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"writer":"w"},"values":[[300,"-1"]]}]}}`:  false,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"writer":"w"},"values":[[301,"1"]]}]}}`:   false,
		`<html>`: false, ``: false, `{}`: false,
	} {
		engineOf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(body)) }))
		r, err := engine.NewReader(engine.ReaderConfig{URL: engineOf.URL, Installation: installation})
		must(t, err)
		n := 0
		err = r.Samples(context.Background(), "i-1", 0, 1, func(writer string, number int64, c history.Counts) {
			if writer != "w" || number != 0 || c != (history.Counts{7}) {
				t.Errorf("%s: %s %d %v", body, writer, number, c)
			}
			n++
		})
		if (err == nil) != good || good != (n == 1) {
			t.Errorf("%s: %v, and %d samples", body, err, n)
		}
		engineOf.Close()
	}
}

// The recording rules say on each engine what was counted, of each period when it is over.
func TestRecordingRules(t *testing.T) {
	text, err := os.ReadFile("../../packaging/prometheus/openimds-usage.rules.yml")
	must(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct{ Record, Expr string }
		}
	}
	must(t, yaml.Unmarshal(text, &rules))
	exprs := map[string]string{}
	for _, r := range rules.Groups[0].Rules {
		exprs[r.Record] = r.Expr
	}
	enginetest.Each(t, func(t *testing.T, e *enginetest.Engine) {
		begin := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
		c := newClock(begin.Add(time.Minute))
		a, b := newHost(t, mem.New(), "a", e.Write(), e.From(), c), newHost(t, mem.New(), "b", e.Write(), e.From(), c)
		counts := []uint64{3, 0, 7, 1}
		for _, n := range counts {
			for range 3 { // while it is under way, too
				a.Add("i-00000000000000001", c.now(), openimds.MetricNoToken, n)
				b.Add("i-00000000000000002", c.now(), openimds.MetricNoToken, 1)
				a.tell(t)
				b.tell(t)
				c.forward(openimds.MetricPeriod / 3)
			}
		}
		c.forward(openimds.MetricPeriod)
		a.tell(t)
		b.tell(t)
		e.Settle()
		for i, n := range counts {
			end := begin.Add(time.Duration(i+1) * openimds.MetricPeriod)
			instances, byHost := 1.0, []float64{3}
			if n > 0 { // else it has no series of calls
				instances, byHost = 2, append(byHost, float64(3*n))
			}
			for _, late := range []time.Duration{time.Minute + time.Second, 3 * time.Minute, 5*time.Minute + 59*time.Second} {
				for record, want := range map[string][]float64{
					"openimds:period_calls:sum": {float64(3*n + 3)}, "openimds:period_calls:sum_by_host": byHost, "openimds:period_v1_instances:count": {instances},
				} {
					got := instant(t, e, exprs[record], end.Add(late))
					slices.Sort(want)
					if !slices.Equal(got, want) {
						t.Errorf("%s after period %d: %s is %v, want %v", late, i, record, got, want)
					}
				}
			}
		}
	})
}

// instant are the values of a query at a time, in order.
func instant(t *testing.T, e *enginetest.Engine, query string, at time.Time) (values []float64) {
	t.Helper()
	resp, err := http.PostForm(e.From()+"/api/v1/query", url.Values{"query": {query}, "time": {fmt.Sprint(at.Unix())}, "nocache": {"1"}})
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]json.Number }
		}
	}
	must(t, json.NewDecoder(resp.Body).Decode(&answer))
	if answer.Error != "" {
		t.Fatal(answer.Error)
	}
	for _, r := range answer.Data.Result {
		n, err := r.Value[1].Float64()
		must(t, err)
		values = append(values, n)
	}
	slices.Sort(values)
	return values
}
