package server

import (
	"sync"
	"sync/atomic"
	"time"
)

// What a stop may take. Whatever hangs, be it a disk, the server ends within 5 seconds, or Config.Hangs is called.
const (
	answersTime = 2500 * time.Millisecond // for answers under way
	countsTime  = 3500 * time.Millisecond // until the last counts are stored
	stopTime    = 4500 * time.Millisecond // until the end is not waited for any longer
)

// watchdog tells if a stop takes too long.
type watchdog struct {
	hangs func(stage string)
	stage atomic.Pointer[string]

	mu    sync.Mutex
	timer *time.Timer // nil: not started
	ended bool
}

// newWatchdog makes one that tells hangs, unless that is nil.
func newWatchdog(hangs func(stage string)) *watchdog {
	if hangs == nil {
		hangs = func(string) {}
	}
	return &watchdog{hangs: hangs}
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
		w.timer = time.AfterFunc(stopTime, w.bite)
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
