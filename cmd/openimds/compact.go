package main

import (
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

func newCompact() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Write the store anew, without the room that deleted records have left",
		Long: `Write the store of a server that does not run anew, without the room that deleted records have left.
A store never becomes smaller by itself; what is deleted in it makes room for what comes.

The new file is written beside the old one, so that there must be room for it, and takes its place once
it is whole and on disk. If that fails the old one stays as it is.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := dataDirOr(dataDir)
			if err != nil {
				return err
			}
			c, err := server.Compact(dir)
			if err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), "%s: %d KB before, %d KB now\n", c.Path, c.Before>>10, c.After>>10)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", dataDirUsage)
	return cmd
}
