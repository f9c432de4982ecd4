package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/alarms"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/cloudwatch"
	"github.com/openimds/openimds/api/ec2"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/attach"
	"github.com/openimds/openimds/audit/storelog"
	"github.com/openimds/openimds/console"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/migrate/board"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/within"
)

// regional is what each region of a server has of its own: it knows nothing of the others, so that two may have
// instances of one name. They share the store's file, the keys, the audit log, the counters, and the host's network.
type regional struct {
	region      string
	home        bool // its records stand in the store itself, not below a key of their own
	kept        store.Store
	service     *control.Service
	rules       hostRules // whom the host tells of what it serves
	guests      *guestside.Server
	presence    *agent.Presence
	alarms      *alarms.Alarms
	auditLog    *storelog.Log // of all servers of the store; nil: this one has it to itself
	attachments *attach.Attachments
	protocol    api.Protocol // of the control API
	board       *board.Board // nil: nobody judges its instances
}

// hostRules are what a host asks for what it serves; [control.Service] has them.
type hostRules interface {
	agent.Hosts
	agent.Marker
	attach.Binder
	guestside.Faults
	ReportAttachments(ctx context.Context, lease store.Lease, all []openimds.AttachmentStatus) error
}

// Look implements [openimds.GuestAnswers]: the guest side is opened after the rules, and before anybody asks.
func (r *regional) Look(in *openimds.Instance, v2 bool, paths ...string) ([]openimds.GuestAnswer, error) {
	return r.guests.Look(in, v2, paths...)
}

// Await implements [openimds.GuestSeats]. What is made at the first start is there before the guest side is.
func (r *regional) Await(ctx context.Context, instance string, revision int64) error {
	if r.guests == nil {
		return nil
	}
	return r.guests.Await(ctx, instance, revision)
}

// regions are those that the Config names, the first one first.
func (c *Config) regions() []string { return append([]string{c.Region}, c.MoreRegions...) }

// checkRegions refuses regions that are none, or given twice.
func (c *Config) checkRegions() error {
	all := c.regions()
	for i, name := range all {
		of := c.service()
		of.Region = name
		if err := of.Validate(); err != nil {
			return ConfigError{err}
		}
		if slices.Contains(all[:i], name) {
			return invalid("%s %s is given twice", c.named("Region"), name)
		}
	}
	return nil
}

// prepareRegions says where each region has its records: the one that the data directory began with in the store
// itself, as data from before there were several, each other one below its name.
func (s *Server) prepareRegions(ctx context.Context) error {
	home, err := s.homeRegion(ctx)
	if err != nil {
		return err
	}
	for _, name := range s.cfg.regions() {
		r := &regional{region: name, home: name == home, kept: s.store}
		if !r.home {
			r.kept = within.New(s.store, records.RegionKey(name), records.SharedPrefixes()...)
			if err := records.Upgrade(ctx, r.kept, openimds.LocalHost); err != nil {
				return err
			}
			if err := records.SharePlaces(ctx, s.store, name); err != nil {
				return err
			}
		}
		s.regions = append(s.regions, r)
	}
	s.regional, s.homeName = s.regions[0], home
	return s.findUnserved(ctx)
}

// homeRegion is the region that the data directory began with. It is written down once, and is then what it is whatever
// the server is told.
func (s *Server) homeRegion(ctx context.Context) (string, error) {
	r, err := s.store.Get(ctx, records.HomeKey)
	if err == nil {
		return records.Decode[string](r)
	}
	if !errors.Is(err, store.ErrNoRecord) {
		return "", err
	}
	home := s.cfg.Region
	if text, err := os.ReadFile(filepath.Join(s.cfg.DataDir, regionFile)); err == nil { // of an earlier version
		home = strings.TrimSpace(string(text))
	}
	value, err := records.Encode(home)
	if err == nil {
		_, err = s.store.Commit(ctx, store.Change{Key: records.HomeKey, Value: value, If: store.IfAbsent})
	}
	if err != nil { // it is found out in the same way at the next start
		s.log.Warn("the region of the data directory cannot be written down", "error", err)
	}
	return home, nil
}

// of leads what a region that is not at home calls its resources in the audit log.
func (r *regional) of() string { return r.region + "/" }

// audits is how a region tells the audit log.
func (s *Server) audits(r *regional) func(context.Context, ...openimds.AuditEntry) error {
	if r.home {
		return s.record
	}
	return func(ctx context.Context, entries ...openimds.AuditEntry) error {
		own := slices.Clone(entries)
		for i := range own {
			own[i].Resource = r.of() + own[i].Resource
		}
		return s.record(ctx, own...)
	}
}

// told are the entries of a region, as it told them.
func (r *regional) told(entries []openimds.AuditEntry) (own []openimds.AuditEntry) {
	for _, e := range entries {
		region, resource, _ := strings.Cut(e.Resource, "/")
		switch {
		case r.home && !control.IsRegion(region):
			own = append(own, e)
		case !r.home && region == r.region:
			e.Resource = resource
			own = append(own, e)
		}
	}
	return own
}

// shareAudit gives a region its part of the log that the servers of a store have together, if it is in such a store.
func (s *Server) shareAudit(ctx context.Context, r *regional, cfg *control.Config) error {
	if s.file != nil {
		cfg.Changes = changesOf{s, r}
		return nil
	}
	r.auditLog = storelog.New(r.kept, s.cfg.Host)
	if err := r.auditLog.Begin(ctx, time.Now()); err != nil {
		return fmt.Errorf("the audit log of all servers cannot be begun: %w", err)
	}
	cfg.Changes, cfg.AuditRecords = r.auditLog, r.auditLog.Records
	if r.home {
		s.auditOthers.Store(storelog.NewOthers(r.auditLog, nil))
	}
	return nil
}

