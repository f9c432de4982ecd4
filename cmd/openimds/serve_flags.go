package main

import (
	"io"
	"strings"
	"time"

	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/server"
	"github.com/spf13/pflag"
)

// Where a server is and what it is of, unless somebody says otherwise.
var (
	defaults         = server.Defaults()
	defaultAPIListen = defaults.APIListen
	defaultRegion    = defaults.Region
	defaultAccountID = defaults.AccountID
	defaultInstance  = defaults.DefaultInstance
)

// serveConfig is what "openimds serve" is told.
type serveConfig struct {
	server.Config
	logging
	roleCredentials []string
	replay          string
	allRegions      []string
}

// flagOf has the flag of each member of [server.Config] that has one.
var flagOf = map[string]string{
	"DataDir": "data-dir", "IMDSListen": "imds-listen", "IMDSAllowUsers": "imds-allow-uid", "IMDSShared": "imds-listen-shared",
	"DefaultInstance": "default-instance", "Replay": "replay", "GuestRate": "guest-rate", "GuestBurst": "guest-burst",
	"GuestConnections": "guest-connections", "AllowHosts": "allow-host", "AllowIMDSIPv6": "allow-imds-ipv6",
	"RoleCredentials": "role-credentials", "Uplinks": "guard-all-but", "APIListen": "api-listen", "APICert": "api-cert",
	"APIKey": "api-key", "APICA": "api-ca", "APIInsecure": "api-insecure", "APIConnections": "api-connections", "APITimeout": "api-timeout",
	"Console": "console", "ConsoleHosts": "console-host",
	"AnonymousMetrics": "api-anonymous-metrics", "Region": "region", "MoreRegions": "region", "AccountID": "account-id", "TransitionTime": "transition-time", "AlarmWebhook": "alarm-webhook",
	"AuditBestEffort": "audit-best-effort", "ReadyFile": "ready-file", "StopTimeout": "stop-timeout",
	"HostsListen": "hosts-listen", "HostsAddresses": "hosts-address", "HostsCA": "hosts-ca",
	"Store": "store", "StoreCA": "store-ca", "StoreCert": "store-cert", "StoreKey": "store-key", "StoreInsecure": "store-insecure",
	"StoreUser": "store-user", "StorePasswordFile": "store-password-file", "StoreTimeout": "store-timeout", "Host": "host",
	"MetricsWrite": "metrics-write", "MetricsFrom": "metrics-from", "MetricsCA": "metrics-ca", "MetricsTokenFile": "metrics-token-file",
	"MetricsUser": "metrics-user", "MetricsPasswordFile": "metrics-password-file",
}

func (c *serveConfig) addFlags(f *pflag.FlagSet) {
	c.Config = defaults
	c.addServerFlags(f)
	addGuestFlags(f, guestFlags{&c.GuestRate, &c.GuestBurst, &c.GuestConnections, &c.AllowHosts, &c.Uplinks, &c.roleCredentials})
	f.StringVar(&c.Store, "store", "", "`address` of a store in etcd that several servers share, as etcd://HOST:PORT,HOST:PORT/PREFIX (default: a file in\n--data-dir)")
	f.StringVar(&c.Host, "host", "", "`name` of this server among those that share --store, by which instances are attached to it")
	addStoreFlags(f, &c.Config)
	addMetricsFlags(f, metricsFlags{&c.MetricsWrite, &c.MetricsFrom, &c.MetricsCA, &c.MetricsTokenFile, &c.MetricsUser, &c.MetricsPasswordFile})
	f.StringVar(&c.replay, "replay", "", "`file` that 'openimds record' made, which the default instance answers from now on")
	addStopFlag(f, &c.StopTimeout)
	c.addFlagsOf(f)
}

// addStopFlag adds that of whatever serves.
func addStopFlag(f *pflag.FlagSet, to *time.Duration) {
	spanVar(f, to, "stop-timeout", 5*time.Second, "how long Ctrl-C or SIGTERM may take until the end, whatever hangs then; half of it is for answers under way")
}

// guestFlags are settings of how guests are served, by a server and by an agent alike.
type guestFlags struct {
	rate               *float64
	burst, connections *int
	allowHosts         *[]string
	uplinks            *[]string
	roleCredentials    *[]string
}

