package server

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
)

// Config is what a [Server] is told. [Defaults] has what fits most; a Config that is made anew has no limits
// and no addresses.
type Config struct {
	// DataDir is where everything is kept. It is made, for this user only, if it is not there, and belongs
	// to one server at a time.
	DataDir string

	// Store is where the records are kept; empty: in a file of DataDir. etcd://HOST:PORT,HOST:PORT/PREFIX is a cluster,
	// which any number of servers share, each with a DataDir of its own; what their DataDirs have to have in common, such
	// as the access keys, comes from there too.
	Store string
	// StoreCA, StoreCert and StoreKey are files (PEM) by which the cluster is known, and by which it knows this server;
	// with any of them connections to it are of TLS. StoreInsecure lets those in the clear leave this machine.
	StoreCA, StoreCert, StoreKey string
	StoreInsecure                bool
	// StoreUser is who this server is to the cluster, and StorePasswordFile has the password; empty: whom StoreCert names.
	StoreUser, StorePasswordFile string
	// StoreTimeout is how long the cluster may take to answer one request; 0: 5 seconds.
	StoreTimeout time.Duration
	// Host is the name of this server among those that share the store, by which instances are attached to it; empty: with
	// a store of its own [openimds.LocalHost], otherwise it has none, and attaches nothing.
	Host string

	// IMDSListen are the addresses, as host:port, of the guest side for callers on this machine: they are
	// the default instance. At least one; port 0 takes one that is free.
	IMDSListen []string
	// IMDSAllowUsers are the users, by number or name, that alone may call IMDSListen; none: all. Linux.
	IMDSAllowUsers []string
	// IMDSShared lets every user of this machine have the real credentials of RoleCredentials by IMDSListen,
	// which is refused otherwise.
	IMDSShared bool
	// DefaultInstance is the name of the instance that the callers of IMDSListen are. It is made where
	// its region has no instance at all, as in a new data directory; where there are others it has to be there.
	DefaultInstance string
	// Replay, unless nil, is what the default instance answers from now on, as all that an operator sets.
	Replay *openimds.Recording

	// GuestRate is how many requests a second one instance has, and GuestBurst how many at once above that;
	// GuestConnections is how many connections it has at once. 0: no limit.
	GuestRate        float64
	GuestBurst       int
	GuestConnections int
	// AllowHosts are further DNS names that guests may use in Host.
	AllowHosts []string
	// AllowIMDSIPv6 lets instances enable the IPv6 address of the metadata service.
	AllowIMDSIPv6 bool
	// RoleCredentials are where the credentials of roles come from, by the role's name; "*": of all others.
	// A role without a source has generated ones.
	RoleCredentials map[string]*credentials.Source
	// Uplinks are the interfaces to the host's own networks; from all others nobody reaches another metadata
	// service through the host, whether attached or not. None: only the places that were attached are guarded.
	Uplinks []string

	// APIListen is the address of the control API, as host:port. Unless only this machine can reach it, it
	// needs APICert or APIInsecure.
	APIListen string
	// APICert and APIKey are files (PEM) with the certificate and its chain, and its key. They are read again
	// when they change. Empty: plain HTTP.
	APICert, APIKey string
	// APICA is a file (PEM) with the certificates by which clients know APICert; empty: they know it anyway.
	APICA string
	// APIInsecure lets other machines call the API without TLS.
	APIInsecure bool
	// APIConnections is how many connections the API has at once, at least 2; one source may have half.
	APIConnections int
	// APITimeout is how long an operation of the API may take, from 1 to 50 seconds; 0: 5 seconds.
	APITimeout time.Duration
	// Console has the API's address serve a web page at /console/. ConsoleHosts are DNS names that browsers may open it by,
	// beside localhost, IP addresses and the names of APICert.
	Console      bool
	ConsoleHosts []string
	// AnonymousMetrics lets /metrics be read without a signature.
	AnonymousMetrics bool

	// HostsListen is the address, as host:port, where hosts without a store of their own ([Agent]) are let in, by
	// certificates of this installation's authority; empty: nowhere. HostsAddresses are how hosts reach it, for those that
	// are enrolled; none: as it listens. HostsCA is a file with an authority of the operator's own, its private key and its
	// certificate (PEM); empty: the store has one.
	HostsListen    string
	HostsAddresses []string
	HostsCA        string
	hostsNow       func() time.Time // the clock by which hosts' certificates are good, of tests; nil: time.Now

	// Region and AccountID are those of this installation. MoreRegions are served too, each by itself: what a request is
	// signed for decides which one it is of. The default instance is of the first.
	Region, AccountID string
	MoreRegions       []string
	// TransitionTime is how long an instance is pending before it runs, and stopping before it is stopped: 0, at
	// once, to an hour. The default instance runs at once.
	TransitionTime time.Duration
	seatsTime      time.Duration // as of control.Config, of tests
	// AlarmWebhook is the URL that an alarm's change of state is posted to; empty: nowhere. It may hold a
	// secret, so it shows in no log and no error.
	AlarmWebhook string
	// MetricsWrite is the URL of an engine that speaks Prometheus which is told, by remote write, what is counted of each
	// instance: one to eight series for each; empty: none is. MetricsFrom is the URL of a PromQL API, before /api/v1, which is
	// asked what other servers counted; empty: none is. With a Store that is shared they are given together, for all its
	// servers, and what is counted is kept in DataDir and does not pass through the Store.
	MetricsWrite, MetricsFrom string
	// MetricsCA is a file (PEM) with the certificates by which the two are known; empty: those of this machine.
	// MetricsTokenFile has a bearer token for them, or MetricsPasswordFile the password of MetricsUser.
	MetricsCA, MetricsTokenFile      string
	MetricsUser, MetricsPasswordFile string
	// AuditBestEffort makes changes although the audit log cannot be written, and does not wait for it.
	AuditBestEffort bool

	// ReadyFile is written with the addresses, as lines of key=value, once both sides answer, and taken away
	// before; empty: none is.
	ReadyFile string
	// StopTimeout is how long the end may take, whatever hangs then: half of it is for answers under way; 0: 5 seconds.
	StopTimeout time.Duration
	// Version is what the API says of this program.
	Version string
	// Log must not make its writers wait, for they are guests; nil: nothing is logged.
	Log *slog.Logger
	// Named says what a member of this Config is called where it was set, for errors and the log; nil: by
	// its own name.
	Named func(member string) string
	// Hangs is called if the end takes longer than StopTimeout, with what it waits for. What
	// was acknowledged is kept, so a program may end itself. Nil: it goes on waiting.
	Hangs func(stage string)
}

