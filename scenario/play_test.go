package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
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

// get asks as a guest does, by version 1.
func (p pipes) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	p <- far
	if _, err := fmt.Fprintf(near, "GET /latest/meta-data/%s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(near), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// inMemory carries requests to a handler without a network.
type inMemory struct {
	handler http.Handler
	refused func(*http.Request) bool // nil: none is
}

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.refused != nil && m.refused(r) {
		return &http.Response{StatusCode: http.StatusBadRequest, Body: io.NopCloser(strings.NewReader(`{"__type":"InvalidInputException","message":"refused"}`))}, nil
	}
	answer := httptest.NewRecorder()
	r.RequestURI = "/"
	m.handler.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// newWhole is all that stands between a command and a guest: the client, its signed requests, the
// operations, the service, a store, the agent, and the guest side, on the clock of the test.
func newWhole(t *testing.T, names ...string) (*client.Client, map[string]pipes) {
	return newRefusing(t, nil, names...)
}

// newRefusing is the same, but for requests that are refused on the way.
func newRefusing(t *testing.T, refused func(*http.Request) bool, names ...string) (*client.Client, map[string]pipes) {
	t.Helper()
	kept := mem.New()
	service := control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	side := guestside.New(guestside.Config{Store: kept, Marker: service})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	guests := map[string]pipes{}
	for _, name := range names {
		in := openimds.NewInstance(openimds.Launch{Name: name, Region: "us-east-1"}, time.Now())
		value, err := records.EncodeInstance(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kept.Commit(ctx, store.Change{Key: records.InstancePrefix + name, Value: value, If: store.IfAbsent}); err != nil {
			t.Fatal(err)
		}
		if err := side.Seat(ctx, name); err != nil {
			t.Fatal(err)
		}
		guest := make(pipes) // the map goes on being written
		guests[name] = guest
		running.Go(func() { _ = side.Serve(guest, name) })
	}
	running.Go(func() { side.Run(ctx) })
	t.Cleanup(func() {
		stop()
		_ = side.Shutdown(context.Background())
		running.Wait()
	})
	auth := sigv4.New(sigv4.Config{Regions: []string{"us-east-1"}, Keys: func(id string) (accesskeys.Key, bool, error) {
		return accesskeys.Key{ID: "AKID", Secret: "secret"}, id == "AKID", nil
	}})
	c, err := client.New(client.Config{
		Endpoint: "http://127.0.0.1", Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
		}),
		HTTP: &http.Client{Transport: inMemory{api.New(api.Config{Protocols: []api.Protocol{lightsail.New(lightsail.Config{Service: service})}, Auth: auth}), refused}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, guests
}

// What a guest sees changes at the second that a timeline names: not before, and within a second.
func TestTimelineIsOnTime(t *testing.T) {
	text := `
instances: [web-1]
timeline:
  - {at: 10s, rebalance: }
  - {at: 30s, spot: {action: terminate, in: 2m}}
  - {at: 45s, lifecycle: Terminated, maintenance: {code: system-reboot, in: 1h, duration: 30m}}
  - {at: 45s, instances: [web-2], spot: {action: stop}}
  - {at: 60s, clear: [rebalance, maintenance]}
  - {at: 150s, clear: [spot, lifecycle], instances: [web-1, web-2]}
`
	const (
		rebalance, spot, termination = "events/recommendations/rebalance", "spot/instance-action", "spot/termination-time"
		scheduled, lifecycle         = "events/maintenance/scheduled", "autoscaling/target-lifecycle-state"
	)
	synctest.Test(t, func(t *testing.T) {
		operator, guests := newWhole(t, "web-1", "web-2")
		played, err := ParseTimeline([]byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		stamp := func(d time.Duration) string { return start.Add(d).UTC().Format(time.RFC3339) }
		action := func(word string, d time.Duration) string {
			return `{"action": "` + word + `", "time": "` + stamp(d) + `"}`
		}
		rows := []struct {
			guest, path string
			from, to    time.Duration
			body        string // empty: not looked at
		}{
			{"web-1", rebalance, 10 * time.Second, 60 * time.Second, `{"noticeTime": "` + stamp(10*time.Second) + `"}`},
			{"web-1", spot, 30 * time.Second, 150 * time.Second, action("terminate", 150*time.Second)},
			{"web-1", termination, 30 * time.Second, 150 * time.Second, stamp(150 * time.Second)},
			{"web-1", lifecycle, 45 * time.Second, 150 * time.Second, "Terminated"},
			{"web-1", scheduled, 45 * time.Second, 60 * time.Second, ""},
			{"web-2", spot, 45 * time.Second, 150 * time.Second, action("stop", 165*time.Second)},
			{"web-2", termination, time.Hour, time.Hour, ""},
			{"web-2", rebalance, time.Hour, time.Hour, ""},
		}
		ended := make(chan error, 1)
		go func() {
			ended <- played.Play(t.Context(), operator, func(wire.Operation) error { return nil })
		}()
		// Half a second beside each whole one, so that nobody has to say which comes first.
		for at := 500 * time.Millisecond; at < 160*time.Second; at += time.Second {
			time.Sleep(time.Until(start.Add(at)))
			synctest.Wait()
			for _, row := range rows {
				status, body := guests[row.guest].get(t, row.path)
				there := status == 200 && body != "[]"
				if due := at > row.from && at < row.to; there != due || there && row.body != "" && body != row.body {
					t.Errorf("%v: %s reads %s: %d %s", at, row.guest, row.path, status, body)
				}
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A timeline that names an instance which is not there does not begin.
func TestTimelineMeetsItsInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		operator, _ := newWhole(t, "web-1")
		all := &Timeline{[]step{{Instances: []string{"web-1"}, line: 3}, {Instances: []string{"web-1", "web-9"}, line: 5}}}
		err := all.Meet(t.Context(), operator)
		if failed, ok := errors.AsType[*client.Error](err); !ok || err.Error() != "line 5: "+failed.Error() || !failed.NotFound() {
			t.Errorf("%v", err)
		}
	})
}
