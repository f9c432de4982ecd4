package imds

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// little is less than anybody takes who waits on purpose. Only what a test is about may be that
// short: a busy machine is slow too.
const little = 150 * time.Millisecond

// patient never gives up on a guest that a test waits for.
func patient() patience {
	return patience{head: time.Hour, write: time.Hour, linger: little}
}

// withPatience serves the fixed instance.
func withPatience(t *testing.T, plain bool, p patience, change func(*Config, *openimds.Instance)) *wire {
	t.Helper()
	in := fixedInstance()
	cfg := Config{Now: func() time.Time { return noon }, Credentials: fixedCredentials{}}
	if change != nil {
		change(&cfg, in)
	}
	s := NewServer(cfg)
	s.patience = p
	if plain {
		return serveWire(t, s, in, listenPlain(t))
	}
	return serveWire(t, s, in, listenOn(t, loopback()+":0"))
}

// ended reads until the connection has ended, in order or not, and returns what came.
func ended(t *testing.T, c net.Conn) string {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("after %q: %v", got, err)
	}
	return string(got)
}

// idle waits until the guest has no connection any more.
func (w *wire) idle(t *testing.T) {
	t.Helper()
	w.waitFor(t, "all connections end", func() bool { return w.guest.active.Load() == 0 })
}

// Whoever does not send a request in time is cut off, without an answer.
func TestSlowSenders(t *testing.T) {
	for name, send := range map[string]func(t *testing.T, c *net.TCPConn){
		"nothing":             func(*testing.T, *net.TCPConn) {},
		"one byte":            func(_ *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, "G") },
		"a request line":      func(_ *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\n") },
		"all but the last LF": func(_ *testing.T, c *net.TCPConn) { s := get(amiPath); _, _ = io.WriteString(c, s[:len(s)-1]) },
		"a byte at a time": func(_ *testing.T, c *net.TCPConn) {
			// Sent whole, the request would take ten times what the server allows.
			for _, b := range []byte(get(amiPath, "X-Pad: "+strings.Repeat("a", 150))) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		},
		"nothing, and closed for writing":        func(_ *testing.T, c *net.TCPConn) { _ = c.CloseWrite() },
		"half a request, and closed for writing": func(_ *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, "GET / HT"); _ = c.CloseWrite() },
	} {
		for _, plain := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := withPatience(t, plain, patience{head: little}, nil)
				c := w.dial(t)
				send(t, c)
				if got := ended(t, c); got != "" {
					t.Errorf("answered %q", got)
				}
				w.idle(t)
			})
		}
	}
}

// A request a byte at a time is a request all the same.
func TestDrippingRequest(t *testing.T) {
	w := newWire(t, nil)
	c := w.dial(t)
	for _, b := range []byte(get(amiPath)) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if got := readAll(t, c); !strings.HasSuffix(got, "\r\n\r\n"+w.in.ImageID) {
		t.Errorf("%q", got)
	}
}

// A client that closes its side after the request still gets all of the answer.
func TestHalfClosed(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := withPatience(t, plain, patient(), nil)
		c := w.dial(t)
		_, _ = io.WriteString(c, get(amiPath))
		_ = c.CloseWrite()
		if got := readAll(t, c); got != text(amiID) {
			t.Errorf("%q", got)
		}
	}
}

// large is user data that no pair of socket buffers holds.
func large(_ *Config, in *openimds.Instance) {
	in.UserData = bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
}

// An answer larger than the socket's buffer arrives whole.
func TestLargeAnswer(t *testing.T) {
	w := newWire(t, large)
	want := string(w.in.UserData)
	for _, send := range []string{get("/latest/user-data"), get("/latest/user-data", "Content-Length: 3") + "abc"} {
		got := w.raw(t, send)
		if _, body, _ := strings.Cut(got, "\r\n\r\n"); body != want {
			t.Errorf("%d of %d bytes arrived, or others", len(body), len(want))
		}
	}
}

// Who asks for much and reads nothing is cut off.
func TestReaderThatDoesNotRead(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := withPatience(t, plain, patience{head: time.Hour, write: little}, large)
		c := w.dial(t)
		_, _ = io.WriteString(c, get("/latest/user-data"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil { // the answer has begun
			t.Fatal(err)
		}
		w.idle(t)
		if got := ended(t, c); len(got) >= len(w.in.UserData) {
			t.Error("all of it arrived, so nothing was cut off")
		}
	}
}

// A body is never read for long: not one that stays away, and not one that does not end.
func TestBodiesThatDoNotEnd(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := withPatience(t, plain, patient(), nil)
		send := put(tokenPath, ttlIs+"60", "Content-Length: 10000000000")
		silent := w.dial(t)
		_, _ = io.WriteString(silent, send)
		if got, err := io.ReadAll(silent); err != nil || statusOf(string(got)) != "200" { // the answer, then its end, at once
			t.Errorf("%q, %v", got, err)
		}
		w.idle(t) // though this side is still open

		flood := w.dial(t)
		_, _ = io.WriteString(flood, send)
		for chunk := make([]byte, 64<<10); ; {
			if _, err := flood.Write(chunk); err != nil {
				break // the server has had enough
			}
		}
		w.idle(t)
	}
}

// A head of a megabyte may end in a reset, but never in an answer with data.
func TestHeadOfAMegabyte(t *testing.T) {
	w := withPatience(t, false, patient(), nil)
	for _, send := range []string{
		put(tokenPath, ttlIs+strings.Repeat("6", 1<<20)),
		get(amiPath, "X-Pad: "+strings.Repeat("a", 1<<20)),
		get("/" + strings.Repeat("a", 1<<20)),
	} {
		c := w.dial(t)
		_, _ = io.WriteString(c, send)
		if got := ended(t, c); got != "" && statusOf(got) != "431" {
			t.Errorf("%.200q", got)
		}
	}
	w.idle(t)
}

// Shutdown drops who has not sent a request, whenever it came, and waits for nobody else's patience.
func TestShutdown(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := withPatience(t, plain, patience{head: time.Hour, write: time.Hour, linger: time.Hour}, nil)
		var held []net.Conn
		for range 8 {
			c := w.dial(t)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n")
			held = append(held, c)
		}
		w.waitFor(t, "the server holds them", func() bool { return w.guest.active.Load() == 8 })
		ctx, done := context.WithTimeout(t.Context(), patienceOfTests)
		defer done()
		if err := w.server.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		for _, c := range held {
			if got := ended(t, c); got != "" {
				t.Errorf("%q", got)
			}
		}
		if n := w.guest.active.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		// One that was accepted just before the listener closed, and that Shutdown could not find yet.
		near, far := net.Pipe()
		_ = far.SetDeadline(time.Now().Add(patienceOfTests))
		w.server.serving.Add(1)
		w.guest.enter()
		go w.server.converse(near, w.guest, 0, newWorkspace())
		if got := readAll(t, far); got != "" {
			t.Errorf("%q", got)
		}
		w.idle(t)
		if _, err := net.Dial("tcp", w.addr); err == nil {
			t.Error("the listener is still open")
		}
		if err := w.server.Serve(listenPlain(t), w.guest); !errors.Is(err, ErrServerClosed) {
			t.Errorf("serving after the end: %v", err)
		}
	}
}
