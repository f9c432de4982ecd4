package trace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// watched is a look-out whose calls a test waits for.
type watched struct {
	t      *testing.T
	calls  chan Call
	mu     sync.Mutex
	gaps   []Gap
	notes  []string
	others []Call
}

// watch looks on until the test ends. It returns when it does.
func watch(t *testing.T, cfg Config) *watched {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("looking on takes root")
	}
	w := &watched{t: t, calls: make(chan Call, 100_000)}
	ready := make(chan struct{})
	cfg.Ready = func() { close(ready) }
	cfg.Call = func(c Call) { w.calls <- c }
	cfg.Gap = func(g Gap) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.gaps = append(w.gaps, g)
	}
	cfg.Note = func(text string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.notes = append(w.notes, text)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		if errors.Is(err, ErrNotAllowed) || errors.Is(err, unix.EPERM) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	for _, note := range w.notes {
		if strings.HasPrefix(note, "eBPF cannot") {
			t.Skip(note)
		}
	}
	return w
}

// of waits for calls by processes that the function knows, and passes others' by.
func (w *watched) of(n int, mine func(Call) bool) []Call {
	w.t.Helper()
	var found []Call
	for len(found) < n {
		select {
		case c := <-w.calls:
			if mine(c) {
				found = append(found, c)
			} else {
				w.others = append(w.others[max(len(w.others)-9, 0):], c)
			}
		case <-time.After(time.Duration(waitSeconds) * time.Second):
			w.mu.Lock()
			defer w.mu.Unlock()
			w.t.Fatalf("%d of %d calls seen: %+v; gaps %+v; notes %q; other %+v", len(found), n, found, w.gaps, w.notes, w.others)
		}
	}
	return found
}

// next waits for the next call, of whomever.
func (w *watched) next() Call {
	w.t.Helper()
	return w.of(1, func(Call) bool { return true })[0]
}

// network is a network namespace in which the services' addresses answer.
type network struct {
	t  *testing.T
	do chan func()
}

// newNetwork makes one; what is done in it is done on its thread.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace takes root")
	}
	n := &network{t: t, do: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the namespace ends with the thread
		ready <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			for _, a := range append(addrs4[:len(addrs4):len(addrs4)], addrs6...) {
				bits := a.BitLen()
				addr, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", a, bits))
				if err != nil {
					return err
				}
				if bits == 128 {
					addr.Flags = unix.IFA_F_NODAD
				}
				if err := netlink.AddrAdd(lo, addr); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(lo)
		}()
		for f := range n.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Skipf("a network namespace: %v", err)
	}
	t.Cleanup(func() { close(n.do) })
	return n
}

// in does something on the namespace's thread.
func (n *network) in(f func()) {
	done := make(chan struct{})
	n.do <- func() { f(); close(done) }
	<-done
}

// serve answers at all addresses.
func (n *network) serve(h http.Handler) {
	n.t.Helper()
	for _, a := range append(addrs4[:len(addrs4):len(addrs4)], addrs6...) {
		var l net.Listener
		var err error
		n.in(func() { l, err = net.Listen("tcp", net.JoinHostPort(a.String(), "80")) })
		if err != nil {
			n.t.Fatal(err)
		}
		server := &http.Server{Handler: h}
		go func() { _ = server.Serve(l) }()
		n.t.Cleanup(func() { _ = server.Close() })
	}
}

// start starts a program there.
func (n *network) start(name string, args ...string) *exec.Cmd {
	n.t.Helper()
	cmd := exec.Command(name, args...)
	var err error
	n.in(func() { err = cmd.Start() })
	if errors.Is(err, exec.ErrNotFound) {
		n.t.Skip(err)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return cmd
}

// run runs a program there to its end.
func (n *network) run(name string, args ...string) int {
	n.t.Helper()
	cmd := n.start(name, args...)
	if err := cmd.Wait(); err != nil {
		n.t.Fatalf("%s %q: %v", name, args, err)
	}
	return cmd.Process.Pid
}

func by(pid int) func(Call) bool { return func(c Call) bool { return c.Process.PID == pid } }

// metadata answers like the service, as far as statuses go.
func metadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	switch {
	case r.Method == http.MethodPut:
		_, _ = w.Write([]byte("AQAEAF3Yzk1eJ9rXn0pCkQvM8tBwUhL2sGdRfNoPqE7aVxSyTiZbOw=="))
	case r.URL.Path == "/latest/none":
		http.NotFound(w, r)
	default:
		_, _ = w.Write([]byte("i-1"))
	}
}

var waitSeconds = 180
