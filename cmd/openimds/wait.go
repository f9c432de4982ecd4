package main

import (
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

const noWait = "no-wait"

// waits gives a command the choice to end before what it asked for has happened; without it, it waits.
func waits(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Bool(noWait, false, "do not wait until the instance runs or is stopped")
	return cmd
}

// ended waits until operations have ended, if the command is one that waits.
func ended(cmd *cobra.Command, api *client.Client, made []wire.Operation) ([]wire.Operation, error) {
	if hasnt, err := cmd.Flags().GetBool(noWait); err != nil || hasnt {
		return made, nil
	}
	return client.Wait(cmd.Context(), api, made)
}

// whenEnded makes of what tells of changes, and of their end, what does so when the changes have happened, if the
// command is one that waits: all are waited for together.
func whenEnded(cmd *cobra.Command, api *client.Client, tell func(wire.Operation) error, end func(error) error) (func(wire.Operation) error, func(error) error) {
	var all []wire.Operation
	collect := func(op wire.Operation) error {
		all = append(all, op)
		return nil
	}
	return collect, func(err error) error {
		now, failed := ended(cmd, api, all)
		for _, op := range now {
			if err := tell(op); err != nil {
				return err
			}
		}
		if err == nil {
			err = failed
		}
		return end(err)
	}
}
