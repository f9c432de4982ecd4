// Package enginetest runs real engines of metrics for tests: Prometheus and VictoriaMetrics as the machine has them, on a
// loopback port that is free, with their data in a directory of the test's.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds/safefile"
)

// patience is how long an engine may take to answer, on a machine that is busy, and tries how often another port is taken.
const (
	patience = 3 * time.Minute
	tries    = 5
)

// Engine is one that runs until the test ends.
type Engine struct {
	t       testing.TB
	program string
	args    func(addr string) []string
	ready   string // path
	settle  string // path; empty: what it took is there at once
	addr    string
	log     string
	run     *exec.Cmd
	ended   chan struct{}
}

// kinds are the engines that there are, by name.
var kinds = map[string]func(t testing.TB, dir string) *Engine{
	"prometheus": func(t testing.TB, dir string) *Engine {
		config := filepath.Join(dir, "prometheus.yml")
		if err := safefile.Write(config, []byte("storage: {tsdb: {out_of_order_time_window: 3650d}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return &Engine{ready: "/-/ready", args: func(addr string) []string {
			return []string{
				"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--storage.tsdb.retention.time=10y",
				"--web.enable-remote-write-receiver", "--web.listen-address=" + addr,
			}
		}}
	},
	"victoria-metrics": func(_ testing.TB, dir string) *Engine {
		return &Engine{ready: "/health", settle: "/internal/force_flush", args: func(addr string) []string {
			return []string{
				"-storageDataPath=" + filepath.Join(dir, "data"), "-retentionPeriod=10y", "-httpListenAddr=" + addr,
				"-memory.allowedBytes=256MB",
			}
		}}
	},
}

// Each runs a test with each of the engines. One that is not installed is skipped.
func Each(t *testing.T, test func(t *testing.T, e *Engine)) {
	for name := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, Start(t, name))
		})
	}
}

// Start runs an engine: "prometheus" or "victoria-metrics".
func Start(t testing.TB, name string) *Engine {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (apt-get install %s)", name, name)
	}
	dir := t.TempDir()
	e := kinds[name](t, dir)
	e.t, e.program, e.log = t, program, filepath.Join(dir, "log")
	t.Cleanup(e.Stop)
	for range tries {
		e.addr = freePort(t)
		if err = e.start(); err == nil {
			return e
		}
	}
	text, _ := os.ReadFile(e.log)
	t.Fatalf("%s does not answer: %v\n%s", name, err, text)
	return nil
}

// started counts the engines of this process.
var started atomic.Uint32

// freePort is one that is free at an address where nothing else listens, so that it still is when the engine comes back.
func freePort(t testing.TB) string {
	host := "127.0.0.1"
	if runtime.GOOS == "linux" { // which has all of 127/8
		host = fmt.Sprintf("127.78.%d.%d", os.Getpid()%256, 1+started.Add(1)%254)
	}
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// errEnded says that the engine ended by itself: another program had its port first.
var errEnded = errors.New("it ended")

func (e *Engine) start() error {
	log, err := safefile.Open(e.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	e.run = exec.Command(e.program, e.args(e.addr)...)
	e.run.Stdout, e.run.Stderr = log, log
	if err := e.run.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	e.ended = ended
	go func() {
		_ = e.run.Wait()
		close(ended)
	}()
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.addr+e.ready, nil)
		if err != nil {
			return err
		}
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %v", patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the engine, which keeps its data.
func (e *Engine) Stop() {
	if e.ended == nil {
		return
	}
	_ = e.run.Process.Signal(os.Interrupt)
	<-e.ended
	e.ended = nil
}

// Again starts it anew, where it was.
func (e *Engine) Again() {
	e.t.Helper()
	if err := e.start(); err != nil {
		text, _ := os.ReadFile(e.log)
		e.t.Fatalf("%s does not come back: %v\n%s", e.program, err, text)
	}
}

// From is the URL of its PromQL API, and Write the one that takes remote write.
func (e *Engine) From() string { return "http://" + e.addr }

// Write is the URL that takes remote write.
func (e *Engine) Write() string { return "http://" + e.addr + "/api/v1/write" }

// Settle waits until what the engine took is there for who asks.
func (e *Engine) Settle() {
	e.t.Helper()
	if e.settle == "" {
		return
	}
	answer, err := http.Get(e.From() + e.settle)
	if err != nil {
		e.t.Fatal(err)
	}
	_ = answer.Body.Close()
}
