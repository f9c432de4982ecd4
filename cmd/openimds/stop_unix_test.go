//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// started is the real program, in its own process.
type started struct {
	cmd       *exec.Cmd
	imds, api string
	dir       string
	errs      bytes.Buffer
	ended     chan error
}

// start starts "openimds serve" and waits until it answers. prepare may change the command.
func start(t *testing.T, prepare func(*started), args ...string) *started {
	t.Helper()
	program, err := exec.LookPath("openimds")
	if err != nil {
		t.Fatal(err)
	}
	s := &started{dir: t.TempDir(), ended: make(chan error, 1)}
	ready := filepath.Join(s.dir, "ready")
	s.cmd = exec.Command(program, append([]string{"serve", "--data-dir", filepath.Join(s.dir, "data"), "--imds-listen", "127.0.0.1:0",
		"--api-listen", "127.0.0.1:0", "--ready-file", ready}, args...)...)
	s.cmd.Stderr = &s.errs
	if prepare != nil {
		prepare(s)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.cmd.Wait() }()
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	for deadline := time.Now().Add(patience); s.api == ""; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(ready)
		for line := range strings.Lines(string(text)) {
			switch name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name {
			case "imds":
				s.imds = value
			case "api":
				s.api = value
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready\n%s", s.errs.String())
		}
	}
	return s
}

// stop sends SIGTERM, and returns the exit code. What hangs in these tests does so for much longer than it waits.
func (s *started) stop(t *testing.T) (code int) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.ended:
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode()
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0
	case <-time.After(patience):
		t.Fatalf("it does not stop")
		return 0
	}
}

