package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
)

// status asks without a token, on a connection of its own, as a guest does.
func (i *installation) status(b *testing.B) string {
	c, err := net.Dial("tcp", i.imds)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"); err != nil {
		b.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || len(answer) < 12 {
		b.Fatalf("%q, %v", answer, err)
	}
	return string(answer[9:12])
}

// BenchmarkObedience changes httpTokens back and forth and measures from the API's answer, and from the request before
// it, to the first of the guest's answers that obeys: with the store in a file, and with two servers on three members of
// etcd, of which one is asked and the guest of the other has to obey.
func BenchmarkObedience(b *testing.B) {
	b.Run("file", func(b *testing.B) {
		i := newInstallation(b)
		obedience(b, i, i)
	})
	b.Run("etcd", func(b *testing.B) {
		c := etcdtest.Start(b, 3, "--unsafe-no-fsync=false")
		var servers [2]*installation
		for n := range servers {
			cfg := forTest(b.TempDir())
			cfg.GuestRate, cfg.GuestConnections, cfg.Store = 0, 0, etcd.Scheme+c.Addresses()
			servers[n] = openInstallation(b, cfg)
		}
		obedience(b, servers[0], servers[1])
	})
}

// obedience asks one server for changes, and guests of the other whether they are made.
func obedience(b *testing.B, asked, i *installation) {
	var took, all []time.Duration
	for n := 0; b.Loop(); n++ {
		tokens, want := "required", "401"
		if n%2 == 1 {
			tokens, want = "optional", "200"
		}
		request := map[string]string{"instanceName": "demo", "httpTokens": tokens}
		begun := time.Now()
		if err := asked.client.call(b.Context(), targetLightsail+"UpdateInstanceMetadataOptions", request, nil); err != nil {
			b.Fatal(err)
		}
		answered := time.Now()
		for i.status(b) != want {
			if time.Since(answered) > 10*time.Second {
				b.Fatalf("the guest does not obey %s", tokens)
			}
		}
		took, all = append(took, time.Since(answered)), append(all, time.Since(begun))
	}
	for from, times := range map[string][]time.Duration{"": took, "-whole": all} {
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50"+from+"-µs")
		b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99"+from+"-µs")
	}
}

// BenchmarkUpdateOptions has eight clients change eight instances, each change durable before its
// answer. Beside it stands BenchmarkCommit of store/bolt, with plain bbolt.
func BenchmarkUpdateOptions(b *testing.B) {
	i := newInstallation(b)
	const clients = 8
	names := make([]string, clients)
	for n := range names {
		names[n] = fmt.Sprint("web-", n)
	}
	create := map[string]any{"instanceNames": names, "availabilityZone": "us-east-1a", "blueprintId": "debian_12", "bundleId": "nano_3_0"}
	if err := i.client.call(b.Context(), targetLightsail+"CreateInstances", create, nil); err != nil {
		b.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	failed := make(chan error, clients)
	b.ResetTimer()
	for _, name := range names {
		go func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				request := map[string]any{"instanceName": name, "httpPutResponseHopLimit": 1 + n%64}
				if err := i.client.call(context.Background(), targetLightsail+"UpdateInstanceMetadataOptions", request, nil); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range clients {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
}
