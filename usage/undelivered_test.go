package usage_test

import (
	"context"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/prom"
)

// A token that did not arrive is one more count of whoever asked for it, in all that is told of them,
// also by the next process and together with what another host saw.
func TestUndelivered(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	g.Count(usage.TokenIssued, source, nil, agent, c.now())
	c.forward(2 * time.Second)
	g.Undelivered(source, agent, 1, 2, c.now())
	flush(t, r)
	g.Undelivered(source, agent, 1, 3, c.now().Add(time.Second)) // after the caller was stored
	want := openimds.Caller{
		Source: source.String(), UserAgent: string(agent), PathGroup: "api/token", CountedSince: noon, FirstSeen: noon, LastSeen: noon,
		Counts:      map[string]int64{openimds.MetricTokenRequests: 1, openimds.MetricTokenUndelivered: 2},
		Undelivered: &openimds.UndeliveredToken{Time: noon.Add(3 * time.Second), HopLimit: 1, NeededHopLimit: 3},
	}
	check := func(r *usage.Meter) {
		t.Helper()
		if got := withoutTimes(callersOf(t, r, time.Time{})); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("callers %+v, want %+v", got, want)
		}
		n := float64(want.Counts[openimds.MetricTokenUndelivered])
		wantSamples(t, r, openimds.MetricTokenUndelivered, map[time.Duration]float64{0: n})
	}
	check(r)
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	prom.Handler(r, prom.Gauges{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	exported := answer.Body.String()
	if !strings.Contains(exported, `openimds_metadata_token_undelivered_total{instance="web-1",instance_id="`+id+`"} 2`) ||
		strings.Contains(exported, "openimds_metadata_no_token_total{") {
		t.Errorf("exported:\n%s", exported)
	}
	check(newRecorder(store, c))

	other := newHostRecorder(store, "other", c)
	other.Guest(id, "web-1").Undelivered(source, agent, 2, 0, noon.Add(2*time.Second))
	flush(t, other)
	want.Counts[openimds.MetricTokenUndelivered]++
	want.LastSeen = noon.Add(2 * time.Second) // it had not seen the request
	check(newRecorder(store, c))

	r = newRecorder(store, c) // the next process of the first host
	r.Guest(id, "web-1").Undelivered(source, agent, 1, 2, noon.Add(4*time.Second))
	want.Counts[openimds.MetricTokenUndelivered]++
	want.LastSeen = noon.Add(4 * time.Second)
	want.Undelivered = &openimds.UndeliveredToken{Time: noon.Add(4 * time.Second), HopLimit: 1, NeededHopLimit: 2}
	check(r)
	flush(t, r)
	check(newRecorder(store, c))

	var nobody *usage.Tally
	nobody.Undelivered(source, agent, 1, 2, noon)
}

// TestFirstFormat reads, and goes on with, records of the time before undelivered tokens were counted,
// as that program wrote them.
func TestFirstFormat(t *testing.T) {
	const (
		samplesKey, hoursKey = "usage/300/2026-03-01/" + id + "/local", "usage/3600/2025-03-01/" + id
		callersKey           = "usage/callers/" + id + "/local"
	)
	c := newClock()
	kept := mem.New()
	for key, value := range map[string]string{
		samplesKey: "\x01\x90\x01\x01\x01\x01\x02\x03\xac\x02",
		hoursKey:   "\x01\x0c\x01\x02\x06\x01\x02\x03\x01\x00\x01\x01\x05\x01\x01\x02",
		callersKey: `{"schema":1,"callers":[{"source":"10.0.0.7","agent":"\"curl/8.5.0\"","group":"api/token","counts":{"MetadataTokenRequests":3},"first":1772366400000000000,"last":1772366400000000000}]}`,
	} {
		if _, err := kept.Commit(context.Background(), store.Change{Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	sums := func(r *usage.Meter, start time.Time) (sums []float64) {
		for _, metric := range openimds.Metrics() {
			p := points(t, r, metric, start, start.Add(time.Hour), time.Hour)
			if len(p) != 1 {
				t.Fatalf("%s at %s: %+v", metric, start, p)
			}
			sums = append(sums, p[0].Sum, p[0].Min, p[0].Max)
		}
		return sums
	}
	lastYear := noon.AddDate(-1, 0, 0)
	r := newRecorder(kept, c)
	if got, want := sums(r, lastYear), []float64{6, 1, 5, 1, 0, 1, 2, 1, 1, 3, 1, 2, 0, 0, 0, 0, 0, 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("an hour of the last year: %v, want %v", got, want)
	}
	if got, want := sums(r, noon), []float64{1, 1, 1, 2, 2, 2, 3, 3, 3, 300, 300, 300, 0, 0, 0, 0, 0, 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("a sample of today: %v, want %v", got, want)
	}
	g := r.Guest(id, "web-1")
	g.Undelivered(source, agent, 1, 2, noon)
	g.Count(usage.TokenIssued, source, nil, agent, noon)
	flush(t, r)
	r = newRecorder(kept, c)
	if got, want := sums(r, noon), []float64{1, 1, 1, 2, 2, 2, 4, 4, 4, 300, 300, 300, 1, 1, 1, 0, 0, 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("a sample that was gone on with: %v, want %v", got, want)
	}
	callers := callersOf(t, r, time.Time{})
	if len(callers) != 1 || callers[0].Counts[openimds.MetricTokenRequests] != 4 || callers[0].Undelivered == nil {
		t.Errorf("callers: %+v", callers)
	}
	for key, first := range map[string]string{samplesKey: "\x03", callersKey: "\x06"} {
		if record, err := kept.Get(context.Background(), key); err != nil || !strings.HasPrefix(string(record.Value), first) {
			t.Errorf("%s is %q, %v", key, record.Value, err)
		}
	}
}

// Whoever reads while tokens are lost sees a count together with what it is of, or neither.
func TestUndeliveredWhileRead(t *testing.T) {
	c := newClock()
	for range 300 {
		r := newRecorder(mem.New(), c)
		g := r.Guest(id, "web-1")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for n := range 20 {
				g.Undelivered(source, []byte{'a' + byte(n)}, 1, 2, c.now())
			}
		}()
		for reading := true; reading; {
			select {
			case <-done:
				reading = false
			default:
			}
			for _, caller := range callersOf(t, r, time.Time{}) {
				if n := caller.Counts[openimds.MetricTokenUndelivered]; (n > 0) != (caller.Undelivered != nil) {
					t.Fatalf("a caller with %d lost tokens has %+v", n, caller.Undelivered)
				}
			}
		}
	}
}
