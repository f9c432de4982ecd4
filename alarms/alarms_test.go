package alarms

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; nothing is measured against it.
const patience = 3 * time.Minute

// history has as many calls in each sample as it is told.
type history struct {
	mu    sync.Mutex
	calls float64
}

func (h *history) Points(_ context.Context, _ string, _ []string, start, end time.Time, period time.Duration) ([][]openimds.MetricPoint, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var points []openimds.MetricPoint
	for at := start; at.Before(end); at = at.Add(period) {
		points = append(points, openimds.MetricPoint{Start: at, Sum: h.calls, Samples: 1})
	}
	return [][]openimds.MetricPoint{points}, nil
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type world struct {
	store   store.Store
	service *control.Service
	history *history
	log     *lockedBuffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: mem.New(), history: &history{calls: 7}, log: &lockedBuffer{}}
	w.service = control.New(w.store, control.Config{Region: "us-east-1", AccountID: "123456789012", History: w.history})
	if _, err := w.service.EnsureInstance(context.Background(), "web-1"); err != nil {
		t.Fatal(err)
	}
	w.putAlarm(t, "v1-calls", true)
	return w
}

func (w *world) putAlarm(t *testing.T, name string, notify bool) {
	t.Helper()
	if _, err := w.service.PutAlarm(context.Background(), name, openimds.AlarmConfig{
		Metric: openimds.MetricNoToken, Instance: "web-1", Comparison: openimds.Above, Threshold: 0, Periods: 1,
		Notify: notify, NotifyOn: []openimds.AlarmState{openimds.AlarmAlarm, openimds.AlarmOK},
	}, nil); err != nil {
		t.Fatal(err)
	}
}

// never has alarms evaluated at the start alone: the end of a period in the midst of a test would undo what it does by hand.
func never(now time.Time) time.Time { return now.Add(24 * time.Hour) }

// run runs the alarms until the test ends.
func (w *world) run(t *testing.T, hook string) *Alarms {
	t.Helper()
	a, err := New(Config{Service: w.service, Store: w.store, Webhook: hook, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	a.next = never
	if a.webhook != nil {
		a.webhook.pause = time.Millisecond
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return a
}

// hook is a webhook that answers what it is told and passes on what it got.
func hook(t *testing.T, answer func(n int) int) (url string, got chan []byte) {
	t.Helper()
	got = make(chan []byte, 100)
	var mu sync.Mutex
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		n++
		status := answer(n)
		mu.Unlock()
		if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with %q", r.Method, r.Header.Get("Content-Type"))
		}
		if status == 302 {
			rw.Header().Set("Location", "/elsewhere")
		}
		rw.WriteHeader(status)
		got <- body
	}))
	t.Cleanup(server.Close)
	return server.URL + "/hook?key=s3cr3t", got
}

