package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
)

// TestStoreComesLater starts a server before its store, as machines do that all get power at the same moment: it waits,
// says so where somebody looks, and serves as ever once the store is there. Told to end meanwhile, it ends well.
func TestStoreComesLater(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 1)
	member := cluster.Members[0]
	l, err := net.Listen("tcp", loopback()+":0")
	must(t, err)
	api := l.Addr().String()
	must(t, l.Close())
	dir := filepath.Join(t.TempDir(), "data")
	ready := filepath.Join(t.TempDir(), "ready")
	start := func(timeout time.Duration) *process {
		t.Helper()
		p := &process{dir: dir, api: api}
		p.cmd = command(dir, "serve", "--ready-file", ready, "--imds-listen", "127.0.0.1:0", "--api-listen", api,
			"--store", etcd.Scheme+cluster.Addresses(), "--store-timeout", timeout.String())
		p.cmd.Stdout, p.cmd.Stderr = p, p
		must(t, p.cmd.Start())
		t.Cleanup(func() { p.stop(t) })
		return p
	}
	ask := func(path string) (code int, text string) {
		resp, err := http.Get("http://" + api + path) //nolint:noctx // on this machine
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	waits := func(p *process) {
		t.Helper()
		if eventually(func() bool { code, _ := ask("/readyz"); return code == http.StatusServiceUnavailable }) != nil {
			t.Fatalf("it does not say that it waits:\n%s", p.logged())
		}
		if _, text := ask("/readyz"); !strings.Contains(text, "etcd at "+member.Address+" does not answer") || strings.Count(text, "\n") != 1 {
			t.Errorf("/readyz says %q", text)
		}
		if code, text := ask("/healthz"); code != http.StatusOK {
			t.Errorf("/healthz says %d %q", code, text)
		}
		if code, text := ask("/console/"); code != http.StatusServiceUnavailable || !strings.Contains(text, "does not answer") {
			t.Errorf("the console says %d %q", code, text)
		}
		if _, err := os.Stat(ready); err == nil {
			t.Error("it waits, and the ready file is there")
		}
		must(t, eventually(func() bool {
			return strings.Contains(p.logged(), `level=WARN msg="waiting for the store; nobody is answered until it is there" error="--store: etcd at `+member.Address)
		}))
	}
	member.Kill()
	must(t, os.WriteFile(ready, []byte("imds=of an earlier run\n"), 0o600))
	p := start(time.Second)
	waits(p)
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("told to end while it waits: %v\n%s", err, p.logged())
	}

	// Each try is bounded by the time that a request may take, and that is for long enough on a busy machine.
	p = start(15 * time.Second)
	waits(p)
	member.Start()
	var text []byte
	if eventually(func() bool { text, _ = os.ReadFile(ready); return bytes.Contains(text, []byte("api=")) }) != nil {
		t.Fatalf("the store is there, and it does not start:\n%s", p.logged())
	}
	_, err = fmt.Sscanf(string(text), "imds=%s\napi=%s\n", &p.imds, &p.api)
	must(t, err)
	if p.api != api {
		t.Errorf("the control API is at %s", p.api)
	}
	must(t, eventually(func() bool { code, _ := ask("/readyz"); return code == http.StatusOK }))
	if got := p.guest(t); !strings.Contains(got, " 200 OK") {
		t.Errorf("the guest is answered %q", got)
	}
	if log := p.logged(); strings.Count(log, "waiting for the store") != 1 || !strings.Contains(log, "the store answers") {
		t.Errorf("the log says:\n%s", log)
	}
}
