package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// What a stop may take. Whatever hangs, be it a disk, the program ends within 5 seconds of the signal.
const (
	answersTime = 2500 * time.Millisecond // for answers under way
	countsTime  = 3500 * time.Millisecond // until the last counts are stored
	stopTime    = 4500 * time.Millisecond // until the program ends as it is
	outputTime  = 300 * time.Millisecond  // for the last lines to be read by somebody
)

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

// watchdog ends the program if its stop takes too long.
type watchdog struct {
	stderr io.Writer
	exit   func(code int)
	stage  atomic.Pointer[string]

	mu    sync.Mutex
	timer *time.Timer // nil: not started
	ended bool
}

func newWatchdog(stderr io.Writer) *watchdog { return &watchdog{stderr: stderr, exit: os.Exit} }

// at says what is being done, for whoever reads what hung.
func (w *watchdog) at(stage string) {
	w.stage.Store(&stage)
}

// start begins to count, once.
func (w *watchdog) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil && !w.ended {
		w.timer = time.AfterFunc(stopTime, w.bite)
	}
}

func (w *watchdog) bite() {
	stage := "the start"
	if at := w.stage.Load(); at != nil {
		stage = *at
	}
	lastWords(w.stderr, "openimds: ended without waiting any longer for %s, which hangs; what was acknowledged is kept\n", stage)
	w.exit(exitFailed)
}

// end is called when the stop is over; a start from then on does nothing.
func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
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

// finish ends what is under way: answers first, then what they left to be stored.
func (s *server) finish() {
	s.dog.start()
	s.sources.Stop() // their programs too
	s.log.Info("stopping")
	deadline, done := context.WithTimeout(context.Background(), answersTime)
	defer done()
	counts, counted := context.WithTimeout(context.Background(), countsTime)
	defer counted()
	s.dog.at("answers under way")
	var stopping sync.WaitGroup
	stopping.Go(func() {
		if err := s.guests.Shutdown(deadline); err != nil {
			s.log.Warn("some guests' answers were cut off", "error", err)
		}
	})
	stopping.Go(func() {
		if err := s.api.Shutdown(deadline); err != nil {
			s.log.Warn("some control requests were cut off", "error", err)
		}
	})
	stopping.Wait()
	s.dog.at("the last counts to be stored")
	if err := s.usage.Close(counts); err != nil {
		s.log.Warn("the last counts could not be stored", "error", err)
	}
	s.dog.at("what runs beside the answers")
}

func (s *server) close() {
	for _, l := range slices.Concat(s.imdsL, s.apiL) {
		_ = l.Close()
	}
	if s.door != nil {
		s.door.close()
	}
	if s.host != nil {
		s.dog.at("the host's network")
		if err := s.host.Close(); err != nil {
			s.log.Warn("the host's network could not be left as it was", "error", err)
		}
	}
	if s.sources != nil {
		s.dog.at("the sources of credentials")
		s.sources.Close()
	}
	s.dog.at("the audit log")
	s.closeAudit()
	if s.store != nil {
		s.dog.at("the store, which is the disk's to answer")
		if err := s.store.Close(); err != nil {
			s.log.Error("the store did not close cleanly", "error", err)
		}
	}
}
