// Package history keeps what is counted of instances in a store, by the sample, and reads it back as the
// points of metrics: samples of five minutes for 63 days, sums of an hour for 455.
//
// What is counted stays in memory until [History.Flush] has carried it to the store, and is counted once
// whatever becomes of a commit.
package history

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// Config is what a [History] works with.
type Config struct {
	Store store.Store
	// Host names this history among those that share the store; empty: "local". Each writes records of
	// its own. That way a commit whose outcome is unknown can be told from another's, so that nothing is
	// counted twice, and hosts never wait for each other.
	Host string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Others are asked for what is counted elsewhere; nil: the store has all. Name is what they call this history.
	Others Others
	Name   string
	// Marks has the marks of those whose samples are with the others ([EngineMarkKey]), where MarkedAs is this history; nil:
	// Store has them too.
	Marks    store.Store
	MarkedAs string
	// Kept is told of samples, by their numbers, that the store has now, or has anew; nil: nobody is. It waits for nothing.
	Kept func(instanceID string, numbers []int64)
	// Former tells of the hosts that had instances, who may have counted of them what they have not told; nil: instances stay
	// where they are.
	Former openimds.FormerHosts
	// Earlier has what was counted before Store was there: the samples of this history, as EarlierHost's, which [History.Carry]
	// carries to Store, and the hours of old days of all, which stay there. nil: there is nothing.
	Earlier     store.Store
	EarlierHost string
}

// History keeps the samples that one host counts, and reads those of all. It is safe for use by many
// goroutines.
type History struct {
	cfg      Config
	journals sync.Map     // instance id → *journal
	flushing sync.Mutex   // one flush at a time
	open     open         // under flushing
	began    int64        // the sample in which it was made
	carried  atomic.Bool  // all of the earlier store is carried over
	broken   atomic.Int64 // the sample in which this process began after one that was killed; 0: none
	stored   atomic.Int64 // what was counted before that sample is in the store, but for instances whose records fail
	kept     fleetKept

	asking chan struct{}       // one asks the others for many instances at a time
	other  map[int64]othersDay // by day; who asks has it
}

var (
	_ openimds.MetricHistory = (*History)(nil)
	_ openimds.FleetHistory  = (*History)(nil)
)

// New makes a history of what is in the store.
func New(cfg Config) *History {
	cfg.Host, cfg.EarlierHost = keyHost(cfg.Host), keyHost(cfg.EarlierHost)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Kept == nil {
		cfg.Kept = func(string, []int64) {}
	}
	h := &History{cfg: cfg, began: sampleNumber(cfg.Now()), asking: make(chan struct{}, 1), other: map[int64]othersDay{}}
	h.stored.Store(h.began)
	return h
}

// keyHost is a host as it ends a key.
func keyHost(host string) string {
	if host == "" {
		return "local"
	}
	return strings.ReplaceAll(host, "/", "_")
}

// Begin makes sure that the instance has a sample of that time, be it of zero.
func (h *History) Begin(instanceID string, at time.Time) {
	n := sampleNumber(at)
	isBroken := n == h.broken.Load()
	h.with(instanceID, func(j *journal) {
		j.unsaved(n)
		if isBroken {
			j.breakOnce(n)
		}
	})
	h.kept.changed(floorDiv(n, samplesPerDay))
}

// Add counts n more in the instance's sample of that time; a metric that is none of [openimds.Metrics] has
// no place. Neither it nor Begin waits for the store, or for another instance.
func (h *History) Add(instanceID string, at time.Time, metric string, n uint64) {
	if m := metricOf(metric); m != noMetric {
		sample := sampleNumber(at)
		h.with(instanceID, func(j *journal) { j.unsaved(sample)[m] += n })
		h.kept.changed(floorDiv(sample, samplesPerDay))
	}
}

