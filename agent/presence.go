package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// keepEvery is how often a host says that it is there: often enough to be late twice.
const keepEvery = 5 * time.Second

// firstPause is how long it waits before it tries again what failed; twice as long each time.
const firstPause = 50 * time.Millisecond

// leaveTime is how long a host tries to say that it goes; its lease ends without that, only later.
const leaveTime = 500 * time.Millisecond

// Hosts is where a host tells of itself; [control.Service] is one.
type Hosts interface {
	JoinHost(ctx context.Context, takeOver bool) (store.Lease, error)
	TakeSeats(ctx context.Context, lease store.Lease, instances ...string) error
	LeaveSeat(ctx context.Context, instance string) error
}

// Leases are by what a host says that it is still there; a [store.Store] has them.
type Leases interface {
	KeepAlive(ctx context.Context, l store.Lease) error
	Revoke(ctx context.Context, l store.Lease) error
}

// PresenceConfig is what a [Presence] works with.
type PresenceConfig struct {
	// Store has the office; nil: this host never gets it.
	Store store.Store
	// Leases are those that Hosts grants; nil: Store has them.
	Leases Leases
	Hosts  Hosts
	// Name of the host, for those who look who has the office.
	Name string
	Log  *slog.Logger
}

// Presence is that of this process's host in a store: what it tells of itself lasts as long as it is there. One
// of all hosts has an office beside, and does what one has to do.
type Presence struct {
	cfg PresenceConfig

	mu    sync.Mutex
	lease store.Lease // NoLease: the host is not there
	last  store.Lease // that it had; NoLease: it never was there
	// elected is closed while the host has the office.
	elected chan struct{}
	holds   bool

	again chan struct{} // has one in it when the office's work is to be done again
	gone  chan struct{} // has one in it when the host is not there, as its seats could not be told
}

// NewPresence makes one that is not there yet.
func NewPresence(cfg PresenceConfig) *Presence {
	if cfg.Leases == nil {
		cfg.Leases = cfg.Store
	}
	return &Presence{cfg: cfg, elected: make(chan struct{}), again: make(chan struct{}, 1), gone: make(chan struct{}, 1)}
}

// Join says that the host is there, in the place of an earlier process; [Presence.Run] keeps it so. A store that
// takes no changes keeps nobody from serving: then Run comes back to it.
func (p *Presence) Join(ctx context.Context) {
	if err := p.join(ctx); err != nil && ctx.Err() == nil {
		p.cfg.Log.Warn("the store cannot be told that this host is there; trying again", "error", err)
	}
}

func (p *Presence) join(ctx context.Context) error {
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	if last != store.NoLease {
		_ = p.cfg.Leases.Revoke(ctx, last) // it may last where the seats could not be told
	}
	lease, err := p.cfg.Hosts.JoinHost(ctx, last == store.NoLease)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lease, p.last = lease, lease
	return nil
}

// takeSeats tells of seats. Where that fails the host is not there until it has come back with all of them:
// nobody waits for it, as it may not be known what it serves.
func (p *Presence) takeSeats(ctx context.Context, instances []string) error {
	lease := p.Lease()
	if lease == store.NoLease || len(instances) == 0 {
		return nil
	}
	err := p.cfg.Hosts.TakeSeats(ctx, lease, instances...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease == lease {
		p.lease = store.NoLease
		signal(p.gone)
	}
	return err
}

// Lease is that of all that the host tells of itself now; NoLease while it is not there.
func (p *Presence) Lease() store.Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lease
}

// Elected waits until this host has the office; an error is the context's. Whoever acts by it asks anew for
// each act: the office may be lost.
func (p *Presence) Elected(ctx context.Context) error {
	p.mu.Lock()
	elected := p.elected
	p.mu.Unlock()
	select {
	case <-elected:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Holds says whether this host has the office.
func (p *Presence) Holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holds
}

func (p *Presence) hold(holds bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case holds == p.holds:
	case holds:
		close(p.elected)
	default:
		p.elected = make(chan struct{})
	}
	p.holds = holds
}

// Run keeps the host there until the context ends; then it goes. When the store has taken it for gone
// meanwhile, it comes back and calls back, which tells anew what it told of itself; elected is called whenever it
// has got the office, and again as long as it fails.
func (p *Presence) Run(ctx context.Context, back func(context.Context) error, elected func(context.Context) error) {
	for ctx.Err() == nil {
		lost := p.stay(ctx, elected)
		p.hold(false)
		if !lost {
			break
		}
		p.comeBack(ctx, back)
	}
	left, done := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer done()
	p.mu.Lock()
	last := p.last // it may last where the seats could not be told
	p.mu.Unlock()
	_ = p.cfg.Leases.Revoke(left, last) // or it ends by itself
}

// stay keeps the host there and campaigns for the office, and reports whether the lease was lost.
func (p *Presence) stay(ctx context.Context, elected func(context.Context) error) (lost bool) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if p.cfg.Store != nil {
		running.Go(func() { p.campaign(ctx, elected) })
	}
	return p.keep(ctx)
}

// keeping does something for which the host has to be there, and which may take longer than its lease lasts by itself.
func (p *Presence) keeping(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { p.keep(ctx) })
	return do(ctx)
}

// keep keeps the lease alive until the context ends or it is lost, and reports whether that was it.
func (p *Presence) keep(ctx context.Context) (lost bool) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for failing := false; ; {
		if p.Lease() == store.NoLease { // it could not join, or its seats could not be told
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-p.gone:
			continue
		case <-tick.C:
		}
		err := p.cfg.Leases.KeepAlive(ctx, p.Lease())
		switch {
		case errors.Is(err, store.ErrNoLease):
			p.cfg.Log.Warn("the store does not have this host; telling it anew of all that is served")
			return true
		case err != nil && ctx.Err() == nil && !failing:
			p.cfg.Log.Warn("the store cannot be told that this host is there", "error", err)
		}
		failing = err != nil
	}
}

func (p *Presence) campaign(ctx context.Context, elected func(context.Context) error) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, keepEvery) {
		err := store.Campaign(ctx, p.cfg.Store, records.OfficeKey, p.cfg.Name, p.Lease())
		if err == nil {
			p.hold(true)
			p.work(ctx, elected)
			return // the office lasts as long as the lease
		}
		if errors.Is(err, store.ErrNoLease) || errors.Is(err, store.ErrClosed) {
			return // whoever keeps the lease alive sees it too
		}
		wait(ctx, pause)
	}
}

// work does what who has the office has to do, and does it again when it failed or is asked for.
func (p *Presence) work(ctx context.Context, elected func(context.Context) error) {
	const longest = time.Minute // a damaged record fails until it is mended
	pause := firstPause
	for {
		err := elected(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if pause == firstPause {
				p.cfg.Log.Warn("not all changes that wait for no host could be ended; trying again", "error", err)
			}
			wait(ctx, pause)
			pause = min(2*pause, longest)
			continue
		}
		pause = firstPause
		select {
		case <-ctx.Done():
			return
		case <-p.again:
		}
	}
}

// workAgain has the office's work done again, if this host has the office.
func (p *Presence) workAgain() { signal(p.again) }

// signal puts one into a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// comeBack joins again, and tells anew what the host told of itself.
func (p *Presence) comeBack(ctx context.Context, back func(context.Context) error) {
	told := ""
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, keepEvery) {
		err := p.join(ctx)
		if err == nil {
			err = p.keeping(ctx, back)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return
		}
		if told != err.Error() {
			told = err.Error()
			p.cfg.Log.Error("this host cannot come back to the store; serving the last known options", "error", err)
		}
		wait(ctx, pause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
