package migrate

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/cloudwatch"
	"github.com/openimds/openimds/api/ec2"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
)

// pipes is a listener in memory, so that a test with a clock of its own needs no socket.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// call asks as a guest does, by version 1; it returns the status.
func (p pipes) call(t *testing.T, agent string) int {
	near, far := net.Pipe()
	defer near.Close()
	p <- far
	if _, err := fmt.Fprintf(near, "GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\n\r\n", agent); err != nil {
		t.Error(err)
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(near), nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// inMemory carries requests to a handler without a network.
type inMemory struct {
	handler http.Handler
	// before may answer in the handler's place.
	before func(*http.Request) *http.Response
}

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.before != nil {
		if resp := m.before(r); resp != nil {
			return resp, nil
		}
	}
	answer := httptest.NewRecorder()
	r.RequestURI = "/"
	m.handler.ServeHTTP(answer, r)
	return answer.Result(), nil
}

func newClient(t *testing.T, transport http.RoundTripper) *client.Client {
	t.Helper()
	return newClientIn(t, "us-east-1", transport)
}

func newClientIn(t *testing.T, region string, transport http.RoundTripper) *client.Client {
	t.Helper()
	return newClientFor(t, client.ServiceLightsail, region, transport)
}

func newClientOf(t *testing.T, service string, transport http.RoundTripper) *client.Client {
	t.Helper()
	return newClientFor(t, service, "us-east-1", transport)
}

func newClientFor(t *testing.T, service, region string, transport http.RoundTripper) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{
		Service: service, Endpoint: "http://127.0.0.1", Region: region, HTTP: &http.Client{Transport: transport}, Attempts: 10,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fleet is all of a server between a client and guests, on the clock of the test.
type fleet struct {
	t       *testing.T
	ctx     context.Context
	calling sync.WaitGroup
	service *control.Service
	kept    store.Store
	handler http.Handler
	guests  map[string]pipes
	mu      sync.Mutex
	before  func(*http.Request) *http.Response
}

// newFleet serves running instances of these names.
func newFleet(t *testing.T, names ...string) *fleet {
	t.Helper()
	kept := mem.New()
	meter := usage.NewMeter(usage.Config{Store: kept, History: history.New(history.Config{Store: kept})})
	service := control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012", History: meter, Callers: meter, Refusals: meter})
	side := guestside.New(guestside.Config{Store: kept, Marker: service, IMDS: imds.Config{Usage: meter}})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	f := &fleet{t: t, ctx: ctx, service: service, kept: kept, guests: map[string]pipes{}}
	for _, name := range names {
		f.make(ctx, kept, name)
	}
	if err := side.SeatAll(ctx, names); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		guest := f.guests[name]
		running.Go(func() { _ = side.Serve(guest, name) })
	}
	running.Go(func() { side.Run(ctx) })
	running.Go(func() { meter.Run(ctx) })
	running.Go(func() { service.FollowRefusals(ctx, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() {
		stop()
		f.calling.Wait()
		_ = side.Shutdown(context.Background())
		running.Wait()
	})
	time.Sleep(time.Minute) // into a sample
	auth := sigv4.New(sigv4.Config{Regions: []string{"us-east-1"}, Keys: func(id string) (accesskeys.Key, bool, error) {
		return accesskeys.Key{ID: "AKID", Secret: "secret"}, id == "AKID", nil
	}})
	f.handler = api.New(api.Config{Protocols: []api.Protocol{
		lightsail.New(lightsail.Config{Service: service}), ec2.New(ec2.Config{Service: service}), cloudwatch.New(cloudwatch.Config{Service: service}),
	}, Auth: auth})
	return f
}

func (f *fleet) make(ctx context.Context, kept store.Store, name string) {
	in := openimds.NewInstance(openimds.Launch{Name: name, Region: "us-east-1"}, time.Now())
	in.Options.HopLimit = 1 + len(name)%3 // so that one who mixes instances up is found out
	value, err := records.EncodeInstance(in)
	if err == nil {
		_, err = kept.Commit(ctx, store.Change{Key: records.InstancePrefix + name, Value: value, If: store.IfAbsent},
			store.Change{Key: records.InstanceIDKey(in.ID), Value: []byte(name), If: store.IfAbsent})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.guests[name] = make(pipes)
}

// provider is a client's of the fleet.
func (f *fleet) provider() OpenIMDS {
	return NewOpenIMDS(newClient(f.t, inMemory{f.handler, func(r *http.Request) *http.Response {
		f.mu.Lock()
		before := f.before
		f.mu.Unlock()
		if before == nil {
			return nil
		}
		return before(r)
	}}))
}

// options are those of all instances, by name.
func (f *fleet) options() map[string]Options {
	f.t.Helper()
	all, err := f.provider().Instances(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	options := map[string]Options{}
	for _, in := range all {
		options[in.Name] = in.Options
	}
	return options
}

// set changes options as somebody else does.
func (f *fleet) set(name string, u openimds.OptionsUpdate) {
	f.t.Helper()
	if _, err := f.service.UpdateOptions(f.t.Context(), name, u); err != nil {
		f.t.Fatal(err)
	}
}

// aPlan is a plan of these lines, which puts up with calls before it begins.
func aPlan(t *testing.T, lines string) *Plan {
	t.Helper()
	plan, err := ParsePlan([]byte("plan: 1\nprovider: openimds\ncriteria: {window: 1m, calls: 1000000}\n" + lines))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// aRun is a run on the journal of that name, which is closed with the test or by the function.
func aRun(t *testing.T, p Provider, journal string) (*Run, func()) {
	t.Helper()
	j, err := OpenJournal(journal, true, "tester")
	if err != nil {
		t.Fatal(err)
	}
	run, err := NewRun(p, j)
	if err != nil {
		t.Fatal(err)
	}
	run.Warn = func(text string) { t.Log(text) }
	return run, func() { _ = j.Close() }
}

func journalIn(t *testing.T) string { return filepath.Join(t.TempDir(), "plan.yaml.journal") }

// kinds are what a journal tells of an instance, in a line; without a name, of the plan.
func kinds(t *testing.T, journal, name string) string {
	t.Helper()
	all, err := ReadJournal(journal)
	if err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, r := range all {
		if r.Instance == nil && name == "" || r.Instance != nil && r.Instance.Name == name {
			of = append(of, string(r.Kind))
		}
	}
	return strings.Join(of, ", ")
}

// reason is what a journal says last of an instance.
func reason(t *testing.T, journal, name string) string {
	t.Helper()
	all, err := ReadJournal(journal)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range slices.Backward(all) {
		if r.Instance != nil && r.Instance.Name == name {
			return r.Reason
		}
	}
	return ""
}

func (f *fleet) delete(names ...string) {
	for _, name := range names {
		if _, err := f.service.DeleteInstance(f.t.Context(), name); err != nil {
			f.t.Error(err)
		}
	}
}

// forget has the service forget of plans what it was told of their instances, as one that was set back would.
func (f *fleet) forget() {
	f.t.Helper()
	for _, prefix := range []string{records.MigrationPrefix, records.MigrationPartPrefix} {
		page, err := f.kept.List(f.t.Context(), store.Range{Prefix: prefix})
		for _, r := range page.Records {
			if err == nil {
				_, err = f.kept.Commit(f.t.Context(), store.Change{Verb: store.Delete, Key: r.Key, If: store.Whatever})
			}
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// every does something again and again until the test ends.
func (f *fleet) every(d time.Duration, do func()) {
	f.calling.Go(func() {
		for {
			select {
			case <-f.ctx.Done():
				return
			case <-time.After(d):
				do()
			}
		}
	})
}
