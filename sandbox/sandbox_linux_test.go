package sandbox

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"testing"
)

// In this mode the test binary is a program that runs its arguments in a sandbox.
const runnerMode = "SANDBOX_TEST_NETWORK"

func TestMain(m *testing.M) {
	Warden()
	if network := os.Getenv(runnerMode); network != "" {
		os.Exit(runner(Network(network), os.Args[1:]))
	}
	os.Exit(m.Run())
}

// runner runs a command in a sandbox where every answer names the caller.
func runner(network Network, args []string) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "runner:", err); return 99 }
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fail(err)
	}
	var c *Command
	started := make(chan struct{})
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-started
		p, ok := c.Caller(netip.MustParseAddrPort(r.RemoteAddr))
		fmt.Fprintln(w, r.Host, ok, p.Args)
	})
	c, err = Start(Config{
		Path: path, Args: args, Env: os.Environ(), Network: network,
		Serve: func(l *net.TCPListener) { go func() { _ = http.Serve(l, answer) }() },
		Note:  func(text string) { fmt.Fprintln(os.Stderr, "note:", text) },
	})
	if err != nil {
		return fail(err)
	}
	close(started)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, Signals()...)
	go func() {
		for s := range signals {
			_ = c.Signal(s)
		}
	}()
	code, err := c.Wait(context.Background())
	if err != nil {
		return fail(err)
	}
	return code
}
