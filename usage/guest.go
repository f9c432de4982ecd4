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
func sampleNumber(t time.Time) int64 { return t.Unix() / sampleSeconds }

// cacheLine keeps what different guests write out of each other's cache lines.
const cacheLine = 64

// sample takes the counts of one [openimds.MetricPeriod] that were not gathered yet.
type sample struct {
	number int64
	counts [countCount]atomic.Uint64
	// sealed: another sample has taken this one's place. A writer that finds it sealed after its
	// count came, perhaps, behind the last gathering, and so gathers itself: nothing is lost.
	sealed atomic.Bool
	_      [2*cacheLine - 8 - 8*countCount - 4]byte
}

// Tally counts the requests of one instance. Methods of a nil guest do nothing.
type Tally struct {
	meter    *Meter
	id, name string
	counter  string // another one in each process: what has begun at zero
	leaving  int    // under the meter's mu: 0 no, 1 forgotten, 2 forgotten before the last flush

	sample atomic.Pointer[sample]

	// mu guards what is behind the counters. Requests take it only to begin a sample and to make a
	// new caller known; nobody who holds it waits for the store.
	mu      sync.Mutex
	running bool
	faulty  bool
	// rehearsal is the latest one of the instance; nil: none.
	rehearsal *openimds.Rehearsal
	marked    int64 // the latest sample that the history is known to have
	callers   callers

	// Since the start of the process: tokens, and requests of rehearsals.
	undelivered, wouldBeRefused atomic.Uint64

	_       [cacheLine]byte
	answers answers
	_       [cacheLine]byte
}

func newGuest(r *Meter, id, name string) *Tally {
	g := &Tally{meter: r, id: id, name: name, counter: openimds.NewUUID(), marked: -1}
	g.sample.Store(&sample{number: -1})
	g.callers.init(callersKeys(id)+r.cfg.Host, r.seed)
	return g
}

// Running says that the instance runs, or that it no longer does. A running instance has a sample for
// each period, be it of zero.
func (g *Tally) Running(running bool) {
	if g == nil {
		return
	}
	now := g.meter.cfg.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if running || g.running {
		g.mark(now)
	}
	g.running = running
}

// Faulty says whether the instance's guest meets faults on purpose.
func (g *Tally) Faulty(faulty bool) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faulty = faulty
}

// mark makes sure that the history has a sample of that time. g.mu is held.
func (g *Tally) mark(at time.Time) {
	if n := sampleNumber(at); g.marked != n {
		g.meter.cfg.History.Begin(g.id, at)
		g.marked = n
	}
}

// Count counts a request. The path is clean and begins with the version ("latest/meta-data/iam"); of
// calls for a token it does not matter. Neither path nor userAgent is kept. What is returned takes the process that
// made the call.
func (g *Tally) Count(call Call, source netip.Addr, path, userAgent []byte, now time.Time) Who {
	if g == nil {
		return Who{}
	}
	count := call.count()
	if count == uncounted {
		return Who{}
	}
	if isMetric(count) { // a failure is no success, so no metric has it; its caller is still seen
		g.add(count, now)
	}
	part := groupToken
	if call != TokenIssued && call != TokenRefused {
		part = groupOf(path)
	}
	c := g.caller(source, part, userAgent, now)
	if call == Forwarded { // before the count, which tells the next save that there is something new
		c.forwarded.Store(now.UnixNano())
	}
	c.count(g, count, now)
	return Who{g, c}
}

// add counts in the sample of now.
func (g *Tally) add(metric int, now time.Time) {
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
func (g *Tally) turn(n int64) *sample {
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
func (g *Tally) gather(s *sample) {
	for m := range s.counts {
		if s.counts[m].Load() == 0 {
			continue // no write to the line that requests count in
		}
		g.meter.cfg.History.Add(g.id, time.Unix(s.number*sampleSeconds, 0), countNames[m], s.counts[m].Swap(0))
	}
}

// released says whether the store has all that was counted, and the history nothing in memory any more.
func (g *Tally) released() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gather(g.sample.Load())
	return !g.callers.dirty() && g.meter.cfg.History.Release(g.id)
}
