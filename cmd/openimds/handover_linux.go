package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/openimds/openimds/fdpass"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/printable"
)

// runHandover serves what the commands of this user hand over, until the context ends. A data directory
// that can hold no socket costs only this.
func (s *server) runHandover(ctx context.Context, running *sync.WaitGroup) {
	l, err := fdpass.Listen(s.cfg.dataDir, handoverSocket)
	if err != nil {
		s.log.Warn("no command can be a guest with 'openimds run --instance'", "error", err)
		return
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				s.log.Warn("a command could not hand its listener over", "error", err)
				select {
				case <-ctx.Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
				continue
			}
			running.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				defer stop()
				defer func() { _ = c.Close() }()
				if err := s.takeOver(ctx, c); err != nil {
					_ = c.Send(handoverMessage{Failed: printable.Line(err.Error())})
				}
			})
		}
	})
}

// takeOver serves the listener of one command for as long as that is there.
func (s *server) takeOver(ctx context.Context, c *fdpass.Conn) error {
	var m handoverMessage
	files, err := c.Receive(&m)
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return err
	}
	if m.Serve == nil || len(files) != 1 {
		return errors.New("this server expects one listener, for one instance")
	}
	name := m.Serve.Instance
	if _, err := s.service.Instance(ctx, name); err != nil {
		return err
	}
	l, err := listenerOf(files[0])
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	if err := s.guests.Seat(ctx, name); err != nil {
		return err
	}
	defer func() {
		if err := s.guests.Unseat(name); err != nil {
			s.log.Error("an instance that was served for a command could not be closed", "instance", name, "error", err)
		}
	}()
	heard := make(chan struct{}, 1)
	if m.Serve.Observe {
		l = imds.Observed(l, teller(c, heard))
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.guests.Serve(l, name) }) // it ends when the listener is closed
	defer serving.Wait()
	defer func() { _ = l.Close() }() // before that
	if err := c.Send(handoverMessage{Serving: true}); err != nil {
		return err
	}
	defer close(heard)
	for {
		var m handoverMessage
		if _, err := c.Receive(&m); err != nil {
			return nil // the command has ended
		}
		if m.Heard {
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	}
}

// hearing is how long an answer waits until the runner has found out who asked.
const hearing = 2 * time.Second

// teller tells a runner of requests, one after the other.
func teller(c *fdpass.Conn, heard <-chan struct{}) func(imds.Observation) {
	var mu sync.Mutex
	return func(o imds.Observation) {
		mu.Lock()
		defer mu.Unlock()
		if c.Send(handoverMessage{Seen: &handoverSeen{o.Source, sightingOf(o)}}) != nil {
			return
		}
		select {
		case <-heard:
		case <-time.After(hearing):
		}
	}
}

func listenerOf(f *os.File) (net.Listener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		_ = l.Close()
		return nil, errors.New("what was handed over is no listener of TCP")
	}
	return imds.Defer(tcp)
}

// remoteInstance is an instance of a running server.
type remoteInstance struct {
	dataDir, name string
	lost          func(text string) // told if the server goes

	mu     sync.Mutex
	conns  []*fdpass.Conn
	closed bool
}

func openRemote(dataDir, name string, lost func(string)) (home, error) {
	return &remoteInstance{dataDir: dataDir, name: name, lost: lost}, nil
}

// serve implements [home].
func (r *remoteInstance) serve(l *net.TCPListener, seen *sightings) error {
	c, err := fdpass.Dial(r.dataDir, handoverSocket)
	if err != nil {
		return fmt.Errorf("no server of this user has its data in %s: start 'openimds serve', or name its --data-dir (%w)", r.dataDir, err)
	}
	r.mu.Lock()
	r.conns = append(r.conns, c)
	r.mu.Unlock()
	f, err := l.File()
	if err != nil {
		return err
	}
	err = c.Send(handoverMessage{Serve: &handoverServe{Instance: r.name, Observe: seen.wanted}}, f)
	_ = f.Close()
	if err != nil {
		return err
	}
	var m handoverMessage
	switch _, err := c.Receive(&m); {
	case errors.Is(err, io.EOF):
		return errors.New("the server ended")
	case err != nil:
		return err
	case m.Failed != "":
		return errors.New(m.Failed)
	}
	go r.hear(c, l, seen)
	return nil
}

// hear takes note of what the server tells. When it goes, connections are refused from then on.
func (r *remoteInstance) hear(c *fdpass.Conn, l *net.TCPListener, seen *sightings) {
	for {
		var m handoverMessage
		if _, err := c.Receive(&m); err != nil {
			_ = l.Close()
			r.mu.Lock()
			defer r.mu.Unlock()
			if !r.closed {
				r.closed = true
				r.lost("the server ended: the metadata service is gone")
			}
			return
		}
		if m.Seen != nil {
			seen.see(m.Seen.Source, m.Seen.Request)
			_ = c.Send(handoverMessage{Heard: true})
		}
	}
}

func (r *remoteInstance) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, c := range r.conns {
		_ = c.Close()
	}
}
