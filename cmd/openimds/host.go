package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
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
	if errors.Is(err, hostnet.ErrUnable) { // as on a laptop, which wants none
		s.log.Debug("no instance can be attached to this host", "reason", err)
		return
	}
	if err != nil {
		s.hostNotes = fmt.Sprintf("  attached     none can be: %v\n", err)
		return
	}
	for _, capability := range host.Missing() {
		s.hostNotes += fmt.Sprintf("  missing      %s\n", capability)
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
	running.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.attachments.Settled():
			if err := s.listAttachments(ctx); err != nil {
				s.log.Warn("the attachments cannot be listed", "error", err)
			}
		}
	})
}

// listedAttachments is how many of them a person reads after the start.
const listedAttachments = 10

// listAttachments goes on with the welcome, once it is known what has become of the attachments.
func (s *server) listAttachments(ctx context.Context) error {
	all, err := s.service.Attachments(ctx)
	if err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "  attached     %d; see 'openimds attach --help'\n", len(all))
	err = printTable(&text, func(row func(...any)) {
		for _, a := range all[:min(len(all), listedAttachments)] {
			at := wireAttachment{Interface: a.Interface, Netns: a.Netns, PID: a.PID}
			for _, source := range a.Sources {
				at.Sources = append(at.Sources, source.String())
			}
			state, reason := s.attachments.Status(a.Instance)
			row("    "+a.Instance, state, at.place(), reason)
		}
	})
	if err != nil {
		return err
	}
	if more := len(all) - listedAttachments; more > 0 {
		fmt.Fprintf(&text, "    and %d more: 'openimds attach' lists them\n", more)
	}
	_, err = io.WriteString(s.out, text.String())
	return err
}

// sweepHost removes what an earlier process left in the host's network. The callers on this machine do
// not wait for it.
func (s *server) sweepHost() {
	if err := s.host.Sweep(); err != nil {
		s.log.Warn("what an earlier process left in the host's network could not be removed", "error", err)
	}
}
