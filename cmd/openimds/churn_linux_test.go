package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/server"
	"golang.org/x/sys/unix"
)

// insideVariable says that this process has network and mount namespaces of its own.
const insideVariable = "OPENIMDS_TEST_INSIDE"

// times is how often a test does what it does: usual, unless the variable says otherwise, as in a soak.
func times(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(variable, ": ", err)
	}
	return n
}

// TestChurn attaches and detaches instances by the control API, in turns at the same places, while all
// guests call without a pause: each answer must be of the instance that is attached at its place, and at
// the end nothing may be left of any. CYCLES is how many attachments it makes, and it goes on for a
// hundred times as many requests.
func TestChurn(t *testing.T) {
	t.Parallel()
	if os.Getenv(insideVariable) == "" {
		runInside(t, 0)
		return
	}
	cycles := times(t, "CYCLES", 60)
	must(t, prepareInside())
	h := newChurnHost(t)
	spots := h.spots()
	// Once for what stays for good: threads, poller, the API's connections.
	h.churn(spots, len(spots), 0)
	must(t, ask(t.Context(), h.client, targetOpenIMDS+"ReleasePlaces", map[string]bool{"all": true}, nil))
	before := h.traces(spots)
	h.churn(spots, cycles, 100*cycles)
	must(t, ask(t.Context(), h.client, targetOpenIMDS+"ReleasePlaces", map[string]bool{"all": true}, nil))
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		left := before.missing(h.traces(spots))
		if left == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("left behind: ", left)
		}
	}
}

// runInside runs the test in a process with namespaces of its own.
func runInside(t *testing.T, more uintptr, env ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=0")
	cmd.Env = append(append(os.Environ(), insideVariable+"=1"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | more, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is of the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs the right to make network namespaces")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, told, ok := strings.Cut(line, "_test.go:"); ok {
			_, told, _ = strings.Cut(told, ": ")
			t.Log(strings.TrimSpace(told))
		}
	}
}

// churnHost is a server with all of its parts, and a client of its control API.
type churnHost struct {
	t      *testing.T
	server *server.Server
	client *client.Client
	// answers are those that guests got, wrong ones among them.
	answers atomic.Int64
	wrong   chan string
}

func newChurnHost(t *testing.T) *churnHost {
	cfg := server.Defaults()
	cfg.DataDir, cfg.IMDSListen, cfg.APIListen, cfg.GuestRate = t.TempDir(), []string{"127.0.0.1:0"}, "127.0.0.1:0", 0
	ctx, cancel := context.WithCancel(context.Background())
	s, err := server.Open(ctx, cfg)
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	h := &churnHost{t: t, server: s, wrong: make(chan string, 1)}
	access := clientConfig{endpoint: s.APIURL(), dataDir: cfg.DataDir, output: "json"}
	h.client, err = access.open(ctx)
	must(t, err)
	return h
}

// rivals is how many instances take turns at a spot: more than a request can outlive.
const rivals = 3

// spot is a place where instances are attached, one after the other, and a guest that calls from there.
type spot struct {
	name  string
	guest *os.File // its namespace
	place map[string]string
	names [rivals]string
	ids   [rivals]string
	// phase is 2n while the n-th attachment is being made, and 2n+1 since its guest was answered by it.
	phase atomic.Int64
}

// may says whether an answer of an instance is right for a request that was under way between two phases.
func (s *spot) may(id string, from, to int64) bool {
	first := from / 2
	if from%2 == 0 {
		first-- // the one before may still answer
	}
	for n := max(first, 0); n <= to/2; n++ {
		if s.ids[n%rivals] == id {
			return true
		}
	}
	return false
}

// soon is how long an answer is waited for that there need not be.
const soon = 100 * time.Millisecond

// ask asks from the thread's namespace who the caller is; nobody may answer.
func (h *churnHost) ask(s *spot, within time.Duration) (id string) {
	from := s.phase.Load()
	id, err := whoAmI(within)
	if err != nil {
		time.Sleep(time.Millisecond)
		return ""
	}
	h.answers.Add(1)
	if to := s.phase.Load(); !s.may(id, from, to) {
		select {
		case h.wrong <- fmt.Sprintf("%s: in the phases %d to %d, answered as %q of %q", s.name, from, to, id, s.ids):
		default:
		}
	}
	return id
}

// churn makes that many attachments, under requests, and leaves nothing attached.
func (h *churnHost) churn(spots []*spot, cycles, requests int) {
	h.answers.Store(0)
	ctx, stop := context.WithCancel(h.t.Context())
	var made atomic.Int64
	var callers, drivers errorGroup
	for _, s := range spots {
		for range 2 {
			callers.run(s.guest, func() error {
				for ctx.Err() == nil {
					h.ask(s, soon)
				}
				return nil
			})
		}
		drivers.run(s.guest, func() error {
			for made.Add(1) <= int64(cycles) || h.answers.Load() < int64(requests) {
				if err := h.cycle(s); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := drivers.wait()
	stop()
	must(h.t, errors.Join(err, callers.wait()))
	select {
	case wrong := <-h.wrong:
		h.t.Fatal(wrong)
	default:
	}
	h.t.Logf("%d cycles, %d answers, none wrong", made.Load()-int64(len(spots)), h.answers.Load())
}

// cycle attaches the next instance, hears from it, detaches it, and hears nothing any more.
func (h *churnHost) cycle(s *spot) error {
	n := (s.phase.Load() + 1) / 2
	name, id := s.names[n%rivals], s.ids[n%rivals]
	s.phase.Store(2 * n)
	request := map[string]string{"instanceName": name}
	for key, value := range s.place {
		request[key] = value
	}
	if err := ask(h.t.Context(), h.client, targetOpenIMDS+"AttachInstance", request, nil); err != nil {
		return err
	}
	if err := eventually(func() bool { return h.ask(s, time.Second) == id }); err != nil {
		return fmt.Errorf("%s: %s is not answered: %w", s.name, name, err)
	}
	s.phase.Store(2*n + 1)
	for range 10 {
		h.ask(s, soon)
	}
	if err := ask(h.t.Context(), h.client, targetOpenIMDS+"DetachInstance", map[string]string{"instanceName": name}, nil); err != nil {
		return err
	}
	if err := eventually(func() bool { return h.ask(s, soon) == "" }); err != nil {
		return fmt.Errorf("%s: %s is answered after it was detached: %w", s.name, name, err)
	}
	return nil
}
