// Package usage counts who calls the metadata service and how: with a session token or without, so
// that an operator knows when the last caller without one is gone.
//
// A [Tally] counts one instance's requests, on the path of each request, without a lock that
// another guest can hold and without allocating. A [Meter] carries what was counted to the store,
// so that a crash costs no more than the last seconds: the samples to a [History], the callers itself.
package usage

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// flushEvery is how often changed counts go to the store. With a slow disk on top of it, a crash
// still costs less than ten seconds.
const flushEvery = 5 * time.Second

// flushTimeout bounds one flush, so that a store that hangs does not keep the running instances from
// getting their samples.
const flushTimeout = 30 * time.Second

// pruneEvery is how often old samples are summed up or dropped.
const pruneEvery = time.Hour

// History keeps what is counted, by samples of [openimds.MetricPeriod], and tells it as points.
// [github.com/openimds/openimds/usage/history] does so in a store.
type History interface {
	openimds.MetricHistory
	openimds.FleetHistory
	// Begin makes sure that the instance has a sample of that time, be it of zero; Add counts n more in it.
	// Neither waits for anything but memory: a request may call them.
	Begin(instanceID string, at time.Time)
	Add(instanceID string, at time.Time, metric string, n uint64)
	// Open has what is added from now on known to be lost if this process is killed before it is flushed, and Close ends
	// that by a last Flush.
	Open(ctx context.Context) error
	Close(ctx context.Context) error
	// Flush keeps what was added. When it fails, that stays in memory for the next.
	Flush(ctx context.Context) error
	// Prune drops what is too old to be kept.
	Prune(ctx context.Context) error
	// Release lets go of what is in memory of an instance, and says whether it has: not while some of it
	// is not kept yet.
	Release(instanceID string) bool
}

// Config is what a [Meter] works with.
type Config struct {
	// Store keeps the callers.
	Store store.Store
	// Host names this meter among those that share the store; empty: "local". Each writes records of its
	// own, so that hosts never wait for each other.
	Host string
	// History keeps the samples.
	History History
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Meter has the guests of one host and keeps their history. It is safe for use by many goroutines.
type Meter struct {
	cfg  Config
	seed maphash.Seed

	mu     sync.RWMutex
	guests map[string]*Tally
	// departed is what the guests that are gone had answered: a counter of Prometheus never falls.
	departed answers

	flushing sync.Mutex // one flush at a time
	failures int64      // flushes that failed; under mu
	failing  bool       // the last one did; under flushing
}

var (
	_ openimds.MetricHistory   = (*Meter)(nil)
	_ openimds.FleetHistory    = (*Meter)(nil)
	_ openimds.CallerList      = (*Meter)(nil)
	_ openimds.FleetCallerList = (*Meter)(nil)
	_ openimds.RefusalCounter  = (*Meter)(nil)
)

// NewMeter makes a meter without guests. [Meter.Run] keeps it flushed.
func NewMeter(cfg Config) *Meter {
	if cfg.Host == "" {
		cfg.Host = "local"
	}
	cfg.Host = strings.ReplaceAll(cfg.Host, "/", "_") // it ends a key
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Meter{cfg: cfg, seed: maphash.MakeSeed(), guests: map[string]*Tally{}}
}

// Guest returns the counters of an instance, which begin at zero if it is new here. It does not
// wait for the store.
func (r *Meter) Guest(instanceID, name string) *Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.guests[instanceID]
	if g == nil {
		g = newGuest(r, instanceID, name)
		r.guests[instanceID] = g
	}
	g.leaving = 0
	return g
}

// Forget takes an instance out of memory once its counts are in the store. What is stored of it
// stays until it is old: the instance may have moved to another host.
func (r *Meter) Forget(instanceID string) {
	r.mu.Lock()
	g := r.guests[instanceID]
	if g != nil && g.leaving == 0 {
		g.leaving = 1
	}
	r.mu.Unlock()
	if g != nil {
		g.Running(false)
	}
}