// command runs another command of the program, as a client of this one.
func (s *started) command(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, quick(), append(args, "--endpoint", "http://"+s.api, "--data-dir", filepath.Join(s.dir, "data"))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// alarm makes an alarm and has it change its state.
func (s *started) alarm(t *testing.T) {
	t.Helper()
	c, err := (&clientConfig{endpoint: "http://" + s.api, dataDir: filepath.Join(s.dir, "data"), output: "json"}).open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = ask(t.Context(), c, targetLightsail+"PutAlarm", map[string]any{
		"alarmName": "load", "metricName": "StatusCheckFailed", "monitoredResourceName": "demo", "comparisonOperator": "GreaterThanThreshold",
		"threshold": 0.5, "evaluationPeriods": 1, "notificationEnabled": true,
	}, nil)
	if err == nil {
		err = ask(t.Context(), c, targetLightsail+"TestAlarm", map[string]any{"alarmName": "load", "state": "ALARM"}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// full makes a pipe that nobody reads, and that has no room.
func full(t *testing.T) *os.File {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fds[0])
	if err := syscall.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	for size := 4096; size > 0; {
		if _, err := syscall.Write(fds[1], make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := syscall.SetNonblock(fds[1], false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fds[0]) })
	w := os.NewFile(uintptr(fds[1]), "full pipe")
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func getMetadata(t *testing.T, s *started) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + s.imds + "/latest/meta-data/ami-id")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
}

// TestStopsInTime: whatever hangs, the program ends without waiting for it, and with 0 where nothing failed.
func TestStopsInTime(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it starts programs")
	}
	const inTime = "--stop-timeout=40s" // a busy machine takes long over what does not hang, too; a body may take half a minute
	hold := func(t *testing.T, addr, request string) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		return c
	}
	// holdBody has the control API in the middle of a request, whose body it waits for.
	holdBody := func(t *testing.T, s *started) {
		c := hold(t, s.api, namedRequest(keyOf(t, filepath.Join(s.dir, "data")), 1000, "Expect: 100-continue"))
		must(t, c.SetReadDeadline(time.Now().Add(patience)))
		if line, err := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Fatalf("the body is not waited for: %q, %v", line, err)
		}
	}
	within := func(t *testing.T, s *started) {
		t.Helper()
		if code := s.stop(t); code != 0 {
			t.Errorf("exit code %d\n%s", code, s.errs.String())
		}
	}
	t.Run("a credential process that hangs", func(t *testing.T) {
		t.Parallel()
		pids := filepath.Join(t.TempDir(), "pids")
		script := "trap '' TERM INT HUP; sleep 1000 & echo $$ $! >" + pids + "; sleep 1000; sleep 1000"
		s := start(t, nil, inTime, "--imds-listen-shared", "--role-credentials", "app=process:"+script)
		s.command(t, "instance", "set", "demo", "--role", "app")
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			if text, _ := os.ReadFile(pids); len(text) > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the program is not run")
			}
		}
		within(t, s)
		text, _ := os.ReadFile(pids)
		for _, field := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(field)
			for deadline := time.Now().Add(patience); alive(pid); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Errorf("process %d is left", pid)
					break
				}
			}
		}
	})
	t.Run("a log and an output that nobody reads", func(t *testing.T) {
		t.Parallel()
		s := start(t, func(s *started) { s.cmd.Stderr, s.cmd.Stdout = full(t), full(t) }, inTime, "--log-level", "debug")
		getMetadata(t, s)
		for range 20 { // each is a line of the log
			hold(t, s.api, "GARBAGE\r\n\r\n")
		}
		s.command(t, "instance", "create", "web-1")
		getMetadata(t, s)
		within(t, s)
	})
	t.Run("a log whose reader is gone", func(t *testing.T) {
		t.Parallel()
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s := start(t, func(s *started) { s.cmd.Stderr = writer }, inTime, "--log-level", "debug")
		_, _ = reader.Close(), writer.Close()
		s.command(t, "instance", "create", "web-1")
		getMetadata(t, s)
		within(t, s)
	})
	t.Run("a webhook that hangs", func(t *testing.T) {
		t.Parallel()
		asked := make(chan struct{}, 10)
		release := make(chan struct{})
		hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release }))
		defer hook.Close()
		defer close(release)
		s := start(t, nil, inTime, "--alarm-webhook", hook.URL)
		s.alarm(t)
		select {
		case <-asked:
		case <-time.After(patience):
			t.Fatal("the webhook is not called")
		}
		within(t, s)
	})
	t.Run("clients and guests that stall and drip", func(t *testing.T) {
		t.Parallel()
		s := start(t, nil, inTime)
		holdBody(t, s)
		hold(t, s.api, "POST / HTTP/1.1\r\nHost: x\r\n")
		hold(t, s.imds, "GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254")
		getMetadata(t, s) // behind which it is let in
		for range 10 {
			c, err := net.Dial("tcp", s.imds)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				defer func() { _ = c.Close() }()
				for _, b := range []byte("GET /latest/meta-data/ HTTP/1.1\r\nX-Drip: " + strings.Repeat("x", 4000)) {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(200 * time.Millisecond)
				}
			}()
		}
		within(t, s)
	})
	t.Run("all of these at once", func(t *testing.T) {
		t.Parallel()
		s := start(t, func(s *started) { s.cmd.Stderr, s.cmd.Stdout = full(t), full(t) }, inTime, "--imds-listen-shared",
			"--role-credentials", "app=process:sleep 1000")
		s.command(t, "instance", "set", "demo", "--role", "app")
		holdBody(t, s)
		hold(t, s.imds, "GET /latest/meta-data/ HTTP/1.1\r\n")
		getMetadata(t, s)
		within(t, s)
	})
}

func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !bytes.Contains(text, []byte(") Z "))
}

// A disk that does not answer is not waited for either; then the program says so, and has failed.
func TestStopsWithoutTheDisk(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("a disk that hangs needs strace")
	}
	s := start(t, func(s *started) { s.cmd.Env = append(os.Environ(), stopVariable+"=") }) // in the time that users have
	tracer := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-p", strconv.Itoa(s.cmd.Process.Pid),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=1000s")
	if err := tracer.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _ = tracer.Process.Kill(); _ = tracer.Wait() }()
	for deadline := time.Now().Add(patience); !traced(s.cmd.Process.Pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Skip("this process may not be traced")
		}
	}
	getMetadata(t, s) // a count, to be stored at the end
	before := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The tracer keeps threads that it delays even when their process has ended.
	for ; alive(s.cmd.Process.Pid); time.Sleep(5 * time.Millisecond) {
		if time.Since(before) > patience {
			t.Fatal("it does not stop")
		}
	}
	_ = tracer.Process.Kill()
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](<-s.ended); ok {
		code = exit.ExitCode()
	}
	if code != exitFailed || !strings.Contains(s.errs.String(), "ended without waiting any longer for the") {
		t.Errorf("exit code %d\n%s", code, s.errs.String())
	}
}

