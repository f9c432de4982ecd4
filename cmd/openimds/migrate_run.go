package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openimds/openimds/migrate"
	"github.com/spf13/cobra"
)

// runFlags are those of commands that carry a plan out.
type runFlags struct {
	*migrateFlags
	journal   string
	yes       bool
	noWayBack bool // of those that require tokens
}

func (r *runFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.journal, "journal", "", "`file` with what was done (default: the plan's name with .journal behind it)")
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do it; without, only show what would be done, or ask at a terminal")
}

// addNoWayBack is for those that require tokens.
func (r *runFlags) addNoWayBack(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.noWayBack, "no-way-back", false, "require tokens although the account enforces them, so that nobody gets IMDSv1 back")
}

// migrateCodes are what scripts may go by.
const migrateCodes = `Exit codes: 0, all was done that was to be done (also if nothing was: it says so); 1, it was not, and the line at the end says
why (somebody was refused and the plan stopped, a step failed, something was left); 2, the flags or the plan are wrong.`

func newMigrateApply(m *migrateFlags) *cobra.Command {
	r := runFlags{migrateFlags: m}
	cmd := &cobra.Command{
		Use:     "apply PLAN",
		Aliases: []string{"require"},
		Short:   "Require tokens as a plan says, wave by wave, and bring back by itself who still needs IMDSv1",
		Long: `Show what the plan would do now; with --yes, or after a yes at the terminal, do it.

Wave by wave, tokens are required of each instance that is ready. When a caller is refused that no exception puts up
with, its instance gets the option back that it had, the plan stops, and what it has not touched stays so. On an openimds
server that takes a moment; at AWS it is as soon as the metric tells. Each step is in the journal before it is done:
after a crash 'openimds migrate resume' goes on, 'openimds migrate undo' takes it all back.

An openimds server is told how far the plan is, for the console's page Migration; where that fails, the command says so
once and goes on.

When a step fails, nothing more is required, and what is required is still watched as long as its wave would be. A
process that is ended watches nothing any more, and says so.

Where the account enforces session tokens (EC2's HttpTokensEnforced), nobody can get IMDSv1 back: it is refused before
anything is required, unless --no-way-back says that this is understood.

` + migrateCodes,
		Example: `  openimds migrate apply plan.yaml
  openimds migrate apply plan.yaml --yes`,
		Args: names(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := readPlan(args[0])
			if err != nil {
				return err
			}
			if ended := plan.Ended(time.Now()); len(ended) > 0 {
				return fmt.Errorf("%s: %s", args[0], ended[0])
			}
			if state, err := r.told(args[0]); err == nil && state.Unfinished() {
				return fmt.Errorf("%s: %w", args[0], migrate.ErrUnfinished)
			}
			p, err := r.providerFor(cmd, args[0], plan, nil)
			if err != nil {
				return err
			}
			steps, err := r.preview(cmd, args[0], p, plan)
			if err != nil {
				return err
			}
			n := 0
			for _, step := range steps {
				if step.Requires {
					n++
				}
			}
			yes, err := r.agreed(cmd, n > 0, fmt.Sprintf("Require tokens of %s?", counted(n, "instance")), steps, func(row func(...any)) { rowsOfSteps(steps, row) })
			if err != nil || !yes {
				return err
			}
			return r.run(cmd, args[0], p, true, func(ctx context.Context, run *migrate.Run) error { return run.Apply(ctx, plan) })
		},
	}
	r.add(cmd)
	r.addNoWayBack(cmd)
	return cmd
}

