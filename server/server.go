// Package server is a whole server in one process: the data directory and its store, the rules, the guests'
// side, the operator's side, and what runs beside them. It has no globals and prints nothing, so that a
// command, a tool or a test can have one, or several.
//
//	cfg := server.Defaults()
//	cfg.DataDir = dir
//	s, err := server.Open(ctx, cfg)   // all that can fail; both sides listen
//	err = s.Serve(ctx)                // until the context ends
//	s.Close()
//
// It listens on Config.IMDSListen, whose callers are the default instance; on Config.APIListen, for the signed
// operations of the control API, /console/, /metrics, /healthz and /readyz; at 169.254.169.254 and fd00:ec2::254 of every place
// that an instance is attached to, where the process may change the host's network (Linux); and on a socket in the
// data directory, by which "openimds run --instance" hands listeners over (Linux).
//
// It writes its data directory (docs/ARCHITECTURE.md lists the files), Config.ReadyFile, and the host's
// addresses, rules and tables for what is attached; it posts to Config.AlarmWebhook and Config.MetricsWrite, and asks
// Config.MetricsFrom. Guests are served whatever
// becomes of the store: when that cannot be written, changes are refused and the log says so, once.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/alarms"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/audit"
	"github.com/openimds/openimds/audit/storelog"
	"github.com/openimds/openimds/console"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/instanceconnect"
	"github.com/openimds/openimds/naming"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/usage"
)

// Server is one running installation.
type Server struct {
	hosting
	store     keptStore
	file      *bolt.Store  // the store, if it is in DataDir; nil: it is shared with other servers
	shared    *sharedFiles // nil: the store is not shared
	unlock    func()       // lets go of DataDir where no store of its own holds it
	keys      *accesskeys.File
	signer    *identity.Signer
	pushed    *instanceconnect.Signer // of SSH keys
	answered  answered
	readiness together
	audit     *audit.Log
	refusals  *audit.Refusals
	// auditOthers tells the servers' common log of refusals; it is opened after those who may tell of some.
	auditOthers atomic.Pointer[storelog.Others]
	instance    *openimds.Instance
	// metricsStore has what is counted where the store is shared and an engine of metrics has it; nil: the store has.
	metricsStore *bolt.Store
	// mark says there how far the engine has been told; nil: the store has all that is counted here.
	mark *metricsMark

	// homeName is the region that the data directory began with; unserved are those with instances that are none of regions.
	homeName string
	unserved []UnservedRegion

	door  *doorkeeper // of imdsL; nil: all users may call
	imdsL []net.Listener
	apiL  []net.Listener
	api   *front.Server
	// hosts lets in those without a store of their own; nil: none are.
	hosts   *hosts
	console *console.Console // nil: there is none
	// certificates of the control API; nil: it does not speak TLS.
	certificates *front.Certificates
}

// Open brings up everything that can fail, so that a start that cannot succeed changes nothing but what is
// said to be made. When it returns both sides listen, but nobody answers before [Server.Serve].
//
// It makes DataDir and what a new one has: the store with the default instance, the access keys of the API,
// and the keys that sign identity documents; it takes an earlier ReadyFile away. Data of an earlier release is
// carried over. What does not fit a Config is a [ConfigError]; other errors say what the machine or the data
// directory refuses. After an error all is closed again. A Store that does not answer is waited for; meanwhile /healthz and
// /readyz are answered, the latter with 503.
//
// The context is of the start alone; but when it ends, Config.Hangs begins to be due.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.checkExposure(ctx); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{hosting: hosting{cfg: cfg, log: cfg.Log, dog: newWatchdog(cfg.stopTimes().all, cfg.Hangs), settled: make(chan struct{})}}
	defer context.AfterFunc(ctx, s.dog.start)()
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	if err := s.openCertificates(); err != nil {
		return err
	}
	s.shareDescriptors()
	var err error
	if s.cfg.DataDir, err = s.cfg.openDataDir(); err != nil {
		return err
	}
	if err = s.openStore(ctx); err != nil {
		return err
	}
	if err := s.prepareRegions(ctx); err != nil {
		return err
	}
	if err := s.cfg.clearReadyFile(); err != nil {
		return err
	}
	if err := s.shareFiles(ctx); err != nil {
		return err
	}
	if s.keys, err = accesskeys.Ensure(filepath.Join(s.cfg.DataDir, CredentialsFile)); err != nil {
		return err
	}
	if err := s.cfg.writeRegion(); err != nil {
		return err
	}
	identityKeys, err := identity.Ensure(filepath.Join(s.cfg.DataDir, IdentityDir), time.Now())
	if err != nil {
		return err
	}
	s.signer = identity.NewSigner(s.log)
	s.signer.Use(identityKeys, time.Now())
	if err := s.openService(ctx); err != nil {
		return err
	}
	if s.instance, err = s.service.EnsureInstance(ctx, s.cfg.DefaultInstance); err != nil {
		return s.noDefaultInstance(ctx, err)
	}
	if err := s.replay(ctx); err != nil {
		return err
	}
	if err := s.openGuests(ctx); err != nil {
		return err
	}
	s.warnUnattached(ctx)
	s.warnUnserved()
	if err := s.listen(ctx); err != nil {
		return err
	}
	return s.writeEndpoints()
}

