package imds

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/usage"
)

// refusals are how often what was refused, by its name, without zeros.
func refusals(m *usage.Meter) map[string]uint64 {
	found := map[string]uint64{}
	for _, r := range m.Totals().Refusals {
		if r.Count > 0 {
			found[r.Refusal.String()] = r.Count
		}
	}
	return found
}

// Every refusal is counted by its reason, once, and as the protocol that the request spoke.
func TestRefusalsAreCounted(t *testing.T) {
	required := func(_ *Config, in *openimds.Instance) { in.Options.Tokens = openimds.TokensRequired }
	disabled := func(_ *Config, in *openimds.Instance) { in.Options.Endpoint = openimds.EndpointDisabled }
	throttled := func(c *Config, _ *openimds.Instance) { c.Rate, c.Burst = 1e-9, 0 }
	foreign := func(send string) string { return strings.Replace(send, "Host: ", "Host: evil.", 1) }
	post := "POST" + get(amiPath)[3:]
	for _, c := range []struct {
		setup   func(*Config, *openimds.Instance)
		send    string
		status  string
		reason  string
		version string
	}{
		{nil, get(amiPath), "200", "", "v1"},
		{nil, get("/latest/no-such"), "404", "", "v1"},
		{nil, "OPTIONS" + get(amiPath, tokenIs+"x")[3:], "200", "", "v2"},
		{nil, "no HTTP\r\n\r\n", "400", "malformed", "none"},
		{nil, get(amiPath, "Host: b"), "400", "malformed", "v1"},
		{nil, get(amiPath, "bad header", tokenIs+"x"), "400", "malformed", "v2"},
		{nil, "GET " + amiPath + " HTTP/1.1\nHost: x\nX-aws-ec2-metadata-token: x\n\n", "400", "malformed", "v2"},
		{nil, "GET " + amiPath + " HTTP/1.1\nHost: x\n\n", "400", "malformed", "v1"},
		{nil, lines("GET "+amiPath+" HTTP/1.1", "Host: a b"), "400", "malformed", "v1"},
		{nil, lines("BREW "+amiPath+" HTTP/3", tokenIs+"x"), "400", "malformed", "v2"},
		{nil, get("/%zz"), "400", "path", "v1"},
		{nil, "OPTIONS" + get("/%zz", tokenIs+"x")[3:], "400", "path", "v2"},
		{nil, put(tokenPath), "400", "ttl", "v2"},
		{nil, put(tokenPath, ttlIs+"0"), "400", "ttl", "v2"},
		{required, get(amiPath), "401", "no-token", "v1"},
		{required, get(amiPath, tokenIs), "401", "no-token", "v1"},
		{required, lines("GET * HTTP/1.1"), "401", "no-token", "v1"},
		{required, lines("GET foo:80 HTTP/1.1"), "401", "no-token", "v1"},
		{required, lines("HEAD latest/meta-data/ HTTP/1.1"), "401", "no-token", "v1"},
		{required, lines("GET https://169.254.169.254/latest/meta-data/ HTTP/1.1", tokenIs+"x"), "401", "bad-token", "v2"},
		{nil, lines("GET * HTTP/1.1"), "404", "", "v1"},
		{nil, get(amiPath, tokenIs+"x"), "401", "bad-token", "v2"},
		{nil, get(amiPath, tokenIs+"x", tokenIs+"y"), "401", "bad-token", "v2"},
		{nil, foreign(get(amiPath)), "403", "host", "v1"},
		{nil, foreign(get(amiPath, tokenIs+"x")), "403", "host", "v2"},
		{nil, foreign(put(tokenPath, ttlIs+"60")), "403", "host", "v2"},
		{nil, foreign(post), "403", "host", "none"},
		{nil, get("http://evil.example.org" + amiPath), "403", "host", "v1"},
		{disabled, get(amiPath), "403", "endpoint-disabled", "v1"},
		{disabled, put(tokenPath, ttlIs+"60"), "403", "endpoint-disabled", "v2"},
		{disabled, "POST" + get(amiPath, tokenIs+"x")[3:], "403", "endpoint-disabled", "v2"},
		{nil, put(tokenPath, ttlIs+"60", "X-Forwarded-For: 10.0.0.1"), "403", "forwarded", "v2"},
		{nil, get(amiPath, tokenIs+"x", "X-Forwarded-For: 10.0.0.1"), "403", "forwarded", "v2"},
		{nil, put(tokenPath, ttlIs+"60", "Origin: http://evil.example.org"), "403", "origin", "v2"},
		{nil, put("/latest/api/token/", ttlIs+"60"), "403", "put-path", "v2"},
		{nil, post, "405", "method", "none"},
		{nil, "DELETE" + get(amiPath, tokenIs+"x")[3:], "405", "method", "v2"},
		{nil, get(tokenPath), "405", "method", "none"},
		{nil, get(tokenPath, tokenIs+"x"), "405", "method", "v2"},
		{nil, get(amiPath, "Expect: 100-continue"), "417", "expect", "v1"},
		{nil, get(amiPath, tokenIs+"x", "A: "+strings.Repeat("a", maxHead)), "431", "too-large", "v2"},
		{nil, get(amiPath, "A: "+strings.Repeat("a", maxHead), tokenIs+"x"), "431", "too-large", "none"},
		{nil, get(amiPath, "Transfer-Encoding: gzip"), "501", "encoding", "v1"},
		{throttled, get(amiPath), "503", "rate", "v1"},
		{throttled, get(amiPath, tokenIs+"x"), "503", "rate", "v2"},
		{throttled, get(amiPath, "bad header", tokenIs+"x"), "503", "rate", "v2"},
		{nil, lines("GET / HTTP/2.0"), "505", "http-version", "none"},
	} {
		for _, plain := range []bool{false, true} {
			var recorder *usage.Meter
			w := withPatience(t, plain, patient(), func(cfg *Config, in *openimds.Instance) {
				recorder = newRecorder(cfg.Now)
				cfg.Usage = recorder
				if c.setup != nil {
					c.setup(cfg, in)
				}
			})
			seen := w.guest.Observe(nil, 10)
			answer := w.raw(t, c.send)
			want := map[string]uint64{}
			if c.reason != "" {
				want[c.reason] = 1
			}
			if got := refusals(recorder); statusOf(answer) != c.status || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%.100q: %s, refused: %v, want %s and %v", c.send, statusOf(answer), got, c.status, want)
			}
			if got := seen.Take(); len(got) != 1 || got[0].Call.Version() != c.version {
				t.Errorf("%.100q is seen as %+v, want %s", c.send, got, c.version)
			}
			calls, _ := recorder.RefusedCalls(w.in.ID)
			if got := calls.Refusals; len(got) != len(want) || len(got) == 1 && fmt.Sprint(got[0].Status) != c.status {
				t.Errorf("%.100q: of the instance, %v are known", c.send, got)
			}
		}
	}
}

