package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// fleetHost is one of several hosts on one store.
type fleetHost struct {
	*host
	presence *agent.Presence
}

// join makes a host of that name on a store; it runs until the test or stop ends it.
func join(t *testing.T, kept store.Store, name string) (h *fleetHost, stop func()) {
	t.Helper()
	h = &fleetHost{host: &host{t: t, store: kept, log: &logText{}}}
	h.service = control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: name})
	log := slog.New(slog.NewTextHandler(h.log, nil))
	h.presence = agent.NewPresence(agent.PresenceConfig{Store: kept, Hosts: h.service, Name: name, Log: log})
	h.presence.Join(t.Context())
	h.agent = agent.New(agent.Config{Store: kept, Marker: h.service, Presence: h.presence, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.agent.Run(ctx) })
	running.Go(func() { h.presence.Run(ctx, h.agent.Back, h.agent.Settle) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return h, stop
}

func (h *fleetHost) ended(op openimds.Operation) bool {
	return h.status(op.ID) == openimds.OperationSucceeded && h.instance("web").Options.State == openimds.OptionsApplied
}

// slow is a seat that obeys nothing more until it is freed.
func slow() (s *seat, slowDown, free func()) {
	gate := make(chan struct{})
	var mu sync.Mutex
	held := false
	s = &seat{before: func(*openimds.Instance) error {
		mu.Lock()
		wait := held
		mu.Unlock()
		if wait {
			<-gate
		}
		return nil
	}}
	return s, func() { mu.Lock(); held = true; mu.Unlock() }, sync.OnceFunc(func() { close(gate) })
}

// TestAppliedWhenAllObey: with an instance on two hosts, a change is pending until both obey it, whichever is
// the later; a host that does not seat it is not waited for and ends nothing.
func TestAppliedWhenAllObey(t *testing.T) {
	for _, last := range []string{"one", "two"} {
		t.Run(last, func(t *testing.T) {
			kept := mem.New()
			one, _ := join(t, kept, "one")
			two, _ := join(t, kept, "two")
			join(t, kept, "three")
			one.create("web")
			late, slowDown, free := slow()
			t.Cleanup(free)
			quick := &seat{}
			if last == "one" {
				one.seat("web", late)
				two.seat("web", quick)
			} else {
				one.seat("web", quick)
				two.seat("web", late)
			}
			slowDown()
			first := one.hops("web", 5)
			second := two.hops("web", 6)
			eventually(t, "the quick host obeys", func() bool { return quick.obeys(one.instance("web")) })
			eventually(t, "the quick host says so", func() bool { return obeyed(t, kept, "web") == second.ID })
			if one.ended(first) || one.ended(second) || one.status(first.ID) != openimds.OperationStarted {
				t.Fatal("a change is applied that one of two hosts does not obey")
			}
			free()
			eventually(t, "both changes are applied", func() bool { return one.ended(first) && one.ended(second) })
			if !late.obeys(one.instance("web")) {
				t.Error("a change is applied that the slow host does not obey")
			}
		})
	}
}

// obeyed is what any host says that it obeys of an instance.
func obeyed(t *testing.T, kept store.Store, instance string) string {
	t.Helper()
	page, err := kept.List(t.Context(), store.Range{Prefix: records.SeatKey(instance, "")})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Records {
		seat, err := records.Decode[records.Seat](r)
		if err != nil {
			t.Fatal(err)
		}
		if seat.Obeys != "" {
			return seat.Obeys
		}
	}
	return ""
}

// TestHostGone: a change waits no longer for a host than its lease lasts, nor for one that gives its seat
// back, and an instance that nobody seats is not waited for at all, whoever has the office.
func TestHostGone(t *testing.T) {
	for what, end := range map[string]func(t *testing.T, h *fleetHost, free, stop func()){
		"lease": func(t *testing.T, h *fleetHost, _, _ func()) {
			if err := h.store.Revoke(t.Context(), h.presence.Lease()); err != nil {
				t.Fatal(err)
			}
		},
		"stop":   func(_ *testing.T, _ *fleetHost, free, stop func()) { go stop(); free() },
		"unseat": func(t *testing.T, h *fleetHost, free, _ func()) { free(); _ = h.agent.Unseat("web") },
	} {
		for _, office := range []string{"with the office", "without it"} {
			t.Run(what+" "+office, func(t *testing.T) {
				kept := mem.New()
				var gone, other *fleetHost
				var stop func()
				if office == "without it" {
					other, _ = join(t, kept, "other")
					eventually(t, "the office is had", other.presence.Holds)
				}
				gone, stop = join(t, kept, "gone")
				if other == nil {
					eventually(t, "the office is had", gone.presence.Holds)
					other, _ = join(t, kept, "other")
				}
				other.create("web", "free")
				op := other.hops("free", 9)
				eventually(t, "what nobody seats is applied", func() bool { return other.status(op.ID) == openimds.OperationSucceeded })
				late, slowDown, free := slow()
				t.Cleanup(free)
				gone.seat("web", late)
				slowDown()
				op = other.hops("web", 5)
				if other.ended(op) {
					t.Fatal("a change is applied that its host does not obey")
				}
				end(t, gone, free, stop)
				eventually(t, "the change is applied", func() bool { return other.ended(op) })
			})
		}
	}
}

// TestHostComesBack: a host whose lease was lost is there again with all its seats, and obeys what was changed
// meanwhile.
func TestHostComesBack(t *testing.T) {
	kept := mem.New()
	h, _ := join(t, kept, "one")
	h.create("web")
	h.seat("web", &seat{})
	before := h.presence.Lease()
	if err := kept.Revoke(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the host is there again", func() bool {
		r, err := kept.Get(t.Context(), records.SeatKey("web", "one"))
		return err == nil && r.Lease == h.presence.Lease() && r.Lease != before
	})
	eventually(t, "it has the office again", h.presence.Holds)
	op := h.hops("web", 4)
	eventually(t, "a change is applied", func() bool { return h.ended(op) })
}

