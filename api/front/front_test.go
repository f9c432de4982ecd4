package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits for what takes milliseconds.
const limit = 3 * time.Minute

// side is a server whose handler counts the requests and reads their bodies.
type side struct {
	t     *testing.T
	addr  string
	door  *door
	tls   *tls.Config // of clients; nil: plain
	calls atomic.Int64
	hold  chan struct{} // requests to /hold wait for it
	log   *lines
}

// lines is a log that many goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func start(t *testing.T, connections int, overTLS bool) *side {
	t.Helper()
	s := &side{t: t, hold: make(chan struct{}), log: new(lines)}
	cfg := Config{Connections: connections, Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if overTLS {
		dir := t.TempDir()
		made := makePair(t, "127.0.0.1", time.Now().Add(time.Hour))
		made.write(t, filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
		var err error
		if cfg.Certificates, err = OpenCertificates(filepath.Join(dir, "cert"), filepath.Join(dir, "key"), cfg.Log); err != nil {
			t.Fatal(err)
		}
		s.tls = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
		s.tls.RootCAs.AddCert(cfg.Certificates.Leaf())
	}
	cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		if r.URL.Path == "/hold" {
			<-s.hold
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "read %d", n)
	})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	server := New(cfg)
	s.door = server.door
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer done()
		_ = server.Shutdown(ctx)
		if err := <-served; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return s
}

func (s *side) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.tls != nil {
		c = tls.Client(c, s.tls)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(limit))
	return c
}

// waitIdle waits until a connection is known to be between two requests, which the client knows earlier.
func (s *side) waitIdle(c net.Conn) {
	s.t.Helper()
	is := func() bool {
		s.door.mu.Lock()
		defer s.door.mu.Unlock()
		for known := range s.door.conns {
			if known.RemoteAddr().String() == c.LocalAddr().String() {
				return known.idle
			}
		}
		return false
	}
	for deadline := time.Now().Add(limit); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the connection never is idle")
		}
	}
}

// answers sends bytes and returns all that comes until the connection ends; ended says that it did.
func (s *side) answers(raw string) (answer string, ended bool) {
	c := s.dial()
	if _, err := io.WriteString(c, raw); err != nil {
		s.t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(limit))
	all, err := io.ReadAll(c)
	return string(all), err == nil
}

// works sends a request on a new connection and expects its answer.
func (s *side) works() {
	s.t.Helper()
	c := s.dial()
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatalf("a new connection gets no answer: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		s.t.Fatalf("a new connection gets %s", resp.Status)
	}
}

