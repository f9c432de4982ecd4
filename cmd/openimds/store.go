package main

import (
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

func newStore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Copy an installation between a data directory and a store in etcd",
		Args:  noSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStoreCopy())
	return cmd
}

func newStoreCopy() *cobra.Command {
	c := server.Config{Named: func(member string) string { return "--" + flagOf[member] }}
	var from, to string
	cmd := &cobra.Command{
		Use:   "copy --from PLACE --to PLACE",
		Short: "Copy an installation, whose servers do not run, to a place that has none",
		Long: `Copy an installation, whose servers do not run, to a place that has none. A place is a data directory, or
the address of a store in etcd as 'openimds serve --store' takes it.

All is copied that outlasts a server: instances with the keys of their tokens, options, operations, alarms, what was
counted; and the access keys and the keys that sign. The audit log stays where it is. What was copied is read back and
compared. Nothing is overwritten: a place that has anything is refused.

A copy that is interrupted leaves a place that no server takes; have it copied again, which begins anew.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := settleFromEnvironment(cmd.Flags()); err != nil {
				return err
			}
			if from == "" || to == "" {
				return usagef("--from and --to: give both, each a data directory or an address in etcd")
			}
			if from == to {
				return usagef("--from and --to are the same place")
			}
			done, err := server.CopyStore(cmd.Context(), from, to, c)
			if err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), "copied and compared: %d records and %d files of keys, from %s to %s\n", done.Records, done.Files, from, to)
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "`place` that has the installation: a data directory or etcd://HOST:PORT,HOST:PORT/PREFIX")
	f.StringVar(&to, "to", "", "`place` that has none")
	addStoreFlags(f, &c)
	return cmd
}
