package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilledAtTheStart kills the real program at its writes, and at what makes them durable or gives them
// their names, while it makes a data directory: the next start finds nothing that stops it, and an operator's
// key that works.
func TestKilledAtTheStart(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("skipped: strace is not installed")
	}
	program, err := exec.LookPath("openimds")
	must(t, err)
	step := 8 // every one takes minutes
	if os.Getenv("OPENIMDS_TEST_STATES") != "" {
		step = 1
	}
	killed := 0
	for _, call := range []string{"write", "pwrite64", "fsync", "fdatasync", "linkat", "renameat", "unlinkat"} {
		for n, ended := 1, true; ended && n < 40; n += step {
			dir := filepath.Join(t.TempDir(), "data")
			victim := command(dir, "serve", "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--ready-file", filepath.Join(filepath.Dir(dir), "ready"))
			victim.Args = append([]string{strace, "-f", "-qq", "-o", os.DevNull, "-e", "signal=none", "-e", "trace=" + call,
				"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n), program}, victim.Args[1:]...)
			victim.Path = strace
			if ended = endsEarly(t, victim, filepath.Join(filepath.Dir(dir), "ready")); ended {
				killed++
			}
			p := startProcess(t, dir)
			if out, err := p.operator("instance", "show", "demo"); err != nil || !strings.Contains(p.guest(t), " 200 OK") {
				t.Errorf("killed at call %d of %s: the next start: %s %q", n, call, out, p.guest(t))
			}
			p.stop(t)
		}
	}
	if killed < 5 {
		t.Skipf("skipped: only %d starts were ended; this user may not trace processes", killed)
	}
	t.Logf("%d starts were ended", killed)
}

// endsEarly says whether a program ends before it is ready; else it is ended.
func endsEarly(t *testing.T, cmd *exec.Cmd, ready string) bool {
	t.Helper()
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-ended:
			return true
		default:
		}
		if _, err := os.Stat(ready); err == nil {
			break
		}
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	must(t, err)
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		must(t, err)
		must(t, syscall.Kill(pid, syscall.SIGTERM))
	}
	<-ended
	return false
}
