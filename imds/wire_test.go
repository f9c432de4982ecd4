package imds

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/credentials/generated"
)

// noon is the time of all tests that need to know it.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// patienceOfTests bounds every wait of a test; nothing is measured against it.
const patienceOfTests = 3 * time.Minute

// wire is a guest side on a real socket.
type wire struct {
	addr   string
	guest  *Guest
	server *Server
	in     *openimds.Instance
}

// newWire serves a fresh instance after setup has changed it and the configuration.
func newWire(t testing.TB, setup func(*Config, *openimds.Instance)) *wire {
	t.Helper()
	in := openimds.NewInstance(openimds.Launch{Name: "web-1", Region: "us-east-1"}, noon.Add(-time.Hour))
	cfg := Config{Now: func() time.Time { return noon }, Credentials: generated.Source{}}
	if setup != nil {
		setup(&cfg, in)
	}
	return serveWire(t, NewServer(cfg), in, listenOn(t, "127.0.0.1:0"))
}

// listenOn opens the listener that the product opens.
func listenOn(t testing.TB, addr string) net.Listener {
	t.Helper()
	listeners, err := Listen(context.Background(), addr)
	if err != nil {
		t.Fatal(err)
	}
	return listeners[0]
}

// loopback is an address of this machine at which nothing else listens, so that a port of it that was closed is nobody's.
func loopback() string {
	if runtime.GOOS != "linux" { // which has all of 127/8
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.80.%d.%d", os.Getpid()%256, 1+loopbacks.Add(1)%254)
}

// loopbacks counts the addresses that this process has taken.
var loopbacks atomic.Uint32

// listenPlain opens a listener of which the server knows nothing.
func listenPlain(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", loopback()+":0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serveWire serves the instance on the listener until the test ends. A server may have several.
func serveWire(t testing.TB, s *Server, in *openimds.Instance, l net.Listener) *wire {
	t.Helper()
	w := &wire{server: s, in: in, addr: l.Addr().String(), guest: s.NewGuest()}
	if err := w.guest.Set(in); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, w.guest) }()
	t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), patienceOfTests)
		defer done()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != ErrServerClosed {
			t.Errorf("serve ended with %v", err)
		}
	})
	return w
}

func (w *wire) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patienceOfTests))
	return c.(*net.TCPConn)
}

// raw sends bytes as they are and returns all that comes back. That the connection ends in order,
// not by a reset, is part of it.
func (w *wire) raw(t testing.TB, send string) string {
	t.Helper()
	c := w.dial(t)
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return readAll(t, c)
}

// readAll reads to the end and closes.
func readAll(t testing.TB, c net.Conn) string {
	t.Helper()
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("after %q: %v", got, err)
	}
	return string(got)
}

// inTwo sends a request in two pieces, the second of them when the server has seen that the first
// is not all there. A first piece that earns an answer by itself gets it.
func (w *wire) inTwo(t testing.TB, send string) string {
	t.Helper()
	c := w.dial(t)
	first := firstPiece(send)
	if _, err := io.WriteString(c, send[:first]); err != nil {
		t.Fatal(err)
	}
	type end struct {
		got []byte
		err error
	}
	ended := make(chan end, 1)
	go func() {
		got, err := io.ReadAll(c)
		ended <- end{got, err}
	}()
	w.waitFor(t, "the server waits for the rest", func() bool { return w.holds(c) || len(ended) > 0 })
	_, werr := io.WriteString(c, send[first:])
	e := <-ended
	_ = c.Close()
	if e.err != nil {
		t.Fatalf("after %q: %v", e.got, e.err)
	}
	if werr != nil && len(e.got) == 0 {
		t.Fatal(werr)
	}
	return string(e.got)
}

// firstPiece is half of a request's head, so that no body can make it look complete.
func firstPiece(send string) int {
	if i := strings.Index(send, "\r\n\r\n"); i > 0 {
		return i / 2
	}
	return len(send) / 2
}

// holds says whether the guest keeps the connection in a goroutine of its own.
func (w *wire) holds(c net.Conn) bool {
	w.guest.mu.Lock()
	defer w.guest.mu.Unlock()
	for held := range w.guest.conns {
		if held.RemoteAddr().String() == c.LocalAddr().String() {
			return true
		}
	}
	return false
}

// waitFor waits until something that must come has come.
func (w *wire) waitFor(t testing.TB, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patienceOfTests); !there(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// lines makes a request from the request line and the headers after Host.
func lines(line string, headers ...string) string {
	return line + "\r\nHost: 169.254.169.254\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// The headers of a session.
const (
	tokenIs = "X-aws-ec2-metadata-token: "
	ttlIs   = "X-aws-ec2-metadata-token-ttl-seconds: "
)

func get(path string, headers ...string) string { return lines("GET "+path+" HTTP/1.1", headers...) }

func put(path string, headers ...string) string { return lines("PUT "+path+" HTTP/1.1", headers...) }

func (w *wire) token(t testing.TB) string {
	t.Helper()
	got := w.raw(t, put(tokenPath, ttlIs+"21600"))
	head, token, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || len(token) != 56 {
		t.Fatalf("no token: %q", got)
	}
	return token
}

// statusOf returns the status of an answer, or "" if there is none.
func statusOf(answer string) string {
	if !strings.HasPrefix(answer, "HTTP/1.") || len(answer) < 12 {
		return ""
	}
	return answer[9:12]
}
