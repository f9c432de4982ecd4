package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/attach"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/printable"
)

// serveEndpoint is how the host hands out the listener of an endpoint.
func (s *server) serveEndpoint(id string, l *hostnet.Listener) (stop func()) {
	name := attach.InstanceOf(id)
	deferred, err := imds.DeferWhile(l.TCPListener, l.There)
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
func (s *server) openHost() error {
	host, err := hostnet.New(hostnet.Config{
		Serve:   s.serveEndpoint,
		Changed: func(status hostnet.EndpointStatus) { s.attachments.Changed(status) }, // who is made before anything is attached
		Uplinks: s.cfg.uplinks,
		Bind:    func(id string, found hostnet.Face) { s.attachments.Bind(id, found) },
		Log:     s.log,
	})
	if err != nil && len(s.cfg.uplinks) > 0 {
		return fmt.Errorf("--guard-all-but: %w", err)
	}
	if errors.Is(err, hostnet.ErrUnable) { // as on a laptop, which wants none
		s.log.Debug("no instance can be attached to this host", "reason", err)
		return nil
	}
	if err != nil {
		s.hostNotes = fmt.Sprintf("  attached     none can be: %s\n", printable.Line(err.Error()))
		return nil
	}
	for _, capability := range host.Missing() {
		s.hostNotes += fmt.Sprintf("  missing      %s\n", printable.Line(fmt.Sprint(capability)))
	}
	s.host = host
	return nil
}

// Guarded implements [control.Attachments].
func (a attachmentStatus) Guarded() []openimds.GuardedPlace {
	return guardedPlaces(a.server.host.Guarded())
}

// Release implements [control.Attachments].
func (a attachmentStatus) Release(names []string) ([]openimds.GuardedPlace, error) {
	released, err := a.server.host.Release(names...)
	if errors.Is(err, hostnet.ErrNotGuarded) {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.WrongState, "%v", err)
	}
	return guardedPlaces(released), err
}

func guardedPlaces(all []hostnet.Guarded) []openimds.GuardedPlace {
	out := make([]openimds.GuardedPlace, 0, len(all))
	for _, g := range all {
		out = append(out, openimds.GuardedPlace(g))
	}
	return out
}

// attachmentStatus tells the service how far the attachments of this host are.
type attachmentStatus struct{ server *server }

// Status implements [control.Attachments].
func (a attachmentStatus) Status(instance string) (state, reason string) {
	return a.server.attachments.Status(instance)
}

// Found implements [control.Attachments].
func (a attachmentStatus) Found(instance string) *openimds.Face {
	return a.server.attachments.Found(instance)
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
	running.Go(func() { s.attachments.Run(ctx) })
	running.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.attachments.Settled(): // what is attached again needs no sweep
			s.sweepHost()
		}
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
	_ = say(&text, "  attached     %d; see 'openimds attach --help'\n", len(all))
	err = printTable(&text, func(row func(...any)) {
		for _, a := range all[:min(len(all), listedAttachments)] {
			at := wireAttachment{Interface: a.Interface, Netns: a.Netns, PID: a.PID, ByName: a.ByName}
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
		_ = say(&text, "    and %d more: 'openimds attach' lists them\n", more)
	}
	_, err = io.WriteString(s.out, text.String())
	return err
}

// sweepHost finds what an earlier process left in the host's network. Nobody waits for it.
func (s *server) sweepHost() {
	if err := s.host.Sweep(); err != nil && !errors.Is(err, hostnet.ErrBusy) {
		s.log.Warn("not all that an earlier process left in the host's network could be looked at", "error", err)
	}
}
