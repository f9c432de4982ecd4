package imds

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// neighbours serves two instances by one server.
func neighbours(t *testing.T, cfg Config) (a, b *wire) {
	t.Helper()
	s := NewServer(cfg)
	a = serveWire(t, s, fixedInstance(), listenOn(t, "127.0.0.1:0"))
	other := fixedInstance()
	other.ID, other.ImageID, other.TokenKey = "i-0fedcba9876543210", "ami-0fedcba9876543210", newKey('o')
	return a, serveWire(t, s, other, listenOn(t, "127.0.0.1:0"))
}

// Connections over the cap are closed; nobody else's are, and a place that is free again is given.
func TestConnectionCap(t *testing.T) {
	a, b := neighbours(t, Config{Now: func() time.Time { return noon }, Connections: 3})
	var held []net.Conn
	for range 3 {
		c := a.dial(t)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n")
		held = append(held, c)
	}
	a.waitFor(t, "three connections", func() bool { return a.guest.active.Load() == 3 })
	for range 20 {
		c := a.dial(t)
		_, _ = io.WriteString(c, get(amiPath))
		if got := ended(t, c); got != "" {
			t.Errorf("the fourth connection got %q", got)
		}
		if got := b.raw(t, get(amiPath)); statusOf(got) != "200" {
			t.Errorf("the neighbour got %q", got)
		}
	}
	_, _ = io.WriteString(held[0], "Host: x\r\n\r\n")
	if got := readAll(t, held[0]); statusOf(got) != "200" {
		t.Errorf("a connection under the cap got %q", got)
	}
	a.waitFor(t, "a free place", func() bool { return a.guest.active.Load() == 2 })
	if got := a.raw(t, get(amiPath)); got != text(amiID) {
		t.Errorf("with a free place: %q", got)
	}
}

// The bucket empties and fills by the clock, for each instance its own, whatever is asked.
func TestTokenBucket(t *testing.T) {
	c := &clock{now: noon}
	a, b := neighbours(t, Config{Now: c.read, Rate: 2, Burst: 5})
	throttled := refused("503 Service Unavailable")
	for i, send := range []string{get(amiPath), put(tokenPath, ttlIs+"60"), get(noSuch), "broken\r\n\r\n", get(amiPath)} {
		if got := a.raw(t, send); got == throttled {
			t.Errorf("request %d of a burst of 5 is throttled", i+1)
		}
	}
	for _, send := range []string{get(amiPath), put(tokenPath, ttlIs+"60"), get(noSuch), "broken\r\n\r\n"} {
		if got := a.raw(t, send); got != throttled {
			t.Errorf("above the burst: %q", got)
		}
	}
	for i := range 5 {
		if got := b.raw(t, get(amiPath)); statusOf(got) != "200" {
			t.Errorf("the neighbour's request %d: %q", i+1, got)
		}
	}
	c.add(time.Second)
	for i, want := range []string{"200", "200", "503"} {
		if got := a.raw(t, get(amiPath)); statusOf(got) != want {
			t.Errorf("a second later, request %d: %q, want %s", i+1, got, want)
		}
	}
}

// Tokens are remembered nowhere: however many are made, the memory in use stays what it was.
func TestTokensCostNoMemory(t *testing.T) {
	w := newWire(t, nil)
	space, send := newWorkspace(), []byte(put(tokenPath, ttlIs+"21600"))
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	const tokens = 50_000
	for range tokens {
		if x, complete := w.guest.respond(send, false, space); !complete || len(x.out) < 56 {
			t.Fatal("no token")
		}
	}
	if after := inUse(); after > before+16*tokens { // less than a token has
		t.Errorf("%d tokens cost %d bytes", tokens, after-before)
	}
}

const canary = "CANARY-a7f3"

// faulty is a source of credentials that fails as programs do.
type faulty struct{ words bool }

func (f faulty) Credentials(in *openimds.Instance, set openimds.CredentialSet, now time.Time) openimds.RoleCredentials {
	if f.words {
		panic("cannot parse " + string(secretCredentials{}.Credentials(in, set, now).SecretAccessKey))
	}
	var none *openimds.Instance
	return openimds.RoleCredentials{Code: none.Name}
}

type secretCredentials struct{}

func (secretCredentials) Credentials(*openimds.Instance, openimds.CredentialSet, time.Time) openimds.RoleCredentials {
	return openimds.RoleCredentials{
		Code: openimds.CredentialsSuccess, AccessKeyID: canary + "-id", SecretAccessKey: openimds.Secret(canary + "-key"),
		Token: openimds.Secret(canary + "-token"), LastUpdated: updatedAt, Expiration: updatedAt.Add(time.Hour),
	}
}

// faultySigner fails where a listing asks it.
type faultySigner struct{}