// release drops the guests that were forgotten. Each stays for one whole flush after that, so that a
// request which was being answered then is still counted.
func (r *Meter) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, g := range r.guests {
		switch {
		case g.leaving == 0:
		case g.leaving == 1:
			g.leaving = 2
		case g.released():
			g.answers.addTo(&r.departed)
			delete(r.guests, id)
		}
	}
}

// all returns the guests there are.
func (r *Meter) all() []*Tally {
	r.mu.RLock()
	defer r.mu.RUnlock()
	guests := make([]*Tally, 0, len(r.guests))
	for _, g := range r.guests {
		guests = append(guests, g)
	}
	return guests
}

func (r *Meter) guest(instanceID string) *Tally {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.guests[instanceID]
}

// Open has what a process that is killed had counted and not stored known to be missing, instead of taken for none. Run
// does so at its beginning, and every flush that finds it not done.
func (r *Meter) Open(ctx context.Context) error { return r.cfg.History.Open(ctx) }

// Run carries counts to the store, and prunes it, until the context ends. Call [Meter.Close] after it.
func (r *Meter) Run(ctx context.Context) {
	var pruning sync.WaitGroup
	defer pruning.Wait()
	if err := r.Open(ctx); err != nil && ctx.Err() == nil {
		r.cfg.Log.Warn("counts cannot be stored yet; they stay in memory until they can", "error", err)
	}
	pruning.Go(func() { r.keepPruned(ctx) }) // beside the flushes, which it must not delay
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.flushAndTell(ctx)
			r.release()
		}
	}
}

// keepPruned prunes at once, for a process may not live for an hour, and every hour from then on.
func (r *Meter) keepPruned(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		if err := r.Prune(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
			r.cfg.Log.Warn("old metrics could not be pruned; trying again in an hour", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close carries the last counts to the store. The meter may be read, and even counted with,
// afterwards; what is counted then is lost unless it is closed again.
func (r *Meter) Close(ctx context.Context) error {
	if err := r.Flush(ctx); err != nil {
		return err
	}
	return r.cfg.History.Close(ctx)
}

// flushAndTell logs the beginning and the end of a failure, not each of its ticks.
func (r *Meter) flushAndTell(ctx context.Context) {
	bounded, done := context.WithTimeout(ctx, flushTimeout)
	defer done()
	err := r.flush(bounded, false)
	if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
		return
	}
	r.flushing.Lock()
	defer r.flushing.Unlock()
	switch {
	case err != nil && !r.failing:
		r.cfg.Log.Warn("counts cannot be stored; they stay in memory until they can", "error", err)
	case err == nil && r.failing:
		r.cfg.Log.Info("counts are stored again")
	}
	r.failing = err != nil
}

// Points implements [openimds.MetricHistory]: those of the history, with what was counted up to now.
func (r *Meter) Points(ctx context.Context, instanceID string, metrics []string, start, end time.Time, period time.Duration) ([][]openimds.MetricPoint, error) {
	if g := r.guest(instanceID); g != nil {
		g.mu.Lock()
		g.gather(g.sample.Load())
		g.mu.Unlock()
	}
	return r.cfg.History.Points(ctx, instanceID, metrics, start, end, period)
}

// Sums implements [openimds.FleetHistory]: those of the history, with what was counted up to now.
func (r *Meter) Sums(ctx context.Context, metric string, start, end time.Time) (map[string]openimds.MetricSum, error) {
	r.gatherAll()
	return r.cfg.History.Sums(ctx, metric, start, end)
}

// FleetPoints implements [openimds.FleetHistory], in the same way.
func (r *Meter) FleetPoints(ctx context.Context, one func(instanceID string) bool, metric string, start, end time.Time, period time.Duration) ([]openimds.FleetPoint, error) {
	r.gatherAll()
	return r.cfg.History.FleetPoints(ctx, one, metric, start, end, period)
}

func (r *Meter) gatherAll() {
	for _, g := range r.all() {
		g.mu.Lock()
		g.gather(g.sample.Load())
		g.mu.Unlock()
	}
}
