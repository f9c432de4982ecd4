package usage_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/prom"
)

// A request that would be refused is one more count of its caller and its instance, in all that is told of
// them, also by the next process; the windows of callers have it too.
func TestWouldBeRefused(t *testing.T) {
	c := newClock()
	kept := mem.New()
	first := newRecorder(kept, c)
	r, g := first, first.Guest(id, "web-1")
	g.Running(true)
	g.Rehearsing(&openimds.Rehearsal{Mode: openimds.RehearseShadow, Since: noon, Until: noon.Add(time.Hour)})
	shadowed := func(n int) {
		for range n {
			g.Count(usage.NoTokenMissed, source, path, agent, c.now())
			g.WouldBeRefused(source, path, agent, c.now())
		}
	}
	shadowed(3)
	c.forward(30 * time.Minute)
	shadowed(2)
	g.Undelivered(source, agent, 1, 2, c.now()) // beside it in a record
	check := func(r *usage.Meter, since time.Time, want int64) {
		t.Helper()
		n := int64(0)
		for _, caller := range callersOf(t, r, since) {
			n += caller.Counts[openimds.MetricWouldBeRefused]
			if caller.PathGroup != "api/token" && caller.Counts[openimds.CountNoTokenFailed] != want {
				t.Errorf("the caller is %+v", caller)
			}
		}
		if n != want {
			t.Errorf("since %s the callers have %d, want %d", since, n, want)
		}
		wantSamples(t, r, openimds.MetricWouldBeRefused, map[time.Duration]float64{0: 3, 30 * time.Minute: 2})
	}
	for range 2 {
		check(r, time.Time{}, 5)
		check(r, noon.Add(20*time.Minute), 2)
		flush(t, r)
		r = newRecorder(kept, c)
	}
	exported := func() string {
		answer := httptest.NewRecorder()
		prom.Handler(first, prom.Gauges{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		return answer.Body.String()
	}
	const labels = `{instance="web-1",instance_id="` + id + `"`
	if got := exported(); !strings.Contains(got, "openimds_metadata_would_be_refused_total"+labels+"} 5") || !strings.Contains(got, "openimds_imds_rehearsals"+labels+`,mode="shadow"} 1`) {
		t.Errorf("exported:\n%s", got)
	}
	c.forward(time.Hour)
	if got := exported(); strings.Contains(got, "openimds_imds_rehearsals{") {
		t.Error("a rehearsal that is over is exported")
	}
}

// Records of callers of the format before, with a lost token, are read as they were.
func TestCallersOfTheFourthFormat(t *testing.T) {
	c := newClock()
	value := []byte("\x04\x80\x94\x94\xca\xca3\x01\x04\n\x00\x00\a\x01\ncurl/8.5.0\x01\x0dmeta-data/iam\x01\x00\x00")
	value = append(value, 1<<0|1<<5|1<<7, 5, 2) // five calls without a token, two that failed, a lost token
	value = append(value, 0, 0)                 // last seen at the latest time, which was the first
	value = append(value, 0, 1, 2)              // the lost token
	value = append(value, 1, 0, 0)              // the last call without a token; first of the windows
	value = append(value, 0)
	kept := mem.New()
	if _, err := kept.Commit(t.Context(), store.Change{Key: storedCallers, Value: value, If: store.IfAbsent}); err != nil {
		t.Fatal(err)
	}
	one := callersOf(t, newRecorder(kept, c), time.Time{})[0]
	if one.Counts[openimds.MetricNoToken] != 5 || one.Counts[openimds.CountNoTokenFailed] != 2 || len(one.Counts) != 2 || one.Undelivered == nil || one.Undelivered.NeededHopLimit != 2 {
		t.Errorf("the caller is %+v", one)
	}
}