// TestTwoReadings sends what two parsers would understand differently, with a second request in it or
// behind it. It is answered once, with 400, and the connection ends.
func TestTwoReadings(t *testing.T) {
	const second = "GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
	chunked := "0\r\n\r\n" + second
	tests := map[string]string{
		"length and chunks":            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"chunks and length":            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunked,
		"spelt otherwise":              "POST / HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 5\r\ntransfer-ENCODING:chunked\r\n\r\n" + chunked,
		"an encoding nobody knows":     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\n" + chunked,
		"identity":                     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nabcde" + second,
		"an empty encoding":            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding:\r\n\r\nabcde" + second,
		"in HTTP/1.0":                  "POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"chunks alone":                 "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"behind a far header":          "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX: " + strings.Repeat("y", 5000) + "\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"far in its line":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: " + strings.Repeat(" ", 3000) + "chunked\r\n\r\n" + chunked,
		"two lengths":                  "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nabcde" + second,
		"two equal lengths":            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde" + second,
		"two lengths in one line":      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde" + second,
		"a signed length":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde" + second,
		"a negative length":            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nabcde" + second,
		"a length in hex":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nabcde" + second,
		"a length with a low line":     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\nabcde" + second,
		"an empty length":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n" + second,
		"a length out of range":        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabcde" + second,
		"a length with many blanks":    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + strings.Repeat(" ", 300) + "5\r\n\r\nabcde" + second,
		"a folded length":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 5\r\n\r\nabcde" + second,
		"a folded line":                "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n" + second,
		"folded by a tab":              "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n\tb\r\n\r\n" + second,
		"folded in the first line":     "GET / HTTP/1.1\r\n X: a\r\nHost: x\r\n\r\n" + second,
		"line feeds alone":             "GET / HTTP/1.1\nHost: x\n\n" + second,
		"one line feed alone":          "GET / HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 5\r\n\r\nabcde" + second,
		"an end of line feeds":         "GET / HTTP/1.1\r\nHost: x\r\n\n" + second,
		"a carriage return alone":      "GET / HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 5\r\n\r\nabcde" + second,
		"two carriage returns":         "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\r\n\r\n" + second,
		"a blank before the colon":     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde" + second,
		"a tab before the colon":       "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n" + chunked,
		"a line without colon":         "GET / HTTP/1.1\r\nHost: x\r\nContent-Length\r\n\r\n" + second,
		"a zero byte":                  "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n" + second,
		"an empty line before it":      "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n" + second,
		"two hosts":                    "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + second,
		"no host":                      "GET / HTTP/1.1\r\n\r\n" + second,
		"a request line of two blanks": "GET  / HTTP/1.1\r\nHost: x\r\n\r\n" + second,
	}
	for _, overTLS := range []bool{false, true} {
		s := start(t, 1000, overTLS)
		for name, raw := range tests {
			for _, before := range []int{0, 2} { // good requests on the same connection
				answer, ended := s.answers(strings.Repeat("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", before) + raw)
				if n := strings.Count(answer, "HTTP/1."); n != before+1 || !ended {
					t.Errorf("%s (TLS %v): %d answers, ended %v:\n%s", name, overTLS, n-before, ended, answer)
				}
				last := answer[max(strings.LastIndex(answer, "HTTP/1."), 0):]
				if !strings.HasPrefix(last, "HTTP/1.1 400 ") || !strings.Contains(last, "Connection: close") {
					t.Errorf("%s (TLS %v): %s", name, overTLS, last)
				}
				if got := s.calls.Swap(0); got != int64(before) {
					t.Errorf("%s (TLS %v): %d requests reached the handler", name, overTLS, got-int64(before))
				}
			}
		}
	}
}

// TestOneReading: what real clients send passes, however it comes in pieces.
func TestOneReading(t *testing.T) {
	raw := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na\nb\r\n" +
		"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("y", 9000) + "\r\nEmpty:\r\n\r\n" +
		"POST / HTTP/1.1\r\nHost: x\r\ncontent-length:\t003 \r\n\r\n\x00\r\n" +
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for _, overTLS := range []bool{false, true} {
		s := start(t, 1000, overTLS)
		for _, step := range []int{1, 7, 1000, len(raw)} {
			c := s.dial()
			go func() {
				for at := 0; at < len(raw); at += step {
					_, _ = io.WriteString(c, raw[at:min(at+step, len(raw))])
				}
			}()
			all, err := io.ReadAll(c)
			if err != nil || strings.Count(string(all), "HTTP/1.1 200 OK") != 4 || !strings.HasSuffix(string(all), "read 0") {
				t.Errorf("in pieces of %d (TLS %v): %v\n%s", step, overTLS, err, all)
			}
		}
	}
}

// FuzzFraming holds framing against net/http: what passes is the same number of requests with the same
// bodies, and it does not matter where the bytes were cut.
func FuzzFraming(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET / HTTP/1.1\nHost: x\n\n",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, raw []byte, step int) {
		var whole, pieces framing
		good := whole.pass(raw)
		cut := 0
		for step = max(step, 1); cut < len(raw); {
			end := min(cut+step, len(raw))
			n := pieces.pass(raw[cut:end])
			if cut += n; cut < end {
				break
			}
		}
		if cut != good || pieces.fault != whole.fault {
			t.Fatalf("whole %d %q, in pieces %d %q", good, whole.fault, cut, pieces.fault)
		}
		if good < len(raw) || !whole.whole() {
			return
		}
		// Everything passed, and ends with a request: net/http must see the same end.
		rest := bufio.NewReader(bytes.NewReader(raw))
		for {
			r, err := http.ReadRequest(rest)
			if err != nil {
				return // the end, or net/http refuses more
			}
			if len(r.TransferEncoding) > 0 {
				t.Fatalf("chunks passed: %q", raw)
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Fatalf("a body ends elsewhere: %v: %q", err, raw)
			}
		}
	})
}

