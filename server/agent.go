package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/naming"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/store/within"
	"github.com/openimds/openimds/usage"
)

// Files of an agent's data directory, beside what it is known by: what it serves, and what it has counted.
const (
	copyFile   = "copy.db"
	countsFile = "counts.db"
)

// asideMark stands behind the name of a damaged file that was put aside, before the time of that.
const asideMark = ".damaged-"

// joinTime is how long the first guests wait for a replica to tell what has changed, and to hear that their host is there.
const joinTime = 2 * time.Second

// renewEvery is how often it is looked whether the certificate is to be renewed.
const renewEvery = time.Minute

// AgentConfig is what an [Agent] is told; the members that a [Config] has too mean the same. [AgentDefaults] has what
// fits most.
type AgentConfig struct {
	// DataDir is where the agent keeps what it is known by, what it serves, and what it has counted.
	DataDir string
	// Join, unless nil, is the invitation by which this machine becomes a host. Who has joined by it stays one.
	Join *openimds.Invitation
	// Replicas are the addresses of the replicas, as host:port; none: those of the invitation.
	Replicas []string

	GuestRate        float64
	GuestBurst       int
	GuestConnections int
	AllowHosts       []string
	RoleCredentials  map[string]*credentials.Source
	Uplinks          []string

	// MetricsWrite, with its access, is that of a [Config]: where the replicas ask an engine of metrics, each host tells it
	// what it counts.
	MetricsWrite, MetricsCA, MetricsTokenFile string
	MetricsUser, MetricsPasswordFile          string
	// Prometheus is the loopback address at which the metrics of this host can be read by all of this machine; empty: nowhere.
	Prometheus string

	// ReadyFile is written, as lines of key=value, once it is known what has become of the attachments.
	ReadyFile   string
	StopTimeout time.Duration
	Version     string
	Log         *slog.Logger
	Named       func(member string) string
	Hangs       func(stage string)

	// What tests put otherwise: the clock by which certificates are good, and how often it is looked at.
	now        func() time.Time
	renewEvery time.Duration
}

// AgentDefaults is an AgentConfig without a DataDir.
func AgentDefaults() AgentConfig {
	d := Defaults()
	return AgentConfig{GuestRate: d.GuestRate, GuestBurst: d.GuestBurst, GuestConnections: d.GuestConnections}
}

// config is that of what an agent and a server share.
func (c *AgentConfig) config() Config {
	d := Defaults()
	return Config{
		DataDir: c.DataDir, GuestRate: c.GuestRate, GuestBurst: c.GuestBurst, GuestConnections: c.GuestConnections,
		AllowHosts: c.AllowHosts, RoleCredentials: c.RoleCredentials, Uplinks: c.Uplinks,
		Region: d.Region, AccountID: d.AccountID,
		MetricsWrite: c.MetricsWrite, MetricsCA: c.MetricsCA, MetricsTokenFile: c.MetricsTokenFile,
		MetricsUser: c.MetricsUser, MetricsPasswordFile: c.MetricsPasswordFile,
		ReadyFile: c.ReadyFile, StopTimeout: c.StopTimeout, Version: c.Version, Log: c.Log, Named: c.Named, Hangs: c.Hangs,
	}
}

// ErrEvicted is why an agent ends that serves nobody any more.
var ErrEvicted = hostlink.ErrEvicted

// Agent serves the guests of one host, as the replicas of an installation say. It has no API and no rules of its own:
// it follows a replica, keeps what that sends, and goes on from there while no replica can be reached.
type Agent struct {
	hosting
	join       *openimds.Invitation
	replicas   []string
	now        func() time.Time
	renewEvery time.Duration

	unlock   func()
	identity *hostcert.Identity
	client   *hostlink.Client
	kept     *bolt.Store // what it serves
	counts   *bolt.Store
	// countsName is the name by which this host counts there.
	countsName string
	copy       *hostlink.Copy
	signer     *hostlink.Signer
	links      map[string]*hostlink.Region
	evicted    bool
	// prometheus is where the metrics are to be read, and scraped where they are; labelled says that the engine can be told.
	prometheus string
	scraped    net.Listener
	labelled   atomic.Bool
	// toldBefore is how far an engine was told that this host tells no more.
	toldBefore int64
	ready      chan struct{} // closed once the guest sides are there
	joinTime   time.Duration
}

