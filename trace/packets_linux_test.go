package trace

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
)

// Without eBPF, callers of the own network namespace who stay for their answer are named.
func TestPackets(t *testing.T) {
	python := program(t, "python3")
	n := newNetwork(t)
	n.serve(http.HandlerFunc(metadata))
	seen := make(chan Call, 1000)
	ready, done := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	// The source is opened in the namespace, as a program that is started there would.
	var src *packets
	var err error
	n.in(func() { src, err = openPackets() })
	if err != nil {
		t.Skip(err)
	}
	src.testingWithin = n.in
	go func() {
		done <- Config{Call: func(c Call) { seen <- c }, Ready: func() { close(ready) }}.follow(ctx, src, nil)
	}()
	<-ready
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	const stays = `
import socket, sys, time
s = socket.create_connection((sys.argv[1], 80))
time.sleep(0.5)
s.sendall(b"GET /latest/meta-data/stays HTTP/1.1\r\nHost: x\r\nUser-Agent: resident\r\n\r\n")
s.recv(1000)
sys.stdin.read()
`
	for _, addr := range []string{"169.254.169.254", "fd00:ec2::254"} {
		cmd := n.start(python, "-c", stays, addr)
		c := <-seen
		for c.Process.PID != cmd.Process.Pid {
			c = <-seen
		}
		_ = cmd.Wait()
		if c.Version != V1 || c.Path != "/latest/meta-data/stays" || c.UserAgent != "resident" || c.Status != 200 || c.Address.String() != addr ||
			!strings.HasPrefix(c.Process.Comm, "python") || len(c.Process.Argv) != 4 || c.Process.UID != os.Getuid() {
			t.Errorf("%+v", c)
		}
	}
}

func FuzzParseSegment(f *testing.F) {
	f.Add([]byte("\x45\x00\x00\x28\x00\x00\x40\x00\x40\x06\x00\x00\xa9\xfe\xa9\xfe\xa9\xfe\xa9\xfe\x00\x50\x00\x50\x00\x00\x00\x01\x00\x00\x00\x00\x50\x02\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x60\x00\x00\x00\x00\x20\x00\x40" + strings.Repeat("a", 32) + "\x06\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x50", 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseSegment(b); ok && len(s.payload) > len(b)-40 {
			t.Errorf("%d bytes of payload in %d", len(s.payload), len(b))
		}
	})
}
