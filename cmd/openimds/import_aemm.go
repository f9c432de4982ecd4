package main

import (
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/aemm"
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
instance has it. A line on standard error says what is not carried over, and why.

  openimds import aemm aemm-config.json`,
		Args: names(1, 2, "a file, and at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := defaultInstance
			if len(args) > 1 {
				name = args[1]
			}
			if err := openimds.ValidateName(name); err != nil {
				return usageError{err}
			}
			text, err := readBounded(cmd, args[0], aemm.MaxFile)
			if err != nil {
				return err
			}
			plan, err := aemm.Decode(text, time.Now())
			if err != nil {
				return usagef("%s: %w", args[0], err)
			}
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.onto(cmd, client, name, func() error { return c.carryOut(cmd, client, name, plan) }); err != nil {
				return err
			}
			for _, note := range plan.Notes {
				_ = say(cmd.ErrOrStderr(), "%s: %s\n", args[0], note)
			}
			return nil
		},
	}
}

// carryOut makes the changes of a plan: the values first, for they are what may be refused.
func (c *clientConfig) carryOut(cmd *cobra.Command, client *client, name string, plan *aemm.Plan) error {
	values := setRequest{nameOnly: nameOnly{name}, Overlay: plan.Overlay, OverlayRemove: plan.Uncover, UserData: plan.UserData, RoleName: plan.RoleName}
	if err := c.operations(cmd, client, targetOpenIMDS+"SetInstance", values); err != nil {
		return err
	}
	events := eventRequest{nameOnly: nameOnly{name}}
	if s := plan.Spot; s != nil {
		events.Spot = &spotEvent{s.Action, epochOf(s.Time)}
	}
	if plan.RebalanceAt != nil {
		events.Rebalance = &rebalanceEvent{epochOf(*plan.RebalanceAt)}
	}
	if m := plan.Maintenance; m != nil {
		events.Maintenance = &maintenanceEvent{EventID: m.ID, Code: m.Code, Description: m.Description, State: m.State}
		for _, f := range []struct {
			to **epoch
			at time.Time
		}{{&events.Maintenance.NotBefore, m.NotBefore}, {&events.Maintenance.NotAfter, m.NotAfter}, {&events.Maintenance.NotBeforeDeadline, m.NotBeforeDeadline}} {
			if !f.at.IsZero() {
				at := epochOf(f.at)
				*f.to = &at
			}
		}
	}
	if events.Spot != nil || events.Rebalance != nil || events.Maintenance != nil {
		if err := c.operations(cmd, client, targetOpenIMDS+"UpdateInstanceEvents", events); err != nil {
			return err
		}
	}
	if plan.Tokens == nil {
		return nil
	}
	return c.operations(cmd, client, targetLightsail+"UpdateInstanceMetadataOptions", struct {
		nameOnly
		Tokens string `json:"httpTokens"`
	}{nameOnly{name}, string(*plan.Tokens)})
}