// changesOf is a server's own audit log as a region reads it.
type changesOf struct {
	server *Server
	region *regional
}

// Changes implements [openimds.ChangeLog].
func (c changesOf) Changes(ctx context.Context, resource string) (found []openimds.AuditEntry, since time.Time, err error) {
	if c.region.home {
		return c.server.audit.Changes(ctx, resource)
	}
	found, since, err = c.server.audit.Changes(ctx, c.region.of()+resource)
	return c.region.told(found), since, err
}

// Entries implements [openimds.ChangeLog].
func (c changesOf) Entries(_ context.Context, q openimds.AuditQuery) (openimds.AuditPage, error) {
	return c.server.audit.EntriesOf(q, func(e *openimds.AuditEntry) bool {
		own := c.region.told([]openimds.AuditEntry{*e})
		if len(own) == 1 {
			*e = own[0]
		}
		return len(own) == 1
	})
}

// endpointOf names an endpoint of a region among those of all.
func (r *regional) endpointOf(id string) string {
	if r.home {
		return id
	}
	return id + "@" + r.region
}

// regionOf finds the region of an endpoint, and its id there.
func (s *hosting) regionOf(id string) (*regional, string) {
	own, region, qualified := strings.Cut(id, "@")
	for _, r := range s.regions {
		if qualified && r.region == region || !qualified && r.home {
			return r, own
		}
	}
	return s.regional, id
}

// shared is the host's network as a region sees it.
type shared struct {
	server *hosting
	region *regional
}

// Set implements [attach.Network]: the host's network is given the endpoints of all regions.
func (h shared) Set(endpoints []hostnet.Endpoint) error {
	h.server.endpointsMu.Lock()
	defer h.server.endpointsMu.Unlock()
	own := slices.Clone(endpoints)
	for i := range own {
		own[i].ID = h.region.endpointOf(own[i].ID)
	}
	if h.server.endpoints == nil {
		h.server.endpoints = map[string][]hostnet.Endpoint{}
	}
	h.server.endpoints[h.region.region] = own
	if len(h.server.endpoints) < len(h.server.regions) {
		return nil // as long as one region has not told its own, nobody knows whose the others' places are
	}
	all := h.server.admitted()
	h.server.served = map[string]bool{}
	for _, e := range all {
		h.server.served[e.ID] = true
	}
	return h.server.setHost(all)
}

// admitted are the endpoints of all regions, but for those at a place that one of another region has: who is served there
// stays, and comes first. [Server.endpointsMu] is held.
func (s *hosting) admitted() []hostnet.Endpoint {
	type claim struct {
		region *regional
		hostnet.Endpoint
	}
	var claims []claim
	for _, r := range s.regions {
		for _, e := range s.endpoints[r.region] {
			claims = append(claims, claim{r, e})
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int {
		switch {
		case s.served[a.ID] == s.served[b.ID]:
			return 0
		case s.served[a.ID]:
			return -1
		}
		return 1
	})
	var all []hostnet.Endpoint
	there := map[string][]claim{} // by place
	for _, c := range claims {
		key := c.Interface + "\x00" + c.Netns + "\x00" + strconv.Itoa(c.PID)
		first := slices.IndexFunc(there[key], func(other claim) bool {
			return other.region != c.region && control.Overlap(other.Sources, c.Sources)
		})
		if first < 0 {
			all, there[key] = append(all, c.Endpoint), append(there[key], c)
			continue
		}
		_, id := s.regionOf(c.ID)
		other := there[key][first]
		_, holder := s.regionOf(other.ID)
		if c.region.attachments != nil {
			c.region.attachments.Changed(hostnet.EndpointStatus{
				Endpoint: hostnet.Endpoint{ID: id}, State: hostnet.Failed, Since: time.Now(),
				Reason: "the instance " + attach.InstanceOf(holder) + " of the region " + other.region.region + " is attached to that place: detach one",
			})
		}
	}
	return all
}

// byRegion gives each request to the region that it is signed for. Whatever is signed for none of them, or not at
// all, the first one refuses.
func (s *Server) byRegion(verifiers map[string]*sigv4.Verifier, sessions *console.Sessions) http.Handler {
	handlers := make(map[string]http.Handler, len(s.regions))
	for _, r := range s.regions {
		handlers[r.region] = api.New(api.Config{
			Protocols: []api.Protocol{
				s.protocolOf(r, sessions),
				ec2.New(ec2.Config{Service: r.service, Regions: s.cfg.regions()}),
				cloudwatch.New(cloudwatch.Config{Service: r.service}),
			},
			Auth: verifiers[r.region], Account: r.service.AccountID(), Refused: s.refusals.Tell, Log: s.log,
			Timeout: s.cfg.APITimeout, Answered: s.answered.count,
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := handlers[sigv4.ClaimedRegion(r)]
		if h == nil {
			h = handlers[s.cfg.Region]
		}
		h.ServeHTTP(w, r)
	})
}

// Regions are the server's, the first one first.
func (s *hosting) Regions() []string { return s.cfg.regions() }

// ServiceOf is the door to changes in a region; nil: the server does not have it.
func (s *Server) ServiceOf(region string) *control.Service {
	for _, r := range s.regions {
		if r.region == region {
			return r.service
		}
	}
	return nil
}
