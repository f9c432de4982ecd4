package handover_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"

	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/handover"
	"github.com/openimds/openimds/store/mem"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serveWeb serves an instance "web" to whoever hands a listener over in dir, until stop.
func serveWeb(t *testing.T, dir string) (stop func()) {
	t.Helper()
	store := mem.New()
	service := control.New(store, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	if _, err := service.EnsureInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	guests := guestside.New(guestside.Config{Store: store, Marker: service})
	server, err := handover.Listen(dir, guests, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { server.Serve(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		_ = store.Close()
	})
	t.Cleanup(stop)
	return stop
}

// Who calls is told before anything is answered, and Told waits for every request that was. When the server is
// gone, nobody takes what is known for all there is.
func TestTold(t *testing.T) {
	dir := t.TempDir()
	stop := serveWeb(t, dir)
	var mu sync.Mutex
	arrived, seen := map[netip.AddrPort]bool{}, 0
	gone := make(chan struct{})
	offers := handover.NewOffers(dir, "web", handover.Observer{
		Arrived: func(source netip.AddrPort) {
			mu.Lock()
			defer mu.Unlock()
			arrived[source] = true
		},
		Seen: func(one handover.Seen) {
			mu.Lock()
			defer mu.Unlock()
			seen++
			if !arrived[one.Source] || one.Request.Version != "v1" || one.Request.Status != 200 {
				t.Errorf("seen: %+v", one)
			}
		},
		Gone: func() { close(gone) },
	})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := offers.Offer(l.(*net.TCPListener)); err != nil {
		t.Fatal(err)
	}
	const requests = 200
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range requests {
		answer, err := client.Get("http://" + l.Addr().String() + "/latest/meta-data/instance-id")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		mu.Lock()
		n := len(arrived)
		mu.Unlock()
		if n == 0 {
			t.Fatal("an answer came before anybody was told who asks")
		}
	}
	lost, err := offers.Told()
	mu.Lock()
	if err != nil || len(lost) > 0 || seen != requests {
		t.Errorf("told of %d requests of %d, lost %v, %v", seen, requests, lost, err)
	}
	mu.Unlock()
	stop()
	<-gone
	if _, err := offers.Told(); err == nil {
		t.Error("when the server is gone, what it has told is taken for all")
	}
	offers.Close()
}
