package server

import (
	"context"
	"net"
	"strings"
	"sync"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/handover"
	"github.com/openimds/openimds/imds"
)

// runHandover serves what the commands of this user hand over, until the context ends. A data directory
// that can hold no socket costs only this.
func (s *hosting) runHandover(ctx context.Context, running *sync.WaitGroup) {
	taker, err := handover.Listen(s.cfg.DataDir, commands{s}, s.log)
	if err != nil {
		s.log.Warn("no command can be a guest with 'openimds run --instance'", "error", err)
		return
	}
	running.Go(func() { taker.Serve(ctx) })
}

// commands are guests whose listeners were handed over. The instance may be named with its region, as REGION/NAME;
// without one it is of the first.
type commands struct{ server *hosting }

// find returns the region that an instance is of, and its name there.
func (c commands) find(instance string) (*regional, string, error) {
	region, name, qualified := strings.Cut(instance, "/")
	if !qualified {
		return c.server.regional, instance, nil
	}
	for _, r := range c.server.regions {
		if r.region == region {
			return r, name, nil
		}
	}
	return nil, "", openimds.Errorf(openimds.InvalidInput, openimds.Mismatch, "The server does not have the region %.60s, but %s", region, strings.Join(c.server.Regions(), ", "))
}

// Seat implements [handover.Guests].
func (c commands) Seat(ctx context.Context, instance string) error {
	r, name, err := c.find(instance)
	if err != nil {
		return err
	}
	if _, err := r.service.Instance(ctx, name); err != nil {
		return err
	}
	return r.guests.Seat(ctx, name)
}

// Unseat implements [handover.Guests].
func (c commands) Unseat(instance string) error {
	r, name, err := c.find(instance)
	if err != nil {
		return err
	}
	return r.guests.Unseat(name)
}

// Observe implements [handover.Guests]. Only what has a seat is observed and served.
func (c commands) Observe(instance string, l net.Listener, room int) *imds.Observer {
	r, name, _ := c.find(instance)
	return r.guests.Observe(name, l, room)
}

// Serve implements [handover.Guests].
func (c commands) Serve(l net.Listener, instance string) error {
	r, name, err := c.find(instance)
	if err != nil {
		return err
	}
	return r.guests.Serve(l, name)
}
