package imds

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// serveFaulty serves the fixed instance with faults, over either kind of listener.
func serveFaulty(t *testing.T, plain bool, f openimds.Faults) *wire {
	t.Helper()
	if f.On == "" {
		f.On = openimds.FaultsOnAll
	}
	return withPatience(t, plain, patient(), func(_ *Config, in *openimds.Instance) { in.Faults = &f })
}

// set makes the guest see the instance with these faults.
func (w *wire) set(t testing.TB, f *openimds.Faults) {
	t.Helper()
	in := *w.in
	in.Faults = f
	if err := w.guest.Set(&in); err != nil {
		t.Fatal(err)
	}
}

// fateOf sends a request and tells what it met: a status, or "reset".
func (w *wire) fateOf(t testing.TB, send string) string {
	t.Helper()
	c := w.dial(t)
	defer c.Close()
	_, _ = io.WriteString(c, send)
	got, err := io.ReadAll(c)
	switch {
	case errors.Is(err, syscall.ECONNRESET) && len(got) == 0:
		return "reset"
	case err != nil:
		t.Fatalf("after %q: %v", got, err)
	}
	return statusOf(string(got))
}

// A status on purpose stands in an answer like any other, and on the requests that it is for.
func TestStatusFault(t *testing.T) {
	aGet, aHead, aPut := get(amiPath), "HEAD"+get(amiPath)[3:], put(tokenPath, ttlIs+"60")
	for _, plain := range []bool{false, true} {
		w := serveFaulty(t, plain, openimds.Faults{Status: 503, StatusShare: 1})
		unavailable := refused("503 Service Unavailable")
		for _, send := range []string{aGet, aHead, aPut, get(amiPath, tokenIs+"bad"), "OPTIONS" + get("/")[3:]} {
			if got := w.raw(t, send); got != unavailable {
				t.Errorf("%q gets %q", send, got)
			}
		}
		if got := w.raw(t, "broken\r\n\r\n"); got != badRequest {
			t.Errorf("what is no request gets %q", got)
		}
		for _, tt := range []struct {
			on             openimds.FaultTarget
			get, head, put string
		}{
			{openimds.FaultsOnToken, "200", "200", "500"},
			{openimds.FaultsOnData, "500", "500", "200"},
			{openimds.FaultsOnAll, "500", "500", "500"},
		} {
			w.set(t, &openimds.Faults{On: tt.on, Status: 500, StatusShare: 1})
			if g, h, p := w.fateOf(t, aGet), w.fateOf(t, aHead), w.fateOf(t, aPut); g != tt.get || h != tt.head || p != tt.put {
				t.Errorf("on %s: GET %s, HEAD %s, PUT %s", tt.on, g, h, p)
			}
		}
		w.set(t, &openimds.Faults{On: openimds.FaultsOnAll, Status: 404, StatusShare: 1})
		if got := w.raw(t, aGet); got != notFound {
			t.Errorf("a 404 on purpose is %q", got)
		}
		w.set(t, nil)
		if got := w.raw(t, aGet); got != text(amiID) {
			t.Errorf("without faults: %q", got)
		}
	}
}

// A refused connection is reset, whatever comes on it and however it comes.
func TestRefusedConnections(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := serveFaulty(t, plain, openimds.Faults{RefuseShare: 1})
		for _, send := range []string{get(amiPath), put(tokenPath, ttlIs+"60"), "broken\r\n\r\n", put(tokenPath, "Content-Length: 100000") + strings.Repeat("a", 1000)} {
			if got := w.fateOf(t, send); got != "reset" {
				t.Errorf("plain %v: %.60q: %s", plain, send, got)
			}
		}
		c := w.dial(t)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n")
		w.waitFor(t, "the server holds it", func() bool { return w.holds(c) })
		_, _ = io.WriteString(c, "Host: x\r\n\r\n")
		if got := ended(t, c); got != "" {
			t.Errorf("in two pieces: %q", got)
		}
		w.set(t, &openimds.Faults{On: openimds.FaultsOnToken, RefuseShare: 1})
		if g, p := w.fateOf(t, get(amiPath)), w.fateOf(t, put(tokenPath, ttlIs+"60")); g != "200" || p != "reset" {
			t.Errorf("on token: GET %s, PUT %s", g, p)
		}
		w.idle(t)
	}
}

// The endpoint is absent until the time is there, to the moment.
func TestAbsentEndpoint(t *testing.T) {
	var now atomic.Int64
	now.Store(noon.UnixNano())
	w := newWire(t, func(c *Config, in *openimds.Instance) {
		c.Now = func() time.Time { return time.Unix(0, now.Load()) }
		in.Faults = &openimds.Faults{On: openimds.FaultsOnToken, LatencyMillis: 1, AbsentSeconds: 30, AbsentUntil: noon.Add(30 * time.Second)}
	})
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "reset"}, {30*time.Second - 1, "reset"}, {30 * time.Second, "200"}, {time.Hour, "200"}, {time.Second, "reset"}, {-26 * time.Hour, "200"}} { // and the clock turned back
		now.Store(noon.Add(step.after).UnixNano())
		for _, send := range []string{get(amiPath), put(tokenPath, ttlIs+"60")} {
			if got := w.fateOf(t, send); got != step.want {
				t.Errorf("after %v %.4q meets %s", step.after, send, got)
			}
		}
	}
}

