package main

import (
	"fmt"

	"github.com/openimds/openimds/scenario"
	"github.com/spf13/cobra"
)

func newEventPlay(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "play FILE [NAME...]",
		Short: "Play a timeline of events from a YAML file",
		Long: `Play a timeline of events from a YAML file (- is standard input), on the instances that it names or
that the command line names in their place. Times count from the start of the command. With -o json, each change is a
line as it is made.

  instances: [demo]
  timeline:
    - at: 10s
      rebalance:
    - at: 30s
      spot: {action: terminate, in: 2m}
    - at: 150s
      clear: [spot, rebalance]`,
		Args: names(1, 0, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readInput(cmd, args[0], scenario.MaxFile)
			if err != nil {
				return err
			}
			t, err := scenario.ParseTimeline(text, args[1:])
			if err != nil {
				return usagef("%s: %w", args[0], err)
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			if err := t.Meet(cmd.Context(), api); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return t.Play(cmd.Context(), api, c.tell(cmd))
		},
	}
}
