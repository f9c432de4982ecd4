package imds

import (
	"io"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// The next request obeys a change of the options, whichever they are.
func TestOptionsAreObeyedAtOnce(t *testing.T) {
	w := serveWire(t, NewServer(Config{Now: func() time.Time { return noon }, Credentials: fixedCredentials{}}), fixedInstance(), listenOn(t, "127.0.0.1:0"))
	token := w.token(t)
	type answers struct{ v1, v2, put string }
	all := answers{text(amiID), left(21600, text(amiID)), "200"}
	off := answers{forbidden, forbidden, "403"}
	required := answers{unauthorized, all.v2, "200"}
	in := *w.in
	for _, step := range []struct {
		name   string
		change func(*openimds.MetadataOptions)
		want   answers
	}{
		{"as launched", func(*openimds.MetadataOptions) {}, all},
		{"tokens required", func(o *openimds.MetadataOptions) { o.Tokens = openimds.TokensRequired }, required},
		{"tokens optional", func(o *openimds.MetadataOptions) { o.Tokens = openimds.TokensOptional }, all},
		{"endpoint disabled", func(o *openimds.MetadataOptions) { o.Endpoint = openimds.EndpointDisabled }, off},
		{"tokens required while disabled", func(o *openimds.MetadataOptions) { o.Tokens = openimds.TokensRequired }, off},
		{"endpoint enabled", func(o *openimds.MetadataOptions) { o.Endpoint = openimds.EndpointEnabled }, required},
		{"hop limit", func(o *openimds.MetadataOptions) { o.HopLimit = 64 }, required},
		{"pending", func(o *openimds.MetadataOptions) { o.State = openimds.OptionsPending }, required},
		{"IPv6 enabled, which this listener is not", func(o *openimds.MetadataOptions) { o.IPv6 = openimds.EndpointEnabled }, required},
		{"tokens optional again", func(o *openimds.MetadataOptions) { o.Tokens = openimds.TokensOptional }, all},
	} {
		changed := in
		step.change(&changed.Options)
		in = changed
		if err := w.guest.Set(&changed); err != nil {
			t.Fatal(err)
		}
		if got := w.raw(t, get(amiPath)); got != step.want.v1 {
			t.Errorf("%s: version 1: %q", step.name, got)
		}
		if got := w.raw(t, get(amiPath, tokenIs+token)); got != step.want.v2 {
			t.Errorf("%s: version 2: %q", step.name, got)
		}
		if got := w.raw(t, put(tokenPath, ttlIs+"60")); statusOf(got) != step.want.put {
			t.Errorf("%s: PUT: %q", step.name, got)
		}
	}
	// What this test, TestHopLimit and metadata's tests of tags/ do not change is not tested: name the test of a new option here.
	if n := reflect.TypeFor[openimds.MetadataOptions]().NumField(); n != 6 {
		t.Errorf("the options have %d fields", n)
	}
}

func TestIPv6Option(t *testing.T) {
	listeners := map[string]openimds.EndpointMode{"[::1]:0": openimds.EndpointDisabled, "127.0.0.1:0": openimds.EndpointDisabled}
	s := NewServer(Config{Now: func() time.Time { return noon }, Credentials: fixedCredentials{}})
	for addr := range listeners {
		found, err := Listen(t.Context(), addr)
		if err != nil {
			t.Skipf("this machine has no IPv6: %v", err)
		}
		w := serveWire(t, s, fixedInstance(), found[0])
		for _, mode := range []openimds.EndpointMode{openimds.EndpointDisabled, openimds.EndpointEnabled, openimds.EndpointDisabled} {
			in := fixedInstance()
			in.Options.IPv6 = mode
			if err := w.guest.Set(in); err != nil {
				t.Fatal(err)
			}
			answers := mode == openimds.EndpointEnabled || addr[0] != '['
			for send, want := range map[string]string{get(amiPath): text(amiID), put(tokenPath): badRequest, "broken\r\n\r\n": badRequest} {
				if !answers {
					want = ""
				}
				for _, way := range ways[:2] {
					if got := way.ask(w, t, send); got != want {
						t.Errorf("%s, IPv6 %s: %q gets %q", addr, mode, send, got)
					}
				}
			}
		}
	}
}

// One that is stopping still has its metadata service, for what runs at a shutdown.
func TestStoppingInstance(t *testing.T) {
	w := withPatience(t, false, patience{head: time.Hour, write: time.Hour, linger: time.Hour}, nil)
	stopping := fixedInstance()
	stopping.State = openimds.StateStopping
	if err := w.guest.Set(stopping); err != nil {
		t.Fatal(err)
	}
	if got := w.raw(t, get(amiPath)); got != text(amiID) {
		t.Errorf("stopping: %q", got)
	}
}

// An instance that is neither running nor stopping has no metadata service: not one byte, neither for new connections
// nor for those that were open.
func TestStoppedInstance(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := withPatience(t, plain, patience{head: time.Hour, write: time.Hour, linger: time.Hour}, nil)
		states := []openimds.InstanceState{"", openimds.StatePending, openimds.StateStopped, openimds.StateShuttingDown, openimds.StateTerminated}
		for _, state := range states {
			open := w.dial(t)
			_, _ = io.WriteString(open, "GET / HTTP/1.1\r\n")
			w.waitFor(t, "the server holds it", func() bool { return w.holds(open) })
			stopped := fixedInstance()
			stopped.State = state
			if state == "" {
				stopped = nil
			}
			if err := w.guest.Set(stopped); err != nil {
				t.Fatal(err)
			}
			if got := ended(t, open); got != "" {
				t.Errorf("%q: an open connection got %q", state, got)
			}
			for _, send := range []string{get(amiPath), put(tokenPath, ttlIs+"60"), "broken\r\n\r\n", get("/" + strings.Repeat("a", 9000))} {
				c := w.dial(t)
				_, _ = io.WriteString(c, send)
				if got := ended(t, c); got != "" {
					t.Errorf("%q: %.40q gets %q", state, send, got)
				}
			}
			if err := w.guest.Set(w.in); err != nil {
				t.Fatal(err)
			}
			if got := w.raw(t, get(amiPath)); got != text(amiID) {
				t.Errorf("running again: %q", got)
			}
		}
	}
}