// Connections that are closed without an answer are counted by why.
func TestClosedConnectionsAreCounted(t *testing.T) {
	for _, plain := range []bool{false, true} {
		listen := func(addr string) net.Listener {
			if plain {
				l, err := net.Listen("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			return listenOn(t, addr)
		}
		closed := func(reason string, l net.Listener, setup func(*Config), change func(*wire), send string) {
			t.Helper()
			recorder := newRecorder(time.Now)
			cfg := Config{Usage: recorder}
			if setup != nil {
				setup(&cfg)
			}
			server := NewServer(cfg)
			server.patience = patient()
			if reason == "slow" {
				server.patience.head = time.Millisecond
			}
			w := serveWire(t, server, fixedInstance(), l)
			if change != nil {
				change(w)
			}
			c := w.dial(t)
			_, _ = io.WriteString(c, send)
			if reason == "incomplete" {
				_ = c.CloseWrite()
			}
			if got := ended(t, c); got != "" {
				t.Errorf("%s, plain %v: the answer is %q", reason, plain, got)
			}
			w.waitFor(t, reason, func() bool { return refusals(recorder)[reason] == 1 && len(refusals(recorder)) == 1 })
		}
		stopped := func(w *wire) {
			in := *w.in
			in.State = openimds.StateStopped
			if err := w.guest.Set(&in); err != nil {
				t.Fatal(err)
			}
		}
		full := func(w *wire) { w.guest.active.Store(1) }
		waiting := func(w *wire) { w.server.waiting.Store(1) }
		nobody := func(_, _ netip.AddrPort) bool { return false }
		closed("not-running", listen("127.0.0.1:0"), nil, stopped, get(amiPath))
		closed("not-running", listen("127.0.0.1:0"), nil, func(w *wire) { _ = w.guest.Set(nil) }, get(amiPath))
		closed("ipv6-disabled", listen("[::1]:0"), nil, func(w *wire) {
			in := *w.in
			in.Options.IPv6 = openimds.EndpointDisabled
			if err := w.guest.Set(&in); err != nil {
				t.Fatal(err)
			}
		}, get(amiPath))
		closed("connections", listen("127.0.0.1:0"), func(c *Config) { c.Connections = 1 }, full, get(amiPath))
		closed("waiting", listen("127.0.0.1:0"), func(c *Config) { c.Waiting = 1 }, waiting, "GET / HTTP/1.1\r\n")
		closed("slow", listen("127.0.0.1:0"), nil, nil, "GET / HTTP/1.1\r\n")
		closed("incomplete", listen("127.0.0.1:0"), nil, nil, "GET / HTTP/1.1\r\n")
		closed("caller", Restricted(listen("127.0.0.1:0"), nobody), nil, nil, get(amiPath))
	}
}

// lines of a log that may be written to by many.
type syncLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *syncLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns the lines so far, of which there are at least so many sooner or later.
func (l *syncLog) take(t *testing.T, atLeast int) []string {
	t.Helper()
	for deadline := time.Now().Add(patienceOfTests); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		n := bytes.Count(l.b.Bytes(), []byte("\n"))
		l.mu.Unlock()
		if n >= atLeast {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the log has %d lines, want %d", n, atLeast)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(l.b.String())
	l.b.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// A Host that is refused is told to the log once a minute, with the name and what lets it in.
func TestRefusedHostIsTold(t *testing.T) {
	var now atomic.Int64
	now.Store(noon.UnixNano())
	var log syncLog
	w := newWire(t, func(c *Config, _ *openimds.Instance) {
		c.Now = func() time.Time { return time.Unix(0, now.Load()) }
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	send := func(host string) {
		w.raw(t, lines("GET " + amiPath + " HTTP/1.1")[:len("GET "+amiPath+" HTTP/1.1\r\n")]+"Host: "+host+"\r\n\r\n")
	}
	w.raw(t, get(amiPath))
	if said := log.take(t, 0); said != nil {
		t.Errorf("of a good request it says %q", said)
	}
	for range 5 {
		send("metadata.corp.example:80")
	}
	said := log.take(t, 1)
	if len(said) != 1 {
		t.Fatalf("it says %q", said)
	}
	for _, word := range []string{"level=WARN", "--allow-host", "(403)", "host=metadata.corp.example:80", "instance=web-1", "caller=127.0.0.1:", "others=0"} {
		if !strings.Contains(said[0], word) {
			t.Errorf("%q is not in %q", word, said[0])
		}
	}
	now.Add(int64(time.Minute))
	send(strings.Repeat("a.", 4000) + "b")
	said = log.take(t, 1)
	if len(said) != 1 || !strings.Contains(said[0], "others=4") || len(said[0]) > 1000 {
		t.Errorf("a minute later it says %q", said)
	}
	now.Add(int64(time.Minute))
	w.raw(t, get("http://absolute.example.org"+amiPath))
	if said = log.take(t, 1); len(said) != 1 || !strings.Contains(said[0], "host=absolute.example.org") {
		t.Errorf("of a target with a name it says %q", said)
	}
	// Another kind is told of at once.
	w.raw(t, put(tokenPath, "Origin: http://evil.example.org"))
	if said = log.take(t, 1); len(said) != 1 || !strings.Contains(said[0], "Origin") {
		t.Errorf("of another kind it says %q", said)
	}
}

// However many guests are refused, the log has few lines of it, and each is counted.
func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	var log syncLog
	recorder := newRecorder(func() time.Time { return noon })
	s := NewServer(Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return noon }, Usage: recorder})
	for i := range 100 {
		g := s.NewGuest()
		in := openimds.NewInstance(openimds.Launch{Name: fmt.Sprint("web-", i), Region: "us-east-1"}, noon)
		if err := g.Set(in); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			g.respond([]byte(lines("GET / HTTP/1.1")[:len("GET / HTTP/1.1\r\n")]+"Host: a.example.org\r\n\r\n"), false, newWorkspace())
		}
	}
	if said := log.take(t, refusalsAtOnce); len(said) != refusalsAtOnce {
		t.Errorf("it says %d lines", len(said))
	}
	if got := refusals(recorder); got["host"] != 10_000 {
		t.Errorf("counted: %v", got)
	}
}

// stuckLog is one that nobody reads.
type stuckLog struct {
	lines   atomic.Int64
	release chan struct{}
}

func (l *stuckLog) Write(p []byte) (int, error) {
	l.lines.Add(1)
	<-l.release
	return len(p), nil
}

// A log that is stuck holds no guest up, and takes no more memory than a few lines.
func TestStuckLogHoldsNobodyUp(t *testing.T) {
	log := &stuckLog{release: make(chan struct{})}
	var now atomic.Int64
	now.Store(noon.UnixNano())
	w := newWire(t, func(c *Config, _ *openimds.Instance) {
		c.Now = func() time.Time { return time.Unix(0, now.Load()) }
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	for range 200 {
		now.Add(int64(time.Minute))
		if got := w.fateOf(t, put(tokenPath, "Origin: http://evil.example.org")); got != "403" {
			t.Fatalf("with a log that is stuck: %s", got)
		}
	}
	w.waitFor(t, "the first line", func() bool { return log.lines.Load() == 1 })
	close(log.release)
	w.waitFor(t, "the lines that waited", func() bool {
		w.server.refusals.mu.Lock()
		defer w.server.refusals.mu.Unlock()
		return !w.server.refusals.telling
	})
	if n := log.lines.Load(); n < 2 || n > refusalsAtOnce+1 {
		t.Errorf("%d lines waited", n)
	}
}
