package engine_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/engine/enginetest"
)

// What answers 400 to whatever it is sent is no engine that refuses values for good, but a proxy, or a port of another's:
// nothing is given up, and all is told when it is mended.
func TestAnswersAreRefusals(t *testing.T) {
	var broken atomic.Bool
	said := map[string]bool{}
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "The plain HTTP request was sent to HTTPS port", http.StatusBadRequest)
			return
		}
		for _, v := range decode(t, r) {
			if v.labels["metric"] != "" {
				said[v.at.Truncate(openimds.MetricPeriod).String()] = true
			}
		}
	}))
	defer engine.Close()
	c := newClock(time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour))
	h := newHost(t, mem.New(), "a", engine.URL, engine.URL, c)
	broken.Store(true)
	const samples = 48
	for range samples {
		h.Add("i-1", c.now(), openimds.MetricNoToken, 1)
		flush(t, h)
		c.forward(openimds.MetricPeriod)
		if err := h.writer.Close(t.Context()); err == nil || h.writer.Refused() > 0 {
			t.Fatalf("%v: %d values were given up", err, h.writer.Refused())
		}
	}
	broken.Store(false)
	c.forward(openimds.MetricPeriod)
	h.tell(t)
	if len(said) != samples {
		t.Errorf("of %d samples %d are told afterwards", samples, len(said))
	}
}

// By a request without a value it is found out whether an engine takes any.
func TestNothingIsTaken(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, e *enginetest.Engine) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.Write(), bytes.NewReader(snappy.Encode(nil, nil)))
		must(t, err)
		r.Header = http.Header{"Content-Encoding": {"snappy"}, "Content-Type": {"application/x-protobuf"}, "X-Prometheus-Remote-Write-Version": {"0.1.0"}}
		answer, err := http.DefaultClient.Do(r)
		must(t, err)
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode/100 != 2 {
			t.Errorf("it answers %d", answer.StatusCode)
		}
	})
}

// failing is a store that samples cannot be read from for a time.
type failing struct {
	store.Store
	fails atomic.Bool
}

var errDisk = errors.New("input/output error")

func (f *failing) Get(ctx context.Context, key string) (store.Record, error) {
	if f.fails.Load() && strings.HasPrefix(key, "usage/300/") {
		return store.Record{}, errDisk
	}
	return f.Store.Get(ctx, key)
}

// Samples that cannot be read for a moment are told afterwards; one that is damaged holds up no other.
func TestUnreadSamples(t *testing.T) {
	said := map[string]float64{}
	engine := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, v := range decode(t, r) {
			if v.labels["metric"] != "" {
				said[v.labels["instance_id"]] = v.value
			}
		}
	}))
	defer engine.Close()
	c := newClock(time.Now().UTC().Truncate(time.Hour))
	kept := &failing{Store: mem.New()}
	h := newHost(t, kept, "a", engine.URL, engine.URL, c)
	for _, id := range []string{"i-1", "i-2"} {
		h.Add(id, c.now(), openimds.MetricNoToken, 7)
	}
	at := numberOf(c.now())
	c.forward(2 * openimds.MetricPeriod)
	flush(t, h)
	kept.fails.Store(true)
	if err := h.writer.Close(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("what cannot be read is taken to be told: %v", err)
	}
	kept.fails.Store(false)
	page, err := kept.List(t.Context(), store.Range{Prefix: "usage/300/"})
	must(t, err)
	_, err = kept.Commit(t.Context(), store.Change{Verb: store.Put, Key: page.Records[0].Key, Value: []byte{99}, If: store.Whatever})
	must(t, err)
	must(t, h.writer.Close(t.Context()))
	if len(said) != 1 || said["i-2"] != 7 {
		t.Errorf("it is told %v", said)
	}
	if before := h.writer.Before(); before != at {
		t.Errorf("with what cannot be read all is told before %d, want %d", before, at)
	}
}

// What is not in the store yet is not told, nor taken to be.
func TestUnstored(t *testing.T) {
	var said []float64
	engine := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, v := range decode(t, r) {
			said = append(said, v.value)
		}
	}))
	defer engine.Close()
	c := newClock(time.Now().UTC().Truncate(time.Hour))
	h := newHost(t, mem.New(), "a", engine.URL, engine.URL, c)
	at := numberOf(c.now())
	h.Add("i-1", c.now(), openimds.MetricNoToken, 7)
	flush(t, h)
	h.Add("i-1", c.now(), openimds.MetricNoToken, 1)
	c.forward(openimds.MetricPeriod + time.Minute)
	for range 3 {
		must(t, h.writer.Close(t.Context()))
	}
	if before := h.writer.Before(); before != at || len(said) > 0 {
		t.Errorf("all is told before %d, want %d, and it is told %v", before, at, said)
	}
	flush(t, h)
	must(t, h.writer.Close(t.Context()))
	if before := h.writer.Before(); before != at+1 || !slices.Equal(said, []float64{8, 2}) {
		t.Errorf("afterwards all is told before %d, want %d, and it is told %v", before, at+1, said)
	}
}

func numberOf(at time.Time) int64 { return at.Unix() / int64(openimds.MetricPeriod/time.Second) }

// What a store has at the first start is told day by day: where the engine fails meanwhile, what was told is not told again.
func TestFirstStart(t *testing.T) {
	const days, taken = 30, 10
	begin := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -days)
	var away atomic.Bool
	var first time.Time
	told := map[int]int{}
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := decode(t, r)
		for _, v := range values {
			if away.Load() && v.at.Sub(begin) >= taken*24*time.Hour {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
		for _, v := range values {
			if first.IsZero() || v.at.Before(first) {
				first = v.at
			}
			if v.labels["metric"] != "" {
				told[int(v.at.Sub(begin)/(24*time.Hour))]++
			}
		}
	}))
	defer engine.Close()
	c := newClock(begin)
	kept := mem.New()
	h := newHost(t, kept, "a", engine.URL, engine.URL, c) // nobody has it tell
	for range days {
		for range 24 {
			h.Add("i-1", c.now(), openimds.MetricNoToken, 1)
			flush(t, h)
			c.forward(time.Hour)
		}
	}
	away.Store(true)
	if err := newHost(t, kept, "a", engine.URL, engine.URL, c).writer.Close(t.Context()); err == nil {
		t.Fatal("an engine that is away was told")
	}
	if len(told) != taken || !first.Before(begin.Add(time.Hour)) {
		t.Fatalf("from %v on it was told of %d days, want %d", first, len(told), taken)
	}
	away.Store(false)
	first = time.Time{}
	newHost(t, kept, "a", engine.URL, engine.URL, c).tell(t)
	if again := begin.AddDate(0, 0, taken).Sub(first); again > time.Hour {
		t.Errorf("%v are told again", again)
	}
	for day := range days {
		if told[day] < 24 {
			t.Errorf("of day %d it is told %d samples", day, told[day])
		}
	}
}
