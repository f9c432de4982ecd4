package hostcert_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// patience bounds every wait; no test waits for it unless it fails.
const patience = 3 * time.Minute

// fixture is a store with any number of authorities, whose clocks the test puts.
type fixture struct {
	t     *testing.T
	store store.Store
	mu    sync.Mutex
	now   time.Time
	late  func(store.Record) // called when a replica has read a record, and before it has it
}

// late is a store whose answers may take their time.
type late struct {
	store.Store
	fixture *fixture
}

func (l late) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := l.Store.Get(ctx, key)
	l.fixture.mu.Lock()
	held := l.fixture.late
	l.fixture.mu.Unlock()
	if held != nil && err == nil {
		held(r)
	}
	return r, err
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, store: mem.New(), now: time.Now()}
	t.Cleanup(func() { _ = f.store.Close() })
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) step(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// replica is one more authority of the store, which follows it.
func (f *fixture) replica() *hostcert.Authority {
	f.t.Helper()
	a := f.unfollowing()
	f.follow(a)
	return a
}

func (f *fixture) unfollowing() *hostcert.Authority {
	f.t.Helper()
	a, err := hostcert.Open(f.t.Context(), hostcert.Config{Store: late{f.store, f}, Now: f.clock, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// follow has an authority follow the store until the test ends.
func (f *fixture) follow(a *hostcert.Authority) {
	ctx, cancel := context.WithCancel(f.t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	f.t.Cleanup(func() { cancel(); running.Wait() })
}

// invite makes a token, as the rules do.
func (f *fixture) invite(a *hostcert.Authority, host string) openimds.Invitation {
	f.t.Helper()
	i := openimds.Invitation{
		Version: openimds.InvitationVersion, Host: host, Token: openimds.NewJoinToken(host), Until: f.clock().Add(time.Hour),
		Authority: string(a.CertificatePEM()), Replicas: []string{"127.0.0.1:1"},
	}
	value, err := records.Encode(records.JoinToken{Sum: i.Token.Sum(), Until: i.Until})
	if err == nil {
		_, err = f.store.Commit(f.t.Context(), store.Change{Key: records.JoinTokenKey(host), Value: value, If: store.Whatever})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return i
}

// evict ends an enrolment as the rules do.
func (f *fixture) evict(host string) {
	f.t.Helper()
	r, err := f.store.Get(f.t.Context(), records.EnrolledKey(host))
	var was records.Enrolled
	if err == nil {
		was, err = records.Decode[records.Enrolled](r)
	}
	var end store.Change
	if err == nil {
		end, err = was.End(host)
	}
	if err == nil {
		_, err = f.store.Commit(f.t.Context(), store.Change{Verb: store.Delete, Key: r.Key, If: r.Revision}, end)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// carry has an authority redeem what a machine sends.
func carry(a *hostcert.Authority) func(context.Context, openimds.JoinToken, []byte) ([]byte, error) {
	return func(ctx context.Context, token openimds.JoinToken, request []byte) ([]byte, error) {
		issued, err := a.Redeem(ctx, token, request)
		return issued.Certificate, err
	}
}

func (f *fixture) join(a *hostcert.Authority, host string) *hostcert.Identity {
	f.t.Helper()
	id, err := hostcert.Join(f.t.Context(), f.t.TempDir(), f.invite(a, host), carry(a))
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// connect is a TLS connection of a client to a replica, and what the replica sees.
func connect(t *testing.T, a *hostcert.Authority, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server := tls.Server(there, a.ServerTLS())
	done := make(chan error, 1)
	go func() {
		err := server.HandshakeContext(ctx)
		if err == nil {
			_, err = server.Write([]byte("."))
		}
		done <- err
	}()
	c := tls.Client(here, client)
	err := c.HandshakeContext(ctx)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err != nil {
		_ = here.Close()
	}
	return server.ConnectionState(), errors.Join(err, <-done)
}

func (f *fixture) hostOf(a *hostcert.Authority, client *tls.Config) (hostcert.Host, error) {
	f.t.Helper()
	client = client.Clone()
	client.Time = f.clock
	state, err := connect(f.t, a, client)
	if err != nil {
		f.t.Fatal(err)
	}
	return a.HostOf(f.t.Context(), state)
}

// refused fails the test unless an error refuses that host for that reason.
func refused(t *testing.T, err error, host, why string) {
	t.Helper()
	r, ok := errors.AsType[*hostcert.Refused](err)
	if !ok || r.Host != host || !strings.Contains(r.Why, why) {
		t.Errorf("the error is %v; want %q refused: %s", err, host, why)
	}
}
