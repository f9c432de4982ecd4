package imds

import (
	"context"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
	"github.com/openimds/openimds/usage/prom"
)

func newRecorder(now func() time.Time) *usage.Meter {
	store := mem.New()
	return usage.NewMeter(usage.Config{Store: store, Now: now, History: history.New(history.Config{Store: store, Now: now})})
}

// newCounted serves a fresh instance and counts, at noon.
func newCounted(t testing.TB, setup func(*Config, *openimds.Instance)) (*wire, *usage.Meter) {
	t.Helper()
	var recorder *usage.Meter
	w := newWire(t, func(c *Config, in *openimds.Instance) {
		recorder = newRecorder(c.Now)
		c.Usage = recorder
		if setup != nil {
			setup(c, in)
		}
	})
	return w, recorder
}

// counted is what was counted of an instance at noon, by metric, without zeros.
func counted(t *testing.T, r *usage.Meter, in *openimds.Instance) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	points, err := r.Points(context.Background(), in.ID, openimds.Metrics(), noon, noon.Add(time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for i, metric := range openimds.Metrics() {
		for _, p := range points[i] {
			if p.Sum > 0 {
				got[metric] = p.Sum
			}
		}
	}
	return got
}

func TestCalls(t *testing.T) {
	const (
		noToken, rejected = openimds.MetricNoToken, openimds.MetricNoTokenRejected
		tokens, withToken = openimds.MetricTokenRequests, openimds.MetricWithToken
	)
	type options struct{ tokens, endpoint string }
	required, disabled := options{tokens: "required"}, options{endpoint: "disabled"}
	for _, c := range []struct {
		name    string
		options options
		send    string // {TOKEN} is a good one
		metric  string // empty: none
		group   string // of the caller; empty: none
	}{
		{"v1", options{}, get(amiPath), noToken, "meta-data"},
		{"v1 of a listing", options{}, get("/"), noToken, "other"},
		{"v1 of an old version", options{}, get("/2021-03-23/meta-data//placement/./region?x"), noToken, "meta-data/placement"},
		{"v1 HEAD", options{}, "HEAD" + get(amiPath)[3:], noToken, "meta-data"},
		{"v1 missing", options{}, get("/latest/meta-data/no-such"), "", "meta-data"},
		{"v1 where v2 is required", required, get("/latest/meta-data/iam/info"), rejected, "meta-data/iam"},
		{"v1 where the endpoint is disabled", disabled, get("/latest/user-data"), rejected, "user-data"},
		{"v2", required, get(amiPath, tokenIs+"{TOKEN}"), withToken, "meta-data"},
		{"v1 with an empty token", options{}, get(amiPath, tokenIs), noToken, "meta-data"},
		{"v1 with an empty token where v2 is required", required, get(amiPath, tokenIs), rejected, "meta-data"},
		{"v1 with an empty token where the endpoint is disabled", disabled, get(amiPath, tokenIs), rejected, "meta-data"},
		{"v2 missing", required, get("/latest/user-data", tokenIs+"{TOKEN}"), "", "user-data"},
		{"v2 with a bad token", options{}, get(amiPath, tokenIs+"bad"), "", "meta-data"},
		{"v2 where the endpoint is disabled", disabled, get(amiPath, tokenIs+"{TOKEN}"), "", "meta-data"},
		{"PUT", required, put(tokenPath, ttlIs+"60"), tokens, "api/token"},
		{"PUT without TTL", required, put(tokenPath), "", "api/token"},
		{"PUT with a slash in front", required, put("//latest/api/token", ttlIs+"60"), tokens, "api/token"},
		{"PUT off the token's path", required, put("/latest/api/token/", ttlIs+"60"), "", "api/token"},
		{"PUT where the endpoint is disabled", disabled, put(tokenPath, ttlIs+"60"), "", "api/token"},
		{"OPTIONS", options{}, "OPTIONS" + get(amiPath)[3:], "", ""},
		{"OPTIONS with a token", options{}, "OPTIONS" + get(amiPath, tokenIs+"{TOKEN}")[3:], "", ""},
		{"POST", options{}, "POST" + get(amiPath)[3:], "", ""},
		{"POST with a token", options{}, "POST" + get(amiPath, tokenIs+"{TOKEN}")[3:], "", "meta-data"},
		{"GET of a token", options{}, get(tokenPath), "", ""},
		{"GET of a token, with one", options{}, get(tokenPath, tokenIs+"{TOKEN}"), "", "api/token"},
		{"v1 with two names", options{}, get(amiPath, "Host: b"), "", "meta-data"},
		{"v1 with a bad header", options{}, get(amiPath, "no header"), "", "meta-data"},
		{"v2 with a bad header", options{}, get(amiPath, "no header", tokenIs+"{TOKEN}"), "", "meta-data"},
		{"no HTTP", options{}, "GET /\r\n\r\n", "", ""},
		{"a foreign Host", options{}, strings.Replace(get(amiPath), "Host: ", "Host: x.", 1), "", "meta-data"},
		{"a foreign Host with a token", options{}, strings.Replace(get(amiPath, tokenIs+"{TOKEN}"), "Host: ", "Host: x.", 1), "", "meta-data"},
		{"PUT with a foreign Host", options{}, strings.Replace(put(tokenPath, ttlIs+"60"), "Host: ", "Host: x.", 1), "", "api/token"},
		{"Expect", options{}, get("/latest/user-data", "Expect: 100-continue"), "", "user-data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, recorder := newCounted(t, func(_ *Config, in *openimds.Instance) { in.UserData = nil })
			send := strings.Replace(c.send, "{TOKEN}", w.token(t), 1)
			before := counted(t, recorder, w.in)
			if c.options.tokens != "" {
				w.in.Options.Tokens = openimds.TokensMode(c.options.tokens)
			}
			if c.options.endpoint != "" {
				w.in.Options.Endpoint = openimds.EndpointMode(c.options.endpoint)
			}
			if err := w.guest.Set(w.in); err != nil {
				t.Fatal(err)
			}
			w.raw(t, strings.Replace(send, "\r\n\r\n", "\r\nUser-Agent: test\r\n\r\n", 1))
			want := before
			if c.metric != "" {
				want[c.metric]++
			}
			if got := counted(t, recorder, w.in); !reflect.DeepEqual(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
			var groups []string
			callers, err := recorder.Callers(context.Background(), w.in.ID, noon)
			for _, caller := range callers {
				if caller.UserAgent != "test" {
					continue // who got the token
				}
				groups = append(groups, caller.PathGroup)
				if caller.Source != "127.0.0.1" || c.metric != "" && caller.Counts[c.metric] != 1 {
					t.Errorf("the caller is %+v", caller)
				}
			}
			if err != nil || strings.Join(groups, " ") != c.group {
				t.Errorf("groups of the callers: %q, %v, want %q", groups, err, c.group)
			}
		})
	}
}

// A request that arrives in pieces takes another way through the server, and is counted the same.
func TestCallsInPieces(t *testing.T) {
	w, recorder := newCounted(t, nil)
	for range 3 {
		if got := w.inTwo(t, get(amiPath, "User-Agent: slow")); statusOf(got) != "200" {
			t.Fatalf("%q", got)
		}
	}
	callers, err := recorder.Callers(context.Background(), w.in.ID, noon)
	if err != nil || len(callers) != 1 || callers[0].Source != "127.0.0.1" || callers[0].Counts[openimds.MetricNoToken] != 3 {
		t.Errorf("callers: %+v, %v", callers, err)
	}
}

func TestThrottledCallsAreExported(t *testing.T) {
	w, recorder := newCounted(t, func(c *Config, _ *openimds.Instance) { c.Rate, c.Burst = 1, 2 })
	for range 5 { // the clock stands still
		w.raw(t, get(amiPath))
	}
	answer := httptest.NewRecorder()
	prom.Handler(recorder, prom.Gauges{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		"openimds_imds_throttled_total 3\n",
		`openimds_imds_requests_total{status="200",version="v1"} 2` + "\n",
		`openimds_imds_requests_total{status="503",version="v1"} 3` + "\n",
		fmt.Sprintf("openimds_metadata_no_token_total{instance=%q,instance_id=%q} 2\n", w.in.Name, w.in.ID),
	} {
		if !strings.Contains(answer.Body.String(), line) {
			t.Errorf("no line %q among the metrics", line)
		}
	}
}

// Calls without a token are such calls whatever becomes of them, and those with one are not: callers and
// observers are told so.
func TestCallsThatComeToNothing(t *testing.T) {
	for name, setup := range map[string]func(*Config, *openimds.Instance){
		"a status on purpose": func(_ *Config, in *openimds.Instance) {
			in.Faults = &openimds.Faults{On: openimds.FaultsOnAll, Status: 500, StatusShare: 1}
		},
		"a reset on purpose": func(_ *Config, in *openimds.Instance) {
			in.Faults = &openimds.Faults{On: openimds.FaultsOnAll, RefuseShare: 1}
		},
		"an absent endpoint": func(_ *Config, in *openimds.Instance) {
			in.Faults = &openimds.Faults{On: openimds.FaultsOnAll, AbsentSeconds: 60, AbsentUntil: noon.Add(time.Minute)}
		},
		"silence on purpose": func(_ *Config, in *openimds.Instance) {
			in.Faults = &openimds.Faults{On: openimds.FaultsOnAll, DropShare: 1}
		},
		"too many": func(c *Config, _ *openimds.Instance) { c.Rate, c.Burst = 1e-9, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w, recorder := newCounted(t, setup)
			if name == "too many" {
				w.fateOf(t, "OPTIONS"+get(amiPath)[3:])
			}
			seen := w.guest.Observe(nil, 100)
			defer seen.Close()
			var versions []string
			for _, send := range []string{get(amiPath), get(amiPath, tokenIs), get("/latest/user-data", tokenIs+"any"), put(tokenPath, ttlIs+"60"), "OPTIONS" + get(amiPath)[3:], "no HTTP\r\n\r\n", "POST" + get(amiPath, tokenIs+"any")[3:]} {
				if name == "silence on purpose" {
					_, _ = w.dial(t).Write([]byte(send))
					<-seen.More()
					versions = append(versions, seen.Take()[0].Call.Version())
					continue
				}
				w.fateOf(t, send)
			}
			for _, one := range seen.Take() {
				versions = append(versions, one.Call.Version())
			}
			if got := strings.Join(versions, " "); got != "v1 v1 v2 v2 none none v2" {
				t.Errorf("seen: %s", got)
			}
			callers, err := recorder.Callers(t.Context(), w.in.ID, noon)
			got := map[string]map[string]int64{}
			for _, c := range callers {
				got[c.PathGroup] = c.Counts
				if v1 := c.Counts[openimds.CountNoTokenFailed] > 0; v1 != c.LastV1.Equal(noon) {
					t.Errorf("the last call without a token of %+v", c)
				}
			}
			want := map[string]map[string]int64{
				"meta-data": {openimds.CountNoTokenFailed: 2, openimds.CountWithTokenFailed: 1}, "user-data": {openimds.CountWithTokenFailed: 1}, "api/token": {openimds.CountWithTokenFailed: 1},
			}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("callers: %+v, %v", callers, err)
			}
			if got := counted(t, recorder, w.in); len(got) != 0 {
				t.Errorf("counted: %v", got)
			}
		})
	}
}