// Release lets go of what is in memory of an instance, and says whether it has: not before the store has
// all of it.
func (h *History) Release(instanceID string) bool {
	known, ok := h.journals.Load(instanceID)
	if !ok {
		return true
	}
	j := known.(*journal)
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, d := range j.days {
		if d.dirty() {
			return false
		}
	}
	j.released = true
	h.journals.Delete(instanceID)
	return true
}

// flushAttempts is how often a flush begins anew after a conflict, which is possible only once after
// a start, or after a commit without an outcome.
const flushAttempts = 3

// Flush carries all that was counted to the store. When it fails, counts stay in memory for the next. A
// record that cannot be understood keeps its counts in memory and does not hinder the others.
func (h *History) Flush(ctx context.Context) error {
	h.flushing.Lock()
	defer h.flushing.Unlock()
	if !h.open.is {
		if err := h.opened(ctx); err != nil {
			return err
		}
	}
	began, wrote := sampleNumber(h.cfg.Now()), false
	var failed, damaged, err error
	for range flushAttempts {
		var writes []store.Write
		writes, failed, damaged = h.writes(ctx)
		wrote = wrote || len(writes) > 0
		if err = store.CommitEach(ctx, h.cfg.Store, writes); !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	today := dayOf(h.cfg.Now())
	for j := range h.all {
		j.drop(today)
	}
	if err = errors.Join(failed, err); err != nil {
		return errors.Join(err, damaged)
	}
	if wrote { // after a Close, or where it is not known whether the record was written
		if err := h.opened(ctx); err != nil {
			return errors.Join(err, damaged)
		}
	}
	// Of a day whose record is damaged nobody takes anything for known, so that it does not hold up the mark, by which all of
	// the others' samples would not be known to other hosts.
	return errors.Join(h.flushedAll(ctx, began), damaged)
}

// writes drafts what there is for the store. failed is why something of the store is not known, damaged what of it cannot be read.
func (h *History) writes(ctx context.Context) (writes []store.Write, failed, damaged error) {
	var failures, unread []error
	for j := range h.all {
		if err := h.know(ctx, j); err != nil {
			failures = append(failures, err)
			if ctx.Err() != nil {
				break
			}
		}
		drafts, err := j.draft()
		unread = append(unread, err)
		writes = append(writes, drafts...)
	}
	return writes, errors.Join(failures...), errors.Join(unread...)
}

// all yields the journals there are.
func (h *History) all(yield func(*journal) bool) {
	h.journals.Range(func(_, j any) bool { return yield(j.(*journal)) })
}

// with does something to the journal of an instance, which is begun if there is none.
func (h *History) with(instanceID string, do func(*journal)) {
	for {
		known, ok := h.journals.Load(instanceID)
		if !ok {
			known, _ = h.journals.LoadOrStore(instanceID, &journal{instanceID: instanceID, host: h.cfg.Host, kept: h.cfg.Kept})
		}
		j := known.(*journal)
		j.mu.Lock()
		if !j.released {
			do(j)
			j.mu.Unlock()
			return
		}
		j.mu.Unlock() // released between the two: the next one is another
	}
}

// find reads a record; one that is not there is the zero record, which has the revision IfAbsent.
func (h *History) find(ctx context.Context, key string) (store.Record, error) {
	return find(ctx, h.cfg.Store, key)
}

func find(ctx context.Context, s store.Store, key string) (store.Record, error) {
	record, err := s.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return store.Record{}, nil
	}
	return record, err
}

// know reads what the store has of an instance and is not in memory yet. A record that cannot be read
// does not hinder the others.
func (h *History) know(ctx context.Context, j *journal) error {
	var failures []error
	for _, d := range j.unknown() {
		record, err := h.find(ctx, d.key)
		failures = append(failures, err)
		if err != nil {
			continue
		}
		var kept []int64
		j.mu.Lock()
		if !d.known { // else another was faster, and the record may have changed since
			kept = d.learn(record)
		}
		j.mu.Unlock()
		h.cfg.Kept(j.instanceID, kept)
	}
	return errors.Join(failures...)
}
