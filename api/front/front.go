// Package front is what the control API's protocols have in common before a request is one: its
// connections, how many there may be and of whom, what bytes may pass for a request, TLS, and the
// memory that bodies may take. Whoever connects here is nobody yet, and whatever they do, the guests of
// the same process must not notice.
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// How long a client may take. None of it is put off by bytes that drip in.
const (
	headTime  = 5 * time.Second  // TLS handshake and head
	wholeTime = 30 * time.Second // with the body
	writeTime = 60 * time.Second
	idleTime  = 60 * time.Second

	maxHead = 16 << 10 // bytes
)

// Config is what a [Server] serves with.
type Config struct {
	Handler http.Handler
	// Certificates are those of TLS; nil: plain HTTP.
	Certificates *Certificates
	// Connections is how many there may be at once; one source may have half of them.
	Connections int
	// Log is told of what clients do wrong, at level debug; nil: nobody is.
	Log *slog.Logger
}

// Server serves HTTP/1.1. HTTP/2 stays off: its streams are a second kind of connection, which the
// limits here would not see, and no client of this API needs it.
type Server struct {
	http *http.Server
	door *door
	tls  *tls.Config
}

// New makes a server that does not listen yet.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{door: newDoor(cfg.Connections, cfg.Log)}
	if cfg.Certificates != nil {
		s.tls = cfg.Certificates.config()
	}
	s.http = &http.Server{
		Handler:           cfg.Handler,
		ReadHeaderTimeout: headTime,
		ReadTimeout:       wholeTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHead,
		ConnState:         s.door.changed,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		// "OPTIONS *" is for the handler, like all else.
		DisableGeneralOptionsHandler: true,
	}
	return s
}

// Serve answers the connections of l until it is closed or fails. Several listeners share the limits.
func (s *Server) Serve(l net.Listener) error {
	return s.http.Serve(&listener{l, s})
}

// Shutdown waits for the requests under way until the context ends, and then cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return err
}

// listener admits connections.
type listener struct {
	net.Listener
	server *Server
}

// Accept returns the next connection that is admitted. What can pass by itself ends nothing: a process
// out of descriptors waits, and gives up an idle connection to have one.
func (l *listener) Accept() (net.Conn, error) {
	door := l.server.door
	for pause := time.Duration(0); ; {
		socket, err := l.Listener.Accept()
		if err == nil {
			pause = 0
			if c := door.admit(socket); c != nil {
				if l.server.tls != nil {
					c.Conn = tls.Server(socket, l.server.tls) // the first read shakes hands, within headTime
				}
				return c, nil
			}
			_ = socket.Close()
			continue
		}
		failed, ok := errors.AsType[net.Error](err)
		//lint:ignore SA1019 there is no other word for it
		if !ok || !failed.Temporary() {
			return nil, err
		}
		pause = min(max(2*pause, 5*time.Millisecond), 100*time.Millisecond)
		if door.evictIdle(); pause == 100*time.Millisecond {
			door.log.Warn("the control API cannot accept a connection; trying again", "error", err)
			pause = time.Second
		}
		time.Sleep(min(pause, 100*time.Millisecond))
	}
}

// SourceOf is whose an address is, "192.0.2.1:80": a host with IPv6 has 2^64 of them to choose from.
// All that has no address are one.
func SourceOf(remoteAddr string) netip.Addr {
	from, _ := netip.ParseAddrPort(remoteAddr)
	source := from.Addr().Unmap().WithZone("")
	if source.Is6() {
		prefix, _ := source.Prefix(64)
		source = prefix.Addr()
	}
	return source
}
