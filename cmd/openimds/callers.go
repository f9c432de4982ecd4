package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
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

const callersHelp = `Show who calls the metadata service, and who of them still without a token.

A row is a caller: an address, a user agent, and the part of the tree that it asks for. The columns of
counts have its calls in the time that --since says, or all that are remembered:

  V1 ANSWERED   without a token, and answered
  V1 REFUSED    without a token, and refused because one is required or the endpoint is disabled
  V1 FAILED     without a token, and failed for another reason: nothing there, too many, a fault on purpose
  FIRST V1, LAST V1
                the first and the last call without a token, whatever became of it
  TOKENS        tokens given
  V2 ANSWERED   with a token, and answered
  V2 FAILED     with a token or for one, and failed
  LAST SEEN     the last call of any kind

Times are UTC. What is summed up by the hour or day already is counted whole: the line below the table, and
countedSince in JSON, tell the beginning.`

func newCallers() *cobra.Command {
	var c clientConfig
	var since span
	var every, v1 bool
	var selected selection
	cmd := &cobra.Command{
		Use:   "callers [NAME...]",
		Short: "Show who calls the metadata service, and who of them still without a token",
		Long:  callersHelp,
		Example: `  openimds callers --v1 --since 7d
  openimds callers web-1 --watch`,
		Args: func(cmd *cobra.Command, args []string) error { return selected.check(cmd, args, true) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if since < 0 {
				return usagef("--since cannot be negative")
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			return c.watch(cmd, every, func(ctx context.Context, out io.Writer) error {
				callers := callersOf{cmd: cmd, selected: &selected, args: args}
				if err := c.showCallers(ctx, out, cmd.ErrOrStderr(), api, &callers, time.Duration(since), v1); err != nil {
					return err
				}
				return callers.failed
			})
		},
	}
	c.addFlags(cmd)
	f := cmd.Flags()
	f.Var(&since, "since", "only callers seen in the last `duration` (1h30m, 7d), and only what they called in it; 0: all that is remembered")
	f.BoolVar(&v1, "v1", false, "only callers that came without a token in that time, or whom the token that they asked for did not reach")
	selected.add(f)
	f.BoolVar(&every, "watch", false, "show again every 2 seconds, until Ctrl-C; with -o json, a line each time")
	return cmd
}

// span is a duration that may also count days ("7d", "1d12h").
type span time.Duration

// String is [pflag.Value].
func (s *span) String() string { return time.Duration(*s).String() }

// Type is [pflag.Value].
func (s *span) Type() string { return "duration" }

// Set is [pflag.Value].
func (s *span) Set(text string) error {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return errors.New("a duration is a number with a unit (90s, 1h30m, 7d)")
	}
	whole := time.Duration(n) * 24 * time.Hour
	if rest != "" || !found {
		part, err := time.ParseDuration(rest)
		if err != nil {
			return errors.New("a duration is a number with a unit (90s, 1h30m, 7d)")
		}
		whole += part
	}
	*s = span(whole)
	return nil
}

// ofV1 says whether a caller came without a token at or after a time, or a token did not reach it.
func ofV1(c wire.MetadataCaller, since time.Time) bool {
	if u := c.TokenUndelivered; u != nil && !u.Time.Before(since) {
		return true
	}
	return openimds.V1Calls(c.Counts) > 0
}

func (c *clientConfig) showCallers(ctx context.Context, out, errs io.Writer, api *client.Client, callers *callersOf, since time.Duration, v1 bool) error {
	request := wire.GetCallersRequest{}
	if since > 0 {
		request.Since = awsjson.At(time.Now().Add(-since).Truncate(time.Millisecond))
	}
	shown := []wire.MetadataCaller{}
	var known []wire.Known
	for page, err := range callers.pages(ctx, api, request) {
		if err != nil {
			return err
		}
		for _, f := range page.Faults { // not among the callers, which scripts read
			if err := say(errs, "openimds: %s meets faults on purpose: %s\n", f.InstanceName, f.Faults); err != nil {
				return err
			}
		}
		for _, r := range page.Rehearsals {
			if err := say(errs, "openimds: %s rehearses required tokens: %s\n", r.InstanceName, r.Rehearsal); err != nil {
				return err
			}
		}
		known = append(known, page.Known...)
		for _, caller := range page.Callers {
			if !v1 || ofV1(caller, request.Since.OrZero()) {
				shown = append(shown, caller)
			}
		}
	}
	err := c.show(out, shown, func(row func(...any)) {
		row("INSTANCE", "SOURCE", "V1 ANSWERED", "V1 REFUSED", "V1 FAILED", "FIRST V1", "LAST V1", "TOKENS", "V2 ANSWERED", "V2 FAILED", "LAST SEEN", "PATHS", "USER AGENT")
		for _, caller := range shown {
			n := caller.Counts
			row(caller.InstanceName, caller.Source, n[openimds.MetricNoToken], n[openimds.MetricNoTokenRejected], n[openimds.CountNoTokenFailed],
				whenever(caller.FirstWithoutToken), whenever(caller.LastWithoutToken), n[openimds.MetricTokenRequests], n[openimds.MetricWithToken],
				n[openimds.CountWithTokenFailed], when(caller.LastSeen), caller.PathGroup, dash(caller.UserAgent))
		}
	})
	if err != nil {
		return err
	}
	if c.output == "json" {
		return sayKnown(errs, "openimds: ", slices.DeleteFunc(known, func(k wire.Known) bool { return k.Complete }))
	}
	for _, caller := range shown {
		if hint := hint(caller, request.Since.OrZero()); hint != "" && err == nil {
			err = say(out, "%s\n", hint)
		}
	}
	if err != nil {
		return err
	}
	return sayKnown(out, "", known)
}

// sayKnown says since when and until when calls were counted: a caller that is not shown may have called at
// another time.
func sayKnown(w io.Writer, before string, known []wire.Known) error {
	complete := 0
	var earliest awsjson.Epoch
	for _, k := range known {
		var err error
		switch {
		case k.Complete:
			complete++
			if earliest.IsZero() || k.Since.Before(earliest.Time) {
				earliest = *k.Since
			}
		case k.Since == nil:
			err = say(w, "%s%s: unknown: no calls were counted in that time\n", before, k.InstanceName)
		case k.MissingSeconds > 0:
			err = say(w, "%s%s: not all is known: calls were counted from %s until %s, without %s in between, when it was stopped or its host was away\n", before, k.InstanceName,
				when(*k.Since), when(*k.Until), time.Duration(k.MissingSeconds)*time.Second)
		default:
			err = say(w, "%s%s: not all is known: calls were counted from %s until %s\n", before, k.InstanceName, when(*k.Since), when(*k.Until))
		}
		if err != nil {
			return err
		}
	}
	if complete == 0 {
		return nil
	}
	return say(w, "%scalls of %s are counted since %s\n", before, counted(complete, "instance"), when(earliest))
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func whenever(e *awsjson.Epoch) string {
	if e == nil {
		return "-"
	}
	return when(*e)
}
