package main

import (
	"fmt"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

func newOperations() *cobra.Command {
	var c clientConfig
	var limit int
	cmd := &cobra.Command{
		Use:   "operations [NAME]",
		Short: "List the changes that clients asked for, the latest first",
		Long: `List the changes that clients asked for, the latest first: all that are remembered (90 days, 50,000 at most), or
those of the resource that has, or had, a name. Times are UTC. 'openimds audit' tells who asked.`,
		Example: `  openimds operations --limit 20
  openimds operations demo -o json`,
		Args: names(0, 1, "at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit cannot be negative; 0 is no limit")
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			all := []wire.Operation{}
			pages := client.Pages(cmd.Context(), api, wire.GetOperations, wire.PageRequest{})
			if len(args) > 0 {
				pages = client.Pages(cmd.Context(), api, wire.GetOperationsForResource, wire.GetOperationsForResourceRequest{ResourceName: args[0]})
			}
			for page, err := range pages {
				if err != nil {
					return err
				}
				if all = append(all, page.Operations...); limit > 0 && len(all) >= limit {
					all = all[:limit]
					break
				}
			}
			if len(all) == 0 && len(args) > 0 {
				if err := noOperations(cmd, api, args[0]); err != nil {
					return err
				}
			}
			return c.show(cmd.OutOrStdout(), all, func(row func(...any)) {
				row("BEGUN", "RESOURCE", "OPERATION", "STATUS", "SINCE", "DETAILS")
				for _, op := range all {
					row(when(op.CreatedAt), op.ResourceName, op.OperationType, op.Status, when(op.StatusChangedAt), dash(op.OperationDetails), op.ErrorDetails)
				}
			})
		},
	}
	c.addFlags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most; 0: all")
	cmd.ValidArgsFunction = completeInstances
	return cmd
}

// noOperations tells why there is nothing to show of a resource: that it has none, or that there is no such instance.
func noOperations(cmd *cobra.Command, api *client.Client, name string) error {
	if _, err := client.Call(cmd.Context(), api, wire.GetInstance, wire.GetInstanceRequest{InstanceName: name}); err != nil {
		return fmt.Errorf("no operation of %s is remembered: %w", name, err)
	}
	return say(cmd.ErrOrStderr(), "openimds: no operation of %s is remembered\n", name)
}
