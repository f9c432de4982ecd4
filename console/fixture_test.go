package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/console"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// keys are access keys by their ids.
type keys struct {
	mu  sync.Mutex
	all map[string]accesskeys.Key
}

func (k *keys) lookup(id string) (accesskeys.Key, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.all[id]
	return key, ok, nil
}

func (k *keys) set(key accesskeys.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all[key.ID] = key
}

// nothing is a protocol that answers every operation with nothing.
type nothing struct{ until *time.Time }

func (nothing) Service() string                      { return "nothing" }
func (nothing) Prefix() string                       { return "nothing" }
func (nothing) Head(r *http.Request) (string, error) { return r.Header.Get("X-Amz-Target"), nil }
func (nothing) Encode(api.Request, any, error) api.Answer {
	return api.Answer{Status: 200, Body: []byte("{}")}
}
func (n nothing) Read(r *http.Request, _ []byte) (api.Operation, error) {
	return api.Operation{Name: r.Header.Get("X-Amz-Target"), Run: func(ctx context.Context) (any, error) {
		*n.until, _ = ctx.Deadline()
		return nil, nil
	}}, nil
}

// pipes is a listener of connections that never leave the process, so that a test has a clock of its own.
type pipes struct {
	conns chan net.Conn
	end   chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.end) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.end:
		return nil, errors.New("nobody listens")
	}
}

// fixture is a console over a store in memory.
type fixture struct {
	t        *testing.T
	keys     *keys
	store    store.Store
	sessions *console.Sessions
	file     string
	listener *pipes
	until    time.Time // the end of the last operation's time
	stop     func()
}

const keyID, secret = "AKIAI234567890ABCDEF", "the-secret-of-the-first-key"

// open makes a console that runs until the test ends. It is called in a bubble.
func open(t *testing.T, streams int) *fixture {
	f := &fixture{t: t, keys: &keys{all: map[string]accesskeys.Key{}}, store: mem.New(), file: filepath.Join(t.TempDir(), "sessions")}
	f.keys.set(accesskeys.Key{ID: keyID, Secret: secret, Profile: "default"})
	f.start(streams)
	t.Cleanup(func() {
		f.stop()
		_ = f.store.Close()
	})
	return f
}

func (f *fixture) start(streams int) {
	f.sessions = console.NewSessions(console.SessionsConfig{File: f.file, Keys: f.keys.lookup, Door: sigv4.New(sigv4.Config{Keys: f.keys.lookup})})
	c := console.New(console.Config{
		Sessions: f.sessions, Regions: []console.Region{{Name: "us-east-1", Protocol: nothing{&f.until}, Store: f.store}},
		Targets: map[string]string{"GetInstances": "Nothing.GetInstances"}, Streams: streams, Timeout: operationTime,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	f.listener = &pipes{conns: make(chan net.Conn), end: make(chan struct{})}
	server := &http.Server{Handler: c} //nolint:gosec // nobody else reaches it
	running.Go(func() { _ = server.Serve(f.listener) })
	f.stop = sync.OnceFunc(func() {
		cancel()
		_ = server.Close()
		running.Wait()
		synctest.Wait()
	})
}

// restart is the same console after the process has ended and begun again.
func (f *fixture) restart() {
	f.stop()
	f.start(1)
}

// page is a browser's.
type page struct {
	f    *fixture
	http *http.Client
}

func (f *fixture) page() *page {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	// Whatever is dialled goes to the console that is there now.
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return f.listener.dial(ctx, network, addr)
	}, DisableKeepAlives: true}
	return &page{f, &http.Client{Transport: transport, Jar: jar}}
}

func (p *page) do(ctx context.Context, method, path, body string) *http.Response {
	p.f.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost/console/"+path, strings.NewReader(body))
	if err != nil {
		p.f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := p.http.Do(r)
	if err != nil {
		p.f.t.Fatal(err)
	}
	return a
}

// ask returns the status of an answer that is read whole.
func (p *page) ask(method, path, body string) int {
	p.f.t.Helper()
	a := p.do(context.Background(), method, path, body)
	_, _ = io.Copy(io.Discard, a.Body)
	_ = a.Body.Close()
	return a.StatusCode
}

func (p *page) signIn(id, secret string) *page {
	p.f.t.Helper()
	body, _ := json.Marshal(map[string]string{"accessKeyId": id, "secretAccessKey": secret})
	if status := p.ask("POST", "session", string(body)); status != http.StatusOK {
		p.f.t.Fatalf("sign in: %d", status)
	}
	return p
}

// works says whether the page is signed in; by a request, which is a use of the session.
func (p *page) works() bool {
	p.f.t.Helper()
	return p.ask("POST", "api/GetInstances", "{}") == http.StatusOK
}

// events opens a stream; close it before the test ends.
func (p *page) events() (lines *bufio.Scanner, closeIt func()) {
	p.f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := p.do(ctx, "GET", "events", "")
	if a.StatusCode != http.StatusOK {
		p.f.t.Fatalf("events: %s", a.Status)
	}
	return bufio.NewScanner(a.Body), func() { cancel(); _ = a.Body.Close(); synctest.Wait() }
}

// change commits a change of an instance.
func (f *fixture) change(name string) {
	f.t.Helper()
	if _, err := f.store.Commit(context.Background(), store.Change{Key: "instance/" + name, Value: []byte("x"), If: store.Whatever}); err != nil {
		f.t.Fatal(err)
	}
}
