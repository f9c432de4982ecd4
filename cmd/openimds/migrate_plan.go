package main

import (
	"fmt"
	"time"

	"github.com/openimds/openimds/migrate"
	"github.com/spf13/cobra"
)

func newMigratePlan(m *migrateFlags) *cobra.Command {
	var f criteriaFlags
	var d migrate.Draft
	hold := span(migrate.DefaultHold)
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Write a plan: who goes first, how long each wave is watched, who is excepted",
		Long: `Print a plan (YAML) for 'openimds migrate apply': the waves, how long each is watched before the next, what
makes an instance ready, and exceptions, each with an owner and an end. It is a file to be read, changed and kept with
your other files; below it stands how ready each instance is now.

The names in --canary go first, then the waves in their order, then all that is left.`,
		Example: `  openimds migrate plan --canary web-1 > plan.yaml
  openimds migrate plan --canary web-1 --wave tag:env=staging --wave name:api-* --wave share:25% --hold 1h > plan.yaml
  openimds migrate plan --provider lightsail --all-regions > plan.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if d.Criteria, err = f.criteria(); err != nil {
				return err
			}
			if _, err := migrate.WritePlan(d, nil); err != nil {
				return usagef("--wave: %w", err)
			}
			p, err := m.openProvider(cmd.Context())
			if err != nil {
				return err
			}
			found, err := assessed(cmd.Context(), p, d.Canary, d.Criteria)
			if err == nil && len(d.Canary) > 0 {
				found, err = assessed(cmd.Context(), p, nil, d.Criteria)
			}
			if err != nil {
				return err
			}
			d.Provider, d.Regions, d.Hold = p.Name(), p.Regions(), time.Duration(hold)
			d.Unseen = p.Name() == "lightsail"
			text, err := migrate.WritePlan(d, found)
			if err != nil {
				return err
			}
			return m.showText(cmd, text, found)
		},
	}
	f.add(cmd)
	d.Provider, d.Regions = "openimds", nil
	cmd.Flags().StringSliceVar(&d.Canary, "canary", nil, "the `names` of instances that go first")
	cmd.Flags().StringArrayVar(&d.Waves, "wave", nil, "a further `wave`: name:PATTERN, tag:KEY=VALUE or share:10%; repeatable, in their order")
	cmd.Flags().Var(&hold, "hold", "how long a wave is watched before the next one, as a `duration`")
	return cmd
}

// showText prints a plan, or with -o json what it was made of.
func (m *migrateFlags) showText(cmd *cobra.Command, text string, found []migrate.Assessment) error {
	if m.output == "json" {
		return m.show(cmd.OutOrStdout(), map[string]any{"plan": text, "instances": found}, nil)
	}
	_, err := cmd.OutOrStdout().Write([]byte(text))
	return err
}

// readPlan reads a plan.
func readPlan(file string) (*migrate.Plan, error) {
	if file == "-" {
		return nil, usagef("- is no plan: one is a file, with its journal beside it; one that is called so is ./-")
	}
	text, err := readFile(file, migrate.MaxFile)
	if err != nil {
		return nil, usagef("cannot read the plan: %w", err)
	}
	plan, err := migrate.ParsePlan(text)
	if err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	return plan, nil
}

// sameText refuses a plan that is not the one that a journal began with, and says where it differs.
func sameText(file, began string) error {
	text, err := readFile(file, migrate.MaxFile)
	if err != nil {
		return nil //nolint:nilerr // the journal has it
	}
	if string(text) == began {
		return nil
	}
	line := 1
	for i := 0; i < min(len(text), len(began)) && text[i] == began[i]; i++ {
		if text[i] == '\n' {
			line++
		}
	}
	return fmt.Errorf("%s was edited since it began (line %d is the first that differs): --as-begun goes on with the plan as it was, which the journal has; to have the edited plan, take this one back with 'openimds migrate undo', or go on and apply it then", file, line)
}