func receive(t *testing.T, got chan []byte) Notice {
	t.Helper()
	select {
	case body := <-got:
		var n Notice
		if err := json.Unmarshal(body, &n); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return n
	case <-time.After(patience):
		t.Fatal("the webhook is not called")
		return Notice{}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAChangeIsTold(t *testing.T) {
	w := newWorld(t)
	w.putAlarm(t, "quiet", false)
	url, got := hook(t, func(int) int { return 204 })
	w.run(t, url)
	n := receive(t, got)
	alarm, err := w.service.Alarm(context.Background(), "v1-calls")
	if err != nil {
		t.Fatal(err)
	}
	want := Notice{
		Alarm: "v1-calls", ARN: w.service.ARN(openimds.TypeAlarm, alarm.UUID), Instance: "web-1",
		Metric: openimds.MetricNoToken, Comparison: openimds.Above, Periods: 1, Datapoints: 1,
		State: openimds.AlarmAlarm, Before: openimds.AlarmInsufficient, ChangedAt: alarm.StateChangedAt,
	}
	if n != want {
		t.Errorf("told %+v, want %+v", n, want)
	}
	waitFor(t, "both changes are logged", func() bool { return strings.Count(w.log.String(), "an alarm changed") == 2 })
	if quiet, err := w.service.Alarm(context.Background(), "quiet"); err != nil || quiet.State != openimds.AlarmAlarm {
		t.Errorf("the other alarm is %+v, %v", quiet, err)
	}
	// One that is only tested is told as well; one that is told on other states alone is not.
	for _, state := range []openimds.AlarmState{openimds.AlarmInsufficient, openimds.AlarmOK} {
		if _, err := w.service.TestAlarm(context.Background(), "v1-calls", state); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the change is logged", func() bool { return strings.Contains(w.log.String(), "to="+string(state)) })
	}
	if n := receive(t, got); n.State != openimds.AlarmOK || n.Before != openimds.AlarmInsufficient {
		t.Errorf("told %+v", n)
	}
	// A new alarm of the same name has not changed from the former one's state.
	if _, err := w.service.DeleteAlarm(context.Background(), "v1-calls"); err != nil {
		t.Fatal(err)
	}
	w.putAlarm(t, "v1-calls", true)
	if _, err := w.service.TestAlarm(context.Background(), "v1-calls", openimds.AlarmAlarm); err != nil {
		t.Fatal(err)
	}
	if n := receive(t, got); n.State != openimds.AlarmAlarm || n.Before != openimds.AlarmInsufficient {
		t.Errorf("told %+v", n)
	}
	if len(got) > 0 {
		t.Errorf("told besides: %s", <-got)
	}
	if n := strings.Count(w.log.String(), "an alarm changed"); n != 5 {
		t.Errorf("%d changes are logged:\n%s", n, w.log)
	}
}

// What was so before the start is no change.
func TestNoNewsAtTheStart(t *testing.T) {
	w := newWorld(t)
	if _, err := w.service.TestAlarm(context.Background(), "v1-calls", openimds.AlarmAlarm); err != nil {
		t.Fatal(err)
	}
	url, got := hook(t, func(int) int { return 200 })
	a := w.run(t, url)
	<-a.ready
	if _, err := w.service.TestAlarm(context.Background(), "v1-calls", openimds.AlarmOK); err != nil {
		t.Fatal(err)
	}
	if n := receive(t, got); n.State != openimds.AlarmOK || n.Before != openimds.AlarmAlarm {
		t.Errorf("told %+v", n)
	}
}

func TestWebhookFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(n int) int
		calls  int
		logged string
	}{
		{"it recovers", func(n int) int { return map[int]int{1: 500, 2: 429, 3: 503}[n] + 200*(n/4) }, 4, ""},
		{"it never does", func(int) int { return 502 }, 4, "it answered 502"},
		{"it does not want it", func(int) int { return 403 }, 1, "it answered 403"},
		{"it sends us elsewhere", func(int) int { return 302 }, 1, "it answered 302"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			url, got := hook(t, c.answer)
			w.run(t, url)
			for range c.calls {
				receive(t, got)
			}
			if c.logged != "" {
				waitFor(t, "the failure is logged", func() bool { return strings.Contains(w.log.String(), c.logged) })
			}
			if _, err := w.service.TestAlarm(context.Background(), "v1-calls", openimds.AlarmInsufficient); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "it goes on", func() bool { return strings.Contains(w.log.String(), "to=INSUFFICIENT_DATA") })
			if len(got) > 0 {
				t.Errorf("more than %d calls", c.calls)
			}
			if strings.Contains(w.log.String(), "s3cr3t") {
				t.Errorf("the log has the webhook's secret:\n%s", w.log)
			}
		})
	}
}

func TestWebhookIsAway(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	w.run(t, server.URL+"/hook?key=s3cr3t")
	waitFor(t, "the failure is logged", func() bool { return strings.Contains(w.log.String(), "tries=4") })
	if strings.Contains(w.log.String(), "s3cr3t") {
		t.Errorf("the log has the webhook's secret:\n%s", w.log)
	}
}

func TestBadWebhooks(t *testing.T) {
	for _, bad := range []string{"s3cr3t", "ftp://s3cr3t/", "http://", "http://[s3cr3t", "//s3cr3t/x"} {
		if _, err := New(Config{Webhook: bad}); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNext(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for after, want := range map[time.Duration]time.Duration{
		0: 30 * time.Second, 29 * time.Second: 30 * time.Second,
		30 * time.Second: 5*time.Minute + 30*time.Second, 5 * time.Minute: 5*time.Minute + 30*time.Second,
	} {
		if got := next(noon.Add(after)).Sub(noon); got != want {
			t.Errorf("%s after noon: at %s, want %s", after, got, want)
		}
	}
}

// TestTurn: who shares a store with others evaluates when it is their turn, and not before.
func TestTurn(t *testing.T) {
	w := newWorld(t)
	asked, turn := make(chan struct{}), make(chan struct{})
	a, err := New(Config{Service: w.service, Store: w.store, Turn: func(ctx context.Context) error {
		close(asked)
		select {
		case <-turn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	defer func() { stop(); running.Wait() }()
	<-asked
	state := func() openimds.AlarmState {
		alarm, err := w.service.Alarm(t.Context(), "v1-calls")
		if err != nil {
			t.Fatal(err)
		}
		return alarm.State
	}
	if now := state(); now != openimds.AlarmInsufficient {
		t.Errorf("out of turn the alarm became %s", now)
	}
	close(turn)
	for state() == openimds.AlarmInsufficient {
		time.Sleep(time.Millisecond)
	}
}
