package main

import (
	"fmt"
	"strings"

	"github.com/openimds/openimds/migrate"
	"github.com/spf13/cobra"
)

// newMigrateEnforce makes the last step of a migration.
func newMigrateEnforce(m *migrateFlags) *cobra.Command {
	r := runFlags{migrateFlags: m}
	var off bool
	cmd := &cobra.Command{
		Use:   "enforce",
		Short: "Keep IMDSv1 off for good: an EC2 account launches no instance with it, and turns it on again on none",
		Long: `Have the account enforce session tokens in each of the regions (EC2's HttpTokensEnforced), and give them to new instances
that say nothing. A launch with IMDSv1, and whoever would turn it on again, is refused by EC2 from then on. It is done
when tokens are required of every instance of the regions, and not before. With --off it is taken back.`,
		Example: `  openimds migrate enforce --provider ec2 --region eu-west-1
  openimds migrate enforce --provider ec2 --region eu-west-1 --yes
  openimds migrate enforce --provider ec2 --region eu-west-1 --off --yes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if m.provider != "ec2" {
				return usagef("%w", migrate.ErrNoEnforcement)
			}
			p, err := m.openProvider(cmd.Context())
			if err != nil {
				return err
			}
			all, err := migrate.Enforcements(cmd.Context(), p)
			if err != nil {
				return err
			}
			n := 0
			for _, one := range all {
				if one.Enforced == off || !off && one.Default != "required" {
					n++
				}
			}
			question := "Enforce session tokens in " + strings.Join(p.Regions(), ", ") + "?"
			if off {
				question = "Enforce session tokens no longer in " + strings.Join(p.Regions(), ", ") + "?"
			}
			yes, err := r.agreed(cmd, n > 0, question, all, func(row func(...any)) { rowsOfEnforcements(all, row) })
			if err != nil || !yes {
				return err
			}
			if err := migrate.Enforce(cmd.Context(), p, !off); err != nil {
				return err
			}
			if all, err = migrate.Enforcements(cmd.Context(), p); err != nil {
				return err
			}
			return r.show(cmd.OutOrStdout(), all, func(row func(...any)) { rowsOfEnforcements(all, row) })
		},
	}
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&off, "off", false, "take it back: IMDSv1 can be turned on again")
	return cmd
}

func rowsOfEnforcements(all []migrate.Enforcement, row func(...any)) {
	row("REGION", "ENFORCED", "NEW INSTANCES", "NOT REQUIRED OF")
	for _, one := range all {
		enforced, begins, open := "no", one.Default, "none"
		if one.Enforced {
			enforced = "yes"
		}
		if begins == "" {
			begins = "no preference"
		}
		if n := len(one.Open); n > 0 {
			open = fmt.Sprintf("%d (%s)", n, strings.Join(one.Open[:min(n, 5)], ", "))
		}
		row(one.Region, enforced, begins, open)
	}
}
