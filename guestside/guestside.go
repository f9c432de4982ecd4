// Package guestside wires what stands between a store and the guests of this process: the agent that
// carries changes, the places where instances are served, and what must be ready before a guest asks.
// It starts no goroutine of its own and knows no operator, so that it serves a host as well as one
// command or one test:
//
//	side := guestside.New(guestside.Config{Store: store, Marker: service, Log: log})
//	err := side.Seat(ctx, "web")       // before anybody can ask
//	go side.Run(ctx)                   // follows the changes that service makes
//	go side.Serve(listener, "web")     // until Shutdown
package guestside

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Credentials is where role credentials come from. It is told which instances are served here, so
// that it can have theirs ready.
type Credentials interface {
	openimds.CredentialSource
	// Keep is called before an instance is served, and at each change of it.
	Keep(in *openimds.Instance)
	// Drop is called when an instance is served no more.
	Drop(instanceID string)
}

// Signer signs identity documents, and keeps what it has signed until an instance is served no more.
type Signer interface {
	metadata.Signatures
	Forget(instanceID string)
}

// Config is what a [Server] works with.
type Config struct {
	Store store.Store
	// Marker is told which options are obeyed by now; the store's [control.Service] is one.
	Marker agent.Marker
	// Faults has faults end by themselves; the store's [control.Service] is one. nil: they end for guests, and
	// the store does not know.
	Faults Faults
	// Presence is how other hosts know which instances are served here; nil: there are none.
	Presence *agent.Presence
	// Credentials and Signer; nil: there is no iam/, and identity documents have no signatures.
	Credentials Credentials
	Signer      Signer
	// IMDS says how guests are served; its Credentials, Signatures and Log are those of this Config.
	IMDS imds.Config
	// Log; nil: nothing is logged.
	Log *slog.Logger
}

var _ openimds.GuestAnswers = (*Server)(nil)

// Server serves instances of a store.
type Server struct {
	cfg    Config
	agent  *agent.Agent
	server *imds.Server
	faults *faultEnds

	seating sync.Mutex
	seats   map[string]int // how often each instance has a place

	mu     sync.Mutex
	guests map[string]*imds.Guest // by the instance's name
}

// New makes a server that serves nobody yet.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.IMDS.Log = cfg.Log
	if cfg.Credentials != nil {
		cfg.IMDS.Credentials = cfg.Credentials
	}
	if cfg.Signer != nil {
		cfg.IMDS.Signatures = cfg.Signer
	}
	faults := newFaultEnds(cfg.Faults, cfg.Log)
	cfg.IMDS.FaultMet = faults.met
	return &Server{
		cfg:    cfg,
		faults: faults,
		agent:  agent.New(agent.Config{Store: cfg.Store, Marker: cfg.Marker, Presence: cfg.Presence, Log: cfg.Log}),
		server: imds.NewServer(cfg.IMDS),
		seats:  map[string]int{},
		guests: map[string]*imds.Guest{},
	}
}

// Agent is what keeps the seats in step with the store.
func (s *Server) Agent() *agent.Agent { return s.agent }

// Seat gives an instance its place in this process and fills it before it returns. The changes that
// follow arrive while [Server.Run] runs. Who serves an instance in several ways takes a place for each.
func (s *Server) Seat(ctx context.Context, name string) error { return s.SeatAll(ctx, []string{name}) }

// SeatAll is [Server.Seat] of many instances at once.
func (s *Server) SeatAll(ctx context.Context, names []string) error {
	s.seating.Lock()
	defer s.seating.Unlock()
	places := map[string]agent.Seat{}
	for _, name := range names {
		if s.seats[name] == 0 {
			places[name] = &seat{name: name, guest: s.guest(name), faults: s.faults, credentials: s.cfg.Credentials, signer: s.cfg.Signer}
		}
	}
	if len(places) > 0 {
		if err := s.agent.SeatAll(ctx, places); err != nil {
			return err
		}
	}
	for _, name := range names {
		s.seats[name]++
	}
	return nil
}

// Unseat gives a place back. With the last one its guest is answered no more.
func (s *Server) Unseat(name string) error {
	s.seating.Lock()
	defer s.seating.Unlock()
	switch s.seats[name] {
	case 0:
		return nil
	case 1:
		delete(s.seats, name)
		return s.agent.Unseat(name)
	}
	s.seats[name]--
	return nil
}

// Await waits until the guest of an instance obeys its record of that revision; see [agent.Agent.Await].
func (s *Server) Await(ctx context.Context, name string, revision int64) error {
	return s.agent.Await(ctx, name, revision)
}

// Run carries changes from the store to the seats until the context ends.
func (s *Server) Run(ctx context.Context) {
	var ends sync.WaitGroup
	defer ends.Wait()
	ends.Go(func() { s.faults.run(ctx) })
	s.agent.Run(ctx)
}

// Serve answers the connections of l as those of the named instance; see [imds.Server.Serve].
func (s *Server) Serve(l net.Listener, name string) error { return s.server.Serve(l, s.guest(name)) }

// Observe begins to see the requests of the named instance's guest; see [imds.Guest.Observe].
func (s *Server) Observe(name string, on net.Listener, room int) *imds.Observer {
	return s.guest(name).Observe(on, room)
}

// Look answers what the guest of an instance would be answered; see [imds.Server.Look]. Of one that is not served here, no
// credentials were fetched ahead, and nothing that is signed for it is kept.
func (s *Server) Look(in *openimds.Instance, v2 bool, paths ...string) ([]openimds.GuestAnswer, error) {
	answers, err := s.server.Look(in, v2, paths...)
	s.seating.Lock()
	defer s.seating.Unlock()
	if s.cfg.Signer != nil && s.seats[in.Name] == 0 {
		s.cfg.Signer.Forget(in.ID)
	}
	return answers, err
}

// Connections is how many connections the instance's guest has open.
func (s *Server) Connections(name string) int { return s.guest(name).Connections() }

// Shutdown ends serving; see [imds.Server.Shutdown].
func (s *Server) Shutdown(ctx context.Context) error { return s.server.Shutdown(ctx) }

// guest returns the guest of an instance: one for each name, whatever becomes of the instance.
func (s *Server) guest(name string) *imds.Guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guests[name] == nil {
		s.guests[name] = s.server.NewGuest()
	}
	return s.guests[name]
}

// Settle waits until the guest of a seated instance obeys what the store says now, and its options
// are applied, or the context ends. An instance that is not in the store is not waited for.
func (s *Server) Settle(ctx context.Context, name string) error {
	key := records.InstancePrefix + name
	page, err := s.cfg.Store.List(ctx, store.Range{Prefix: key, Limit: 1})
	if err != nil {
		return err
	}
	if len(page.Records) == 0 || page.Records[0].Key != key {
		return nil
	}
	now, watch := page.Records[0], s.cfg.Store.Watch(key, page.Revision)
	for {
		in, err := records.DecodeInstance(now)
		if err != nil {
			return err
		}
		if in.Options.State == openimds.OptionsApplied {
			return s.agent.Await(ctx, name, now.Revision)
		}
		changes, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range changes {
			if e.Key == key {
				now = e
			}
		}
		if now.Value == nil {
			return nil // deleted meanwhile
		}
	}
}
