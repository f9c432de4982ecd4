package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const agentHelp = `Serve the guests of this host as the servers of an installation say, until Ctrl-C.

The agent has no API and no rules of its own. It follows a server that was started with --hosts-listen, is sent what is
attached to this host and nothing else, and keeps that in its data directory: while no server can be reached, also after
a start, guests are served as they were last. It needs what 'openimds serve' needs to attach instances: Linux, and root
or the capabilities that are named there.

A machine becomes a host by a join file, which is good once and for an hour. The key that it is known by is made here
and never leaves it; its certificate lives for a day and is renewed by itself. A host that is evicted serves nobody any
more as soon as it hears of it, deletes what it kept of its guests, and ends with exit code 77.

Where the servers ask an engine of metrics (serve --metrics-from), give --metrics-write here too: what this host counts
is not known to them otherwise.

Each flag is also an environment variable (OPENIMDS_ and its name in capitals, dashes as underscores; lists with
commas) and a key of the --config file. A flag beats the environment, and the environment beats the file.`

// exitEvicted is the exit code of an agent whose host was evicted, which no start mends: EX_NOPERM of sysexits.h.
const exitEvicted = 77

// agentConfig is what "openimds agent" is told.
type agentConfig struct {
	server.AgentConfig
	logging
	roleCredentials []string
	joinFile        string
}

// agentFlagOf has the flag of each member of [server.AgentConfig] that has one.
var agentFlagOf = map[string]string{
	"DataDir": "data-dir", "Join": "join", "Replicas": "replica", "GuestRate": "guest-rate", "GuestBurst": "guest-burst",
	"GuestConnections": "guest-connections", "AllowHosts": "allow-host", "RoleCredentials": "role-credentials",
	"Uplinks": "guard-all-but", "ReadyFile": "ready-file", "StopTimeout": "stop-timeout",
	"MetricsWrite": "metrics-write", "MetricsCA": "metrics-ca", "MetricsTokenFile": "metrics-token-file",
	"MetricsUser": "metrics-user", "MetricsPasswordFile": "metrics-password-file", "Prometheus": "prometheus",
}

func newAgent() *cobra.Command {
	var c agentConfig
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Serve the guests of this host for the servers of an installation",
		Long:  agentHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.rereads(cmd.Flags(), agentSettings)
			if err := c.settle(cmd.Flags()); err != nil {
				return err
			}
			c.Hangs = endsHanging(cmd)
			return daemon(cmd, &c.logging, func(ctx context.Context, out io.Writer, log *slog.Logger) error {
				c.Log = log
				return runAgent(ctx, out, c)
			})
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

func (c *agentConfig) addFlags(f *pflag.FlagSet) {
	c.AgentConfig = server.AgentDefaults()
	f.StringVar(&c.joinFile, "join", "", "`file` of 'openimds host enroll' by which this machine becomes a host; later it may be left out")
	f.StringVar(&c.DataDir, "data-dir", "", "where to keep the data (default: that of 'openimds serve' with -agent behind it)")
	f.StringSliceVar(&c.Replicas, "replica", nil, "`address` of a server's --hosts-listen, as host:port, in place of those in the join file; repeatable")
	addGuestFlags(f, guestFlags{&c.GuestRate, &c.GuestBurst, &c.GuestConnections, &c.AllowHosts, &c.Uplinks, &c.roleCredentials})
	addMetricsFlags(f, metricsFlags{write: &c.MetricsWrite, ca: &c.MetricsCA, tokenFile: &c.MetricsTokenFile, user: &c.MetricsUser, passwordFile: &c.MetricsPasswordFile})
	f.StringVar(&c.Prometheus, "prometheus", "", "loopback `address` at which the metrics of this host are served as /metrics, to all of this machine")
	f.StringVar(&c.ReadyFile, "ready-file", "", "`file` to write once the guests are answered that are attached here")
	addStopFlag(f, &c.StopTimeout)
	c.addFlagsOf(f)
}

// agentSettings makes the flags anew, and what settles them.
func agentSettings() (*pflag.FlagSet, func(*pflag.FlagSet) error) {
	var c agentConfig
	f := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	c.addFlags(f)
	return f, c.settle
}

// settle completes the settings and refuses those that cannot work, before anything is touched.
func (c *agentConfig) settle(f *pflag.FlagSet) (err error) {
	if err := settle(f); err != nil {
		return err
	}
	if c.DataDir == "" {
		if c.DataDir, err = defaultDataDir(); err != nil {
			return err
		}
		c.DataDir += "-agent"
	}
	c.Version, c.Named = version, func(member string) string { return "--" + agentFlagOf[member] }
	if c.RoleCredentials, err = parseRoleCredentials(c.roleCredentials); err != nil {
		return err
	}
	if c.joinFile != "" {
		var i openimds.Invitation
		switch i, err = hostcert.ReadInvitation(c.joinFile); {
		case err == nil:
			c.Join = &i
		case errors.Is(err, fs.ErrNotExist) && isHost(c.DataDir): // it has been used, and thrown away as it should be
		default:
			return err
		}
	}
	_, err = c.logger(io.Discard)
	return err
}

// isHost says whether a machine has joined already.
func isHost(dataDir string) bool {
	known, err := hostcert.OpenIdentity(dataDir)
	return err == nil && known != nil
}

// runAgent is an agent from its start to its end.
func runAgent(ctx context.Context, out io.Writer, c agentConfig) error {
	a, err := server.OpenAgent(ctx, c.AgentConfig)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil
		}
		return err
	}
	defer a.Close()
	if _, err := io.WriteString(out, agentWelcome(a)); err != nil {
		return err
	}
	if err = a.Serve(ctx); errors.Is(err, server.ErrEvicted) {
		return withCode{exitEvicted, err}
	}
	return err
}

// agentWelcome is what a person reads after the start.
func agentWelcome(a *server.Agent) string {
	var more strings.Builder
	host := a.HostNetwork()
	if host.Refused != nil {
		_ = say(&more, "  attached     none can be: %s\n", host.Refused)
	} else if host.Unable != nil {
		_ = say(&more, "  attached     none can be: %s\n", host.Unable)
	}
	for _, capability := range host.Missing {
		_ = say(&more, "  missing      %s\n", capability)
	}
	return fmt.Sprintf("openimds %s serves the guests of the host %s\n  follows      %s\n  data         %s\n%s  stop         Ctrl-C\n",
		version, a.Host(), printable.Line(strings.Join(a.Replicas(), ", ")), printable.Line(a.DataDir()), more.String())
}
