package imds

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// An answer that is held back comes whole, at its time; its guest's other requests and other guests
// are served meanwhile. The latency is longer than the test waits for anything, so that no clock is
// measured: what is held comes only when it is let go.
func TestLatency(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := serveFaulty(t, plain, openimds.Faults{On: openimds.FaultsOnToken, LatencyMillis: 300_000})
		neighbour := serveWire(t, w.server, bareInstance(), listenOn(t, "127.0.0.1:0"))
		var held []*net.TCPConn
		for i := range 20 {
			c := w.dial(t)
			_, _ = io.WriteString(c, put(tokenPath, ttlIs+"60"))
			if i%2 == 1 {
				_ = c.CloseWrite()
			}
			held = append(held, c)
		}
		w.waitFor(t, "the server holds them", func() bool { return w.guest.active.Load() == 20 })
		for range 50 {
			if got := w.raw(t, get(amiPath)); got != text(amiID) {
				t.Errorf("the guest's other request: %q", got)
			}
			if got := neighbour.fateOf(t, put(tokenPath, ttlIs+"60")); got != "200" {
				t.Errorf("another guest's: %s", got)
			}
		}
		// A client that has had enough frees its place.
		_ = held[0].SetLinger(0)
		_ = held[0].Close()
		w.waitFor(t, "its place is free", func() bool { return w.guest.active.Load() == 19 })
		w.set(t, nil)
		if got := w.fateOf(t, put(tokenPath, ttlIs+"60")); got != "200" {
			t.Errorf("after the end of the latency: %s", got)
		}
		// A shutdown lets the rest go at once.
		ctx, done := context.WithTimeout(t.Context(), patienceOfTests)
		defer done()
		if err := w.server.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		for _, c := range held[1:] {
			if got := readAll(t, c); statusOf(got) != "200" || !strings.Contains(got, "\r\nContent-Length: 56\r\n") {
				t.Errorf("%q", got)
			}
		}
	}
}

// A latency that ends by itself.
func TestShortLatency(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := serveFaulty(t, plain, openimds.Faults{LatencyMillis: 20, JitterMillis: 10, Status: 500, StatusShare: 0.5})
		var askers sync.WaitGroup
		for range 20 {
			askers.Go(func() {
				c := w.dial(t)
				began := time.Now()
				_, _ = io.WriteString(c, get(amiPath))
				_ = c.CloseWrite()
				got, err := io.ReadAll(c)
				if took := time.Since(began); err != nil || took < 10*time.Millisecond || statusOf(string(got)) == "" {
					t.Errorf("%q after %v: %v", got, took, err)
				}
			})
		}
		askers.Wait()
	}
}

// No more connections are held back than the guest may have.
func TestLatencyIsBounded(t *testing.T) {
	w := withPatience(t, false, patient(), func(c *Config, in *openimds.Instance) {
		c.Connections = 4
		in.Faults = &openimds.Faults{On: openimds.FaultsOnAll, LatencyMillis: 300_000}
	})
	for range 4 {
		_, _ = io.WriteString(w.dial(t), get(amiPath))
	}
	w.waitFor(t, "all places are taken", func() bool { return w.guest.active.Load() == 4 })
	c := w.dial(t)
	_, _ = io.WriteString(c, get(amiPath))
	if got := ended(t, c); got != "" {
		t.Errorf("one more gets %q", got)
	}
	// An instance that stops drops them.
	stopped := *w.in
	stopped.State = openimds.StateStopped
	if err := w.guest.Set(&stopped); err != nil {
		t.Fatal(err)
	}
	w.idle(t)
}
