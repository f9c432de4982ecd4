package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openimds/openimds/server"
)

// process is the real program, serving.
type process struct {
	cmd       *exec.Cmd
	dir       string
	imds, api string
	mu        sync.Mutex
	log       bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func startProcess(t *testing.T, dir string, flags ...string) *process {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	p := &process{dir: dir}
	p.cmd = command(dir, append([]string{"serve", "--ready-file", ready, "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"}, flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	must(t, p.cmd.Start())
	t.Cleanup(func() { p.stop(t) })
	var text []byte
	if eventually(func() bool { text, _ = os.ReadFile(ready); return len(text) > 0 }) != nil {
		t.Fatalf("it does not start:\n%s", p.logged())
	}
	_, err := fmt.Sscanf(string(text), "imds=%s\napi=%s\n", &p.imds, &p.api)
	must(t, err)
	return p
}

func (p *process) stop(t *testing.T) {
	if p.cmd.ProcessState != nil {
		return
	}
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_ = p.cmd.Wait()
}

// operator runs a command of the operator and returns all that it prints.
func (p *process) operator(args ...string) (string, error) {
	out, err := command(p.dir, append(args, "--endpoint", "http://"+p.api)...).CombinedOutput()
	return string(out), err
}

func (p *process) ready(t *testing.T) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + p.api + "/readyz")
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

// guest is what a guest is answered without a token.
func (p *process) guest(t *testing.T) string {
	t.Helper()
	answer, err := exchange(p.imds, []byte("GET /latest/meta-data/instance-type HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"))
	must(t, err)
	return string(answer)
}

// TestFsyncFails lets one fsync of the store fail, of a commit or of the growing file. From then on no
// change is acknowledged, whatever the disk says later; that is said where somebody looks; guests and
// reads go on; and a new start goes on from what was acknowledged.
func TestFsyncFails(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"fdatasync", "fsync"} {
		t.Run(call, func(t *testing.T) { fsyncFails(t, call) })
	}
}

func fsyncFails(t *testing.T, call string) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("skipped: this test makes system calls fail, which needs strace")
	}
	p := startProcess(t, filepath.Join(t.TempDir(), "data"))
	if out, err := p.operator("instance", "create", "before"); err != nil {
		t.Fatal(out)
	}
	store := filepath.Join(p.dir, server.StoreFile)
	tracer := exec.Command(strace, "-f", "-p", fmt.Sprint(p.cmd.Process.Pid), "-P", store, "-e", "trace="+call, "-e", "inject="+call+":error=EIO:when=1", "-o", os.DevNull)
	var said bytes.Buffer
	tracer.Stderr = &said
	must(t, tracer.Start())
	defer func() {
		_ = tracer.Process.Signal(syscall.SIGINT)
		_ = tracer.Wait()
	}()
	status := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	traced := func() bool {
		text, _ := os.ReadFile(status)
		return bytes.Contains(text, []byte("TracerPid:\t")) && !bytes.Contains(text, []byte("TracerPid:\t0\n"))
	}
	for deadline := time.Now().Add(patience); !traced(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Skip("skipped: a process cannot be traced here")
		}
	}
	large := filepath.Join(t.TempDir(), "large")
	must(t, os.WriteFile(large, make([]byte, 16<<10), 0o600))
	refused := false
	for i := 0; i < 40 && !refused; i++ { // until the file has to grow
		_, err := p.operator("instance", "create", fmt.Sprint("during-", i), "--user-data", large)
		refused = err != nil
	}
	if !refused {
		t.Fatal("every change was acknowledged")
	}
	for range 3 { // the disk is well again, and the store does not know what it holds
		if out, err := p.operator("options", "before", "--hop-limit", "7"); err == nil {
			t.Errorf("a change was acknowledged after a failed fsync: %s", out)
		}
	}
	if code, text := p.ready(t); code != 503 || !strings.Contains(text, "takes no more changes since the disk failed") || !strings.Contains(text, "start openimds again") || strings.Count(text, "\n") != 1 {
		t.Errorf("/readyz says %d %q", code, text)
	}
	must(t, eventually(func() bool { return strings.Contains(p.logged(), "level=ERROR msg=\"changes are refused") }))
	if n := strings.Count(p.logged(), "changes are refused"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, p.logged())
	}
	if got := p.guest(t); !strings.Contains(got, " 200 OK") {
		t.Errorf("the guest is answered %q", got)
	}
	if out, err := p.operator("instance", "show", "before"); err != nil {
		t.Errorf("reading: %s", out)
	}
	_ = tracer.Process.Signal(syscall.SIGINT)
	_ = tracer.Wait()
	p.stop(t)
	again := startProcess(t, p.dir)
	if out, err := again.operator("options", "before", "--hop-limit", "7"); err != nil {
		t.Errorf("after a start: %s", out)
	}
	if code, text := again.ready(t); code != 200 {
		t.Errorf("/readyz says %d %q after a start", code, text)
	}
}

