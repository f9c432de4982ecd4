package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

// hint says in a line that tokens did not reach a caller, who then looks like one of version 1 and is
// none. It is empty if the last one was lost before since, or if the hop limit was raised far enough.
func hint(c wire.MetadataCaller, since time.Time) string {
	u := c.TokenUndelivered
	if u == nil || u.Time.Before(since) {
		return ""
	}
	what := fmt.Sprintf("token answer was not acknowledged, but hop limit %d is enough for this caller", u.HopLimit)
	switch {
	case u.NeededHopLimit == 0 && u.CurrentHopLimit > u.HopLimit, u.NeededHopLimit > u.HopLimit && u.CurrentHopLimit >= u.NeededHopLimit:
		return ""
	case u.NeededHopLimit == 0:
		what = fmt.Sprintf("token answer did not arrive: hop limit %d may be too small for this caller", u.HopLimit)
	case u.NeededHopLimit > u.HopLimit:
		what = fmt.Sprintf("token answer did not arrive: hop limit %d is too small for this caller, which needs at least %d", u.HopLimit, u.NeededHopLimit)
	}
	who := strings.TrimSpace(c.Source + " " + c.UserAgent)
	return fmt.Sprintf("%s, %s: %s (%d in all, the last at %s)", c.InstanceName, who, what, c.Counts[openimds.MetricTokenUndelivered], when(u.Time))
}

func newCallers() *cobra.Command {
	var c clientConfig
	var since time.Duration
	var every, v1 bool
	cmd := &cobra.Command{
		Use:   "callers [NAME]",
		Short: "Show who calls the metadata service, and who of them still without a token",
		Args: func(cmd *cobra.Command, args []string) error {
			return names(0, 1, "at most one name")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if since < 0 {
				return usagef("--since cannot be negative")
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			interval := time.Duration(0)
			if every {
				interval = 2 * time.Second
			}
			return watch(cmd, interval, func(ctx context.Context) error {
				return c.showCallers(ctx, cmd, api, args, since, v1)
			})
		},
	}
	c.addFlags(cmd)
	f := cmd.Flags()
	f.DurationVar(&since, "since", 0, "only callers seen in the last `duration` (1h30m); 0: all that are remembered")
	f.BoolVar(&v1, "v1", false, "only callers that came without a token, or whom the token that they asked for did not reach")
	f.BoolVar(&every, "watch", false, "show again every 2 seconds, until Ctrl-C")
	return cmd
}

func (c *clientConfig) showCallers(ctx context.Context, cmd *cobra.Command, api *client.Client, args []string, since time.Duration, v1 bool) error {
	request := wire.GetCallersRequest{}
	if len(args) > 0 {
		request.InstanceName = args[0]
	}
	if since > 0 {
		request.Since = awsjson.At(time.Now().Add(-since).Truncate(time.Millisecond))
	}
	shown := []wire.MetadataCaller{}
	for page, err := range client.Pages(ctx, api, wire.GetCallers, request) {
		if err != nil {
			return err
		}
		for _, f := range page.Faults { // not among the callers, which scripts read
			if err := say(cmd.ErrOrStderr(), "openimds: %s meets faults on purpose: %s\n", f.InstanceName, f.Faults); err != nil {
				return err
			}
		}
		for _, caller := range page.Callers {
			if v1 && caller.Counts[openimds.MetricNoToken]+caller.Counts[openimds.MetricNoTokenRejected] == 0 && caller.TokenUndelivered == nil {
				continue
			}
			shown = append(shown, caller)
		}
	}
	err := c.show(cmd.OutOrStdout(), shown, func(row func(...any)) {
		row("INSTANCE", "SOURCE", "WITHOUT TOKEN", "REFUSED", "WITH TOKEN", "LAST SEEN", "PATHS", "USER AGENT")
		for _, caller := range shown {
			row(caller.InstanceName, caller.Source, caller.Counts[openimds.MetricNoToken], caller.Counts[openimds.MetricNoTokenRejected],
				caller.Counts[openimds.MetricWithToken], when(caller.LastSeen), caller.PathGroup, dash(caller.UserAgent))
		}
	})
	for _, caller := range shown {
		if hint := hint(caller, request.Since.OrZero()); hint != "" && err == nil && c.output != "json" {
			err = say(cmd.OutOrStdout(), "%s\n", hint)
		}
	}
	return err
}
