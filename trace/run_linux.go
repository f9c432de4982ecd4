package trace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds/processes"
	"golang.org/x/sys/unix"
)

// source is where events come from.
type source interface {
	// next waits for an event until a time; [os.ErrDeadlineExceeded] says that there is none.
	next(until time.Time) (event, error)
	losses() [lossKinds]uint64
	// lookAt has one of 2^n connections looked at.
	lookAt(n uint) error
	close()
}

// Run looks on until ctx ends. It returns an error if it cannot look on at all, or no longer.
func Run(ctx context.Context, cfg Config) error {
	src, groups, err := cfg.open()
	if err != nil {
		return err
	}
	if locked() {
		cfg.note("the metadata service is locked here (systemd.imds.network=locked): only systemd-imdsd reaches it; its clients are told as far as its units name them")
	}
	return cfg.follow(ctx, src, groups)
}

// follow reads a source until ctx ends, and closes it.
func (cfg Config) follow(ctx context.Context, src source, groups *os.File) error {
	defer src.close()
	t := &tracer{Config: cfg, source: src, namer: processes.New(), finished: make(chan *call, mostFinished)}
	t.callers = newCallers(t.namer, groups)
	t.joined = newConversations(t.finish)
	t.joined.over = t.callers.over
	if groups != nil && cfg.Server == nil { // cookies of a packet socket's connections are its own
		t.found = alreadyOpen(cfg.note)
	}
	if cfg.Ready != nil {
		cfg.Ready()
	}
	var all sync.WaitGroup
	names, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(cfg.Last, ended) })()
	all.Go(func() { t.tell(names) })
	err := t.read(ctx)
	close(t.finished)
	all.Wait()
	return err
}

// open finds a way to look on.
func (cfg Config) open() (source, *os.File, error) {
	if !cfg.Packets || cfg.Server != nil {
		k, err := openKernel(findLayout, cfg.Server)
		if err == nil {
			cfg.note(k.describe())
			return k, k.groups, nil
		}
		if notAllowed(err) && (cfg.Server != nil || !mayUsePackets()) {
			return nil, nil, ErrNotAllowed
		}
		if cfg.Server != nil {
			return nil, nil, err
		}
		cfg.note(fmt.Sprintf("eBPF cannot be used: %v", err))
	}
	p, err := openPackets()
	switch {
	case err != nil && notAllowed(err):
		return nil, nil, ErrNotAllowed
	case err != nil:
		return nil, nil, err
	}
	cfg.note("watching by a packet socket: only this network namespace is seen, not containers with their own; processes that end right after the answer are often unknown")
	return p, nil, nil
}

func notAllowed(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

func (k *kernel) describe() string {
	if k.only != nil {
		return fmt.Sprintf("watching by eBPF what may be this server's, also at %d listeners in this network namespace", len(k.ends.listeners))
	}
	if k.layout.known() {
		return "watching by eBPF: all processes of this machine, also in containers and network namespaces; virtual machines' are not processes of it"
	}
	return "watching by eBPF; this kernel does not show where command lines are: they are read from /proc, and unknown of processes that end at once"
}

// locked says that an unprivileged route to the metadata service ends here. No packet is sent for that.
func locked() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return errors.Is(unix.Connect(fd, &unix.SockaddrInet4{Port: servicePort, Addr: addrs4[0].As4()}), unix.EACCES)
}

// tracer reads events, and has finished calls named and told.
type tracer struct {
	Config
	source   source
	namer    *processes.Namer
	callers  *callers
	joined   *conversations
	found    map[uint64]int // cookies of connections that were open already, and who has them
	finished chan *call
	dropped  atomic.Uint64
	gaps     sync.Mutex // calls of Gap and Call are one at a time
}

// read takes events until ctx ends.
func (t *tracer) read(ctx context.Context) error {
	clock := newClock()
	governor := newGovernor(t.MaxCPU)
	var told [lossKinds]uint64
	var dropped uint64
	ticked := time.Now()
	for {
		now := time.Now()
		if now.Sub(ticked) >= time.Second {
			ticked = now
			clock = newClock()
			t.joined.tick(now)
			t.govern(governor, now)
			t.tellGap(governor, &told, &dropped, now)
		}
		if ctx.Err() != nil {
			t.joined.tick(now.Add(answerWait + time.Hour)) // whoever waits
			t.tellGap(governor, &told, &dropped, now)
			return nil
		}
		e, err := t.source.next(now.Add(batch))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return fmt.Errorf("reading what the kernel tells: %w", err)
		default:
			t.take(e, clock.at(e.at))
		}
	}
}

func (t *tracer) take(e event, at time.Time) {
	if t.Server != nil && (e.kind == kindSent || e.kind == kindAnswer) && !t.joined.knows(e.cookie) {
		return // of a connection that is left
	}
	switch e.kind {
	case kindConnect, kindConnectArgs:
		t.joined.connected(e, t.callers.of(e), at)
	case kindSent:
		t.joined.sent(t.joined.find(e, at, t.unseen), e, at)
	case kindAnswer:
		t.joined.answered(t.joined.find(e, at, t.unseen), e)
	}
}

// unseen finds who has a connection that was not seen to begin.
func (t *tracer) unseen(e event) *caller {
	if pid := t.found[e.cookie]; pid != 0 {
		e.image = image{pid: pid}
		e.uid = -1
		return t.callers.of(e)
	}
	return t.callers.inGroup(e.cgroup)
}

// finish passes a call on to be named; it never waits.
func (t *tracer) finish(c *call) {
	select {
	case t.finished <- c:
	default:
		t.dropped.Add(1)
	}
}

// tell names calls and tells them.
func (t *tracer) tell(ctx context.Context) {
	for c := range t.finished {
		c.Process, c.For = c.who.name(ctx, t.namer)
		if c.Process.Comm == imdsd && len(c.For) == 0 {
			c.Remark = "for a client of systemd-imdsd that is unknown"
		}
		t.gaps.Lock()
		t.Config.Call(c.Call)
		t.gaps.Unlock()
	}
}

func (t *tracer) tellGap(g *governor, told *[lossKinds]uint64, dropped *uint64, now time.Time) {
	lost, calls := t.source.losses(), t.dropped.Load()
	gap := Gap{
		Time:        now,
		Connections: lost[lostConnect] - told[lostConnect], Requests: lost[lostSent] - told[lostSent],
		Answers: lost[lostAnswer] - told[lostAnswer], Sampled: lost[sampledOut] - told[sampledOut],
		Calls: calls - *dropped,
	}
	if g.n > 0 {
		gap.SampledOneOf = 1 << g.n
	}
	*told, *dropped = lost, calls
	if gap.empty() || t.Gap == nil {
		return
	}
	t.gaps.Lock()
	defer t.gaps.Unlock()
	t.Gap(gap)
}

// govern takes more or fewer connections.
func (t *tracer) govern(g *governor, now time.Time) {
	before := g.n
	change := g.measure(now, cpuTime())
	if change == "" {
		return
	}
	if err := t.source.lookAt(g.n); err != nil {
		t.note(fmt.Sprintf("taking a sample of connections failed: %v", err))
		return
	}
	if g.n > before {
		t.joined.sampling()
	}
	t.note(change)
}

// clock makes times of the day of the kernel's monotonic ones.
type clock struct{ began time.Time }

func newClock() clock {
	return clock{time.Now().Add(-time.Duration(monotonic()))}
}

func (c clock) at(nanoseconds int64) time.Time {
	return c.began.Add(time.Duration(nanoseconds)).Round(time.Microsecond)
}

// cpuTime is what this process has taken so far.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