// openService makes the rules, and what they tell and ask.
func (s *Server) openService(ctx context.Context) error {
	latest, err := s.openAudit()
	if err != nil {
		return err
	}
	counted, err := s.openMetrics(ctx)
	if err != nil {
		return err
	}
	s.usage = usage.NewMeter(usage.Config{Store: s.store, Host: s.cfg.Host, Log: s.log, History: counted})
	cfg := s.cfg.service()
	cfg.History, cfg.Callers, cfg.Refusals = s.usage, s.usage, s.usage
	if cfg.Reports, err = attest.Ensure(filepath.Join(s.cfg.DataDir, ReportKeyFile)); err != nil {
		return err
	}
	if err := s.openHost(); err != nil {
		return err
	}
	if err := s.openAuthority(ctx); err != nil {
		return err
	}
	if s.pushed, err = instanceconnect.Open(filepath.Join(s.cfg.DataDir, InstanceConnectFile)); err != nil {
		return err
	}
	cfg.KeySigner = s.pushed
	if s.hosts != nil {
		cfg.Door = s.hosts
	}
	for _, r := range s.regions {
		if err := s.openRegion(ctx, r, cfg, latest); err != nil {
			return err
		}
	}
	return s.openDoor(ctx)
}

// openRegion makes the rules of a region, and who carries them out.
func (s *Server) openRegion(ctx context.Context, r *regional, cfg control.Config, latest []openimds.AuditEntry) (err error) {
	cfg.HomeRegion, cfg.Whole, cfg.Nameless = s.homeName, s.store, s.nameless
	cfg.Region, cfg.Audit = r.region, s.audits(r)
	if err := s.shareAudit(ctx, r, &cfg); err != nil {
		return err
	}
	cfg.Guests, cfg.Seats = r, r
	if s.host != nil {
		cfg.Attachments = guarding{&s.hosting, r}
	} else {
		cfg.CannotAttach = s.hostNotes.cannot().Error()
	}
	r.service = control.New(r.kept, cfg)
	r.rules = r.service
	if err := r.service.ConcludeAudit(ctx, r.told(latest)); err != nil { // the guests do not wait for it
		s.log.Warn("what an earlier process did not come to do is not yet in the audit log", "error", err)
	}
	r.presence = agent.NewPresence(agent.PresenceConfig{Store: r.kept, Hosts: r.service, Name: s.cfg.Host, Log: s.log})
	r.presence.Join(ctx)
	r.alarms, err = alarms.New(alarms.Config{Service: r.service, Store: r.kept, Turn: r.presence.Elected, Webhook: s.cfg.AlarmWebhook, Shared: s.file == nil, Log: s.log})
	if err != nil {
		return invalid("%s: %w", s.cfg.named("AlarmWebhook"), err)
	}
	return nil
}

// noDefaultInstance says what to do where the default instance is not there, but others are: it may have been deleted, or
// its name be misspelt.
func (s *Server) noDefaultInstance(ctx context.Context, err error) error {
	if openimds.KindOf(err) != openimds.NotFound {
		return err
	}
	setting := s.cfg.named("DefaultInstance")
	there, _, lerr := s.service.Instances(ctx, "", 1)
	if lerr != nil || len(there) == 0 {
		return fmt.Errorf("%s: %w", setting, err)
	}
	return fmt.Errorf("%s: %w in %s, where there are others; name one of them, such as %s, with %s %s ('openimds instance create %s' then makes this one anew)",
		setting, err, s.cfg.Region, there[0].Name, setting, there[0].Name, s.cfg.DefaultInstance)
}

