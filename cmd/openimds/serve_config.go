package main

import (
	"bytes"
	"io"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/metadata"
	"github.com/spf13/pflag"
)

const (
	defaultIMDSListen = "127.0.0.1:1338"
	defaultAPIListen  = "127.0.0.1:1339"
	defaultRegion     = "us-east-1"
	defaultAccountID  = "123456789012"
	defaultInstance   = "demo"
)

// serveConfig is what "openimds serve" is told.
type serveConfig struct {
	dataDir         string
	imdsListen      []string
	imdsShared      bool
	allowUsers      []string
	apiListen       string
	apiCert, apiKey string
	apiCA           string
	apiInsecure     bool
	apiConnections  int
	defaultInstance string
	rate            float64
	burst           int
	connections     int
	allowHosts      []string
	allowIPv6       bool
	region          string
	accountID       string
	alarmWebhook    string
	openMetrics     bool
	auditBestEffort bool
	readyFile       string
	logFormat       string
	logLevel        string
	roleCredentials []string
	uplinks         []string
	replay          string

	sources   map[string]*credentials.Source // of roleCredentials
	allowUIDs map[uint32]bool                // of allowUsers
}

func (c *serveConfig) addFlags(f *pflag.FlagSet) {
	f.StringVar(&c.dataDir, "data-dir", "", "where to keep the data (default: $XDG_STATE_HOME/openimds, else ~/.local/state/openimds)")
	f.StringSliceVar(&c.imdsListen, "imds-listen", []string{defaultIMDSListen}, "`address` of the guest side for callers on this machine; repeatable")
	f.StringSliceVar(&c.allowUsers, "imds-allow-uid", nil, "let only this `user` (a number or name) call --imds-listen, root neither unless named; repeatable (Linux)")
	f.BoolVar(&c.imdsShared, "imds-listen-shared", false, "let every user of this machine have the real credentials of --role-credentials by --imds-listen")
	f.StringVar(&c.apiListen, "api-listen", defaultAPIListen, "`address` of the control API")
	f.StringVar(&c.apiCert, "api-cert", "", "`file` with the certificate of the control API and its chain (PEM): it speaks TLS then")
	f.StringVar(&c.apiKey, "api-key", "", "`file` with the certificate's key (PEM); both are read again when they change")
	f.StringVar(&c.apiCA, "api-ca", "", "`file` with the certificates (PEM) by which clients know that of --api-cert, for 'openimds env'")
	f.BoolVar(&c.apiInsecure, "api-insecure", false, "let --api-listen be open to other machines without TLS")
	f.IntVar(&c.apiConnections, "api-connections", 256, "connections at once of the control API; one source may have half of them")
	f.StringVar(&c.defaultInstance, "default-instance", defaultInstance, "`name` of the instance that the callers of --imds-listen are; made on the first start")
	f.Float64Var(&c.rate, "guest-rate", 1000, "requests a second of one instance; 0: no limit")
	f.IntVar(&c.burst, "guest-burst", 2000, "requests at once of one instance, above its rate")
	f.IntVar(&c.connections, "guest-connections", 256, "connections at once of one instance; 0: no limit")
	f.StringSliceVar(&c.allowHosts, "allow-host", nil, "further DNS `name` that guests may use in Host; repeatable")
	f.BoolVar(&c.allowIPv6, "allow-imds-ipv6", true, "let instances enable the IPv6 address of the metadata service")
	f.StringVar(&c.region, "region", defaultRegion, "region of this installation")
	f.StringVar(&c.accountID, "account-id", defaultAccountID, "account id of this installation")
	f.StringVar(&c.alarmWebhook, "alarm-webhook", "", "`URL` to post an alarm's change of state to")
	f.BoolVar(&c.openMetrics, "api-anonymous-metrics", false, "let /metrics be read without a signature")
	f.BoolVar(&c.auditBestEffort, "audit-best-effort", false, "make changes although the audit log cannot be written, and do not wait for it")
	f.StringVar(&c.readyFile, "ready-file", "", "`file` to write the addresses to, once both sides answer")
	f.StringArrayVar(&c.uplinks, "guard-all-but", nil, "`interface` to the host's own networks; from all others nobody reaches another metadata\nservice through the host, whether attached or not; repeatable")
	f.StringArrayVar(&c.roleCredentials, "role-credentials", nil, "where the credentials of a role come from: `role=source`, * for all other roles;\ngenerated, static:FILE, profile:NAME, process:COMMAND or assume-role:ARN; repeatable")
	f.StringVar(&c.replay, "replay", "", "`file` that 'openimds record' made, which the default instance answers from now on")
	f.StringVar(&c.logFormat, "log-format", "text", "form of the log on standard error: text or json")
	f.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	f.String("config", "", "YAML `file` with settings, named as the flags are")
}