// TestFirstThreadIsFree: the kernel gives SIGTERM to the first thread, which must not be one that a disk can keep.
func TestFirstThreadIsFree(t *testing.T) {
	t.Parallel()
	t.Run("nothing else is run on it", func(t *testing.T) { // this test's own process has the program's init, too
		if runtime.GOOS != "linux" {
			t.Skip("a thread's number is Linux's to tell")
		}
		var running, all sync.WaitGroup
		running.Add(256) // more than there are idle threads, each of which is taken before a new one is made
		for range 256 {
			all.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				running.Done()
				running.Wait()
				if at, err := os.Readlink("/proc/thread-self"); err != nil || filepath.Base(at) == strconv.Itoa(os.Getpid()) {
					t.Errorf("a goroutine runs on the thread %q, %v", at, err)
				}
			})
		}
		all.Wait()
	})
	t.Run("the start is not run on it", func(t *testing.T) {
		strace, err := exec.LookPath("strace")
		if err != nil || runtime.GOOS != "linux" {
			t.Skip("seeing what a program's threads do needs strace")
		}
		trace := filepath.Join(t.TempDir(), "trace")
		s := start(t, func(s *started) {
			s.cmd.Args = append([]string{strace, "-f", "-qq", "-o", trace, "-e", "trace=execve,fsync,fdatasync", "-e", "signal=none", s.cmd.Path}, s.cmd.Args[1:]...)
			s.cmd.Path = strace
		})
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), " ")
		if pid, err := strconv.Atoi(first); err != nil || syscall.Kill(pid, syscall.SIGTERM) != nil {
			t.Fatalf("the first thread is %q, %v", first, err)
		}
		<-s.ended // strace ends with it
		if calls := strings.Count("\n"+string(text), "\n"+first+" "); calls != 1 || !strings.Contains(string(text), "sync(") {
			t.Errorf("the first thread, %s, is to call execve and wait for no disk:\n%s", first, text)
		}
	})
}

// traced says whether all threads of a process are traced.
func traced(pid int) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, file := range files {
		if text, _ := os.ReadFile(file); bytes.Contains(text, []byte("TracerPid:\t0\n")) {
			return false
		}
	}
	return len(files) > 0
}

// The second signal is obeyed at once, with all of these hanging.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	s := start(t, func(s *started) { s.cmd.Stderr = full(t) }, "--imds-listen-shared", "--role-credentials", "*=process:sleep 1000")
	c, err := net.Dial("tcp", s.api)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := s.stop(t); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
}

// A run that is ended before its command has begun has the exit code that a shell has for the signal.
func TestRunEndedBeforeItsCommand(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("openimds")
	if err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		dir := t.TempDir()
		begun := filepath.Join(dir, "begun")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, "run", "--data-dir", dir, "--network", "none", "--role", "app",
			"--role-credentials", "app=process:echo >"+begun+"; sleep 1000", "--", "true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for ctx.Err() == nil {
			if _, err := os.Stat(begun); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 128+int(signal) {
			t.Errorf("%v: exit code %d", signal, code)
		}
	}
}

// The end of its terminal ends no server, which reads its settings again.
func TestOutlivesItsTerminal(t *testing.T) {
	t.Parallel()
	settings, log := filepath.Join(t.TempDir(), "settings.yaml"), filepath.Join(t.TempDir(), "log")
	put := func(text string) {
		if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("log-level: info")
	s := start(t, func(s *started) {
		f, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		s.cmd.Stderr = f
	}, "--config", settings)
	put("log-level: debug")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	getMetadata(t, s)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(log)
		if err == nil && strings.Contains(string(text), "log-level=debug was=info\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was read again: %s, %v", text, err)
		}
	}
	if code := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