// replay gives the default instance its recording.
func (s *Server) replay(ctx context.Context) error {
	if s.cfg.Replay == nil {
		return nil
	}
	name := s.instance.Name
	if _, err := s.service.SetInstance(ctx, name, control.InstanceUpdate{Recording: s.cfg.Replay}); err != nil {
		return fmt.Errorf("%s: %w", s.cfg.named("Replay"), err)
	}
	var err error
	s.instance, err = s.service.Instance(ctx, name)
	return err
}

// openGuests makes the guest sides and seats the default instance.
func (s *Server) openGuests(ctx context.Context) error {
	s.naming = naming.New(s.log)
	s.sources = credentials.NewSources(s.cfg.RoleCredentials, s.log)
	s.documents, s.vouches = s.signer, s.pushed
	for _, r := range s.regions {
		s.openGuestsOf(r)
	}
	return s.guests.Seat(ctx, s.instance.Name)
}

// restricted makes a listener of IMDSListen one that only the users of IMDSAllowUsers can call.
func (s *Server) restricted(l net.Listener) net.Listener {
	if s.door == nil {
		return l
	}
	return imds.Restricted(l, s.door.admit)
}

func (s *Server) listen(ctx context.Context) error {
	uids, err := s.cfg.allowedUIDs()
	if err != nil {
		return err
	}
	if len(uids) > 0 {
		if s.door, err = newDoorkeeper(uids, s.cfg.named("IMDSAllowUsers"), s.log); err != nil {
			return fmt.Errorf("%s: %w", s.cfg.named("IMDSAllowUsers"), err)
		}
	} else if credentials.Real(s.cfg.RoleCredentials) {
		s.log.Warn(fmt.Sprintf("every user of this machine can have the credentials of %s by %s; %s would name those who may",
			s.cfg.named("RoleCredentials"), s.cfg.named("IMDSListen"), s.cfg.named("IMDSAllowUsers")))
	}
	for _, addr := range s.cfg.IMDSListen {
		open, err := imds.Listen(ctx, addr)
		if err != nil {
			return cannotListen(s.cfg.named("IMDSListen"), addr, err)
		}
		for _, l := range open {
			watched, _ := s.naming.Watch(s.restricted(l), naming.Place{}) // to the server's end
			s.imdsL = append(s.imdsL, watched)
			if at := l.Addr().(*net.TCPAddr); !at.IP.IsLoopback() {
				s.log.Warn(fmt.Sprintf("whoever reaches the address of %s from another machine is the default instance, and can have its user data and its role's credentials",
					s.cfg.named("IMDSListen")), "address", at, "instance", s.cfg.DefaultInstance)
			}
		}
	}
	s.naming.Follow()
	return s.listenAPI(ctx)
}

func cannotListen(setting, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("cannot listen on %s: another program does; stop it or choose another address with %s", addr, setting)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("cannot listen on %s: this user may not; choose a port above 1023 with %s, run as root, or grant CAP_NET_BIND_SERVICE", addr, setting)
	}
	return fmt.Errorf("cannot listen on %s: %w; choose another address with %s", addr, err, setting)
}

// DataDir is where the data really is.
func (s *hosting) DataDir() string { return s.cfg.DataDir }

// HostName is by which instances are attached to this server.
func (s *hosting) HostName() string { return s.cfg.Host }

// Instance is the default instance as it was after [Open].
func (s *Server) Instance() *openimds.Instance { return s.instance }

// Service is the door to changes, in this process.
func (s *Server) Service() *control.Service { return s.service }

// IMDSAddrs are the addresses of the guest side for callers on this machine; the first is that of the first
// address of Config.IMDSListen.
func (s *Server) IMDSAddrs() []net.Addr { return addresses(s.imdsL) }

// APIAddrs are the addresses of the control API.
func (s *Server) APIAddrs() []net.Addr { return addresses(s.apiL) }

func addresses(of []net.Listener) (all []net.Addr) {
	for _, l := range of {
		all = append(all, l.Addr())
	}
	return all
}