// Credentials whose time is over are so for every set, and do not change from request to request.
func TestExpiredCredentials(t *testing.T) {
	const role = "/latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole"
	w := serveFaulty(t, false, openimds.Faults{ExpiredCredentials: true})
	for path, keys := range map[string]string{role: "ASIAROLEV1", "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance": "ASIAIDENTITY"} {
		got := w.raw(t, get(path))
		for _, want := range []string{keys, `"Code" : "Success"`, `"LastUpdated" : "2026-03-01T05:12:59Z"`, `"Expiration" : "2026-03-01T11:30:00Z"`} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in %q", path, want, got)
			}
		}
	}
	if got := w.raw(t, get("/latest/meta-data/iam/info")); !strings.Contains(got, `"LastUpdated" : "2026-03-01T05:12:59Z"`) {
		t.Errorf("iam/info says otherwise: %q", got)
	}
	w.set(t, nil)
	if got := w.raw(t, get(role)); !strings.Contains(got, `"Expiration" : "2026-03-01T17:47:01Z"`) {
		t.Errorf("without faults: %q", got)
	}
	// A failure stays one, and what has expired by itself is left alone.
	bad := expired{failingCredentials{"AssumeRoleUnauthorizedAccess", "no"}, new(faults)}
	if c := bad.Credentials(w.in, openimds.RoleForV2, noon); c.Code != "AssumeRoleUnauthorizedAccess" || !c.LastUpdated.Equal(updatedAt) {
		t.Errorf("a failure became %+v", c)
	}
	for _, now := range []time.Time{noon.Add(-24 * time.Hour), updatedAt, noon, noon.Add(24 * time.Hour)} {
		if c := (expired{fixedCredentials{}, new(faults)}).Credentials(w.in, openimds.RoleForV2, now); c.Expiration.After(now) || !c.LastUpdated.Before(c.Expiration) {
			t.Errorf("at %v the set is %+v", now, c)
		}
	}
}

// The share is met in any hundred requests, alike for those that come each second or third time, and
// the same in each row.
func TestShares(t *testing.T) {
	for _, s := range []struct{ refuse, fail float64 }{{0, 0.25}, {0.1, 0}, {0.1, 0.25}, {0.5, 0.5}, {0, 1}, {1, 0}, {0.003, 0.001}, {0, 1. / 3}} {
		spec := &openimds.Faults{On: openimds.FaultsOnAll, Status: 503, StatusShare: s.fail, RefuseShare: s.refuse, LatencyMillis: 100, JitterMillis: 50}
		one, other := newFaults(spec, nil, nil), newFaults(spec, nil, nil)
		const row = 12_000
		var met []fate
		for range row {
			a, _ := one.next(&request{method: methodGet}, noon, newWorkspace())
			b, _ := other.next(&request{method: methodGet}, noon, newWorkspace())
			if a != b {
				t.Fatalf("%+v: the same request met %+v and %+v", s, a, b)
			}
			met = append(met, a)
		}
		share := func(what string, from, step, n int, want float64, hit func(fate) bool) {
			hits := 0.0
			for i := range n {
				if hit(met[from+i*step]) {
					hits++
				}
			}
			// Not chance, which would be off by the root of n.
			if off := hits - want*float64(n); off < -5 || off > 5 {
				t.Errorf("%+v: from %d by %d, %v of %d %s, want %v", s, from, step, hits, n, what, want*float64(n))
			}
		}
		for _, step := range []int{1, 2, 3, 4, 5, 7, 10} {
			for from := 0; from+100*step <= row; from += 997 {
				share("failed", from, step, 100, s.fail, func(f fate) bool { return f.status == 503 })
				share("were refused", from, step, 100, s.refuse, func(f fate) bool { return f.refused })
			}
		}
		var sum time.Duration
		n := 0
		for _, f := range met {
			if f.refused {
				continue
			}
			if f.delay < 50*time.Millisecond || f.delay > 150*time.Millisecond {
				t.Fatalf("%+v: a delay of %v", s, f.delay)
			}
			sum += f.delay
			n++
		}
		if n > 0 {
			if mean := sum / time.Duration(n); mean < 97*time.Millisecond || mean > 103*time.Millisecond {
				t.Errorf("%+v: the mean delay is %v", s, mean)
			}
		}
	}
}

