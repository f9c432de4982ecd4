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

// BenchmarkObedience changes httpTokens back and forth and measures from the API's answer to the
// first of the guest's answers that obeys.
func BenchmarkObedience(b *testing.B) {
	i := newInstallation(b)
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		tokens, want := "required", "401"
		if n%2 == 1 {
			tokens, want = "optional", "200"
		}
		request := map[string]string{"instanceName": "demo", "httpTokens": tokens}
		if err := i.client.call(b.Context(), targetLightsail+"UpdateInstanceMetadataOptions", request, nil); err != nil {
			b.Fatal(err)
		}
		answered := time.Now()
		for i.status(b) != want {
			if time.Since(answered) > 10*time.Second {
				b.Fatalf("the guest does not obey %s", tokens)
			}
		}
		took = append(took, time.Since(answered))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
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
