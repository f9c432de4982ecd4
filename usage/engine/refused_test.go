package engine_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/engine"
)

// Values that the engine refuses for good do not hold up the others, are counted, and are not sent for ever.
func TestRefused(t *testing.T) {
	begin := time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour)
	c := newClock(begin)
	var requests atomic.Int64
	var refuses atomic.Bool
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if refuses.Load() && len(decode(t, r)) > 0 {
			http.Error(w, "out of order", http.StatusBadRequest)
		}
	}))
	defer engine.Close()
	h := newHost(t, mem.New(), "a", engine.URL, engine.URL, c)
	refuses.Store(true)
	for i := range 50 {
		h.Add(fmt.Sprintf("i-%017d", i), c.now(), openimds.MetricNoToken, 1)
	}
	c.forward(4 * time.Hour)
	flush(t, h)
	must(t, h.writer.Close(t.Context()))
	if n := h.writer.Refused(); n != 100 { // the count of each, and that it is all
		t.Errorf("%d of 100 were refused", n)
	}
	if n := requests.Load(); n > 10 {
		t.Errorf("it took %d requests to find out that all are too old", n)
	}
	before := requests.Load()
	must(t, h.writer.Close(t.Context()))
	if requests.Load() != before {
		t.Error("what was refused for good is sent again")
	}
}

// Where a count was refused for good nobody is told that there were no calls.
func TestCountRefused(t *testing.T) {
	var taken []value
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := decode(t, r)
		if slices.ContainsFunc(values, func(v value) bool { return v.labels["metric"] != "" && v.labels["instance_id"] == "i-2" }) {
			http.Error(w, "too many series", http.StatusBadRequest)
			return
		}
		taken = append(taken, values...)
	}))
	defer remote.Close()
	c := newClock(time.Now().UTC().Truncate(time.Hour))
	h := newHost(t, mem.New(), "a", remote.URL, remote.URL, c)
	at := numberOf(c.now())
	for _, id := range []string{"i-1", "i-2", "i-3"} {
		h.Add(id, c.now(), openimds.MetricNoToken, 3)
	}
	c.forward(2 * openimds.MetricPeriod)
	flush(t, h)
	must(t, h.writer.Close(t.Context()))
	said := map[string][]float64{}
	for _, v := range taken {
		said[v.labels["instance_id"]] = append(said[v.labels["instance_id"]], v.value)
	}
	if want := (map[string][]float64{"i-1": {3, 2}, "i-3": {3, 2}}); !reflect.DeepEqual(said, want) {
		t.Errorf("it is told %v, want %v", said, want)
	}
	// The engine does not have all from then on, also after a start, for as long as single samples are kept.
	for when, want := range []int64{at, at, at, 0} {
		switch when {
		case 1:
			h = newHost(t, h.store, "a", remote.URL, remote.URL, c)
		case 2:
			c.forward(24 * time.Hour)
		case 3:
			c.forward(62*24*time.Hour + time.Minute)
		}
		flush(t, h)
		must(t, h.writer.Close(t.Context()))
		if want == 0 {
			want = numberOf(c.now())
		}
		if before := h.writer.Before(); before != want {
			t.Errorf("%d: it has all before %d, want %d", when, before, want)
		}
		if before, _, err := engine.Told(t.Context(), h.store); err != nil || before != want {
			t.Errorf("%d: the store says before %d, %v, want %d", when, before, err, want)
		}
	}
	if n := h.writer.Refused(); n != 1 {
		t.Errorf("%d were refused, want 1", n)
	}
}
