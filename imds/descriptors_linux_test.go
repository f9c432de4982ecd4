package imds

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"golang.org/x/sys/unix"
)

// inChild marks the process that runs out of descriptors.
const inChild = "IMDS_TEST_OUT_OF_DESCRIPTORS"

// A server without a descriptor left waits and goes on; it neither ends nor serves less afterwards.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv(inChild) != "" {
		serveWithFewDescriptors(t)
		return
	}
	for _, listener := range []string{"deferred", "plain"} {
		ctx, done := context.WithTimeout(t.Context(), patienceOfTests)
		defer done()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.timeout=0")
		cmd.Env = append(os.Environ(), inChild+"="+listener)
		stop, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		says, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out := bufio.NewScanner(says)
		w := &wire{addr: strings.TrimPrefix(scanFor(t, out, "addr "), "addr ")}
		var held []net.Conn
		for range 100 {
			c := w.dial(t)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n")
			held = append(held, c)
		}
		scanFor(t, out, "cannot accept")
		for _, c := range held {
			_ = c.Close()
		}
		for range 3 {
			if got := w.raw(t, get(amiPath)); statusOf(got) != "200" {
				t.Errorf("%s: afterwards: %q", listener, got)
			}
		}
		_ = stop.Close()
		for out.Scan() { // what else it says
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: the server ended with %v", listener, err)
		}
	}
}

// scanFor returns the next line with the word in it.
func scanFor(t *testing.T, out *bufio.Scanner, word string) string {
	t.Helper()
	for out.Scan() {
		if strings.Contains(out.Text(), word) {
			return out.Text()
		}
	}
	t.Fatalf("the server never said %q", word)
	return ""
}

// serveWithFewDescriptors is the child: it serves until its standard input ends.
func serveWithFewDescriptors(t *testing.T) {
	var l net.Listener
	if os.Getenv(inChild) == "plain" {
		l = listenPlain(t)
	} else {
		l = listenOn(t, "127.0.0.1:0")
	}
	w := serveWire(t, NewServer(Config{Log: slog.New(slog.NewTextHandler(os.Stdout, nil))}), fixedInstance(), l)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = 40
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	fmt.Println("addr " + w.addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = w.server.Shutdown(context.Background())
}

// An instance that stops between a request and the delay of its answer still ends the connection.
func TestStopsBeforeTheDelay(t *testing.T) {
	for what, later := range map[string]func(s *Server, c net.Conn, g *Guest, x exchange, w *workspace){
		"delayed": func(s *Server, c net.Conn, g *Guest, x exchange, w *workspace) { s.finish(c, g, x, w) },
		"silent":  func(s *Server, c net.Conn, g *Guest, _ exchange, w *workspace) { s.keep(c, g, w) },
		"slow":    func(s *Server, c net.Conn, g *Guest, _ exchange, w *workspace) { s.converse(c, g, 0, w) },
	} {
		g := fuzzGuest(t, openimds.TokensOptional)
		w := newWorkspace()
		n := copy(w.in, get(amiPath))
		x, complete := g.respond(w.in[:n], false, w)
		if !complete || len(x.out) == 0 {
			t.Fatal("no answer")
		}
		x.delay = time.Hour
		g.enter()
		g.server.serving.Add(1)
		g.server.waiting.Add(1)
		if err := g.Set(nil); err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		_ = far.SetDeadline(time.Now().Add(patienceOfTests))
		go later(g.server, near, g, x, w)
		if got := readAll(t, far); got != "" {
			t.Errorf("%s: %q", what, got)
		}
		g.server.serving.Wait()
	}
}