// TestHostTakenOver: a process that begins takes an earlier one's place at once; that one does not take it back.
func TestHostTakenOver(t *testing.T) {
	kept := mem.New()
	first, stopFirst := join(t, kept, "one")
	first.create("web", "other")
	late, slowDown, free := slow()
	t.Cleanup(free)
	first.seat("web", late)
	slowDown()
	op := first.hops("web", 5)
	second, _ := join(t, kept, "one")
	second.seat("other", &seat{})
	eventually(t, "the change waits for the earlier process no more", func() bool { return second.ended(op) })
	eventually(t, "the earlier process knows", func() bool {
		_, err := first.service.JoinHost(t.Context(), false)
		return openimds.KindOf(err) == openimds.OperationFailure
	})
	free()
	stopFirst()
	if _, err := kept.Get(t.Context(), records.SeatKey("other", "one")); err != nil {
		t.Errorf("the seat of the later process: %v", err)
	}
	if err := second.presence.Elected(t.Context()); err != nil {
		t.Error(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	third, _ := join(t, kept, "three")
	if err := third.presence.Elected(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a host without the office was elected: %v", err)
	}
}

// patchy is a store that fails to list pages a few times, and has a damaged record.
type patchy struct {
	store.Store
	faults  atomic.Int32
	damaged string
}

var errDamaged = errors.New("the record is damaged")

func (p *patchy) Get(ctx context.Context, key string) (store.Record, error) {
	if key == p.damaged {
		return store.Record{}, errDamaged
	}
	return p.Store.Get(ctx, key)
}

func (p *patchy) List(ctx context.Context, r store.Range) (store.Page, error) {
	if r.Limit > 1 && p.faults.Add(-1) >= 0 {
		return store.Page{}, errors.New("away for a moment")
	}
	page, err := p.Store.List(ctx, r)
	for _, record := range page.Records {
		if record.Key == p.damaged {
			return store.Page{}, errDamaged
		}
	}
	return page, err
}

// TestSettlesPatchy: what nobody seats is applied in the end, though the store is away when the host has the office,
// and though the record of another instance is damaged; each is told once.
func TestSettlesPatchy(t *testing.T) {
	for what, kept := range map[string]*patchy{
		"away":    {},
		"damaged": {damaged: records.InstancePrefix + "a-damaged"},
	} {
		t.Run(what, func(t *testing.T) {
			kept.Store = mem.New()
			before := control.New(kept.Store, control.Config{Region: "us-east-1", AccountID: "123456789012"})
			other := &host{t: t, store: kept.Store, service: before}
			other.create("a-damaged", "before", "web")
			ops := []openimds.Operation{other.hops("before", 3), other.hops("web", 3)}
			if what == "away" {
				kept.faults.Store(10)
			}
			h, _ := join(t, kept, "local")
			for _, op := range ops {
				eventually(t, op.Resource+" is applied", func() bool { return other.status(op.ID) == openimds.OperationSucceeded })
			}
			var web seat
			h.seat("web", &web)
			other.hops("web", 4)
			eventually(t, "a later change is obeyed", func() bool { return web.obeys(other.instance("web")) })
			eventually(t, "it is told", func() bool { return strings.Contains(h.log.String(), "could be ended") })
			if n := strings.Count(h.log.String(), "could be ended"); n != 1 {
				t.Errorf("it is told %d times", n)
			}
		})
	}
}

// seatless takes no seats.
type seatless struct{ *control.Service }

func (seatless) TakeSeats(context.Context, store.Lease, ...string) error {
	return errors.New("no seats are taken")
}

// TestSeatsUntold: a host whose seats could not be told serves, is not back before they are, and leaves nothing
// behind when it goes.
func TestSeatsUntold(t *testing.T) {
	kept := mem.New()
	h := &host{t: t, store: kept, log: &logText{}}
	h.service = control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	log := slog.New(slog.NewTextHandler(h.log, nil))
	presence := agent.NewPresence(agent.PresenceConfig{Store: kept, Hosts: seatless{h.service}, Log: log})
	h.agent = agent.New(agent.Config{Store: kept, Marker: h.service, Presence: presence, Log: log})
	h.create("web")
	presence.Join(t.Context())
	var web seat
	h.seat("web", &web)
	if web.now() == nil || presence.Lease() != store.NoLease {
		t.Errorf("the seat has %v and the host lease %d", web.now(), presence.Lease())
	}
	presence.Join(t.Context())
	if err := h.agent.Back(t.Context()); err == nil {
		t.Error("a host is back without its seats")
	}
	if _, err := kept.Get(t.Context(), records.HostKey(openimds.LocalHost)); err != nil {
		t.Fatal(err)
	}
	gone, end := context.WithCancel(t.Context())
	end()
	presence.Run(gone, h.agent.Back, h.agent.Settle)
	if _, err := kept.Get(t.Context(), records.HostKey(openimds.LocalHost)); !errors.Is(err, store.ErrNoRecord) {
		t.Errorf("the host that has gone: %v", err)
	}
}

// hindered is where a host cannot join, or tell of its seats, as often as it says.
type hindered struct {
	*control.Service
	joins, seats atomic.Int32
}

func (h *hindered) JoinHost(ctx context.Context, takeOver bool) (store.Lease, error) {
	if h.joins.Add(-1) >= 0 {
		return store.NoLease, errors.New("nobody is to join now")
	}
	return h.Service.JoinHost(ctx, takeOver)
}

func (h *hindered) TakeSeats(ctx context.Context, lease store.Lease, instances ...string) error {
	if h.seats.Add(-1) >= 0 {
		return errors.New("no seats are taken now")
	}
	return h.Service.TakeSeats(ctx, lease, instances...)
}

// TestThereSoon: a host that could not join, or whose seats could not be told, tries again at once, and not when its lease
// would be kept alive the next time: until then nobody waits for it, though it serves.
func TestThereSoon(t *testing.T) {
	for what, hinder := range map[string]func(*hindered){
		"the join fails":      func(h *hindered) { h.joins.Store(2) },
		"the seats fail":      func(h *hindered) { h.seats.Store(2) },
		"join and seats fail": func(h *hindered) { h.joins.Store(2); h.seats.Store(1) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kept := mem.New()
				h := &host{t: t, store: kept, log: &logText{}}
				h.service = control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012"})
				h.create("web")
				hosts := &hindered{Service: h.service}
				hinder(hosts)
				log := slog.New(slog.NewTextHandler(h.log, nil))
				presence := agent.NewPresence(agent.PresenceConfig{Leases: kept, Hosts: hosts, Log: log})
				h.agent = agent.New(agent.Config{Store: kept, Marker: h.service, Presence: presence, Log: log})
				began := time.Now()
				presence.Join(t.Context())
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { presence.Run(ctx, h.agent.Back, nil) })
				synctest.Wait()
				var web seat
				h.seat("web", &web)
				for presence.Lease() == store.NoLease || !h.seated("web") {
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(began); took >= time.Second { // by a clock that stands still while anything is done
					t.Errorf("the host is there after %s", took)
				}
				cancel()
				running.Wait()
			})
		})
	}
}

// seated says whether the store has the seat of an instance on the host.
func (h *host) seated(instance string) bool {
	page, err := h.store.List(h.t.Context(), store.Range{Prefix: records.SeatKey(instance, "")})
	return err == nil && len(page.Records) > 0
}

// TestComesBackSlowly: a host that takes longer to tell of all that it serves than its lease lasts by itself is there all the
// while, and need not begin again.
func TestComesBackSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := mem.New()
		service := control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: "one"})
		presence := agent.NewPresence(agent.PresenceConfig{Store: kept, Hosts: service, Name: "one", Log: slog.New(slog.DiscardHandler)})
		presence.Join(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var leases []store.Lease
		running.Go(func() {
			presence.Run(ctx, func(ctx context.Context) error {
				leases = append(leases, presence.Lease())
				time.Sleep(10 * control.HostTTL)
				return kept.KeepAlive(ctx, leases[len(leases)-1])
			}, func(context.Context) error { return nil })
		})
		if err := kept.Revoke(t.Context(), presence.Lease()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * control.HostTTL)
		there := presence.Lease()
		cancel()
		running.Wait()
		if len(leases) != 1 || there != leases[0] {
			t.Errorf("the host came back by the leases %v, and had %d", leases, there)
		}
		if err := kept.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