// A connection that one instance opened is not answered with what came to its place.
func TestAnotherInstanceInThePlace(t *testing.T) {
	w := withPatience(t, false, patience{head: time.Hour, write: time.Hour, linger: time.Hour}, nil)
	open := w.dial(t)
	_, _ = io.WriteString(open, "GET /latest/user-data HTTP/1.1\r\n")
	w.waitFor(t, "the server holds it", func() bool { return w.holds(open) })
	other := fixedInstance()
	other.ID, other.UserData = "i-0fedcba9876543210", []byte(canary)
	if err := w.guest.Set(other); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(open, "Host: x\r\n\r\n")
	if got := ended(t, open); got != "" {
		t.Errorf("%q", got)
	}
	if got := w.raw(t, get("/latest/user-data")); !strings.HasSuffix(got, canary) {
		t.Errorf("the other instance: %q", got)
	}
}

// A record that cannot be served leaves things as they are: it opens nothing.
func TestRefusedInstances(t *testing.T) {
	for name, spoil := range map[string]func(*openimds.Instance){
		"no key":            func(in *openimds.Instance) { in.TokenKey = nil },
		"a short key":       func(in *openimds.Instance) { in.TokenKey = in.TokenKey[:16] },
		"no hop limit":      func(in *openimds.Instance) { in.Options.HopLimit = 0 },
		"a hop limit of 65": func(in *openimds.Instance) { in.Options.HopLimit = 65 },
		"unknown tokens":    func(in *openimds.Instance) { in.Options.Tokens = "sometimes" },
		"unknown endpoint":  func(in *openimds.Instance) { in.Options.Endpoint = "" },
		"unknown IPv6":      func(in *openimds.Instance) { in.Options.IPv6 = "maybe" },
	} {
		w := newWire(t, func(_ *Config, in *openimds.Instance) { in.Options.Tokens = openimds.TokensRequired })
		spoilt := *w.in
		spoilt.Options.Tokens = openimds.TokensOptional
		spoil(&spoilt)
		if err := w.guest.Set(&spoilt); err == nil {
			t.Errorf("%s is accepted", name)
		}
		if got := w.raw(t, get(amiPath)); got != unauthorized {
			t.Errorf("%s: %q", name, got)
		}
		fresh := serveWire(t, NewServer(Config{}), w.in, listenOn(t, "127.0.0.1:0"))
		_ = fresh.guest.Set(nil)
		_ = fresh.guest.Set(&spoilt)
		c := fresh.dial(t)
		_, _ = io.WriteString(c, get(amiPath))
		if got := ended(t, c); got != "" {
			t.Errorf("%s on a fresh guest: %q", name, got)
		}
	}
}

// Under load too: what begins after Set has returned is served by the new options.
func TestChangeUnderLoad(t *testing.T) {
	w := newWire(t, nil)
	var required atomic.Bool
	var late, served atomic.Int64
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for range 150 {
				before := required.Load()
				c := w.dial(t)
				_, _ = io.WriteString(c, get(amiPath))
				got, _ := io.ReadAll(c)
				_ = c.Close()
				if statusOf(string(got)) != "200" {
					continue
				}
				served.Add(1)
				if before {
					late.Add(1)
				}
			}
		})
	}
	w.waitFor(t, "some are served", func() bool { return served.Load() > 20 })
	strict := *w.in
	strict.Options.Tokens = openimds.TokensRequired
	if err := w.guest.Set(&strict); err != nil {
		t.Error(err)
	}
	required.Store(true)
	askers.Wait()
	if n := late.Load(); n > 0 {
		t.Errorf("%d requests without a token were served after the change", n)
	}
}