// Defaults is a Config without a DataDir, for one machine: both sides on its loopback addresses.
func Defaults() Config {
	return Config{
		IMDSListen:      []string{"127.0.0.1:1338"},
		DefaultInstance: "demo",
		GuestRate:       1000, GuestBurst: 2000, GuestConnections: 256,
		AllowIMDSIPv6:  true,
		APIListen:      "127.0.0.1:1339",
		APIConnections: 256,
		Console:        true,
		Region:         "us-east-1",
		AccountID:      "123456789012",
		TransitionTime: 250 * time.Millisecond,
	}
}

// ConfigError says that no server can be made of a Config, whatever the machine is like: another Config
// would not have it.
type ConfigError struct{ error }

// Unwrap returns what is wrong.
func (e ConfigError) Unwrap() error { return e.error }

func invalid(format string, args ...any) error { return ConfigError{fmt.Errorf(format, args...)} }

func (c *Config) named(member string) string {
	if c.Named == nil {
		return member
	}
	return c.Named(member)
}

// Validate refuses, with a [ConfigError], what no server can be made of, but for an APIListen that is open to
// other machines. It asks the machine for the users of IMDSAllowUsers and touches nothing. [Open] calls it.
func (c *Config) Validate() error {
	if c.DataDir == "" {
		return invalid("%s: say where to keep the data", c.named("DataDir"))
	}
	if err := c.checkAddresses(); err != nil {
		return err
	}
	if err := c.checkAPI(); err != nil {
		return err
	}
	if err := c.checkStore(); err != nil {
		return err
	}
	if err := openimds.ValidateName(c.DefaultInstance); err != nil {
		return invalid("%s: %w", c.named("DefaultInstance"), err)
	}
	if err := c.checkGuests(); err != nil {
		return err
	}
	if c.TransitionTime < 0 || c.TransitionTime > control.MaxTransitionTime {
		return invalid("%s %s is not from 0 to %s", c.named("TransitionTime"), openimds.Brief(c.TransitionTime), openimds.Brief(control.MaxTransitionTime))
	}
	if err := c.service().Validate(); err != nil {
		return ConfigError{err}
	}
	if err := c.checkRegions(); err != nil {
		return err
	}
	if err := c.checkSharing(); err != nil {
		return err
	}
	if err := c.checkHosts(); err != nil {
		return err
	}
	if err := c.checkStop(); err != nil {
		return err
	}
	if err := c.checkMetrics(); err != nil {
		return err
	}
	return c.checkWebhook()
}

