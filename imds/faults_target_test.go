package imds

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// A connection that is dropped hears nothing and stays, until its client has had enough, the instance stops, or
// the service does. Others are served meanwhile.
func TestDroppedConnections(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := serveFaulty(t, plain, openimds.Faults{DropShare: 1, On: openimds.FaultsOnData})
		var held []*net.TCPConn
		for _, send := range []string{get(amiPath), "HEAD" + get(amiPath)[3:], "OPTIONS" + get(amiPath)[3:], "broken\r\n\r\n", get(amiPath)} {
			c := w.dial(t)
			_, _ = io.WriteString(c, send)
			held = append(held, c)
		}
		slow := w.dial(t)
		_, _ = io.WriteString(slow, "GET / HTTP/1.1\r\n")
		w.waitFor(t, "the server holds them", func() bool { return w.guest.active.Load() == 6 && w.holds(slow) })
		_, _ = io.WriteString(slow, "Host: x\r\n\r\n")
		if got := w.fateOf(t, put(tokenPath, ttlIs+"60")); got != "200" {
			t.Errorf("plain %v: what is not dropped gets %s", plain, got)
		}
		for _, c := range append(held, slow) {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // silence cannot be waited for
			if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("plain %v: a dropped one hears %d bytes, %v", plain, n, err)
			}
			_ = c.SetReadDeadline(time.Now().Add(patienceOfTests))
		}
		_ = held[0].Close()
		w.waitFor(t, "the place of who gave up is free", func() bool { return w.guest.active.Load() == 5 })
		_ = held[1].SetLinger(0)
		_ = held[1].Close()
		w.waitFor(t, "the place of who went is free", func() bool { return w.guest.active.Load() == 4 })
		// The end of the fault is not for those that it was for.
		w.set(t, nil)
		if got := w.fateOf(t, get(amiPath)); got != "200" {
			t.Errorf("plain %v: without faults: %s", plain, got)
		}
		ctx, done := context.WithTimeout(t.Context(), patienceOfTests)
		defer done()
		if err := w.server.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		if got := ended(t, held[2]); got != "" {
			t.Errorf("plain %v: at the shutdown a dropped one hears %q", plain, got)
		}
	}
}

// The drop of a token's request and of what follows: what an SDK meets above AWS's rate.
func TestDropIsCountedAndSeen(t *testing.T) {
	w, recorder := newCounted(t, func(_ *Config, in *openimds.Instance) {
		in.Faults = &openimds.Faults{On: openimds.FaultsOnAll, DropShare: 1}
	})
	seen := w.guest.Observe(nil, 10)
	defer seen.Close()
	for i, send := range []string{put(tokenPath, ttlIs+"60"), get(amiPath, tokenIs+"any"), get(amiPath)} {
		c := w.dial(t)
		_, _ = io.WriteString(c, send)
		<-seen.More()
		got := seen.Take()
		if want := []string{"v2", "v2", "v1"}[i]; len(got) != 1 || got[0].Call.Version() != want || got[0].Status != 0 {
			t.Errorf("%.20q is seen as %+v, want %s", send, got, want)
		}
	}
	if n := recorder.Totals().Dropped; n != 3 {
		t.Errorf("%d were dropped", n)
	}
	callers, err := recorder.Callers(t.Context(), w.in.ID, noon)
	var v1 int64
	for _, c := range callers {
		v1 += openimds.V1Calls(c.Counts)
	}
	if err != nil || v1 != 1 {
		t.Errorf("callers %+v, %v", callers, err)
	}
	if got := counted(t, recorder, w.in); len(got) > 0 {
		t.Errorf("what AWS would never have counted is counted: %v", got)
	}
}

