package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

func newHost() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "The hosts that serve guests: let one join, list, drain, cut off",
		Long: `The hosts that serve guests. A host joins by an invitation, which 'openimds host enroll' makes; servers that share a
store are hosts by the name that --host gives them.`,
		Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newHostEnroll(), newHostList(), newHostShow(), newHostDrain(), newHostUndrain(), newHostEvict())
	return cmd
}

func newHostEnroll() *cobra.Command {
	var c clientConfig
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "enroll HOST",
		Short: "Invite a machine to join as the host of that name, once",
		Long: `Invite a machine to join as the host of that name. What is printed is its join file: it has a token that is good once
and for an hour at most, the certificate by which the host knows the replicas, and their addresses. The token is shown
here alone, so the output goes into a file, which is made readable to its owner only, or into a pipe.

A later invitation for the name takes the place of the earlier one. Where a machine joins under a name that another one
has, that one is cut off.`,
		Example: `  openimds host enroll host-17 > host-17.join
  openimds host enroll host-17 --within 10m | ssh host-17 'umask 077; cat > host-17.join'`,
		Args: names(1, 1, "one name of a host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := keepSecret(cmd.OutOrStdout()); err != nil {
				return err
			}
			seconds := int(within / time.Second)
			if within%time.Second != 0 || within < time.Second || within > openimds.MaxJoinTime {
				return usagef("--within is 1s to %s, in whole seconds, not %s", openimds.Brief(openimds.MaxJoinTime), openimds.Brief(within))
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := client.Call(cmd.Context(), api, wire.EnrollHost, wire.EnrollHostRequest{Host: args[0], Seconds: &seconds})
			if err != nil {
				return err
			}
			c.output = "json" // a join file is nothing else
			if err := c.show(cmd.OutOrStdout(), answer.Invitation, nil); err != nil {
				return err
			}
			return say(cmd.ErrOrStderr(), "the host %s may join until %s: openimds agent --join FILE\n", answer.Invitation.Host, answer.Invitation.Until.UTC().Format(time.DateTime))
		},
	}
	c.addFlags(cmd)
	_ = cmd.Flags().MarkHidden("output")
	spanVar(cmd.Flags(), &within, "within", openimds.MaxJoinTime, "how long it may take to join: a `time` up to an hour")
	return cmd
}

// keepSecret sees to it that nobody else reads what is about to be printed.
func keepSecret(out io.Writer) error {
	if screenOf(out) != nil {
		return usagef("a join file has a secret: redirect it to a file, as in 'openimds host enroll HOST > HOST.join'")
	}
	if wrapped, ok := out.(interface{ Unwrap() io.Writer }); ok {
		out = wrapped.Unwrap()
	}
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	if err := file.Chmod(0o600); err != nil {
		return fmt.Errorf("others could read the join file: %w; print it to a file of your own", err)
	}
	return nil
}

func newHostList() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the hosts: which are there, what they serve",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := client.Call(cmd.Context(), api, wire.GetHosts, wire.Nothing{})
			if err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), answer.Hosts, func(row func(...any)) {
				row("HOST", "STATE", "SINCE", "ATTACHED", "SERVES", "VERSION", "CERTIFICATE ENDS", "NOTE")
				for _, h := range answer.Hosts {
					row(h.Name, h.State, sinceOf(h), h.Attachments, h.Seats, dash(h.Version), whenever(h.CertificateEnds), noteOf(h))
				}
			})
		},
	}
	c.addFlags(cmd)
	return cmd
}

// sinceOf is since when a host is in its state.
func sinceOf(h wire.Host) string {
	if h.State == "there" {
		return whenever(h.Since)
	}
	return whenever(h.Left)
}

// noteOf is what an operator has to know of a host beside its state.
func noteOf(h wire.Host) string {
	var notes []string
	if h.DrainedSince != nil {
		notes = append(notes, "drained since "+when(*h.DrainedSince))
	}
	if h.State == "there" && !h.Attaches {
		notes = append(notes, "attaches nothing: "+h.Reason)
	}
	if h.InvitedUntil != nil {
		notes = append(notes, "may join until "+when(*h.InvitedUntil))
	}
	return strings.Join(notes, "; ")
}

func newHostShow() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "show HOST",
		Short: "Show a host and what is attached there",
		Args:  names(1, 1, "one name of a host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return hostCall(cmd, &c, wire.GetHost, args[0])
		},
	}
	c.addFlags(cmd)
	return cmd
}

// hostCall asks something of a host, and shows it as it is then.
func hostCall(cmd *cobra.Command, c *clientConfig, target wire.Target[wire.HostRequest, wire.HostResult], host string) error {
	api, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	answer, err := client.Call(cmd.Context(), api, target, wire.HostRequest{Host: host})
	if err != nil {
		return err
	}
	return c.show(cmd.OutOrStdout(), answer, func(row func(...any)) {
		h := answer.Host
		row("host", h.Name)
		row("state", h.State)
		optional := func(what string, at *awsjson.Epoch) {
			if at != nil {
				row(what, when(*at))
			}
		}
		optional("there since", h.Since)
		optional("missed since", h.Left)
		row("version", dash(h.Version))
		optional("joined", h.JoinedAt)
		optional("certificate ends", h.CertificateEnds)
		optional("may join until", h.InvitedUntil)
		optional("drained since", h.DrainedSince)
		if h.State == "there" && !h.Attaches {
			row("attaches nothing", h.Reason)
		}
		row("serves", counted(h.Seats, "instance"))
		row("attached", counted(h.Attachments, "instance"))
		for _, a := range answer.Attachments {
			row("  "+a.InstanceName, a.State, placeOf(a), a.Reason)
		}
	})
}

func newHostDrain() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "drain HOST",
		Short: "Have a host take no new attachments, and show what is still there",
		Long: `Have a host take no new attachments. What is attached there stays, and is shown: move each to another host, or detach
it, until nothing is left.`,
		Example: `  openimds host drain host-17
  openimds attach web-1 --host host-18 --interface tap0`,
		Args: names(1, 1, "one name of a host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return hostCall(cmd, &c, wire.DrainHost, args[0])
		},
	}
	c.addFlags(cmd)
	return cmd
}

func newHostUndrain() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "undrain HOST",
		Short: "Have a drained host take attachments again",
		Args:  names(1, 1, "one name of a host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return hostCall(cmd, &c, wire.UndrainHost, args[0])
		},
	}
	c.addFlags(cmd)
	return cmd
}

func newHostEvict() *cobra.Command {
	var c clientConfig
	var yes bool
	cmd := &cobra.Command{
		Use:   "evict HOST",
		Short: "Cut a host off: its certificates are void at every replica",
		Long: `Cut a host off. Its certificates are void, at every replica and within seconds, and so is an invitation that was not
used; changes wait for it no longer. What is attached there stays so, for another host to have it.

The host comes back only by a new invitation. What it was sent before it may still have: renew what must stay secret.`,
		Example: `  openimds host evict host-17
  openimds attach web-1 --host host-18 --interface tap0`,
		Args: names(1, 1, "one name of a host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				if !canAsk(cmd.InOrStdin()) {
					return errors.New("nothing was changed: the host would be cut off; give --yes where that is meant")
				}
				if err := askYes(cmd.InOrStdin(), cmd.ErrOrStderr(), fmt.Sprintf("Cut the host %s off?", args[0])); err != nil {
					return err
				}
			}
			return hostCall(cmd, &c, wire.EvictHost, args[0])
		},
	}
	c.addFlags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "cut it off without asking")
	return cmd
}
