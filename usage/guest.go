package usage

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
)

const sampleSeconds = int64(openimds.MetricPeriod / time.Second)

// sampleNumber is the number of the sample that a moment belongs to, counted from the Unix epoch.
func sampleNumber(t time.Time) int64 { return floorDiv(t.Unix(), sampleSeconds) }

func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}

// cacheLine keeps what different guests write out of each other's cache lines.
const cacheLine = 64

// counts are numbers of requests, by metric.
type counts [metricCount]uint64

func (c *counts) add(d counts) {
	for m, n := range d {
		c[m] += n
	}
}

// sample takes the counts of one [openimds.MetricPeriod] that were not gathered yet.
type sample struct {
	number int64
	counts [metricCount]atomic.Uint64
	// sealed: another sample has taken this one's place. A writer that finds it sealed after its
	// count came, perhaps, behind the last gathering, and so gathers itself: nothing is lost.
	sealed atomic.Bool
	_      [cacheLine - 8 - 8*metricCount - 4]byte
}

// Guest counts the requests of one instance. Methods of a nil guest do nothing.
type Guest struct {
	recorder *Recorder
	id, name string
	leaving  int // under the recorder's mu: 0 no, 1 forgotten, 2 forgotten before the last flush

	sample atomic.Pointer[sample]

	// mu guards what is behind the counters. Requests take it only to begin a sample and to make a
	// new caller known; nobody who holds it waits for the store.
	mu      sync.Mutex
	running bool
	faulty  bool
	marked  int64 // the latest sample that is known to exist
	days    []*day
	callers callers

	undelivered atomic.Uint64 // tokens, since the start of the process

	_       [cacheLine]byte
	answers answers
	_       [cacheLine]byte
}

func newGuest(r *Recorder, id, name string) *Guest {
	g := &Guest{recorder: r, id: id, name: name, marked: -1}
	g.sample.Store(&sample{number: -1})
	g.callers.init(callersKey(id, r.cfg.Host), r.seed)
	return g
}

// Running says that the instance runs, or that it no longer does. A running instance has a sample for
// each period, be it of zero.
func (g *Guest) Running(running bool) {
	if g == nil {
		return
	}
	n := sampleNumber(g.recorder.cfg.Now())
	g.mu.Lock()
	defer g.mu.Unlock()
	if running || g.running {
		g.mark(n)
	}
	g.running = running
}

// Faulty says whether the instance's guest meets faults on purpose.
func (g *Guest) Faulty(faulty bool) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faulty = faulty
}

// mark makes sure that there is a sample of that number. g.mu is held.
func (g *Guest) mark(n int64) {
	if g.marked != n {
		g.unsaved(n)
		g.marked = n
	}
}

// Count counts a request. The path is clean and begins with the version ("latest/meta-data/iam"); of
// calls for a token it does not matter. Neither path nor userAgent is kept.
func (g *Guest) Count(call Call, source netip.Addr, path, userAgent []byte, now time.Time) {
	if g == nil {
		return
	}
	metric := call.metric()
	if metric != noMetric {
		g.add(metric, now)
	}
	if !call.hasCaller() {
		return
	}
	part := groupToken
	if call != TokenIssued && call != TokenRefused {
		part = groupOf(path)
	}
	g.caller(source, part, userAgent, now).count(metric, now)
}

// add counts in the sample of now.
func (g *Guest) add(metric int, now time.Time) {
	s := g.sample.Load()
	if n := sampleNumber(now); s.number != n {
		s = g.turn(n)
	}
	s.counts[metric].Add(1)
	if s.sealed.Load() {
		g.mu.Lock()
		g.gather(s)
		g.mu.Unlock()
	}
}

// turn makes the sample of that number the one that counts.
func (g *Guest) turn(n int64) *sample {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.sample.Load()
	if old.number == n {
		return old
	}
	next := &sample{number: n}
	g.sample.Store(next)
	old.sealed.Store(true) // before the gathering: see sample
	g.gather(old)
	return next
}

// gather takes the counts out of a sample. g.mu is held.
func (g *Guest) gather(s *sample) {
	for m := range s.counts {
		if s.counts[m].Load() == 0 {
			continue // no write to the line that requests count in
		}
		g.unsaved(s.number)[m] += s.counts[m].Swap(0)
	}
}

// unsaved returns the counts of a sample that are not on their way to the store. g.mu is held.
func (g *Guest) unsaved(n int64) *counts {
	d := g.day(floorDiv(n, samplesPerDay))
	c := d.unsaved[int(n-d.number*samplesPerDay)]
	if c == nil {
		c = &counts{}
		d.unsaved[int(n-d.number*samplesPerDay)] = c
	}
	return c
}

// day returns the day of that number, which is begun if it is not in memory. g.mu is held.
func (g *Guest) day(number int64) *day {
	for _, d := range g.days {
		if d.number == number {
			return d
		}
	}
	d := newDay(g.id, g.recorder.cfg.Host, number)
	g.days = append(g.days, d)
	return d
}

// saved says whether the store has all that was counted.
func (g *Guest) saved() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gather(g.sample.Load())
	for _, d := range g.days {
		if d.dirty() {
			return false
		}
	}
	return !g.callers.dirty()
}
