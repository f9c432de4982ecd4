package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until it holds.
func eventually(holds func() bool) error {
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for %v", patience)
		}
	}
	return nil
}

// installation is a whole server in this process, and a client of its control API.
type installation struct {
	server *server
	client *client
	imds   string
	stop   func()
}

// patientDog is a watchdog of a server in a test's own process, which it must not end.
func patientDog() *watchdog { return &watchdog{stderr: io.Discard, exit: func(int) {}} }

func newInstallation(b *testing.B) *installation {
	b.Helper()
	return openInstallation(b, filepath.Join(b.TempDir(), "data"), "--guest-rate", "0", "--guest-connections", "0")
}

// openInstallation serves the data directory, with these flags of "serve" too, until stop is called or
// the test ends.
func openInstallation(t testing.TB, dir string, more ...string) *installation {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL_LIGHTSAIL"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, credentialsFile))
	var cfg serveConfig
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	cfg.addFlags(flags)
	must(t, flags.Parse(append([]string{"--data-dir", dir, "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"}, more...)))
	must(t, cfg.settle(flags))
	s := &server{cfg: cfg, log: slog.New(slog.DiscardHandler), out: io.Discard, dog: patientDog()}
	ctx, cancel := context.WithCancel(context.Background())
	must(t, s.open(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.close()
	})
	t.Cleanup(stop)
	c := clientConfig{endpoint: "http://" + s.apiL[0].Addr().String(), output: "json"}
	client, err := c.open(ctx)
	must(t, err)
	return &installation{s, client, s.imdsL[0].Addr().String(), stop}
}
