package history_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

// One instance's record that cannot be read makes each flush fail, and those of the others are written. When the process is
// killed, the last samples of these are not known as a whole, and those of the time when the record broke are.
func TestKilledWhileARecordFails(t *testing.T) {
	const samples = 50
	c, kept := newClock(), mem.New()
	_, err := kept.Commit(t.Context(), store.Change{
		Verb: store.Put, Key: history.SamplePrefix + noon.Format(time.DateOnly) + "/" + id + "/local", Value: []byte("?"), If: store.Whatever,
	})
	must(t, err)
	h := history.New(history.Config{Store: kept, Now: c.now})
	must(t, h.Open(t.Context()))
	for range samples {
		h.Begin(id, c.now())
		h.Begin(other, c.now())
		if err := h.Flush(t.Context()); err == nil {
			t.Fatal("a record that cannot be read is no failure")
		}
		c.forward(openimds.MetricPeriod)
	} // and killed
	c.forward(3 * openimds.MetricPeriod)
	h = history.New(history.Config{Store: kept, Now: c.now})
	must(t, h.Open(t.Context()))
	h.Begin(other, c.now())
	var partial []time.Duration
	for _, p := range all(t, h, other, c, openimds.MetricPeriod)[0] {
		if p.Partial > 0 {
			partial = append(partial, p.Start.Sub(noon))
		}
	}
	want := []time.Duration{(samples - 2) * openimds.MetricPeriod, (samples - 1) * openimds.MetricPeriod, (samples + 3) * openimds.MetricPeriod}
	if !reflect.DeepEqual(partial, want) {
		t.Errorf("not known as a whole: %v, want %v", partial, want)
	}
}