// OpenAgent brings up what can fail: the data directory, what the host is known by, the host's network. A machine that
// is to join does so now. Nobody is answered before [Agent.Serve].
func OpenAgent(ctx context.Context, cfg AgentConfig) (*Agent, error) {
	shared := cfg.config()
	if err := shared.validateAgent(); err != nil {
		return nil, err
	}
	if err := cfg.checkPrometheus(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	shared.Log = cfg.Log
	a := &Agent{
		hosting: hosting{cfg: shared, log: cfg.Log, dog: newWatchdog(shared.stopTimes().all, cfg.Hangs), settled: make(chan struct{})},
		join:    cfg.Join, replicas: cfg.Replicas, now: cfg.now, renewEvery: cmp.Or(cfg.renewEvery, renewEvery), joinTime: joinTime,
		prometheus: cfg.Prometheus, links: map[string]*hostlink.Region{}, ready: make(chan struct{}),
	}
	defer context.AfterFunc(ctx, a.dog.start)()
	if err := a.open(ctx); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// validateAgent is [Config.Validate] of what an agent has.
func (c *Config) validateAgent() error {
	if c.DataDir == "" {
		return invalid("%s: say where to keep the data", c.named("DataDir"))
	}
	if err := c.checkStop(); err != nil {
		return err
	}
	if err := c.checkGuests(); err != nil {
		return err
	}
	return c.checkEngine()
}

func (a *Agent) open(ctx context.Context) (err error) {
	if limit, ok := descriptorLimit(); ok {
		_, a.guestsWaiting = shareDescriptors(limit, 2)
	}
	if a.cfg.DataDir, err = a.cfg.openDataDir(); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(a.cfg.DataDir, StoreFile)); err == nil {
		return fmt.Errorf("the data directory %s is a server's; choose another with %s", a.cfg.DataDir, a.cfg.named("DataDir"))
	}
	unlock, err := safefile.Lock(filepath.Join(a.cfg.DataDir, dataDirLock))
	if err != nil {
		return fmt.Errorf("the data directory %s is in use by another process (%w); stop that one or choose another with %s", a.cfg.DataDir, err, a.cfg.named("DataDir"))
	}
	a.unlock = unlock
	if err := a.cfg.clearReadyFile(); err != nil {
		return err
	}
	if err := a.openIdentity(ctx); err != nil {
		return err
	}
	if err := a.openCopy(ctx); err != nil {
		return err
	}
	counted, err := a.openMetrics(ctx)
	if err != nil {
		return err
	}
	a.usage = usage.NewMeter(usage.Config{Store: a.counts, Host: a.countsName, Log: a.log, History: counted})
	a.naming = naming.New(a.log)
	a.sources = credentials.NewSources(a.cfg.RoleCredentials, a.log)
	if err := a.listenPrometheus(ctx); err != nil {
		return err
	}
	return a.openHost()
}

// openIdentity finds out which host this is, or makes it one.
func (a *Agent) openIdentity(ctx context.Context) (err error) {
	process := openimds.NewUUID()
	if a.join != nil {
		by, err := hostcert.JoinTLS(*a.join)
		if err != nil {
			return err
		}
		by.Time = a.now
		replicas := a.join.Replicas
		if len(a.replicas) > 0 {
			replicas = a.replicas
		}
		joining := hostlink.NewClient(hostlink.Config{TLS: always(by), Replicas: replicas, Process: process, Program: a.cfg.Version, Log: a.log})
		defer joining.Close()
		if a.identity, err = hostcert.Join(ctx, a.cfg.DataDir, *a.join, joining.Redeem); errors.Is(err, hostlink.ErrRefused) {
			return fmt.Errorf("this machine cannot join as the host %[1]s: %[2]w; a join file is good once, and for an hour: 'openimds host enroll %[1]s' makes another", a.join.Host, err)
		} else if err != nil {
			return fmt.Errorf("this machine cannot join as the host %s: %w", a.join.Host, err)
		}
	} else if a.identity, err = hostcert.OpenIdentity(a.cfg.DataDir); err != nil {
		return err
	}
	if a.identity == nil {
		return invalid("this machine is no host yet: make a join file with 'openimds host enroll NAME' where the API is, and give it with %s", a.cfg.named("Join"))
	}
	a.identity.Now = a.now
	a.cfg.Host = a.identity.Host()
	if len(a.replicas) == 0 {
		a.replicas = a.identity.Replicas()
	}
	a.client = hostlink.NewClient(hostlink.Config{TLS: a.identity.ClientTLS, Replicas: a.replicas, Process: process, Program: a.cfg.Version, Log: a.log})
	return nil
}

// openCopy opens what the host serves and what it has counted. Of what is damaged nothing is guessed: it is put aside,
// and what is to be served comes from a replica anew.
func (a *Agent) openCopy(ctx context.Context) error {
	path := filepath.Join(a.cfg.DataDir, copyFile)
	open := func() (err error) {
		if a.kept, err = bolt.Open(path); err != nil {
			return err
		}
		if a.copy, err = hostlink.OpenCopy(ctx, a.kept, a.cfg.Host, a.log); err == nil {
			a.signer, err = hostlink.NewSigner(ctx, a.copy, a.log)
		}
		if err != nil {
			err = errors.Join(err, a.kept.Close())
			a.kept = nil
		}
		return err
	}
	err := a.orAnew(path, "what this host serves; no guest is answered before a replica has told it anew", open)
	if err != nil {
		return err
	}
	a.documents = a.signer
	counts := filepath.Join(a.cfg.DataDir, countsFile)
	return a.orAnew(counts, "what this host has counted; what no replica had of it is unknown", func() (err error) {
		if a.counts, err = bolt.Open(counts); err != nil {
			return err
		}
		if a.countsName, err = hostlink.CountsName(ctx, a.counts, a.cfg.Host); err != nil {
			err = errors.Join(err, a.counts.Close())
			a.counts = nil
		}
		return err
	})
}

// orAnew opens a file of the data directory, once more after it was put aside if it is damaged.
func (a *Agent) orAnew(path, what string, open func() error) error {
	err := open()
	if err == nil || errors.Is(err, context.Canceled) || safefile.NoRoom(err) {
		return err
	}
	if f, ferr := safefile.Open(path, os.O_RDONLY, 0); ferr != nil {
		return err // what cannot be read is not damaged
	} else if ferr := f.Close(); ferr != nil {
		return err
	}
	aside := path + asideMark + time.Now().UTC().Format("20060102T150405")
	if merr := safefile.MoveNew(path, aside); merr != nil {
		return fmt.Errorf("%w; and it cannot be put aside: %w", err, merr)
	}
	a.log.Error("a file of this host is damaged and was put aside: "+what, "aside", aside, "error", err)
	return open()
}

// openRegions makes the guest sides of what a copy is of, and tells the replicas that this host is there, as long as
// joining goes on.
func (a *Agent) openRegions(joining context.Context, about hostlink.About) {
	why := ""
	if a.host == nil {
		why = a.hostNotes.cannot().Error()
	}
	a.cfg.Region, a.cfg.MoreRegions = about.Regions[0], about.Regions[1:]
	var joins sync.WaitGroup
	for _, name := range about.Regions {
		link := a.client.Region(name, a.host != nil, why)
		r := &regional{region: name, home: name == about.Home, kept: within.New(a.kept, about.Prefix(name)), rules: link}
		a.links[name] = link
		cfg := a.cfg.service()
		cfg.Region = name
		r.service = control.New(r.kept, cfg) // to read by
		r.presence = agent.NewPresence(agent.PresenceConfig{Leases: link, Hosts: hostlink.InStep{Region: link, Copy: a.copy, Within: a.joinTime}, Name: a.cfg.Host, Log: a.log})
		joins.Go(func() { r.presence.Join(joining) })
		a.openGuestsOf(r)
		a.regions = append(a.regions, r)
	}
	a.regional = a.regions[0]
	joins.Wait()
	close(a.ready)
}

// Host is the name by which instances are attached to this host.
func (a *Agent) Host() string { return a.cfg.Host }

// Replicas are where it asks.
func (a *Agent) Replicas() []string { return a.replicas }

// Close gives back what [OpenAgent] took. It follows [Agent.Serve], or takes its place.
func (a *Agent) Close() {
	defer a.dog.end()
	if a.scraped != nil {
		_ = a.scraped.Close()
	}
	if a.host != nil {
		a.dog.at("the host's network")
		if err := a.host.Close(); err != nil {
			a.log.Warn("the host's network could not be left as it was", "error", err)
		}
	}
	a.dog.at("the names of callers")
	a.naming.Close()
	if a.sources != nil {
		a.dog.at("the sources of credentials")
		a.sources.Close()
	}
	if a.client != nil {
		a.client.Close()
	}
	a.dog.at("the files of the data directory, which are the disk's to write")
	for _, s := range []*bolt.Store{a.kept, a.counts} {
		if s != nil {
			if err := s.Close(); err != nil {
				a.log.Error("a file of the data directory did not close cleanly", "error", err)
			}
		}
	}
	if a.evicted {
		// Whoever is no host any more has nothing to serve from, nor what its guests may read; what was put aside is such, too.
		a.dog.at("what this host has served to be deleted")
		if err := removeCopies(a.cfg.DataDir); err != nil {
			a.log.Error("what this host has served cannot be deleted; delete it by hand", "error", err)
		}
	}
	if a.unlock != nil {
		a.unlock()
	}
}

// removeCopies deletes all that a data directory has of what the host has served.
func removeCopies(dir string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range all {
		if strings.HasPrefix(f.Name(), copyFile) { // and what was put aside, and the room that is kept for it
			err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return err
}

// always is a TLS that stays what it is.
func always(c *tls.Config) func() *tls.Config { return c.Clone }
