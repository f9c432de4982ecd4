package server

import (
	"context"
	"net"
	"sync"

	"github.com/openimds/openimds/handover"
	"github.com/openimds/openimds/imds"
)

// runHandover serves what the commands of this user hand over, until the context ends. A data directory
// that can hold no socket costs only this.
func (s *Server) runHandover(ctx context.Context, running *sync.WaitGroup) {
	taker, err := handover.Listen(s.cfg.DataDir, commands{s}, s.log)
	if err != nil {
		s.log.Warn("no command can be a guest with 'openimds run --instance'", "error", err)
		return
	}
	running.Go(func() { taker.Serve(ctx) })
}

// commands are guests whose listeners were handed over.
type commands struct{ server *Server }

// Seat implements [handover.Guests].
func (c commands) Seat(ctx context.Context, name string) error {
	if _, err := c.server.service.Instance(ctx, name); err != nil {
		return err
	}
	return c.server.guests.Seat(ctx, name)
}

// Unseat implements [handover.Guests].
func (c commands) Unseat(name string) error { return c.server.guests.Unseat(name) }

// Observe implements [handover.Guests].
func (c commands) Observe(name string, l net.Listener, room int) *imds.Observer {
	return c.server.guests.Observe(name, l, room)
}

// Serve implements [handover.Guests].
func (c commands) Serve(l net.Listener, name string) error { return c.server.guests.Serve(l, name) }
