package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds/migrate"
	"github.com/spf13/cobra"
)

const migrateStatusHelp = `Show of each instance whether tokens may be required of it, and why not. The verdicts:

  done      tokens are required
  ready     nobody called without a token, answered or refused, in all of the window
  not yet   somebody did, or the window is not over, or has not seen what is asked for
  unknown   nobody can tell: a metric is missing, late or has a gap, or calls may have been refused uncounted

V1 CALLS are those without a token in the window that were answered, REFUSED those that were refused: both count. A caller whom its token does not reach for the
hop limit falls back to IMDSv1 and is listed apart: it needs another hop limit, not another version. BOOTS are
starts and reboots that went through the API, DAYS, WEEKS and MONTH ENDS what the time has without a gap: a zero
proves nothing about what had no occasion to run.`

func newMigrateStatus(m *migrateFlags) *cobra.Command {
	var f criteriaFlags
	cmd := &cobra.Command{
		Use:   "status [NAME…]",
		Short: "Show which instances are ready for tokens to be required, and why others are not",
		Long:  migrateStatusHelp,
		Example: `  openimds migrate status
  openimds migrate status web-1 --window 35d --month-ends 1
  openimds migrate status --provider lightsail --profile prod --all-regions -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			criteria, err := f.criteria()
			if err != nil {
				return err
			}
			p, err := m.openProvider(cmd.Context())
			if err != nil {
				return err
			}
			found, err := assessed(cmd.Context(), p, args, criteria)
			if err != nil {
				return err
			}
			return m.showStatus(cmd.OutOrStdout(), found)
		},
	}
	f.add(cmd)
	return cmd
}

// assessed are the instances of these names, or all.
func assessed(ctx context.Context, p migrate.Provider, names []string, c migrate.Criteria) ([]migrate.Assessment, error) {
	all, err := namedInstances(ctx, p, names)
	if err != nil {
		return nil, err
	}
	return migrate.Status(ctx, p, all, c, time.Now()), ctx.Err()
}

// namedInstances are those of these names, or all.
func namedInstances(ctx context.Context, p migrate.Provider, names []string) ([]migrate.Instance, error) {
	all, err := p.Instances(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(in migrate.Instance) bool { return in.Name == name }) {
			return nil, fmt.Errorf("there is no instance %q in %s", name, strings.Join(p.Regions(), ", "))
		}
	}
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(in migrate.Instance) bool { return !slices.Contains(names, in.Name) })
	}
	return all, nil
}

func (m *migrateFlags) showStatus(out io.Writer, found []migrate.Assessment) error {
	err := m.show(out, found, func(row func(...any)) {
		row("INSTANCE", "REGION", "VERDICT", "V1 CALLS", "REFUSED", "BOOTS", "DAYS", "WEEKS", "MONTH ENDS", "OPTIONS", "REASON")
		for _, a := range found {
			row(a.Name, a.Region, a.Verdict, numberOr(a.NoToken), numberOr(a.Rejected), unlessUnknown(a.Cycles.Boots), unlessUnknown(a.Cycles.Days), unlessUnknown(a.Cycles.Weeks), unlessUnknown(a.Cycles.MonthEnds), a.Options, a.Reason)
		}
	})
	if err != nil || m.output == "json" {
		return err
	}
	counts := map[migrate.Verdict]int{}
	for _, a := range found {
		counts[a.Verdict]++
		if err := sayCallers(out, a); err != nil {
			return err
		}
	}
	return say(out, "%s: %d done, %d ready, %d not yet, %d unknown\n", counted(len(found), "instance"),
		counts[migrate.Done], counts[migrate.Ready], counts[migrate.NotYet], counts[migrate.Unknown])
}

// sayCallers names who is in the way of one instance.
func sayCallers(out io.Writer, a migrate.Assessment) error {
	for _, c := range a.V1 {
		if err := say(out, "%s: without a token: %s, %d answered or failed, %d refused, the last at %s\n", a.Name, c, c.NoToken, c.Rejected, c.LastNoToken.UTC().Format(time.DateTime)); err != nil {
			return err
		}
	}
	for _, c := range a.Due {
		if err := say(out, "%s: comes %s and is due again: %s, the last without a token at %s\n", a.Name, c.Period, c, c.LastNoToken.UTC().Format(time.DateTime)); err != nil {
			return err
		}
	}
	for _, c := range slices.Concat(a.V1, a.Due) {
		for _, what := range c.Advice {
			if err := say(out, "%s: %s: %s\n", a.Name, c, what); err != nil {
				return err
			}
		}
	}
	for _, c := range a.Victims {
		needed := "another hop limit"
		if c.NeededHopLimit > 0 {
			needed = fmt.Sprintf("hop limit %d", c.NeededHopLimit)
		}
		if err := say(out, "%s: its token does not reach %s at hop limit %d; it needs %s: openimds options %s --hop-limit N\n", a.Name, c, c.LostAt, needed, a.Name); err != nil {
			return err
		}
	}
	if a.BlueprintCallsV1 {
		return say(out, "%s: software of its blueprint %s is taken to call without a token, at boot above all\n", a.Name, a.Blueprint)
	}
	return nil
}

func numberOr(n *int64) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}

func unlessUnknown(n int) string {
	if n < 0 {
		return "unknown"
	}
	return fmt.Sprint(n)
}
