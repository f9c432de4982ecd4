package hostdoor_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// gated is a store on a slow disk: from some moment on it writes nothing before it is let.
type gated struct {
	store.Store
	mu   sync.Mutex
	gate chan struct{} // nil: it writes at once
}

func (g *gated) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	g.mu.Lock()
	gate := g.gate
	g.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return g.Store.Commit(ctx, changes...)
}

func (g *gated) shut() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := make(chan struct{})
	g.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// keptSeat is a seat that keeps what it is to obey.
type keptSeat struct{ in *openimds.Instance }

func (s *keptSeat) Set(in *openimds.Instance) error { s.in = in; return nil }

// seating is a host whose copy is on a slow disk, and follows the replica.
func seating(t *testing.T, r *replica, within time.Duration) (kept *gated, hosts hostlink.InStep) {
	t.Helper()
	h := r.join("host-a")
	r.create("mine", "")
	r.attach("mine", "host-a", "tap0")
	kept = &gated{Store: mem.New()}
	c, err := hostlink.OpenCopy(t.Context(), kept, h.name, slog.New(slog.DiscardHandler))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Follow(ctx, h.client) })
	t.Cleanup(func() { cancel(); running.Wait() })
	<-c.Synced()
	return kept, hostlink.InStep{Region: h.region, Copy: c, Within: within}
}

// restrict requires tokens of the instance, which is done at once as nobody has a seat.
func (r *replica) restrict(t *testing.T, name string) {
	t.Helper()
	required := openimds.TokensRequired
	op, err := r.services[home].UpdateOptions(t.Context(), name, openimds.OptionsUpdate{Tokens: &required})
	must(t, err)
	must(t, r.services[home].MarkApplied(t.Context(), r.instance(name))) // as the office does
	now, err := r.services[home].Operation(t.Context(), op.ID)
	must(t, err)
	if now.Status != openimds.OperationSucceeded {
		t.Fatalf("the operation has %s", now.Status)
	}
}

// What was changed before the host has taken the seat, nobody has waited for: the seat obeys it from the start, however
// far the host's copy is behind.
func TestSeatObeysWhatWasBefore(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	kept, hosts := seating(t, r, patience)
	p := agent.NewPresence(agent.PresenceConfig{Leases: hosts, Hosts: hosts, Name: "host-a", Log: slog.New(slog.DiscardHandler)})
	p.Join(t.Context())
	open := kept.shut()
	defer open()
	r.restrict(t, "mine")
	a := agent.New(agent.Config{Store: kept, Marker: hosts, Presence: p, Log: slog.New(slog.DiscardHandler)})
	var s keptSeat
	seated := make(chan error, 1)
	go func() { seated <- a.Seat(t.Context(), "mine", &s) }()
	eventually(t, "the seat is taken", func() bool {
		page, err := r.store.List(t.Context(), store.Range{Prefix: "seat/mine/"})
		must(t, err)
		return len(page.Records) > 0
	})
	select {
	case err := <-seated: // as whoever does not wait for the copy does
		must(t, err)
	case <-time.After(100 * time.Millisecond):
		open()
		must(t, <-seated)
	}
	if s.in == nil || s.in.Options.Tokens != openimds.TokensRequired {
		t.Errorf("the guest is answered by what was before the change that has succeeded")
	}
	if p.Lease() == store.NoLease {
		t.Error("the host is not there")
	}
}

// A host whose copy does not come to what was before its seats serves by what it knows, and is not there: nobody takes it
// to obey.
func TestSeatBehind(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	kept, hosts := seating(t, r, 10*time.Millisecond)
	p := agent.NewPresence(agent.PresenceConfig{Leases: hosts, Hosts: hosts, Name: "host-a", Log: slog.New(slog.DiscardHandler)})
	p.Join(t.Context())
	open := kept.shut()
	defer open()
	r.restrict(t, "mine")
	a := agent.New(agent.Config{Store: kept, Marker: hosts, Presence: p, Log: slog.New(slog.DiscardHandler)})
	var s keptSeat
	must(t, a.Seat(t.Context(), "mine", &s))
	if s.in == nil || s.in.Options.Tokens != openimds.TokensOptional {
		t.Errorf("the guest is not answered by what is known")
	}
	if p.Lease() != store.NoLease {
		t.Error("the host says that it is there")
	}
}