// preview is what a plan would do now, if it may.
func (r *runFlags) preview(cmd *cobra.Command, file string, p migrate.Provider, plan *migrate.Plan) ([]migrate.Step, error) {
	if !r.noWayBack {
		if err := migrate.WayBack(cmd.Context(), p); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	steps, err := migrate.Preview(cmd.Context(), p, plan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, line := range plan.Strangers(steps) {
		if err := say(cmd.ErrOrStderr(), "openimds: %s: %s\n", file, line); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

func rowsOfSteps(steps []migrate.Step, row func(...any)) {
	row("WAVE", "INSTANCE", "REGION", "WOULD BE", "VERDICT", "WHY")
	for _, s := range steps {
		would := "left"
		if s.Requires {
			would = "required"
		}
		row(s.Wave, s.Assessment.Name, s.Assessment.Region, would, s.Assessment.Verdict, s.Why)
	}
}

// agreed shows what would be done, unless --yes says to do it, and asks where there is somebody to ask.
func (r *runFlags) agreed(cmd *cobra.Command, anything bool, question string, shown any, table func(func(...any))) (bool, error) {
	if r.yes {
		return true, nil
	}
	if err := r.show(cmd.OutOrStdout(), shown, table); err != nil {
		return false, err
	}
	switch {
	case !anything:
		return false, say(cmd.ErrOrStderr(), "openimds: there is nothing to be done\n")
	case canAsk(cmd.InOrStdin()):
		return true, askYes(cmd.InOrStdin(), cmd.ErrOrStderr(), question)
	}
	return false, say(cmd.ErrOrStderr(), "openimds: nothing was changed; --yes does it\n")
}

// run opens the journal of a plan and does something on it, telling of each step.
func (r *runFlags) run(cmd *cobra.Command, plan string, p migrate.Provider, begin bool, do func(context.Context, *migrate.Run) error) error {
	j, err := r.openJournal(cmd, plan, begin)
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	run, err := migrate.NewRun(p, j)
	if err != nil {
		return err
	}
	run.Name, run.NoWayBack = filepath.Base(plan), r.noWayBack
	run.Warn = func(text string) { _ = say(cmd.ErrOrStderr(), "openimds: %s\n", text) }
	j.Tell(func(record migrate.Record) { _ = r.sayRecord(cmd.OutOrStdout(), record) })
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := untilSignal(cmd.Context(), signals...)
	defer stop()
	err = do(ctx, run)
	if by, ok := errors.AsType[endedBy](context.Cause(ctx)); ok && err != nil {
		return fmt.Errorf("ended by a signal (%w) in the middle; the journal has how far it is: 'openimds migrate resume %s' goes on", by, plan)
	}
	return err
}

// providerFor makes the provider of a plan, with all regions in which its journal has instances; nil: it has none yet.
// Flags that say something else than the plan are refused, for nobody can tell which of them is meant.
func (r *runFlags) providerFor(cmd *cobra.Command, file string, plan *migrate.Plan, state *migrate.State) (migrate.Provider, error) {
	if cmd.Flags().Changed("provider") && r.provider != plan.Provider {
		return nil, usagef("--provider %s: %s is for %s", r.provider, file, plan.Provider)
	}
	regions, asked := slices.Clone(plan.Regions), r.flagRegions()
	if state != nil {
		regions = append(regions, state.Regions...)
		for _, p := range state.All() {
			regions = append(regions, p.Region)
		}
	}
	slices.Sort(regions)
	regions = slices.Compact(regions)
	if len(regions) == 0 {
		return r.providerOf(cmd.Context(), plan.Provider, asked)
	}
	if r.allRegions {
		return nil, usagef("--all-regions: %s is for %s", file, strings.Join(regions, ", "))
	}
	for _, region := range asked {
		if !slices.Contains(regions, region) {
			return nil, usagef("--region %s: %s is for %s", region, file, strings.Join(regions, ", "))
		}
	}
	if len(asked) > 0 && len(asked) < len(regions) {
		return nil, usagef("--region %s: %s is for all of %s", r.region, file, strings.Join(regions, ", "))
	}
	return r.providerOf(cmd.Context(), plan.Provider, regions)
}

func (r *runFlags) openJournal(cmd *cobra.Command, plan string, begin bool) (*migrate.Journal, error) {
	j, err := migrate.OpenJournal(r.journalOf(plan), begin, operator())
	switch {
	case migrate.NoJournal(err):
		return nil, fmt.Errorf("%s has no journal %s: it was never applied, or --journal names it", plan, r.journalOf(plan))
	case errors.Is(err, migrate.ErrLocked):
		return nil, fmt.Errorf("%w: somebody else is at work with this plan; wait until that has ended", err)
	case err != nil:
		return nil, err
	}
	if j.Torn {
		_ = say(cmd.ErrOrStderr(), "openimds: a process ended while it wrote the last line of %s; what that announced was not done\n", r.journalOf(plan))
	}
	return j, nil
}

func (r *runFlags) journalOf(plan string) string { return cmp.Or(r.journal, migrate.JournalOf(plan)) }

// operator is who is at work, for the journal.
func operator() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// sayRecord tells of a step.
func (r *runFlags) sayRecord(out io.Writer, record migrate.Record) error {
	if r.output == "json" {
		text, err := json.Marshal(record)
		if err != nil {
			return err
		}
		_, err = out.Write(append(text, '\n'))
		return err
	}
	words := []string{record.Time.Format(time.DateTime), string(record.Kind)}
	if record.Wave != "" && record.Instance == nil {
		words = append(words, record.Wave)
	}
	if record.Instance != nil {
		words = append(words, record.Instance.Name)
	}
	line := strings.Join(words, " ")
	if record.Reason != "" {
		line += ": " + record.Reason
	}
	return say(out, "%s\n", line)
}

func newMigrateResume(m *migrateFlags) *cobra.Command {
	r := runFlags{migrateFlags: m}
	var asBegun bool
	cmd := &cobra.Command{
		Use:   "resume PLAN",
		Short: "Go on with a plan, or with taking it back, after a crash or a stop",
		Long: `Go on where the journal of the plan ends: after a crash from the very step, after a stop without the instances
that were brought back. What is required by now is watched again from the moment when it was; an instance that cannot be
watched, or whose step fails, keeps no other from it. A journal of another server, account or region is refused.

` + migrateCodes,
		Example: `  openimds migrate resume plan.yaml
  openimds migrate resume plan.yaml --yes`,
		Args: names(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := r.told(args[0])
			if err != nil {
				return err
			}
			if state.Plan == nil || state.Ended == migrate.Finished || state.Ended == migrate.UndoFinished {
				return fmt.Errorf("%s: %w", args[0], migrate.ErrNothing)
			}
			if !asBegun && !state.Undo {
				if err := sameText(args[0], state.Plan.Text); err != nil {
					return err
				}
			}
			what := "Go on with the plan?"
			if state.Undo {
				what = "Go on with taking the plan back?"
			}
			yes, err := r.agreed(cmd, true, what, summaries(state), func(row func(...any)) { rowsOfState(state, row) })
			if err != nil || !yes {
				return err
			}
			p, err := r.providerFor(cmd, args[0], state.Plan, state)
			if err != nil {
				return err
			}
			return r.run(cmd, args[0], p, false, func(ctx context.Context, run *migrate.Run) error { return run.Resume(ctx) })
		},
	}
	r.add(cmd)
	r.addNoWayBack(cmd)
	cmd.Flags().BoolVar(&asBegun, "as-begun", false, "go on with the plan as it was when it began, although the file was edited since")
	return cmd
}

// told is what the journal of a plan tells.
func (r *runFlags) told(plan string) (*migrate.State, error) {
	records, err := migrate.ReadJournal(r.journalOf(plan))
	if migrate.NoJournal(err) {
		return nil, fmt.Errorf("%s has no journal %s: it was never applied, or --journal names it", plan, r.journalOf(plan))
	}
	if err != nil {
		return nil, err
	}
	return migrate.Replay(records)
}

// summary is how far an instance is.
type summary struct {
	migrate.Ref
	Wave    string           `json:"wave"`
	At      migrate.Kind     `json:"at"`
	InForce bool             `json:"inForce"`
	Before  *migrate.Options `json:"before,omitempty"`
	Reason  string           `json:"reason,omitempty"`
}

func summaries(state *migrate.State) []summary {
	all := []summary{}
	for _, p := range state.All() {
		s := summary{Ref: p.Ref, Wave: p.Wave, At: p.At, InForce: p.InForce, Reason: p.Reason}
		if p.Before != (migrate.Options{}) {
			s.Before = &p.Before
		}
		all = append(all, s)
	}
	return all
}

func rowsOfState(state *migrate.State, row func(...any)) {
	row("WAVE", "INSTANCE", "REGION", "LAST", "IN FORCE", "REASON")
	for _, s := range summaries(state) {
		row(dash(s.Wave), s.Name, s.Region, s.At, s.InForce, s.Reason)
	}
}
