package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

const callersHelp = `Show who calls the metadata service, and who of them still without a token.

A row is a caller: an address, a user agent, and the part of the tree that it asks for. The columns of
counts have its calls in the time that --since says, or all that are remembered:

  V1            without a token, whatever became of it
  V1 REFUSED    those of them that were refused because a token is required or the endpoint is disabled
  LAST V1       the last of them
  V2            with a token, or for one
  LAST SEEN     the last call of any kind
  PERIOD        how often it came lately: boot, every so many seconds or minutes, hourly, daily, weekly, monthly,
                constant (without a pause), once, or unknown until enough was seen
  CALLER        its command line without secrets, where it is a process of this host, else its user agent; of
                rows that would look the same, what differs in brackets: part of the tree, user agent, program,
                unit or container

--wide shows all that is known, and takes the calls apart:

  V1 ANSWERED   without a token, and answered
  V1 FAILED     without a token, and failed for another reason: nothing there, too many, a fault on purpose
  FIRST V1      the first call without a token, whatever became of it
  TOKENS        tokens given
  V2 ANSWERED   with a token, and answered
  V2 FAILED     with a token or for one, and failed

Of a guest that is processes, containers or namespaces of this host, a row is of one program, with its user, its
unit or container, its package and its command line without secrets; a process that had ended before it was
looked for is not named. Of a virtual machine there is what the wire tells. Below the table stands what there is to
do about callers of version 1.

Times are UTC. What is summed up by the hour or day already is counted whole: the line below the table, and
countedSince in JSON, tell the beginning.`

func newCallers() *cobra.Command {
	var c clientConfig
	var since span
	var every, v1, wide bool
	var by string
	var selected selection
	cmd := &cobra.Command{
		Use:   "callers [NAME...]",
		Short: "Show who calls the metadata service, and who of them still without a token",
		Long:  callersHelp,
		Example: `  openimds callers --v1 --since 7d
  openimds callers web-1 --watch
  openimds callers --all --v1 --by agent`,
		Args: func(cmd *cobra.Command, args []string) error { return selected.check(cmd, args, true) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if since < 0 {
				return usagef("--since cannot be negative")
			}
			if by != "" && !slices.Contains(groupings(), by) {
				return usagef("--by %q: give one of %s", by, strings.Join(groupings(), ", "))
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			return c.watch(cmd, every, func(ctx context.Context, out io.Writer) error {
				callers := callersOf{cmd: cmd, selected: &selected, args: args}
				if err := c.showCallers(ctx, out, cmd.ErrOrStderr(), api, &callers, time.Duration(since), v1, callersView{by: by, wide: wide}); err != nil {
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
	f.StringVar(&by, "by", "", "sum up by `what` callers have in common: process, unit, container, agent or instance")
	f.BoolVar(&wide, "wide", false, "all columns of the table")
	selected.add(f)
	f.BoolVar(&every, "watch", false, "show again every 2 seconds, until Ctrl-C; with -o json, a line each time")
	return cmd
}

func (c *clientConfig) showCallers(ctx context.Context, out, errs io.Writer, api *client.Client, callers *callersOf, since time.Duration, v1 bool, shown callersView) error {
	request := wire.GetCallersRequest{}
	if since > 0 {
		request.Since = awsjson.At(time.Now().Add(-since).Truncate(time.Millisecond))
	}
	shown.callers = []wire.MetadataCaller{}
	var known []wire.Known
	var refused []wire.InstanceRefusal
	var unasked []wire.UnknownRefusals
	request.Refusals = len(callers.args) > 0 && c.output != "json" // which has them in no place
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
		known, refused = append(known, page.Known...), append(refused, page.Refusals...)
		unasked = append(unasked, page.RefusalsUnknown...)
		for _, caller := range page.Callers {
			if !v1 || ofV1(caller, request.Since.OrZero()) {
				shown.callers = append(shown.callers, caller)
			}
		}
	}
	shown.since = request.Since.OrZero()
	if err := shown.show(c, out); err != nil {
		return err
	}
	if c.output == "json" {
		return sayKnown(errs, "openimds: ", slices.DeleteFunc(known, func(k wire.Known) bool { return k.Complete }))
	}
	if err := sayRefusals(out, refused, unasked); err != nil {
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
				when(*k.Since), when(*k.Until), openimds.Brief(time.Duration(k.MissingSeconds)*time.Second))
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
