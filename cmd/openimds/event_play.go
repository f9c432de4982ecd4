package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newEventPlay(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "play FILE [NAME...]",
		Short: "Play a timeline of events from a YAML file",
		Long: `Play a timeline of events from a YAML file, on the instances that it names or that the command
line names in their place. Times count from the start of the command.

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
			t, err := readTimeline(args[0], args[1:])
			if err != nil {
				return err
			}
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			if err := t.meets(cmd.Context(), client); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return t.play(cmd.Context(), func(m *moment) error {
				return c.announce(cmd, m.Instances, m.request(time.Now()))
			})
		},
	}
}

// meets asks for every instance that is named, so that a misspelt one is found before the first step.
func (t *timeline) meets(ctx context.Context, client *client) error {
	known := map[string]bool{}
	for i := range t.Timeline {
		for _, name := range t.Timeline[i].Instances {
			if known[name] {
				continue
			}
			if err := client.call(ctx, targetLightsail+"GetInstanceState", nameOnly{name}, nil); err != nil {
				return fmt.Errorf("line %d: %w", t.Timeline[i].line, err)
			}
			known[name] = true
		}
	}
	return nil
}

// play announces each step when it is due.
func (t *timeline) play(ctx context.Context, announce func(*moment) error) error {
	start := time.Now()
	for i := range t.Timeline {
		m := &t.Timeline[i]
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(start.Add(time.Duration(m.At)))):
		}
		if err := announce(m); err != nil {
			return err
		}
	}
	return nil
}