// The row of a share goes on over other changes of the instance, and begins anew with other faults.
func TestRowOfAShare(t *testing.T) {
	w := serveFaulty(t, false, openimds.Faults{Status: 503, StatusShare: 0.5})
	row := func(between func()) (met string) {
		w.set(t, nil)
		for range 20 {
			w.set(t, &openimds.Faults{On: openimds.FaultsOnAll, Status: 503, StatusShare: 0.5})
			met += w.fateOf(t, get(amiPath))[:1]
			between()
		}
		return met
	}
	first := row(func() {})
	if again := row(func() {}); again != first || strings.Count(first, "5") < 8 || strings.Count(first, "5") > 12 {
		t.Errorf("first %s, then %s", first, again)
	}
	if begun := row(func() { w.set(t, nil) }); strings.Contains(begun, "25") || strings.Contains(begun, "52") {
		t.Errorf("a row that begins each time: %s", begun)
	}
}

// What failed on purpose is counted as that and in no metric. Who came without a token is told all the same.
func TestFaultsAreNotCalls(t *testing.T) {
	w, recorder := newCounted(t, func(_ *Config, in *openimds.Instance) {
		in.Faults = &openimds.Faults{On: openimds.FaultsOnAll, Status: 503, StatusShare: 0.5, RefuseShare: 0.5}
	})
	for range 10 {
		_ = w.fateOf(t, get(amiPath))
		_ = w.fateOf(t, put(tokenPath, ttlIs+"60"))
	}
	if got := counted(t, recorder, w.in); len(got) > 0 {
		t.Errorf("counted %v", got)
	}
	callers, err := recorder.Callers(t.Context(), w.in.ID, time.Time{})
	got := map[string]map[string]int64{}
	for _, c := range callers {
		got[c.PathGroup] = c.Counts
	}
	want := map[string]map[string]int64{"api/token": {openimds.CountWithTokenFailed: 10}, "meta-data": {openimds.CountNoTokenFailed: 10}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("callers %+v, %v", callers, err)
	}
	w.set(t, &openimds.Faults{On: openimds.FaultsOnAll, LatencyMillis: 1})
	_ = w.fateOf(t, get(amiPath))
	if got := counted(t, recorder, w.in); got[openimds.MetricNoToken] != 1 {
		t.Errorf("a request that was only slow is counted as %v", got)
	}
}

// That faults are on is said once, and that they are off again; faults that nobody knows are not served.
func TestFaultsAreTold(t *testing.T) {
	var log bytes.Buffer
	w := newWire(t, func(c *Config, _ *openimds.Instance) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	said := func(want ...string) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		log.Reset()
		if len(want) == 0 && lines[0] == "" {
			return
		}
		if len(lines) != len(want) {
			t.Fatalf("the log has %q, want %q", lines, want)
		}
		for i := range want {
			if !strings.Contains(lines[i], "level=WARN") || !strings.Contains(lines[i], want[i]) || !strings.Contains(lines[i], "instance=web-1") {
				t.Errorf("%q is said, want %q", lines[i], want[i])
			}
		}
	}
	said()
	w.set(t, &openimds.Faults{On: openimds.FaultsOnAll, Status: 503, StatusShare: 0.25})
	said(`faults="status 503 for 25%"`)
	w.set(t, &openimds.Faults{On: openimds.FaultsOnAll, Status: 503, StatusShare: 0.25})
	said()
	w.set(t, &openimds.Faults{On: openimds.FaultsOnAll, RefuseShare: 1})
	said("100% refused")
	in := *w.in
	in.Faults = &openimds.Faults{On: "some//path", RefuseShare: 1}
	if err := w.guest.Set(&in); err == nil {
		t.Error("faults of an unknown kind are accepted")
	}
	said()
	w.set(t, nil)
	said("faults on purpose are off")
}

// Faults may come and go while requests meet them.
func TestFaultsUnderLoad(t *testing.T) {
	w := newWire(t, nil)
	stop := make(chan struct{})
	var askers sync.WaitGroup
	var asked atomic.Int64
	for range 4 {
		askers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch got := w.fateOf(t, get(amiPath)); got {
				case "200", "500", "reset":
					asked.Add(1)
				default:
					t.Errorf("a request met %q", got)
				}
			}
		})
	}
	for i := 0; asked.Load() < 400; i++ {
		switch i % 4 {
		case 0:
			w.set(t, &openimds.Faults{On: openimds.FaultsOnAll, Status: 500, StatusShare: 0.3, RefuseShare: 0.3, LatencyMillis: 2, JitterMillis: 2})
		case 1:
			w.set(t, &openimds.Faults{On: openimds.FaultsOnData, LatencyMillis: 1, ExpiredCredentials: true})
		case 2:
			w.set(t, nil)
		case 3:
			w.set(t, &openimds.Faults{On: openimds.FaultsOnAll, AbsentSeconds: 1, AbsentUntil: noon.Add(time.Second)})
		}
		time.Sleep(time.Millisecond)
	}
	close(stop)
	askers.Wait()
	w.idle(t)
}
