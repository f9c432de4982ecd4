package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/attach"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/naming"
	"github.com/openimds/openimds/store"
)

// serveEndpoint is how the host hands out the listener of an endpoint.
func (s *hosting) serveEndpoint(id string, l *hostnet.Listener) (stop func()) {
	r, id := s.regionOf(id)
	name := attach.InstanceOf(id)
	var err error
	at := naming.Place{Link: func() string { return r.linkOf(name) }}
	if at.Netns, err = naming.NamespaceOf(l.TCPListener); err != nil {
		s.log.Debug("the callers of an instance are looked for in this network namespace", "instance", name, "error", err)
	}
	deferred, err := imds.DeferWhile(l.TCPListener, l.There)
	if err != nil {
		s.log.Error("an attached instance cannot be served", "instance", name, "error", err)
		return func() { _ = l.Close() }
	}
	watched, unwatch := s.naming.Watch(deferred, at)
	go func() {
		_ = r.guests.Serve(watched, name) // it ends when its listener is closed
	}()
	return func() {
		unwatch()
		_ = deferred.Close()
	}
}

// linkOf is the interface of this host that an instance is attached to; empty: none.
func (r *regional) linkOf(instance string) string {
	a, err := r.service.Attachment(context.Background(), instance)
	if err != nil || a == nil {
		return ""
	}
	return a.Interface
}

// HostNetwork is what a server can do to the host's network.
type HostNetwork struct {
	// Refused says why no instance can be attached although this process has what it takes; nil: one can be,
	// or nobody would expect it.
	Refused error
	// Unable says why this process attaches nothing, where nobody would expect it to, as on a laptop.
	Unable error
	// Missing are the capabilities without which something is not done.
	Missing []string
}

// cannot says why no instance can be attached; nil: one can be.
func (n HostNetwork) cannot() error { return cmp.Or(n.Refused, n.Unable) }

// Unattached says how many instances are attached to this host though this process attaches none, and why: their
// guests are not answered. Whoever asks waits for the store.
func (s *hosting) Unattached(ctx context.Context) (n int, why error) {
	if why = s.hostNotes.cannot(); why == nil {
		return 0, nil
	}
	for _, r := range s.regions {
		all, err := r.service.AttachmentsOf(ctx, s.cfg.Host)
		if err != nil {
			s.log.Debug("the attachments cannot be listed", "error", err)
			return 0, nil // the store's trouble is told elsewhere
		}
		n += len(all)
	}
	return n, why
}

// warnUnattached tells the log of guests who are not answered since this process attaches nothing.
func (s *hosting) warnUnattached(ctx context.Context) {
	if n, why := s.Unattached(ctx); n > 0 {
		s.log.Warn("instances are attached to this host, and their guests are not answered", "attachments", n, "reason", why)
	}
}

// HostNetwork says what this server can do to the host's network.
func (s *hosting) HostNetwork() HostNetwork { return s.hostNotes }

// openHost takes the host's network, where this process may change it. A server that may not serves the
// callers on this machine, and refuses attachments.
func (s *hosting) openHost() error {
	if s.nameless {
		s.hostNotes.Unable = fmt.Errorf("this server shares its store and has no name of its own to attach instances by; give it one with %s", s.cfg.named("Host"))
		return nil
	}
	host, err := hostnet.New(hostnet.Config{
		Serve: s.serveEndpoint,
		Changed: func(status hostnet.EndpointStatus) { // who is told is made before anything is attached
			r, id := s.regionOf(status.ID)
			status.ID = id
			r.attachments.Changed(status)
		},
		Uplinks: s.cfg.Uplinks,
		Bind: func(id string, found hostnet.Face) {
			r, id := s.regionOf(id)
			r.attachments.Bind(id, found)
		},
		Learn: func(id string, links []hostnet.GuestLink) {
			r, id := s.regionOf(id)
			r.attachments.Learn(id, links)
		},
		Log: s.log,
	})
	if err != nil && len(s.cfg.Uplinks) > 0 {
		return fmt.Errorf("%s: %w", s.cfg.named("Uplinks"), err)
	}
	if errors.Is(err, hostnet.ErrUnable) { // as on a laptop, which wants none
		s.hostNotes.Unable = err
		s.log.Info("this process attaches no guests, and answers the callers of its own listeners", "reason", err)
		return nil
	}
	if err != nil {
		s.hostNotes.Refused = err
		return nil
	}
	for _, capability := range host.Missing() {
		s.hostNotes.Missing = append(s.hostNotes.Missing, fmt.Sprint(capability))
	}
	s.host, s.setHost = host, host.Set
	return nil
}

