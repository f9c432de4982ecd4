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
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.timeout=60s")
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
