package imds

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/credentials"
)

// noon is the time of all tests that need to know it.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

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
	cfg := Config{Now: func() time.Time { return noon }, Credentials: credentials.Generated{}}
	if setup != nil {
		setup(&cfg, in)
	}
	w := &wire{server: NewServer(cfg), in: in}
	w.guest = w.server.NewGuest()
	if err := w.guest.Set(in); err != nil {
		t.Fatal(err)
	}
	listeners, err := Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = listeners[0].Addr().String()
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(listeners[0], w.guest) }()
	t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		if err := w.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != ErrServerClosed {
			t.Errorf("serve ended with %v", err)
		}
	})
	return w
}

// raw sends bytes as they are and returns all that comes back.
func (w *wire) raw(t testing.TB, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("after %q: %v", got, err)
	}
	return string(got)
}

// request makes a request from lines: the request line and headers after Host.
func lines(line string, headers ...string) string {
	return line + "\r\nHost: 169.254.169.254\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

func (w *wire) token(t testing.TB) string {
	t.Helper()
	got := w.raw(t, lines("PUT /latest/api/token HTTP/1.1", "X-aws-ec2-metadata-token-ttl-seconds: 21600"))
	head, token, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || len(token) != 56 {
		t.Fatalf("no token: %q", got)
	}
	return token
}

func TestRecordedAnswers(t *testing.T) {
	w := newWire(t, nil)
	token := w.token(t)
	const date = "Date: Sun, 01 Mar 2026 12:00:00 GMT\r\nServer: EC2ws\r\nConnection: close\r\n"
	got := w.raw(t, lines("GET /latest/meta-data/ami-id HTTP/1.1", "X-aws-ec2-metadata-token: "+token))
	want := "HTTP/1.1 200 OK\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\nContent-Type: text/plain\r\nAccept-Ranges: none\r\n" +
		"Last-Modified: Sun, 01 Mar 2026 11:00:00 GMT\r\nContent-Length: 21\r\n" + date + "\r\n" + w.in.ImageID
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if n := len(pages[404]); n != 339 {
		t.Errorf("the page of a 404 has %d bytes", n)
	}
}

func TestNoAllocation(t *testing.T) {
	w := newWire(t, nil)
	space := newWorkspace()
	buf := []byte(lines("GET /latest/meta-data/ami-id HTTP/1.1", "User-Agent: x", "X-aws-ec2-metadata-token: "+w.token(t)))
	if n := testing.AllocsPerRun(1000, func() {
		x, complete := w.guest.respond(buf, false, space)
		if !complete || !bytes.HasPrefix(x.out, []byte("HTTP/1.1 200")) {
			t.Fatalf("%q", x.out)
		}
	}); n > 3 {
		t.Errorf("a request allocates %v times", n)
	}
}

func BenchmarkRespond(b *testing.B) {
	w := newWire(b, nil)
	space := newWorkspace()
	buf := []byte(lines("GET /latest/meta-data/ami-id HTTP/1.1", "User-Agent: x", "X-aws-ec2-metadata-token: "+w.token(b)))
	b.ReportAllocs()
	for b.Loop() {
		w.guest.respond(buf, false, space)
	}
}