func addGuestFlags(f *pflag.FlagSet, g guestFlags) {
	f.StringArrayVar(g.roleCredentials, "role-credentials", nil, "where the credentials of a role come from: `role=source`, * for all other roles;\ngenerated, static:FILE, profile:NAME, process:COMMAND or assume-role:ARN; repeatable")
	f.Float64Var(g.rate, "guest-rate", *g.rate, "requests a second of one instance; 0: no limit")
	f.IntVar(g.burst, "guest-burst", *g.burst, "requests at once of one instance, above its rate")
	f.IntVar(g.connections, "guest-connections", *g.connections, "connections at once of one instance; 0: no limit")
	f.StringSliceVar(g.allowHosts, "allow-host", nil, "further DNS `name` that guests may use in Host; repeatable")
	f.StringArrayVar(g.uplinks, "guard-all-but", nil, "`interface` to the host's own networks; from all others nobody reaches another metadata\nservice through the host, whether attached or not; repeatable")
}

// addStoreFlags adds those that say how a store in a cluster is reached.
func addStoreFlags(f *pflag.FlagSet, c *server.Config) {
	f.StringVar(&c.StoreCA, "store-ca", "", "`file` with the certificates (PEM) by which the members of --store are known: TLS is spoken with them then")
	f.StringVar(&c.StoreCert, "store-cert", "", "`file` with the certificate (PEM) by which they know this server")
	f.StringVar(&c.StoreKey, "store-key", "", "`file` with that certificate's key (PEM); both are read again for each connection")
	f.BoolVar(&c.StoreInsecure, "store-insecure", false, "let connections to --store leave this machine without TLS")
	f.StringVar(&c.StoreUser, "store-user", "", "`name` of this server's user in --store, where etcd asks for one")
	f.StringVar(&c.StorePasswordFile, "store-password-file", "", "`file` with the user's password")
	spanVar(f, &c.StoreTimeout, "store-timeout", 5*time.Second, "how long --store may take to answer one request")
}

// metricsFlags are settings of an engine of metrics; an agent is without from, for it asks nobody.
type metricsFlags struct{ write, from, ca, tokenFile, user, passwordFile *string }

// addMetricsFlags adds those that say how an engine of metrics is reached.
func addMetricsFlags(f *pflag.FlagSet, m metricsFlags) {
	f.StringVar(m.write, "metrics-write", "", "`URL` that takes Prometheus remote write, to tell it what is counted of each instance (1 to 8 series for each)")
	reached, who := "it is", "at it"
	if m.from != nil {
		f.StringVar(m.from, "metrics-from", "", "`URL` of a PromQL API, before /api/v1, to ask what other servers and hosts counted")
		reached, who = "both are", "at both"
	}
	f.StringVar(m.ca, "metrics-ca", "", "`file` with the certificates (PEM) by which "+reached+" known (default: those of this machine)")
	f.StringVar(m.tokenFile, "metrics-token-file", "", "`file` with a bearer token "+strings.Replace(who, "at", "for", 1)+", read again for each request")
	f.StringVar(m.user, "metrics-user", "", "`name` of the user that this program is "+who)
	f.StringVar(m.passwordFile, "metrics-password-file", "", "`file` with the user's password, read again for each request")
}

