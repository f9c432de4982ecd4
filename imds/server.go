// Package imds is the guest side: it speaks the metadata service's protocol, byte for byte as the
// Nitro generation of EC2 and Lightsail does, with one instance on each listener.
//
// What decides an answer works on values and knows no socket: respond.go takes a request from its bytes
// (request.go, path.go) by the rules (answer.go) to the bytes of its answer (response.go). server.go and
// the accept files move them. AWS closes the connection after each answer, so there is no second request
// to parse, and bodies are never read.
package imds

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/usage"
	"golang.org/x/time/rate"
)

// patience is how long a guest may take. A client of this service needs microseconds.
type patience struct {
	head  time.Duration // to send a request's head
	write time.Duration // to take an answer
	// linger and lingerBytes bound how much of an unread body is thrown away, so that closing does
	// not reset the connection under an answer that is still on its way.
	linger time.Duration
	// arrival is when an answer that was not acknowledged is taken for lost. By then it was sent again
	// at least once, even if TCP did not know how long the way takes and assumed a second.
	arrival time.Duration
}

const lingerBytes = 256 << 10

// Config is what a [Server] serves with. The limits are per guest; 0 is no limit.
type Config struct {
	Rate        float64 // requests a second
	Burst       int     // requests at once, above the rate
	Connections int     // connections at once
	// Waiting is how many connections of all guests may wait at once, for the rest of a request or for
	// their answer to be taken; one guest may have half of them. 0 is no limit. Most connections never
	// wait: they are answered and closed in one step.
	Waiting int
	// AllowHosts are DNS names that guests may use in Host besides AWS's own.
	AllowHosts  []string
	Credentials openimds.CredentialSource
	Signatures  metadata.Signatures
	// Keys vouches for SSH keys that were pushed; nil: they are served without.
	Keys metadata.KeySigner
	// FaultMet is told each time that a request has met faults that end by their number, with the name of its
	// instance; nil: nobody is. It must not wait for anything.
	FaultMet func(instance string)
	// Usage counts who calls how; nil: nobody does.
	Usage *usage.Meter
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Server answers guests. Make guests with [Server.NewGuest] and serve each on its listeners.
type Server struct {
	cfg        Config
	allowHosts map[string]bool
	compactor  *compactor
	patience   patience
	date       atomic.Pointer[dateText]
	closing    atomic.Bool
	waiting    atomic.Int64 // connections that wait
	refusals   refusalTeller
	stopping   chan struct{} // closed when closing is set

	mu        sync.Mutex
	listeners map[net.Listener]*Guest
	serving   sync.WaitGroup // listeners, and connections that did not come and go in one step
}

// NewServer makes a server that serves nobody yet.
func NewServer(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg:        cfg,
		listeners:  map[net.Listener]*Guest{},
		compactor:  newCompactor(),
		refusals:   refusalTeller{limit: rate.NewLimiter(refusalsRate, refusalsAtOnce)},
		stopping:   make(chan struct{}),
		patience:   patience{head: 5 * time.Second, write: 5 * time.Second, linger: time.Second, arrival: 2 * time.Second},
		allowHosts: map[string]bool{"instance-data.ec2.internal": true},
	}
	for _, name := range cfg.AllowHosts {
		s.allowHosts[strings.ToLower(strings.TrimSuffix(name, "."))] = true
	}
	return s
}

// ErrServerClosed is returned by [Server.Serve] after [Server.Shutdown].
var ErrServerClosed = errors.New("the metadata server was shut down")

// Serve answers the connections of l as those of one guest until l fails or is closed. The listener
// says who is asking; nothing in a request can change that.
func (s *Server) Serve(l net.Listener, g *Guest) error {
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = g
	s.serving.Add(1) // so that a connection accepted during a shutdown is waited for
	s.mu.Unlock()
	defer s.serving.Done()
	// Not before it is registered: Shutdown closes what Serve was given.
	accepted, with := unwrap(l)
	err := s.accept(accepted, g, with)
	g.dropArrivals() // whoever closed l wants nothing of its connections to be left
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	if s.closing.Load() {
		return ErrServerClosed
	}
	return err
}

// Shutdown stops accepting, drops connections that have not sent a request, and waits for the
// answers under way until the context ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing.Swap(true) {
		close(s.stopping)
	}
	guests := map[*Guest]bool{}
	for l, g := range s.listeners {
		_ = l.Close() // its Serve returns
		guests[g] = true
	}
	s.mu.Unlock()
	for g := range guests {
		g.mu.Lock()
		for c := range g.conns {
			_ = c.SetReadDeadline(time.Now())
		}
		g.mu.Unlock()
	}
	done := make(chan struct{})
	go func() { s.serving.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// converse serves a connection that needs waiting for. buf holds what was already read of it.
func (s *Server) converse(c net.Conn, g *Guest, read int, w *workspace) {
	defer s.serving.Done()
	defer s.waited()
	defer g.leave()
	_ = c.SetReadDeadline(time.Now().Add(s.patience.head))
	g.track(c, w.era)
	defer g.untrack(c)
	defer func() { _ = c.Close() }()
	defer workspaces.Put(w)
	if s.closing.Load() { // too late for Shutdown to have found it
		_ = c.SetReadDeadline(time.Now())
	}
	overIPv6 := isIPv6(c.LocalAddr())
	w.source = sourceOf(c)
	for {
		x, complete := g.respond(w.in[:read], overIPv6, w)
		if complete {
			if x.silent {
				s.silence(c)
			} else if s.send(c, g, x) {
				g.awaitConn(c, x, w)
			}
			return
		}
		if read == len(w.in) {
			w.in = append(w.in, make([]byte, len(w.in))...)
		}
		n, err := c.Read(w.in[read:])
		if err != nil { // gone, or too slow: AWS's answer to that is not on record, so none
			switch {
			case s.closing.Load():
			case errors.Is(err, os.ErrDeadlineExceeded):
				g.closed(usage.ClosedSlow, w.source)
			case read > 0:
				g.closed(usage.ClosedIncomplete, w.source)
			}
			return
		}
		read += n
	}
}

// send sends an answer over a connection that may block, and ends the connection so that the peer
// can read all of it. It says whether the answer is under way.
func (s *Server) send(c net.Conn, g *Guest, x exchange) bool {
	if x.reset {
		reset(c)
	}
	if len(x.out) == 0 || x.delay > 0 && !s.hold(c, x.delay) {
		return false
	}
	if x.hopLimit > 0 && setHopLimit(c, x.hopLimit) != nil {
		g.closed(usage.ClosedHopLimit, sourceOf(c))
		return false // the limit is a promise: no answer rather than one that travels too far
	}
	_ = c.SetWriteDeadline(time.Now().Add(s.patience.write))
	if _, err := c.Write(x.out); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			g.closed(usage.ClosedSlow, sourceOf(c))
		}
		return false
	}
	if x.linger {
		s.linger(c)
	}
	return true
}

// linger closes for writing and throws away what the peer still sends.
func (s *Server) linger(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(s.patience.linger))
	_, _ = io.Copy(io.Discard, io.LimitReader(c, lingerBytes))
}

func isIPv6(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.To4() == nil
}
