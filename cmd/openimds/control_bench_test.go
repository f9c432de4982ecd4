package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// installation is a whole server in this process, and a client of its control API.
type installation struct {
	client *client
	imds   string
}

func newInstallation(b *testing.B) *installation {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "data")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL_LIGHTSAIL"} {
		b.Setenv(name, "")
	}
	b.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, credentialsFile))
	var cfg serveConfig
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	cfg.addFlags(flags)
	args := []string{"--data-dir", dir, "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--guest-rate", "0", "--guest-connections", "0"}
	if err := flags.Parse(args); err != nil {
		b.Fatal(err)
	}
	if err := cfg.settle(flags); err != nil {
		b.Fatal(err)
	}
	s := &server{cfg: cfg, log: slog.New(slog.DiscardHandler), out: io.Discard}
	ctx, stop := context.WithCancel(context.Background())
	if err := s.open(ctx); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		s.close()
	})
	c := clientConfig{endpoint: "http://" + s.apiL.Addr().String(), output: "json"}
	client, err := c.open(ctx)
	if err != nil {
		b.Fatal(err)
	}
	return &installation{client, s.imdsL[0].Addr().String()}
}

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
// answer. Beside it stands BenchmarkCommit of boltstore, with plain bbolt.
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