// addServerFlags adds those that are members of the Config as they are.
func (c *serveConfig) addServerFlags(f *pflag.FlagSet) {
	f.StringVar(&c.DataDir, "data-dir", "", "where to keep the data (default: $XDG_STATE_HOME/openimds, else ~/.local/state/openimds)")
	f.StringSliceVar(&c.IMDSListen, "imds-listen", c.IMDSListen, "`address` of the guest side for callers on this machine; repeatable")
	f.StringSliceVar(&c.IMDSAllowUsers, "imds-allow-uid", nil, "let only this `user` (a number or name) call --imds-listen, root neither unless named; repeatable (Linux)")
	f.BoolVar(&c.IMDSShared, "imds-listen-shared", false, "let every user of this machine have the real credentials of --role-credentials by --imds-listen")
	f.StringVar(&c.APIListen, "api-listen", c.APIListen, "`address` of the control API")
	f.StringVar(&c.APICert, "api-cert", "", "`file` with the certificate of the control API and its chain (PEM): it speaks TLS then")
	f.StringVar(&c.APIKey, "api-key", "", "`file` with the certificate's key (PEM); both are read again when they change")
	f.StringVar(&c.APICA, "api-ca", "", "`file` with the certificates (PEM) by which clients know that of --api-cert, for 'openimds env'")
	f.BoolVar(&c.APIInsecure, "api-insecure", false, "let --api-listen be open to other machines without TLS")
	f.IntVar(&c.APIConnections, "api-connections", c.APIConnections, "connections at once of the control API; one source may have half of them")
	spanVar(f, &c.APITimeout, "api-timeout", 5*time.Second, "how long an operation of the control API may take, from 1s to 50s; a slow disk may need more than the default")
	f.BoolVar(&c.Console, "console", c.Console, "serve the web page /console/ at --api-listen")
	f.StringSliceVar(&c.ConsoleHosts, "console-host", nil, "further DNS `name` that browsers may open the console by; repeatable")
	f.StringVar(&c.HostsListen, "hosts-listen", "", "`address` where the agents of other hosts are let in; see 'openimds host enroll'")
	f.StringSliceVar(&c.HostsAddresses, "hosts-address", nil, "`address` by which hosts that are enrolled reach --hosts-listen, as host:port (default: as it listens); repeatable")
	f.StringVar(&c.HostsCA, "hosts-ca", "", "`file` with an authority of your own for the certificates of hosts: its private key and its certificate (PEM)")
	f.StringVar(&c.DefaultInstance, "default-instance", c.DefaultInstance, "`name` of the instance that the callers of --imds-listen are; made where there is no instance at all")
	f.BoolVar(&c.AllowIMDSIPv6, "allow-imds-ipv6", c.AllowIMDSIPv6, "let instances enable the IPv6 address of the metadata service")
	f.StringSliceVar(&c.allRegions, "region", []string{c.Region}, "`region` of this installation; repeatable: a request is for the one that it is signed for, the default\ninstance is of the first")
	f.StringVar(&c.AccountID, "account-id", c.AccountID, "account id of this installation")
	spanVar(f, &c.TransitionTime, "transition-time", c.TransitionTime, "how long an instance is pending before it runs, and stopping before it is stopped; 0: at once")
	f.StringVar(&c.AlarmWebhook, "alarm-webhook", "", "`URL` to post an alarm's change of state to")
	f.BoolVar(&c.AnonymousMetrics, "api-anonymous-metrics", false, "let /metrics be read without a signature")
	f.BoolVar(&c.AuditBestEffort, "audit-best-effort", false, "make changes although the audit log cannot be written, and do not wait for it")
	f.StringVar(&c.ReadyFile, "ready-file", "", "`file` to write the addresses to, once both sides answer")
}

// named is what the user calls a member of the Config.
func (c *serveConfig) named(member string) string {
	if member == "Replay" {
		return "--replay " + c.replay
	}
	return "--" + flagOf[member]
}

// serveSettings makes the flags anew, and what settles them.
func serveSettings() (*pflag.FlagSet, func(*pflag.FlagSet) error) {
	var c serveConfig
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.addFlags(f)
	return f, c.settle
}

// settle completes the settings and refuses those that cannot work, before anything is touched.
func (c *serveConfig) settle(f *pflag.FlagSet) error {
	if err := settle(f); err != nil {
		return err
	}
	if c.DataDir == "" {
		var err error
		if c.DataDir, err = defaultDataDir(); err != nil {
			return err
		}
	}
	if len(c.allRegions) == 0 {
		return usagef("--region: give at least one")
	}
	c.Region, c.MoreRegions = c.allRegions[0], c.allRegions[1:]
	c.Version, c.Named = version, c.named
	var err error
	if c.RoleCredentials, err = parseRoleCredentials(c.roleCredentials); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	_, err = c.logger(io.Discard)
	return err
}

// parseRoleCredentials reads --role-credentials.
func parseRoleCredentials(words []string) (map[string]*credentials.Source, error) {
	sources := make(map[string]*credentials.Source, len(words))
	for _, word := range words {
		role, spec, ok := strings.Cut(word, "=")
		if _, twice := sources[role]; !ok || role == "" || twice {
			return nil, usagef("--role-credentials: give each role once, as role=source")
		}
		source, err := credentials.ParseSource(spec)
		if err != nil {
			return nil, usagef("--role-credentials %s: %w", role, err)
		}
		sources[role] = source
	}
	return sources, nil
}