// Faults on a path are for it and what is below it, however it is written, and for nothing else.
func TestFaultsOnAPath(t *testing.T) {
	w := serveFaulty(t, false, openimds.Faults{On: "meta-data/iam", Status: 500, StatusShare: 1})
	for send, want := range map[string]string{
		get("/latest/meta-data/iam"):                            "500",
		get("/latest/meta-data/iam/"):                           "500",
		get("/latest/meta-data/iam/info"):                       "500",
		get("//latest/./meta-data//iam/info?x=y"):               "500",
		get("/2021-03-23/meta-data/%69am/no-such"):              "500",
		"HEAD" + get("/latest/meta-data/iam/info")[3:]:          "500",
		get("http://169.254.169.254/latest/meta-data/iam/info"): "500",
		get("/latest/meta-data/iamb"):                           "404",
		get("/latest/meta-data/"):                               "200",
		get("/latest/meta-data/iam/../ami-id"):                  "200",
		get("/meta-data/iam/info"):                              "404",
		get("/"):                                                "200",
		get("*"):                                                "404",
		get("/%zz"):                                             "400",
		put(tokenPath, ttlIs+"60"):                              "200",
		put("/latest/meta-data/iam/info"):                       "403",
		"broken\r\n\r\n":                                        "400",
	} {
		if got := w.fateOf(t, send); got != want {
			t.Errorf("%q meets %s, want %s", send, got, want)
		}
	}
	w.set(t, &openimds.Faults{On: "meta-data/ami-id", RefuseShare: 1})
	if a, b := w.fateOf(t, get(amiPath)), w.fateOf(t, get("/latest/meta-data/ami-launch-index")); a != "reset" || b != "200" {
		t.Errorf("on one category: %s, its neighbour: %s", a, b)
	}
}

// A share of a latency holds back that part of the requests, and begins with those that fail.
func TestShareOfALatency(t *testing.T) {
	for _, f := range []openimds.Faults{
		{LatencyMillis: 100, LatencyShare: 0.25},
		{LatencyMillis: 100, LatencyShare: 0.25, Status: 503, StatusShare: 0.25},
		{LatencyMillis: 100, LatencyShare: 0.25, Status: 503, StatusShare: 0.5, RefuseShare: 0.2, DropShare: 0.1},
		{LatencyMillis: 100, LatencyShare: 1},
		{LatencyMillis: 100, DropShare: 0.5},
	} {
		f.On = openimds.FaultsOnAll
		met := newFaults(&f, nil, nil)
		var held, failed, both, refused, dropped int
		for range 1000 {
			one, _ := met.next(&request{method: methodGet}, noon, newWorkspace())
			if one.delay > 0 {
				held++
			}
			if one.status > 0 {
				failed++
			}
			if one.delay > 0 && one.status > 0 {
				both++
			}
			if one.refused {
				refused++
			}
			if one.dropped {
				dropped++
			}
		}
		near := func(what string, n int, share float64) {
			if off := float64(n) - 1000*share; off < -5 || off > 5 {
				t.Errorf("%v: %d of 1000 %s, want %v", &f, n, what, 1000*share)
			}
		}
		latency := f.LatencyShare
		if latency == 0 {
			latency = 1
		}
		answered := 1 - f.RefuseShare - f.DropShare
		near("were held back", held, min(latency, answered))
		near("failed", failed, f.StatusShare)
		near("failed late", both, min(latency, f.StatusShare))
		near("were refused", refused, f.RefuseShare)
		near("were dropped", dropped, f.DropShare)
	}
}

