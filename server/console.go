package server

import (
	"crypto/x509"
	"net/http"
	"path/filepath"

	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/console"
	"github.com/openimds/openimds/migrate/board"
)

// ConsoleSessionsFile has who is signed in to the console, without what they are known by.
const ConsoleSessionsFile = "console-sessions"

// consoleSessions are who is signed in to the console; nil: there is none.
func (s *Server) consoleSessions(verifier *sigv4.Verifier) *console.Sessions {
	if !s.cfg.Console {
		return nil
	}
	return console.NewSessions(console.SessionsConfig{
		File: filepath.Join(s.cfg.DataDir, ConsoleSessionsFile), Keys: s.keys.Lookup, Door: verifier,
		Audit: s.recordOther, Refused: s.refusals.Tell, Log: s.log,
	})
}

// protocolOf is the control API's protocol for a region, the same for pages and for signed requests.
func (s *Server) protocolOf(r *regional, sessions *console.Sessions) api.Protocol {
	if r.protocol != nil {
		return r.protocol
	}
	cfg := lightsail.Config{Service: r.service, Regions: s.cfg.regions(), Version: s.cfg.Version}
	if sessions != nil {
		cfg.Links = sessions
	}
	// What it judges by are the same operations but for its own.
	var err error
	r.board, err = board.New(board.Config{
		Protocol: lightsail.New(cfg), Region: r.region, Account: s.cfg.AccountID, Refused: s.refusals.Tell, Timeout: s.cfg.APITimeout, Log: s.log, Scratch: s.cfg.DataDir,
	})
	if err != nil {
		s.log.Error("nobody judges instances for the console", "region", r.region, "error", err)
	} else {
		cfg.Migration = r.board
	}
	r.protocol = lightsail.New(cfg)
	return r.protocol
}

// withConsole has the console answer what is its own, if there is one. It comes before whoever cleans paths up.
func (s *Server) withConsole(others http.Handler, sessions *console.Sessions) http.Handler {
	if sessions == nil {
		return others
	}
	cfg := console.Config{
		Sessions: sessions, Targets: map[string]string{}, Account: s.cfg.AccountID, Refused: s.refusals.Tell, Timeout: s.cfg.APITimeout,
		Hosts: s.cfg.ConsoleHosts, Streams: s.cfg.APIConnections * 2 / 5, Version: s.cfg.Version, Log: s.log,
	}
	if s.certificates != nil {
		cfg.Certificate = func() *x509.Certificate { return s.certificates.Leaf() }
	}
	for name, op := range lightsail.Operations() {
		cfg.Targets[name] = op.Target
	}
	for _, r := range s.regions {
		cfg.Regions = append(cfg.Regions, console.Region{Name: r.region, Protocol: s.protocolOf(r, sessions), Store: r.kept})
	}
	s.console = console.New(cfg)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if console.Serves(r) {
			s.console.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// HasConsole says whether there is a console at [Server.APIURL].
func (s *Server) HasConsole() bool { return s.cfg.Console }