// checkAddresses refuses what no listener can be made of, whoever else listens where.
func (c *Config) checkAddresses() error {
	if len(c.IMDSListen) == 0 {
		return invalid("%s: give at least one address", c.named("IMDSListen"))
	}
	check := func(member, addr string) error {
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return invalid("%s %q is not of the form host:port, with a port from 0 to 65535", c.named(member), addr)
		}
		return nil
	}
	for _, addr := range c.IMDSListen {
		if err := check("IMDSListen", addr); err != nil {
			return err
		}
	}
	if err := check("APIListen", c.APIListen); err != nil {
		return err
	}
	return c.checkNames("ConsoleHosts", c.ConsoleHosts)
}

// checkAPI refuses half of what TLS needs, and bounds by which nobody could use the API.
func (c *Config) checkAPI() error {
	cert, key := c.named("APICert"), c.named("APIKey")
	if (c.APICert == "") != (c.APIKey == "") {
		return invalid("%s and %s belong together; give both, or none for plain HTTP", cert, key)
	}
	if c.APICA != "" && c.APICert == "" {
		return invalid("%s says how clients know %s; give that and %s too", c.named("APICA"), cert, key)
	}
	if c.APIConnections < 2 {
		return invalid("%s must be at least 2", c.named("APIConnections"))
	}
	if t := c.APITimeout; t != 0 && (t < time.Second || t > api.MaxTimeout) {
		return invalid("%s %s is not from 1s to %s", c.named("APITimeout"), openimds.Brief(t), openimds.Brief(api.MaxTimeout))
	}
	return nil
}

// checkGuests refuses limits and names that guests cannot be held to.
func (c *Config) checkGuests() error {
	rate, burst := c.named("GuestRate"), c.named("GuestBurst")
	if c.GuestRate < 0 || c.GuestBurst < 0 || c.GuestConnections < 0 {
		return invalid("%s, %s and %s cannot be negative; 0 is no limit", rate, burst, c.named("GuestConnections"))
	}
	if math.IsNaN(c.GuestRate) || math.IsInf(c.GuestRate, 0) {
		return invalid("%s must be a number of requests a second; 0 is no limit", rate)
	}
	if c.GuestRate > 0 && c.GuestBurst == 0 {
		return invalid("%s must be at least 1 while there is a %s", burst, rate)
	}
	if err := c.checkNames("AllowHosts", c.AllowHosts); err != nil {
		return err
	}
	for _, name := range c.Uplinks {
		if err := openimds.ValidateInterface(name); err != nil {
			return invalid("%s: %w", c.named("Uplinks"), err)
		}
	}
	return nil
}

// checkNames refuses what a browser or a guest cannot have in Host.
func (c *Config) checkNames(member string, names []string) error {
	for _, name := range names {
		if strings.ContainsAny(name, ":/@ *") || name == "" {
			return invalid("%s %q is not a DNS name; give it without scheme, port or wildcard", c.named(member), name)
		}
	}
	return nil
}

// checkStop refuses a time in which nothing could be ended.
func (c *Config) checkStop() error {
	if c.StopTimeout < 0 {
		return invalid("%s %s is no time; 0 is %s", c.named("StopTimeout"), openimds.Brief(c.StopTimeout), openimds.Brief(defaultStopTimeout))
	}
	return nil
}

// checkWebhook refuses what cannot be posted to.
func (c *Config) checkWebhook() error {
	if c.AlarmWebhook == "" {
		return nil
	}
	u, err := url.Parse(c.AlarmWebhook)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return invalid("%s is not a URL; write it as https://host/path", c.named("AlarmWebhook"))
	}
	return nil
}

// checkExposure refuses to offer the control API to other machines in the clear:
// whoever is on the way could read all that it answers, and send a signed request once more while its
// signature holds.
func (c *Config) checkExposure(ctx context.Context) error {
	host, _, err := net.SplitHostPort(c.APIListen)
	if err != nil || c.APICert != "" || c.APIInsecure || onlyHere(ctx, host) {
		return err
	}
	return c.exposed()
}

func (c *Config) exposed() error {
	return invalid("%s %s is open to other machines, where plain HTTP can be read and sent again: give %s and %s, or %s if the network is safe",
		c.named("APIListen"), c.APIListen, c.named("APICert"), c.named("APIKey"), c.named("APIInsecure"))
}

func (c *Config) service() control.Config {
	return control.Config{
		Region:        c.Region,
		AccountID:     c.AccountID,
		AllowIMDSIPv6: c.AllowIMDSIPv6,
		Host:          c.Host,
		Version:       c.Version,

		TransitionTime: c.TransitionTime,
		SeatsTime:      c.seatsTime,
	}
}