// Faults end after so many requests that met them: not after those that did not, over other changes, and to the
// request also where many come at once.
func TestFaultsEndByNumber(t *testing.T) {
	var told atomic.Int64
	f := openimds.Faults{On: openimds.FaultsOnData, Status: 500, StatusShare: 0.5, ExpiredCredentials: true, Count: 30, CountedFrom: noon}
	w := withPatience(t, false, patient(), func(c *Config, in *openimds.Instance) {
		c.FaultMet = func(name string) {
			if name != "web-1" {
				t.Errorf("told of %s", name)
			}
			told.Add(1)
		}
		in.Faults = &f
	})
	var failed atomic.Int64
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for range 20 {
				_ = w.fateOf(t, put(tokenPath, ttlIs+"60"))
				if w.fateOf(t, get(amiPath)) == "500" {
					failed.Add(1)
				}
			}
		})
	}
	for range 20 {
		w.set(t, &f) // some other change of the instance
	}
	askers.Wait()
	if failed.Load() != 30 || told.Load() != 30 {
		t.Errorf("%d failed, %d were told, want 30", failed.Load(), told.Load())
	}
	if got := w.raw(t, get("/latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole")); !strings.Contains(got, `"Expiration" : "2026-03-01T17:47:01Z"`) {
		t.Errorf("after the end, credentials are %q", got)
	}
	// Counted anew, with some met elsewhere.
	f.CountedFrom, f.Met = noon.Add(1), 28
	w.set(t, &f)
	met := ""
	for range 12 {
		met += w.fateOf(t, get(amiPath))[:1]
	}
	if strings.Count(met, "5") != 2 {
		t.Errorf("2 are left, and the requests meet %s", met)
	}
}

// What is told of counted faults is told once, whatever the store hears of meanwhile and from others.
func TestFaultsMetAreToldOnce(t *testing.T) {
	f := openimds.Faults{On: openimds.FaultsOnAll, Status: 500, StatusShare: 1, Count: 10, CountedFrom: noon}
	w := newWire(t, func(_ *Config, in *openimds.Instance) { in.Faults = &f })
	ask := func(n int, want string) {
		t.Helper()
		for range n {
			if got := w.fateOf(t, get(amiPath)); got != want {
				t.Fatalf("a request meets %s, want %s", got, want)
			}
		}
	}
	if _, any := w.guest.FaultsMet(); any {
		t.Error("there is something to tell before any request")
	}
	ask(3, "500")
	first, _ := w.guest.FaultsMet()
	if id, from := first.Of(); first.N != 3 || id != w.in.ID || !from.Equal(noon) {
		t.Fatalf("%d are told, of %s since %v", first.N, id, from)
	}
	ask(1, "500")
	f.Met = 5 // those, with 2 of another host: the watch is faster than the answer
	w.set(t, &f)
	first.Told(5, nil)
	failing, _ := w.guest.FaultsMet()
	failing.Told(0, errors.New("the store is away"))
	again, _ := w.guest.FaultsMet()
	if failing.N != 1 || again.N != 1 {
		t.Errorf("%d, then %d are told, want 1", failing.N, again.N)
	}
	again.Told(6, nil)
	if _, any := w.guest.FaultsMet(); any {
		t.Error("the same is told twice")
	}
	ask(4, "500") // 4 here, 2 elsewhere
	ask(2, "200")
}

// Faults end at their time, to the moment, whether or not the store has heard of it.
func TestFaultsEndByTime(t *testing.T) {
	var now atomic.Int64
	now.Store(noon.UnixNano())
	const role = "/latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole"
	w := newWire(t, func(c *Config, in *openimds.Instance) {
		c.Now = func() time.Time { return time.Unix(0, now.Load()) }
		in.Faults = &openimds.Faults{
			On: "user-data", LatencyMillis: 1, DropShare: 1, ExpiredCredentials: true,
			AbsentSeconds: 1, AbsentUntil: noon.Add(time.Second), Until: noon.Add(30 * time.Second),
		}
	})
	expired := func() bool { return strings.Contains(w.raw(t, get(role)), `"Expiration" : "2026-03-01T11:`) }
	if got := w.fateOf(t, get(amiPath)); got != "reset" {
		t.Errorf("at first: %s", got)
	}
	now.Store(noon.Add(30*time.Second - 1).UnixNano())
	if !expired() {
		t.Error("before the end, credentials are as ever")
	}
	if got := w.fateOf(t, get(amiPath)); got != "200" {
		t.Errorf("what the faults are not for meets %s", got)
	}
	now.Store(noon.Add(30 * time.Second).UnixNano())
	if got := w.fateOf(t, get("/latest/user-data")); got == "reset" || expired() {
		t.Errorf("at the end: %s", got)
	}
}
