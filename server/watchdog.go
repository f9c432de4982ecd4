package server

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"
)

// defaultStopTimeout is Config.StopTimeout where that is 0.
const defaultStopTimeout = 5 * time.Second

// stopTimes is what a stop may take, from its beginning. Whatever hangs, be it a disk, the server ends within
// Config.StopTimeout, or Config.Hangs is called.
type stopTimes struct {
	answers time.Duration // for answers under way
	counts  time.Duration // until the last counts are stored, and told
	all     time.Duration // until the end is not waited for any longer
}

func (c *Config) stopTimes() stopTimes {
	tenth := cmp.Or(c.StopTimeout, defaultStopTimeout) / 10
	return stopTimes{answers: 5 * tenth, counts: 7 * tenth, all: 9 * tenth}
}

// lastTelling is how long others may take to be told the last counts. What they are not told then they are told after
// the next start.
func (t stopTimes) lastTelling() time.Duration { return t.counts - t.answers }

// watchdog tells if a stop takes too long.
type watchdog struct {
	hangs func(stage string)
	after time.Duration // of a start
	stage atomic.Pointer[string]

	mu    sync.Mutex
	timer *time.Timer // nil: not started
	ended bool
}

// newWatchdog makes one that tells hangs, unless that is nil, so long after the start of a stop.
func newWatchdog(after time.Duration, hangs func(stage string)) *watchdog {
	if hangs == nil {
		hangs = func(string) {}
	}
	return &watchdog{hangs: hangs, after: after}
}

// at says what is being done, for whoever reads what hung.
func (w *watchdog) at(stage string) {
	w.stage.Store(&stage)
}

// start begins to count, once.
func (w *watchdog) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil && !w.ended {
		w.timer = time.AfterFunc(w.after, w.bite)
	}
}

func (w *watchdog) bite() {
	stage := "the start"
	if at := w.stage.Load(); at != nil {
		stage = *at
	}
	w.hangs(stage)
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
