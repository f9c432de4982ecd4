package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a new one: what is written to screen can be read from keyboard.
func terminal(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no terminals: ", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	fd := int(keyboard.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skip("there are no terminals: ", err)
	}
	t.Cleanup(func() { screen.Close() })
	return keyboard, screen
}

// On a terminal what is watched stays where it is.
func TestWatchOnATerminal(t *testing.T) {
	callersAPI(t, `{"callers":[{"instanceName":"web-1","userAgent":"evil\u001b[2J","counts":{}}]}`)
	keyboard, screen := terminal(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan int)
	go func() { ended <- run(ctx, strings.Fields("callers --watch"), screen, os.Stderr) }()
	lines := bufio.NewReader(keyboard)
	for range 2 {
		for _, want := range []string{"\x1b[H\x1b[JINSTANCE ", "web-1 "} {
			if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) || strings.Contains(line[len(want):], "\x1b") {
				t.Fatalf("a line is %q, %v, want %q", line, err, want)
			}
		}
	}
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("code %d", code)
	}
}
