package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/spf13/cobra"
)

// wireCaller is what the commands show of a caller of the metadata service.
type wireCaller struct {
	Instance  string           `json:"instanceName"`
	Source    string           `json:"source"`
	UserAgent string           `json:"userAgent"`
	PathGroup string           `json:"pathGroup"`
	Counts    map[string]int64 `json:"counts"`
	LastSeen  epoch            `json:"lastSeen"`
	// Undelivered is the latest answer with a token that did not arrive.
	Undelivered *struct {
		Time    epoch `json:"time"`
		Limit   int   `json:"hopLimit"`
		Needed  int   `json:"neededHopLimit"` // 0: not known
		Current int   `json:"currentHopLimit"`
	} `json:"tokenUndelivered"`
}

// hint says in a line that tokens did not reach a caller, who then looks like one of version 1 and is
// none. It is empty if the last one was lost before since, or if the hop limit was raised far enough.
func (c *wireCaller) hint(since epoch) string {
	u := c.Undelivered
	if u == nil || u.Time < since {
		return ""
	}
	what := fmt.Sprintf("token answer was not acknowledged, but hop limit %d is enough for this caller", u.Limit)
	switch {
	case u.Needed == 0 && u.Current > u.Limit, u.Needed > u.Limit && u.Current >= u.Needed:
		return ""
	case u.Needed == 0:
		what = fmt.Sprintf("token answer did not arrive: hop limit %d may be too small for this caller", u.Limit)
	case u.Needed > u.Limit:
		what = fmt.Sprintf("token answer did not arrive: hop limit %d is too small for this caller, which needs at least %d", u.Limit, u.Needed)
	}
	who := strings.TrimSpace(c.Source + " " + c.UserAgent)
	return fmt.Sprintf("%s, %s: %s (%d in all, the last at %v)", c.Instance, who, what, c.Counts[openimds.MetricTokenUndelivered], u.Time)
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
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			interval := time.Duration(0)
			if every {
				interval = 2 * time.Second
			}
			return watch(cmd, interval, func(ctx context.Context) error {
				return c.showCallers(ctx, cmd, client, args, since, v1)
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

func (c *clientConfig) showCallers(ctx context.Context, cmd *cobra.Command, client *client, args []string, since time.Duration, v1 bool) error {
	request := struct {
		Name  string  `json:"instanceName,omitempty"`
		Since float64 `json:"since,omitempty"`
	}{}
	if len(args) > 0 {
		request.Name = args[0]
	}
	if since > 0 {
		request.Since = float64(time.Now().Add(-since).UnixMilli()) / 1000
	}
	var answer struct {
		Callers []json.RawMessage `json:"callers"`
		Faults  []struct {
			Instance string          `json:"instanceName"`
			Faults   openimds.Faults `json:"faults"`
		} `json:"faults"`
	}
	if err := client.call(ctx, targetOpenIMDS+"GetCallers", request, &answer); err != nil {
		return err
	}
	for _, f := range answer.Faults { // not among the callers, which scripts read
		if err := say(cmd.ErrOrStderr(), "openimds: %s meets faults on purpose: %s\n", f.Instance, &f.Faults); err != nil {
			return err
		}
	}
	shown := []json.RawMessage{}
	var callers []wireCaller
	for _, raw := range answer.Callers {
		var caller wireCaller
		if err := json.Unmarshal(raw, &caller); err != nil {
			return err
		}
		if v1 && caller.Counts[openimds.MetricNoToken]+caller.Counts[openimds.MetricNoTokenRejected] == 0 && caller.Undelivered == nil {
			continue
		}
		shown, callers = append(shown, raw), append(callers, caller)
	}
	err := c.show(cmd.OutOrStdout(), shown, func(row func(...any)) {
		row("INSTANCE", "SOURCE", "WITHOUT TOKEN", "REFUSED", "WITH TOKEN", "LAST SEEN", "PATHS", "USER AGENT")
		for _, caller := range callers {
			row(caller.Instance, caller.Source, caller.Counts[openimds.MetricNoToken], caller.Counts[openimds.MetricNoTokenRejected],
				caller.Counts[openimds.MetricWithToken], caller.LastSeen, caller.PathGroup, dash(caller.UserAgent))
		}
	})
	for _, caller := range callers {
		if hint := caller.hint(epoch(request.Since)); hint != "" && err == nil && c.output != "json" {
			err = say(cmd.OutOrStdout(), "%s\n", hint)
		}
	}
	return err
}
