package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// outputTime is how long the last lines may take to be read by somebody.
const outputTime = 300 * time.Millisecond

// endedBy is the signal that ended a context.
type endedBy struct{ signal os.Signal }

func (e endedBy) Error() string { return e.signal.String() }

// Is has it taken for what a context without a cause ends with, as that of [signal.NotifyContext] is.
func (e endedBy) Is(target error) bool { return target == context.Canceled }

// exitCode is the one that a shell has for a command that the signal has ended.
func (e endedBy) exitCode() int {
	number, _ := e.signal.(syscall.Signal)
	return 128 + int(number)
}

// untilSignal makes a context that ends with the first of the signals, which is its cause as [endedBy]. The
// second one ends the program at once.
func untilSignal(ctx context.Context, of ...os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, of...)
	stopped := make(chan struct{})
	go func() {
		for again := false; ; again = true {
			select {
			case got := <-signals:
				if again {
					os.Exit(endedBy{got}.exitCode())
				}
				cancel(endedBy{got})
			case <-stopped:
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(stopped)
		cancel(nil)
	})
}

// keepWithoutReaders has writing to a pipe whose reader is gone fail, which costs a line of the log. Without
// it the program would be ended.
func keepWithoutReaders() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // ignoring it would be passed on to children
}

// outliveTerminal has the end of a terminal, and a "reload" of an init system, end nothing: it is told instead.
// Certificates and keys are read again as they change, without a signal.
func outliveTerminal() (hangups chan os.Signal, stop func()) {
	hangups = make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups, func() { signal.Stop(hangups) }
}

// lastWords says a line, but waits for nobody who does not read it.
func lastWords(to io.Writer, format string, args ...any) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = say(to, format, args...)
	}()
	select {
	case <-written:
	case <-time.After(outputTime):
	}
}
