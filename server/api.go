package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/audit"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage/prom"
)

// readyTime is how long it is found out whether the server is ready.
const readyTime = 5 * time.Second

// wrongPerSecond is how many wrong signatures a second one address gets an answer to.
const wrongPerSecond = 10

// openAudit opens the audit log. It must not be used before the store is locked: two processes would
// write it.
func (s *Server) openAudit() (latest []openimds.AuditEntry, err error) {
	s.audit, latest, err = audit.Open(audit.Config{
		Path: filepath.Join(s.cfg.DataDir, auditFile), BestEffort: s.cfg.AuditBestEffort, Log: s.log,
	})
	if err == nil {
		s.refusals = audit.NewRefusals(s.recordOther, nil)
	}
	return latest, err
}

// closeAudit closes it, after all who write to it.
func (s *Server) closeAudit() {
	if s.audit == nil {
		return
	}
	s.refusals.Close()
	if err := s.audit.Close(); err != nil {
		s.log.Error("the audit log did not close cleanly", "error", err)
	}
}

// newAPIServer makes the server of the operator's side.
func newAPIServer(s *Server) *front.Server {
	verifiers := make(map[string]*sigv4.Verifier, len(s.regions))
	verifier := sigv4.New(sigv4.Config{Regions: s.cfg.regions(), Keys: s.keys.Lookup, WrongPerSecond: wrongPerSecond})
	for _, region := range s.cfg.regions() {
		verifiers[region] = verifier.In(region)
	}
	sessions := s.consoleSessions(verifiers[s.cfg.Region])
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics(verifiers[s.cfg.Region]))
	protocols := s.byRegion(verifiers, sessions)
	mux.Handle("/", protocols)
	return front.New(front.Config{
		Handler: s.withConsole(pastMux(mux, protocols), sessions), Certificates: s.certificates, Connections: s.cfg.APIConnections, Log: s.log,
	})
}

// pastMux has the protocols, whose requests are all by POST, answer these themselves: the mux would redirect those to an
// endpoint that ends in a slash.
func pastMux(mux, protocols http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			protocols.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// shareDescriptors keeps the two sides from leaving each other without descriptors.
func (s *Server) shareDescriptors() {
	if limit, ok := descriptorLimit(); ok {
		s.cfg.APIConnections, s.guestsWaiting = shareDescriptors(limit, s.cfg.APIConnections)
		s.log.Debug("descriptors", "limit", limit, "api", s.cfg.APIConnections, "guests", s.guestsWaiting)
	}
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }

// ready says whether the control side can do its work; the guest side does not depend on it.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if why := s.readiness.ask(s.unready); why != "" {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	ok(w, nil)
}

// unready is why the control side cannot do its work, in one line; empty: it can.
func (s *Server) unready() string {
	ctx, done := context.WithTimeout(context.Background(), readyTime)
	defer done()
	if err := s.storeTrouble(ctx); err != nil {
		return printable.Line(err.Error())
	}
	if err := s.auditAnswers(ctx); err != nil {
		return "the audit log cannot be written"
	}
	if n, why := s.Unattached(ctx); n > 0 {
		return printable.Line(fmt.Sprintf("the guests of %d attachments are not answered: %v", n, why))
	}
	for _, u := range s.unserved {
		if u.Attachments > 0 {
			return printable.Line(fmt.Sprintf("the guests of %d attachments are not answered: their region %s is not served", u.Attachments, u.Region))
		}
	}
	if s.host != nil {
		if err := s.host.Blocked(); err != nil {
			return printable.Line("no instance is attached: " + err.Error())
		}
	}
	return ""
}

func (s *Server) auditAnswers(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, time.Second)
	defer done()
	return s.audit.Check(ctx)
}

func (s *Server) storeAnswers(ctx context.Context) bool {
	ctx, done := context.WithTimeout(ctx, time.Second)
	defer done()
	_, err := s.store.Get(ctx, records.LayoutKey) // which is always there: that another is damaged is no silence
	return err == nil
}

// metrics serves what Prometheus reads: to whoever signs, unless the operator has opened it to all.
func (s *Server) metrics(verifier *sigv4.Verifier) http.Handler {
	gauges := prom.Gauges{
		Connections: func() int { return s.guests.Connections(s.instance.Name) },
		StoreUp:     func() bool { return s.storeAnswers(context.Background()) },
		StoreTakes:  func() bool { return s.store.Health() == nil },
		Contact:     s.guests.Agent().Health,
		Credentials: func(yield func(source, state string, sets int)) {
			for held, n := range s.sources.Held() {
				yield(held.Source, held.State, n)
			}
		},
	}
	gauges.Attachments, gauges.Operator = s.attachmentStates, s.answered.counts
	if s.told != nil {
		gauges.Written = func() (time.Time, uint64) { return s.told.Through(), s.told.Refused() }
	}
	exported := prom.Handler(s.usage, gauges)
	if s.cfg.AnonymousMetrics {
		return exported
	}
	return api.Signed(verifier, "lightsail", s.refusals.Tell, "GetMetrics", exported)
}

// recordOther writes entries of what changed nothing.
func (s *Server) recordOther(ctx context.Context, entries ...openimds.AuditEntry) error {
	err := s.audit.Record(ctx, entries...)
	if others := s.auditOthers.Load(); err == nil && others != nil {
		others.Tell(entries...)
	}
	return err
}

// record writes entries of changes to the audit log.
func (s *Server) record(ctx context.Context, entries ...openimds.AuditEntry) error {
	err := s.audit.Record(ctx, entries...)
	if safefile.NoRoom(err) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}