// settle completes the settings and refuses those that cannot work, before anything is touched.
func (c *serveConfig) settle(f *pflag.FlagSet) error {
	if err := settle(f); err != nil {
		return err
	}
	if c.dataDir == "" {
		var err error
		if c.dataDir, err = defaultDataDir(); err != nil {
			return err
		}
	}
	if err := c.checkAddresses(); err != nil {
		return err
	}
	if err := c.checkTLS(); err != nil {
		return err
	}
	if err := openimds.ValidateName(c.defaultInstance); err != nil {
		return usagef("--default-instance: %w", err)
	}
	if c.rate < 0 || c.burst < 0 || c.connections < 0 {
		return usagef("--guest-rate, --guest-burst and --guest-connections cannot be negative; 0 is no limit")
	}
	if math.IsNaN(c.rate) || math.IsInf(c.rate, 0) {
		return usagef("--guest-rate must be a number of requests a second; 0 is no limit")
	}
	if c.rate > 0 && c.burst == 0 {
		return usagef("--guest-burst must be at least 1 while there is a --guest-rate")
	}
	for _, name := range c.allowHosts {
		if strings.ContainsAny(name, ":/@ *") || name == "" {
			return usagef("--allow-host %q is not a DNS name; give it without scheme, port or wildcard", name)
		}
	}
	for _, name := range c.uplinks {
		if err := openimds.ValidateInterface(name); err != nil {
			return usagef("--guard-all-but: %w", err)
		}
	}
	if err := c.service().Validate(); err != nil {
		return usageError{err}
	}
	var err error
	if c.sources, err = parseRoleCredentials(c.roleCredentials); err != nil {
		return err
	}
	if err := c.checkSharing(); err != nil {
		return err
	}
	if err := checkWebhook(c.alarmWebhook); err != nil {
		return err
	}
	_, err = c.logger(io.Discard)
	return err
}

// checkAddresses refuses what no listener can be made of, whoever else listens where.
func (c *serveConfig) checkAddresses() error {
	if len(c.imdsListen) == 0 {
		return usagef("--imds-listen: give at least one address")
	}
	check := func(flag, addr string) error {
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return usagef("%s %q is not of the form host:port, with a port from 0 to 65535", flag, addr)
		}
		return nil
	}
	for _, addr := range c.imdsListen {
		if err := check("--imds-listen", addr); err != nil {
			return err
		}
	}
	return check("--api-listen", c.apiListen)
}

// checkTLS refuses half of what TLS needs.
func (c *serveConfig) checkTLS() error {
	if (c.apiCert == "") != (c.apiKey == "") {
		return usagef("--api-cert and --api-key belong together; give both, or none for plain HTTP")
	}
	if c.apiCA != "" && c.apiCert == "" {
		return usagef("--api-ca says how clients know --api-cert; give that and --api-key too")
	}
	if c.apiConnections < 2 {
		return usagef("--api-connections must be at least 2")
	}
	return nil
}

func (c *serveConfig) service() control.Config {
	return control.Config{
		Region:            c.region,
		AccountID:         c.accountID,
		AllowIMDSIPv6:     c.allowIPv6,
		ValidateOverlay:   metadata.ValidateOverlay,
		ValidateRecording: metadata.ValidateRecording,
	}
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

// checkWebhook refuses what cannot be posted to. Its text does not show the URL: one may hold a secret.
func checkWebhook(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usagef("--alarm-webhook is not a URL; write it as https://host/path")
	}
	return nil
}

// logOutlet is where the log goes: to a writer that may block, without waiting for it.
func (c *serveConfig) logOutlet(w io.Writer) (*outlet, error) {
	var line bytes.Buffer
	log, err := c.logger(&line)
	if err != nil {
		return nil, err
	}
	return newOutlet(w, func(writes int) []byte {
		line.Reset()
		log.Error("lines of the log are lost, since nobody read them in time", "lines", writes)
		return line.Bytes()
	}), nil
}

func (c *serveConfig) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, usagef("--log-level must be debug, info, warn or error, not %q", c.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch c.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usagef("--log-format must be text or json, not %q", c.logFormat)
}
