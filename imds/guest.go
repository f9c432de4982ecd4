package imds

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/session"
	"golang.org/x/time/rate"
)

// Guest is the serving side of one instance: what it is served from, and the limits that keep it
// from harming others. Nothing in it is shared with another guest.
type Guest struct {
	server *Server
	state  atomic.Pointer[state]
	limit  *rate.Limiter // nil: no limit
	// observers are those who see its requests; nil: nobody.
	observers atomic.Pointer[[]*Observer]
	active    atomic.Int64 // connections at once
	// era tells the connections apart that closeConns must find from those that came after it.
	era atomic.Uint64

	mu      sync.Mutex
	conns   map[net.Conn]struct{} // those that did not come and go in one step
	counted string                // id of the instance whose requests are counted; empty: none
	// faultCount is that of the latest faults that were counted; nil: none were.
	faultCount *faultCount

	seated   atomic.Pointer[seated] // nil: nobody
	refusals refusalLog

	arrivals arrivals
}

// NewGuest makes a guest that answers nobody until [Guest.Set] gives it an instance.
func (s *Server) NewGuest() *Guest {
	g := &Guest{server: s}
	if s.cfg.Rate > 0 {
		g.limit = rate.NewLimiter(rate.Limit(s.cfg.Rate), s.cfg.Burst)
	}
	return g
}

// Set makes the guest's next request see the instance, and only it. nil or an instance without a guest that could
// ask ([openimds.InstanceState.Answers]): connections are closed without an answer, those that are open too.
//
// A failure leaves the guest as it was: it never becomes more permissive.
func (g *Guest) Set(in *openimds.Instance) error {
	if in == nil || !in.State.Answers() {
		g.seat(in, g.counters(in))
		g.state.Store(nil)
		g.closeConns()
		return nil
	}
	next, err := g.server.stateOf(in)
	if err != nil {
		return err
	}
	in = next.instance
	var before *faults
	var rehearsed *rehearsal
	if was := g.state.Load(); was != nil {
		before, rehearsed = was.faults, was.rehearsal
	}
	met := newFaults(in.Faults, before, g.faultCountOf(in))
	rehearses := newRehearsal(in.Rehearsal, rehearsed, g.server.cfg.Now())
	counters := g.counters(in)
	g.seat(in, counters)
	next.instance = g.server.compactor.copy(in)
	next.faults, next.rehearsal, next.usage = met, rehearses, counters
	next.credentials = credentialsFor(met, next.credentials)
	old := g.state.Swap(next)
	counters.Rehearsing(in.Rehearsal) // who reads that it is under way finds it so
	g.tellFaults(in, before, met)
	g.tellRehearsal(in, rehearsed, rehearses)
	// Connections opened by an earlier instance at this place must not read this one's data.
	if old != nil && old.instance.ID != in.ID {
		g.closeConns()
	}
	return nil
}

// stateOf is what an instance is answered from where it meets nothing on purpose and nobody counts.
func (s *Server) stateOf(in *openimds.Instance) (*state, error) {
	if err := in.Options.Validate(); err != nil {
		return nil, err
	}
	if in.Recorded != nil && in.Recording == nil {
		return nil, errors.New("the instance's recording was not read") // the table is no stand-in for it
	}
	if in.Faults != nil {
		if err := in.Faults.Validate(); err != nil {
			return nil, err
		}
	}
	if in.Rehearsal != nil {
		if err := in.Rehearsal.Validate(); err != nil {
			return nil, err
		}
	}
	in = in.Told()
	sealer, err := session.NewSealer(in.TokenKey, in.ID)
	if err != nil {
		return nil, err
	}
	return &state{
		instance: in, sealer: sealer, credentials: s.cfg.Credentials, signatures: s.cfg.Signatures, keys: s.cfg.Keys,
		recorded: metadata.NewRecorded(in), allowHosts: s.allowHosts,
	}, nil
}

// enter admits a connection, or says that the guest has too many.
func (g *Guest) enter() bool {
	n := g.active.Add(1)
	if limit := g.server.cfg.Connections; limit > 0 && n > int64(limit) {
		g.active.Add(-1)
		return false
	}
	return true
}

func (g *Guest) leave() { g.active.Add(-1) }

// Connections is how many connections the guest has open.
func (g *Guest) Connections() int { return int(g.active.Load()) }

// admit takes a request from the guest's bucket.
func (g *Guest) admit(now time.Time) bool { return g.limit == nil || g.limit.AllowN(now, 1) }

// track lets closeConns find a connection that was admitted in an era. If it came too late for that, it is
// closed here: an answer that is held back is not the next instance's, nor one of a stopped one.
func (g *Guest) track(c net.Conn, era uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.era.Load() != era {
		_ = c.Close()
		return
	}
	if g.conns == nil { // most guests never have one
		g.conns = map[net.Conn]struct{}{}
	}
	g.conns[c] = struct{}{}
}

func (g *Guest) untrack(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func (g *Guest) closeConns() {
	g.dropArrivals()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.era.Add(1)
	for c := range g.conns {
		_ = c.Close() // its goroutine sees the error
	}
}
