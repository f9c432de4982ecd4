// Package imds is the guest side: it speaks the metadata service's protocol, byte for byte as the
// Nitro generation of EC2 and Lightsail does, with one instance on each listener.
//
// What decides an answer (request.go, path.go, answer.go) works on values and knows no socket;
// response.go gives the answer its bytes; server.go and the accept files move them. AWS closes the
// connection after each answer, so there is no second request to parse, and bodies are never read.
package imds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/session"
	"github.com/openimds/openimds/usage"
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
	// Usage counts who calls how; nil: nobody does.
	Usage *usage.Recorder
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
	waiting    atomic.Int64  // connections that wait
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

// workspace is what one request needs to be read and answered without allocating.
type workspace struct {
	in      []byte
	out     []byte
	path    []byte
	token   [session.TokenSize]byte
	scratch session.Scratch
	request request
	// source is where the connection comes from. It is counted, and decides nothing.
	source netip.AddrPort
	// listener is what it came by. It may be observed, and decides nothing.
	listener net.Listener
}

var workspaces = sync.Pool{New: func() any { return newWorkspace() }}

func newWorkspace() *workspace {
	return &workspace{in: make([]byte, 2<<10), out: make([]byte, 0, 2<<10), path: make([]byte, 0, 256)}
}

// exchange is the answer to one request, ready to be sent.
type exchange struct {
	// out has the answer's bytes; empty: close without an answer.
	out []byte
	// hopLimit is the IP TTL that the answer must leave with; 0: the system's own.
	hopLimit int
	// linger says that the peer may still be sending.
	linger bool
	// delay is how long the answer is held back; reset ends the connection without one.
	delay time.Duration
	reset bool
	// counters: of an answer with a token, who counts it if it does not arrive; else nil.
	counters *usage.Guest
}

// respond answers the request at the start of buf. complete is false while its head is not all there.
// overIPv6 says how the connection arrived.
func (g *Guest) respond(buf []byte, overIPv6 bool, w *workspace) (x exchange, complete bool) {
	end, err := headEnd(buf)
	if err == nil && end == 0 {
		return exchange{}, false
	}
	s := g.server
	st := g.state.Load()
	if st == nil || overIPv6 && st.instance.Options.IPv6 != openimds.EndpointEnabled {
		return exchange{}, true // nobody is at home at this address
	}
	started := s.cfg.Now()
	r := &w.request
	w.path = w.path[:0]
	if err == nil {
		err = r.parse(buf[:end])
	} else {
		*r = request{minor: 1}
	}
	var met fate
	if st.faults != nil {
		if met = st.faults.next(r.method, started); met.refused {
			st.usage.Refused()
			return exchange{reset: true}, true
		}
		x.delay = met.delay
	}
	resp := g.decide(st, r, err, met.status, started, w)
	x.out = resp.append(w.out[:0], r.minor, r.method == methodHead, s.dateText(started))
	w.out = x.out
	x.linger = err != nil || r.hasBody || end < len(buf) || len(buf) == len(w.in)
	if r.method == methodPut {
		x.hopLimit = st.instance.Options.HopLimit
	}
	if resp.call == usage.TokenIssued {
		x.counters = st.usage
	}
	g.count(st, &resp, started, w)
	g.tell(st.instance.Name, &resp, w)
	return x, true
}

// decide answers a request that could be read, or refuses one that could not. With fails it is
// answered with that status on purpose. A fault in the service costs the one request.
func (g *Guest) decide(st *state, r *request, broken error, fails int, now time.Time, w *workspace) (resp response) {
	defer func() {
		if fault := recover(); fault != nil {
			g.server.cfg.Log.Error("a metadata request failed", "instance", st.instance.Name, "fault", faultText(fault), "stack", string(debug.Stack()))
			resp = empty(500)
		}
	}()
	if !g.admit(now) {
		resp = empty(503)
		resp.call = usage.Throttled
		return resp
	}
	if status, ok := errors.AsType[statusError](broken); ok {
		return empty(int(status))
	}
	if fails != 0 {
		return failed(fails)
	}
	return st.answer(r, now, w)
}

// faultText says what a panic was. Only the runtime's own words are safe to log: any other value may
// hold what the request was about, a credential for instance. The stack tells the place.
func faultText(fault any) string {
	if err, ok := fault.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a panic with a value of type %T", fault)
}

// converse serves a connection that needs waiting for. buf holds what was already read of it.
func (s *Server) converse(c net.Conn, g *Guest, read int, w *workspace) {
	defer s.serving.Done()
	defer s.waited()
	defer g.leave()
	_ = c.SetReadDeadline(time.Now().Add(s.patience.head))
	g.track(c)
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
			if s.send(c, x) {
				g.awaitConn(c, x, w)
			}
			return
		}
		if read == len(w.in) {
			w.in = append(w.in, make([]byte, len(w.in))...)
		}
		n, err := c.Read(w.in[read:])
		if err != nil {
			return // gone, or too slow: AWS's answer to that is not on record, so none
		}
		read += n
	}
}

// send sends an answer over a connection that may block, and ends the connection so that the peer
// can read all of it. It says whether the answer is under way.
func (s *Server) send(c net.Conn, x exchange) bool {
	if x.reset {
		reset(c)
	}
	if len(x.out) == 0 || x.delay > 0 && !s.hold(c, x.delay) {
		return false
	}
	if x.hopLimit > 0 && setHopLimit(c, x.hopLimit) != nil {
		return false // the limit is a promise: no answer rather than one that travels too far
	}
	_ = c.SetWriteDeadline(time.Now().Add(s.patience.write))
	if _, err := c.Write(x.out); err != nil {
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

// dateText is the value of Date during one second.
type dateText struct {
	second int64
	text   []byte
}

func (s *Server) dateText(now time.Time) []byte {
	d := s.date.Load()
	if d == nil || d.second != now.Unix() {
		d = &dateText{second: now.Unix(), text: now.UTC().AppendFormat(nil, http.TimeFormat)}
		s.date.Store(d)
	}
	return d.text
}
