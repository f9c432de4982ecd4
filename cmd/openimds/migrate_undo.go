package main

import (
	"context"
	"fmt"

	"github.com/openimds/openimds/migrate"
	"github.com/spf13/cobra"
)

func newMigrateUndo(m *migrateFlags) *cobra.Command {
	r := runFlags{migrateFlags: m}
	var force bool
	cmd := &cobra.Command{
		Use:   "undo PLAN",
		Short: "Give instances back the options that they had before the plan",
		Long: `Take back what the plan has required and is still in force: each instance gets the tokens option that it had, the
latest first. What else somebody has changed of one since stays, and is told of; with --force it gets exactly the options
that it had. One that cannot be changed keeps no other from it, and 'resume' tries it again; so it is with all of a
region whose account enforces session tokens (EC2's HttpTokensEnforced), until that is ended.

` + migrateCodes,
		Example: `  openimds migrate undo plan.yaml
  openimds migrate undo plan.yaml --yes`,
		Args: names(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := r.told(args[0])
			if err != nil {
				return err
			}
			if state.Plan == nil {
				return fmt.Errorf("%s: %w", args[0], migrate.ErrNotInForce)
			}
			n := 0
			for _, p := range state.All() {
				if p.InForce || p.Gone || force && p.At == migrate.Kept {
					n++
				}
			}
			yes, err := r.agreed(cmd, n > 0, fmt.Sprintf("Give %s its options back?", counted(n, "instance")), summaries(state), func(row func(...any)) { rowsOfState(state, row) })
			if err != nil || !yes {
				return err
			}
			p, err := r.providerFor(cmd, args[0], state.Plan, state)
			if err != nil {
				return err
			}
			return r.run(cmd, args[0], p, false, func(ctx context.Context, run *migrate.Run) error { return run.Undo(ctx, force) })
		},
	}
	r.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "also overwrite what somebody else has changed since")
	return cmd
}
