package main

import (
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/scenario"
	"github.com/openimds/openimds/scenario/aemm"
	"github.com/spf13/cobra"
)

func newImportAEMM(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "aemm FILE [NAME]",
		Short: "Let an instance answer what a configuration of amazon-ec2-metadata-mock says",
		Long: `Let the instance NAME (demo unless given) answer what the JSON configuration FILE of
amazon-ec2-metadata-mock says; - is standard input. The instance is made if there is none of that name.

Values of the file are laid over the paths that the mock answers them at, user data and role become the
instance's, "imdsv2" its option, "spot" and "events" are announced. What the file leaves out stays as the
instance has it. For each key that is not carried over, a line on standard error says so, and why.`,
		Example: `  openimds import aemm aemm-config.json`,
		Args:    names(1, 2, "a file, and at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := defaultInstance
			if len(args) > 1 {
				name = args[1]
			}
			if err := openimds.ValidateName(name); err != nil {
				return usageError{err}
			}
			text, err := readInput(cmd, args[0], aemm.MaxFile)
			if err != nil {
				return err
			}
			plan, err := aemm.Decode(text, time.Now())
			if err != nil {
				return usagef("%s: %w", args[0], err)
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			tell, end := c.gather(cmd)
			if err := end(scenario.OfMock(plan).Onto(cmd.Context(), api, name, tell)); err != nil {
				return err
			}
			for _, note := range plan.Notes {
				_ = say(cmd.ErrOrStderr(), "%s: %s\n", args[0], note)
			}
			return nil
		},
	}
}