// TestCountedPlace follows a place through the instances that it serves.
func TestCountedPlace(t *testing.T) {
	w, recorder := newCounted(t, nil)
	first := w.in
	w.raw(t, get(amiPath))
	stopped := *first
	stopped.State = openimds.StateStopped
	second := openimds.NewInstance(openimds.Launch{Name: "web-2", Region: "us-east-1"}, noon)
	for _, in := range []*openimds.Instance{&stopped, first, second, nil, nil} {
		if err := w.guest.Set(in); err != nil {
			t.Fatal(err)
		}
		if in != nil && in.State == openimds.StateRunning {
			w.raw(t, get(amiPath))
		}
	}
	for in, want := range map[*openimds.Instance]float64{first: 2, second: 1} {
		if got := counted(t, recorder, in)[openimds.MetricNoToken]; got != want {
			t.Errorf("%s has %v calls, want %v", in.Name, got, want)
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	plain := newWire(t, nil)
	w, _ := newCounted(t, nil)
	without, with := questions(plain.token(t)), questions(w.token(t))
	for i := range with {
		if a, b := allocations(plain, without[i]), allocations(w, with[i]); b > a {
			t.Errorf("%s: %v allocations, %v when it is counted", with[i].name, a, b)
		}
	}
}

func allocations(w *wire, q question) float64 {
	space, buf := newWorkspace(), []byte(q.send)
	return testing.AllocsPerRun(1000, func() { w.guest.respond(buf, false, space) })
}

// BenchmarkCounting has each question without and with counting, to be compared.
func BenchmarkCounting(b *testing.B) {
	plain := newWire(b, func(c *Config, _ *openimds.Instance) { c.Now = nil })
	w, _ := newCounted(b, func(c *Config, _ *openimds.Instance) { c.Now = nil })
	for i, q := range questions(plain.token(b)) {
		for name, side := range map[string]*wire{"plain": plain, "counted": w} {
			send := q.send
			if side == w {
				send = questions(w.token(b))[i].send
			}
			b.Run(q.name+"/"+name, func(b *testing.B) {
				space, buf := newWorkspace(), []byte(send)
				b.ReportAllocs()
				for b.Loop() {
					side.guest.respond(buf, false, space)
				}
			})
		}
	}
}
