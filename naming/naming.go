// Package naming says which processes of this host call the metadata service: it is told of each call while the
// caller waits for its answer, and looks for the process behind the connection beside that. No call waits for it. A
// process that has ended before it was found is not named, and nobody else is in its place.
package naming

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/processes"
	"golang.org/x/time/rate"
)

// How many calls of one listener are looked into: a second, at once above that, and waiting for it. The others are
// counted without their processes.
const (
	perSecond = 100
	atOnce    = 200
	mostWait  = 64
)

// mostUnnamed is how many processes may wait for their names, which packages and container engines are asked for.
const mostUnnamed = 256

// Place is where the callers of a listener are.
type Place struct {
	// Netns is the network namespace of the listener ([NamespaceOf]), which is taken over; nil: this process's.
	Netns *os.File
	// Link returns the host's end of the link that they are behind, or a bridge, by its name; empty, or no function:
	// they are in the listener's namespace. It may wait.
	Link func() string
}

// Namer names the processes that call. A nil Namer names nobody.
type Namer struct {
	ctx    context.Context
	cancel context.CancelFunc
	log    *slog.Logger
	names  *processes.Namer
	found  chan sighting
	work   sync.WaitGroup

	followed  atomic.Bool
	listeners []netip.AddrPort // of this namespace, that the kernel is to tell of
	begun     chan struct{}    // closed once the kernel tells who calls, or never will
	kernel    atomic.Bool      // tells who calls
	open      open
	scans     scans
	theirs    theirs
}

// sighting is a call whose process was found.
type sighting struct {
	imds.Sighting
	process processes.Process
}

// New makes a namer; without a log it says nothing. Close ends it.
func New(log *slog.Logger) *Namer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := &Namer{log: log, names: processes.New(), found: make(chan sighting, mostUnnamed), begun: make(chan struct{}), open: open{patience: usual}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.work.Go(n.name)
	return n
}

// Close ends all that looks. Calls that are told of later are not looked into.
func (n *Namer) Close() {
	if n == nil {
		return
	}
	n.cancel()
	n.work.Wait()
}

// name finds out what does not end with a process, and says who called.
func (n *Namer) name() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case s := <-n.found:
			n.names.Name(n.ctx, &s.process)
			s.Who.Is(shown(s.process), s.Call, s.At)
		}
	}
}

// shown is a process as callers have it. It has no number: the next time the same program is another process.
func shown(p processes.Process) openimds.CallerProcess {
	c := openimds.CallerProcess{Executable: p.Exe, Arguments: p.Argv, User: p.User, Unit: p.Unit, Package: p.Package}
	if c.User == "" && p.UID >= 0 {
		c.User = strconv.Itoa(p.UID)
	}
	if k := p.Container; k != nil {
		if c.Container = k.Name; c.Container == "" {
			c.Container = k.ID[:min(len(k.ID), 12)]
		}
	}
	return c
}

// waiting are calls that were told of and not yet looked into.
type waiting struct {
	limit *rate.Limiter
	more  chan struct{}
	// until is when more is looked into again, in Unix nanoseconds: what comes before is no matter for a lock.
	until atomic.Int64

	mu    sync.Mutex
	calls [mostWait]imds.Sighting
	first int
	n     int
	over  bool
}

func newWaiting() *waiting {
	return &waiting{limit: rate.NewLimiter(perSecond, atOnce), more: make(chan struct{}, 1)}
}

// see takes note of a call, if there is room. It waits for nothing.
func (w *waiting) see(s imds.Sighting) {
	if s.At.UnixNano() < w.until.Load() {
		return
	}
	w.mu.Lock()
	if w.over || w.n == len(w.calls) || !w.limit.AllowN(s.At, 1) {
		w.until.Store(s.At.Add(time.Second / perSecond).UnixNano())
		w.mu.Unlock()
		return
	}
	w.calls[(w.first+w.n)%len(w.calls)] = s
	w.n++
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// take returns the call that waits longest.
func (w *waiting) take() (s imds.Sighting, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == 0 {
		return s, false
	}
	s, w.calls[w.first] = w.calls[w.first], imds.Sighting{}
	w.first = (w.first + 1) % len(w.calls)
	w.n--
	return s, true
}

// end has nothing more be seen.
func (w *waiting) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over, w.n = true, 0
}

// idle is how long what is open for looking stays so while nobody calls.
const idle = 30 * time.Second
