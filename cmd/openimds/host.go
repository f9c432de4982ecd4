package main

import (
	"context"
	"net"
	"sync"

	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/imds"
)

// serveEndpoint is how the host hands out the listener of an endpoint.
func (s *server) serveEndpoint(id string, l *net.TCPListener) (stop func()) {
	name := agent.InstanceOf(id)
	deferred, err := imds.Defer(l)
	if err != nil {
		s.log.Error("an attached instance cannot be served", "instance", name, "error", err)
		return func() { _ = l.Close() }
	}
	go func() {
		_ = s.guests.Serve(deferred, name) // it ends when its listener is closed
	}()
	return func() { _ = deferred.Close() }
}

// openHost takes over the network of the host, if this process may. Without it the server serves the
// callers on this machine, and refuses attachments.
func (s *server) openHost() {
	host, err := hostnet.New(hostnet.Config{
		Serve:   s.serveEndpoint,
		Changed: func(status hostnet.EndpointStatus) { s.attachments.Changed(status) }, // who is made before anything is attached
		Log:     s.log,
	})
	if err != nil {
		s.log.Debug("no instance can be attached to this host", "reason", err)
		return
	}
	if missing := host.Missing(); len(missing) > 0 {
		s.log.Debug("not everything can be attached to this host", "missing", missing)
	}
	s.host = host
}

// attachmentStatus tells the service how far the attachments of this host are.
type attachmentStatus struct{ server *server }

// Status implements [openimds.Attachments].
func (a attachmentStatus) Status(instance string) (state, reason string) {
	return a.server.attachments.Status(instance)
}

// runHost keeps the host attached until the context ends.
func (s *server) runHost(ctx context.Context, running *sync.WaitGroup) {
	if s.host == nil {
		return
	}
	running.Go(func() {
		if err := s.host.Run(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("the host's network cannot be followed any more", "error", err)
		}
	})
	running.Go(func() {
		s.sweepHost()
		s.attachments.Run(ctx)
	})
}

// sweepHost removes what an earlier process left in the host's network. The callers on this machine do
// not wait for it.
func (s *server) sweepHost() {
	if err := s.host.Sweep(); err != nil {
		s.log.Warn("what an earlier process left in the host's network could not be removed", "error", err)
	}
}