// TestFullDiskServes fills the disk of a data directory to the last byte: guests are served, what grows
// is refused and said, deletions work, and all goes on by itself when there is room.
func TestFullDiskServes(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "mode=0700,size=2m"); err != nil {
		t.Skipf("skipped: this test mounts a small file system, which needs root (%v)", err)
	}
	defer func() { must(t, unix.Unmount(disk, unix.MNT_DETACH)) }()
	others, err := os.Create(filepath.Join(disk, "others"))
	must(t, err)
	_, err = others.Write(make([]byte, 300<<10))
	must(t, err)
	p := startProcess(t, filepath.Join(disk, "data"))
	data := filepath.Join(t.TempDir(), "data")
	must(t, os.WriteFile(data, make([]byte, 15<<10), 0o600))
	var names []string
	for i := 0; ; i += 4 {
		some := []string{fmt.Sprint("vm-", i), fmt.Sprint("vm-", i+1), fmt.Sprint("vm-", i+2), fmt.Sprint("vm-", i+3)}
		out, err := p.operator(append([]string{"instance", "create", "--user-data", data}, some...)...)
		if err != nil {
			if !strings.Contains(out, "disk is full, so nothing is changed: make room") {
				t.Errorf("a refusal says %q", out)
			}
			break
		}
		names = append(names, some...)
		if i > 300 {
			t.Fatal("the disk does not become full")
		}
	}
	for chunk := 64 << 10; chunk > 0; chunk /= 2 {
		for err = nil; err == nil; _, err = others.Write(make([]byte, chunk)) {
		}
	}
	must(t, others.Close())
	var text string
	if eventually(func() bool { // the store may have found room before the disk was filled
		name := fmt.Sprint("late-", len(names))
		if _, err := p.operator("instance", "create", "--user-data", data, name); err == nil {
			names = append(names, name)
		}
		var code int
		code, text = p.ready(t)
		if info, err := os.Stat(others.Name()); err == nil && strings.Contains(text, "the audit log cannot be written") {
			must(t, os.Truncate(others.Name(), max(0, info.Size()-4096))) // it was before the store in want of room
		}
		return code == 503 && strings.Contains(text, "the store's disk is full") && strings.Count(text, "\n") == 1
	}) != nil {
		t.Errorf("/readyz says %q", text)
	}
	must(t, eventually(func() bool { return strings.Contains(p.logged(), "changes are refused; guests are served as before") }))
	if got := p.guest(t); !strings.Contains(got, " 200 OK") {
		t.Errorf("the guest is answered %q", got)
	}
	if len(names) < 5 {
		t.Fatalf("%d instances have room", len(names))
	}
	for _, name := range names[:len(names)/2] {
		if out, err := p.operator("instance", "delete", name); err != nil {
			t.Fatalf("deleting %s on a full disk: %s", name, out)
		}
	}
	must(t, os.Remove(filepath.Join(disk, "others")))
	if eventually(func() bool { code, _ := p.ready(t); return code == 200 }) != nil {
		_, text := p.ready(t)
		t.Fatalf("with room again, /readyz says %q", text)
	}
	must(t, eventually(func() bool { return strings.Contains(p.logged(), "the store takes changes again") }))
	if out, err := p.operator("instance", "create", "again"); err != nil {
		t.Errorf("with room again: %s", out)
	}
	p.stop(t)
	again := startProcess(t, p.dir)
	out, err := again.operator("instance", "list")
	if err != nil || !strings.Contains(out, "again ") || strings.Contains(out, names[0]+" ") || !strings.Contains(out, names[len(names)-1]+" ") {
		t.Errorf("after a start: %s", out)
	}
	again.stop(t)
}