func (faultySigner) Signature(*openimds.Instance, []byte) ([]byte, bool) { panic(canary) }
func (faultySigner) PKCS7(*openimds.Instance, []byte) ([]byte, bool)     { panic(canary) }
func (faultySigner) RSA2048(*openimds.Instance, []byte) ([]byte, bool)   { panic(canary) }

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
}

// A fault in the service costs the one request that met it, and the log does not say what it was about.
func TestFaults(t *testing.T) {
	const identity = "/latest/dynamic/instance-identity/"
	for _, way := range ways {
		for _, words := range []bool{false, true} {
			var log logBuffer
			w := withPatience(t, way.plain, patient(), func(cfg *Config, _ *openimds.Instance) {
				cfg.Credentials, cfg.Signatures, cfg.Log = faulty{words}, faultySigner{}, log.logger()
			})
			requests := 0
			for _, path := range []string{rolePath, identityPath, "/latest/meta-data/iam/info", identity, identity + "pkcs7", identity + "rsa2048", identity + "signature"} {
				if got := way.ask(w, t, get(path)); got != refused("500 Internal Server Error") {
					t.Errorf("%s: GET %s: %q", way.name, path, got)
				}
				if got := way.ask(w, t, get(amiPath)); got != text(amiID) {
					t.Errorf("%s: after the fault: %q", way.name, got)
				}
				requests++
			}
			w.idle(t)
			said := log.String()
			if n := strings.Count(said, "\n"); n != requests {
				t.Errorf("%d lines in the log of %d faults: %s", n, requests, said)
			}
			if !strings.Contains(said, `"instance":"web-1"`) || strings.Contains(said, canary) {
				t.Errorf("the log: %s", said)
			}
		}
	}
}

// Whatever a guest asks, the service writes no more than a line for each kind of refusal that an operator may not
// want. Neither secrets nor a guest's own words get into the log, but the name of a Host that is refused
// ([TestRefusedHostIsTold]).
func TestNothingIsLogged(t *testing.T) {
	var log logBuffer
	w := withPatience(t, false, patient(), func(cfg *Config, in *openimds.Instance) {
		cfg.Credentials, cfg.Log, cfg.Connections, cfg.Rate, cfg.Burst = secretCredentials{}, log.logger(), 4, 1, 40
		in.UserData, in.TokenKey = []byte(canary), openimds.Secret((canary + strings.Repeat("k", 32))[:32])
		in.Tags = []openimds.Tag{{Key: "secret", Value: canary}}
	})
	token, served := w.token(t), ""
	for _, send := range []string{
		get("/latest/user-data"), get(rolePath, tokenIs+token), get(identityPath), get("/latest/meta-data/tags/instance/secret"),
		get("/" + canary + "%0d%0a\x1b[2J"), get(amiPath, "User-Agent: "+canary+"\xff"), get(amiPath, tokenIs+canary), put(tokenPath, ttlIs+canary),
		put("/1.0/api/token"), put(tokenPath, ttlIs+"60", "X-Forwarded-For: "+canary), lines("BREW /" + canary + " HTTP/1.1"), canary + "\r\n\r\n",
		get("/"+canary, "Host: "+canary), get(amiPath, "Transfer-Encoding: "+canary), get("/" + strings.Repeat(canary, 2000)), put(tokenPath, "Expect: "+canary),
	} {
		served += w.raw(t, send)
		c := w.dial(t) // and somebody who leaves in the middle
		_, _ = io.WriteString(c, send[:len(send)/2])
		_ = c.Close()
	}
	for range 40 {
		c := w.dial(t)
		_, _ = io.WriteString(c, get(amiPath))
		_ = ended(t, c)
	}
	w.idle(t)
	if !strings.Contains(served, canary+"-token") || !strings.Contains(served, "\r\n\r\n"+canary) {
		t.Error("the guest itself did not get what is secret")
	}
	if strings.Contains(served, hex.EncodeToString(w.in.TokenKey)) || strings.Contains(served, base64.StdEncoding.EncodeToString(w.in.TokenKey)) {
		t.Error("the guest got the key")
	}
	w.waitFor(t, "the log has all lines", func() bool {
		w.server.refusals.mu.Lock()
		defer w.server.refusals.mu.Unlock()
		return !w.server.refusals.telling
	})
	said := log.String()
	kinds := map[string]bool{}
	for line := range strings.Lines(said) {
		_, words, _ := strings.Cut(line, `"msg":"`)
		what, _, _ := strings.Cut(words, ":")
		if kinds[what] {
			t.Errorf("said again: %s", line)
		}
		kinds[what] = true
	}
	if len(kinds) == 0 || len(kinds) > len(unwanted) || strings.Contains(said, canary) {
		t.Errorf("the log: %s", said)
	}
}