// Guarded implements [control.Attachments].
func (g guarding) Guarded() []openimds.GuardedPlace {
	return guardedPlaces(g.server.host.Guarded())
}

// Status implements [control.Attachments].
func (g guarding) Status(instance string, createdAt time.Time) (openimds.AttachmentStatus, bool) {
	if g.region.attachments == nil { // the server is being opened
		return openimds.AttachmentStatus{}, false
	}
	return g.region.attachments.Known(instance, createdAt)
}

// Release implements [control.Attachments].
func (g guarding) Release(names []string) ([]openimds.GuardedPlace, error) {
	released, err := g.server.host.Release(names...)
	if errors.Is(err, hostnet.ErrNotGuarded) {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.WrongState, "%v", err)
	}
	return guardedPlaces(released), err
}

func guardedPlaces(all []hostnet.Guarded) []openimds.GuardedPlace {
	out := make([]openimds.GuardedPlace, 0, len(all))
	for _, g := range all {
		out = append(out, openimds.GuardedPlace{Interface: g.Interface, Netns: g.Netns})
	}
	return out
}

// guarding tells the service of a region what the host guards.
type guarding struct {
	server *hosting
	region *regional
}

// settle does what one of all hosts does for those that are gone.
func (r *regional) settle(ctx context.Context) error {
	return errors.Join(r.guests.Agent().Settle(ctx), r.service.SettleHosts(ctx))
}

// letGo has the hosts that instances were moved to begin.
func (r *regional) letGo(ctx context.Context, instances []string) error {
	return r.service.LetGo(ctx, instances...)
}

// report keeps how far attachments are. Without a lease nothing is kept: once the host is back, all is told anew.
func (r *regional) report(ctx context.Context, all []openimds.AttachmentStatus) error {
	lease := r.presence.Lease()
	if lease == store.NoLease {
		return nil
	}
	return r.rules.ReportAttachments(ctx, lease, all)
}

// tellAll tells anew all that the host tells of itself.
func (r *regional) tellAll(ctx context.Context) error {
	if err := r.guests.Agent().Back(ctx); err != nil {
		return err
	}
	r.attachments.TellAll()
	return nil
}

// runHost keeps the host attached until the context ends. What is attached anew is so only until the server
// begins to stop: then it would be for nobody.
func (s *hosting) runHost(ctx, stopping context.Context, running *sync.WaitGroup) {
	if s.host == nil {
		return
	}
	running.Go(func() {
		if err := s.host.Run(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("the host's network cannot be followed any more", "error", err)
		}
	})
	for _, r := range s.regions {
		running.Go(func() { r.attachments.Run(stopping) })
	}
	running.Go(func() {
		for _, r := range s.regions {
			select {
			case <-ctx.Done():
				return
			case <-r.attachments.Settled(): // what is attached again needs no sweep
			}
		}
		close(s.settled)
		s.sweepHost()
	})
}

// attachmentStates counts the attachments of this host by state.
func (s *hosting) attachmentStates() map[string]int {
	if s.host != nil {
		states := map[string]int{}
		for _, r := range s.regions {
			for state, n := range r.attachments.States() {
				states[state] += n
			}
		}
		return states
	}
	if n, _ := s.Unattached(context.Background()); n > 0 {
		return map[string]int{string(hostnet.Failed): n}
	}
	return nil
}

// Settled is closed once it is known what has become of the attachments; nil where none can be made.
func (s *hosting) Settled() <-chan struct{} {
	if s.host == nil {
		return nil
	}
	return s.settled
}

// AttachmentStatus is how far the attachment of an instance of a region is on this host, and why.
func (s *hosting) AttachmentStatus(region, instance string) (state, reason string) {
	for _, r := range s.regions {
		if r.region == region {
			return r.attachments.Status(instance)
		}
	}
	return "", ""
}

// sweepHost finds what an earlier process left in the host's network. Nobody waits for it.
func (s *hosting) sweepHost() {
	if err := s.host.Sweep(); err != nil && !errors.Is(err, hostnet.ErrBusy) {
		s.log.Warn("not all that an earlier process left in the host's network could be looked at", "error", err)
	}
}
