package handover

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/openimds/openimds/fdpass"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/printable"
)

// Guests is what a server serves instances with.
type Guests interface {
	// Seat makes an instance ready to be served, unless there is none of that name; Unseat takes that back.
	Seat(ctx context.Context, name string) error
	Unseat(name string) error
	// Serve answers the connections of a listener as the instance's until it is closed.
	Serve(l net.Listener, name string) error
	// Observe begins to see the requests that arrive by the listener; see [imds.Guest.Observe].
	Observe(name string, l net.Listener, room int) *imds.Observer
}

// Server is the end that takes listeners over.
type Server struct {
	socket  *fdpass.Listener
	guests  Guests
	log     *slog.Logger
	running sync.WaitGroup
}

// Listen makes the socket of the server of a data directory. It fails where the directory can hold none.
func Listen(dataDir string, guests Guests, log *slog.Logger) (*Server, error) {
	l, err := fdpass.Listen(dataDir, socket)
	if err != nil {
		return nil, err
	}
	return &Server{socket: l, guests: guests, log: log}, nil
}

// Serve serves what the commands of this user hand over, until the context ends. It closes the socket.
func (s *Server) Serve(ctx context.Context) {
	defer s.running.Wait()
	context.AfterFunc(ctx, func() { _ = s.socket.Close() })
	for {
		c, err := s.socket.Accept()
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
		s.running.Go(func() { s.converse(ctx, c) })
	}
}

func (s *Server) converse(ctx context.Context, c *fdpass.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer func() { _ = c.Close() }()
	if err := s.takeOver(ctx, c); err != nil {
		_ = c.Send(message{Failed: printable.Line(err.Error())})
	}
}

// takeOver serves the listener of one command for as long as that is there.
func (s *Server) takeOver(ctx context.Context, c *fdpass.Conn) error {
	var m message
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
	var serving sync.WaitGroup
	defer serving.Wait()
	var t *teller
	if m.Serve.Observe {
		t = &teller{conn: c, heard: make(chan struct{}, 1), over: make(chan struct{})}
		l = imds.Restricted(l, t.admit)
		t.observer = s.guests.Observe(name, l, maxUntold)
		defer t.observer.Close()
		serving.Go(t.run)
		defer close(t.over)
	}
	serving.Go(func() { _ = s.guests.Serve(l, name) }) // it ends when the listener is closed
	defer func() { _ = l.Close() }()                   // before it is waited for
	if err := c.Send(message{Serving: true}); err != nil {
		return err
	}
	for {
		var m message
		if _, err := c.Receive(&m); err != nil {
			return nil // the command has ended
		}
		switch {
		case t == nil:
		case m.Heard:
			select {
			case t.heard <- struct{}{}:
			default:
			}
		case m.Tell:
			t.tell()
			_ = c.Send(message{Told: &told{Lost: t.observer.Lost()}})
		}
	}
}

// hearing is how long one end waits for a word of the other.
const hearing = 2 * time.Second

// maxUntold is how many requests wait to be told of.
const maxUntold = 4096

// teller tells the command's side who calls and what they ask for.
type teller struct {
	conn     *fdpass.Conn
	observer *imds.Observer
	heard    chan struct{} // the latest Arrived was
	over     chan struct{} // closed at the end

	mu sync.Mutex // what was seen is sent before Told
}

// admit lets everybody in, once the command's side has found out who it is: a process is found only while it
// waits for its answer.
func (t *teller) admit(caller, _ netip.AddrPort) bool {
	select {
	case <-t.heard: // too late for the one before
	default:
	}
	if t.conn.Send(message{Arrived: &caller}) != nil {
		return true
	}
	select {
	case <-t.heard:
	case <-t.over:
	case <-time.After(hearing):
	}
	return true
}

func (t *teller) run() {
	for {
		select {
		case <-t.over:
			return
		case <-t.observer.More():
			t.tell()
		}
	}
}

// tell tells of the requests that were seen.
func (t *teller) tell() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.observer.Take() {
		seen := SeenOf(o)
		if t.conn.Send(message{Seen: &seen}) != nil {
			return // nobody hears it any more
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