// TestIdleAndStalledConnections: however many wait for nothing, a new one is answered.
func TestIdleAndStalledConnections(t *testing.T) {
	const most = 20
	kinds := map[string]string{
		"nothing sent": "",
		"in the head":  "POST / HTTP/1.1\r\nHost: x\r\n",
		"in the body":  "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
		"idle":         "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	for _, overTLS := range []bool{false, true} {
		for name, raw := range kinds {
			s := start(t, most, overTLS)
			for range 5 * most {
				c := s.dial()
				_, _ = io.WriteString(c, raw)
				if name == "idle" {
					_, _ = c.Read(make([]byte, 1))
				}
			}
			for range 5 {
				s.works()
			}
			_ = name
		}
	}
}

// TestOldestGoesFirst: of idle connections the oldest goes, and none that works.
func TestOldestGoesFirst(t *testing.T) {
	s := start(t, 8, false) // so one source may have four
	hold := s.dial()
	_, _ = io.WriteString(hold, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
	for s.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	var idle []*bufio.Reader
	ask := func(c net.Conn, r *bufio.Reader) error {
		_ = c.SetDeadline(time.Now().Add(limit))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		return err
	}
	var conns []net.Conn
	for range 4 { // the fourth takes the first one's place
		c := s.dial()
		r := bufio.NewReader(c)
		if err := ask(c, r); err != nil {
			t.Fatal(err)
		}
		s.waitIdle(c)
		conns, idle = append(conns, c), append(idle, r)
	}
	if err := ask(conns[0], idle[0]); err == nil {
		t.Error("the oldest idle connection is still there")
	}
	for i := 1; i < 4; i++ {
		if err := ask(conns[i], idle[i]); err != nil {
			t.Errorf("idle connection %d: %v", i, err)
		}
	}
	close(s.hold)
	if resp, err := http.ReadResponse(bufio.NewReader(hold), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("the one that works: %v", err)
	}
}

// pipe is a connection from anywhere.
type pipe struct {
	net.Conn
	from string
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func (p pipe) RemoteAddr() net.Addr { return address(p.from) }
func (p pipe) Close() error         { return nil }

// TestSources: a source has half of the connections at most, and a host with IPv6 is one source.
func TestSources(t *testing.T) {
	d := newDoor(10, slog.New(slog.DiscardHandler))
	busy := func(c *conn) {
		if c != nil {
			c.whole.Store(true) // at work: not to be given up
		}
	}
	admitted := 0
	for i := range 20 {
		if c := d.admit(pipe{from: fmt.Sprintf("[2001:db8::%x]:80", i+1)}); c != nil {
			busy(c)
			admitted++
		}
	}
	if admitted != 5 {
		t.Errorf("one /64 has %d of 10", admitted)
	}
	for _, from := range []string{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", "192.0.2.1:3", "192.0.2.2:1", "192.0.2.3:1"} {
		c := d.admit(pipe{from: from})
		if c == nil {
			t.Fatalf("%s is kept out", from)
		}
		busy(c)
	}
	if d.admit(pipe{from: "192.0.2.4:1"}) != nil {
		t.Error("the eleventh is let in although all work")
	}
	for c := range d.conns {
		c.since = c.since.Add(-2 * stuckAfter)
		break
	}
	if d.admit(pipe{from: "192.0.2.4:1"}) == nil {
		t.Error("a stuck one keeps others out")
	}
	for c := range d.conns {
		d.leave(c)
		d.leave(c)
	}
	if len(d.sources) != 0 || len(d.conns) != 0 {
		t.Errorf("%d sources and %d connections are left", len(d.sources), len(d.conns))
	}
}

// failing is a listener out of descriptors for a while.
type failing struct {
	net.Listener
	times int
	err   error
}

func (l *failing) Accept() (net.Conn, error) {
	if l.times > 0 {
		l.times--
		return nil, l.err
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := New(Config{Handler: http.NotFoundHandler(), Connections: 10})
	began := time.Now()
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(&failing{inner, 8, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept", tooManyFiles)}})
	}()
	resp, err := http.Get("http://" + inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if time.Since(began) < 100*time.Millisecond {
		t.Error("it did not wait between attempts")
	}
	http.DefaultClient.CloseIdleConnections()
	_ = server.Shutdown(t.Context())
	if err := <-served; err != http.ErrServerClosed {
		t.Error(err)
	}
}
