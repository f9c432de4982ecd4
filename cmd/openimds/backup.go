package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

const dataDirUsage = "where the server keeps its data (default: $XDG_STATE_HOME/openimds, else ~/.local/state/openimds)"

func newBackup() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all of a data directory that there is to keep into a new file",
		Long: `Write all of a data directory that there is to keep into a new file (mode 0600; one that is there is not
overwritten). A server that runs on it goes on meanwhile, and gives the state of one moment; one that does not run is
not needed. It takes this machine's user of the server, or root.

The backup has all files of the directory: the store with the keys of all instances' session tokens, the access keys of
the control API, the keys that sign identity documents, and the audit log. Keep it as secret as the directory itself.`,
		Example: `  openimds backup openimds-backup.tar
  openimds backup /mnt/backup/openimds.tar --data-dir /var/lib/openimds`,
		Args: names(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := aFile(cmd, args[0], "a backup holds keys, and is written as a new one that only its owner reads"); err != nil {
				return err
			}
			dir, err := dataDirOr(dataDir)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			running, err := server.Backup(ctx, dir, args[0])
			if ctx.Err() != nil {
				return fmt.Errorf("no backup was made: %w", context.Cause(ctx))
			}
			if err != nil {
				return err
			}
			of := "which no server has open"
			if running {
				of = "whose server goes on"
			}
			return say(cmd.OutOrStdout(), "%s: all of %s, %s; it holds keys, keep it secret\n", args[0], dir, of)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", dataDirUsage)
	return cmd
}

func newRestore() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data directory of a backup",
		Long: `Make a data directory of a backup that 'openimds backup' wrote. The directory must be empty, or not there: no server
runs on it then, and nothing is overwritten. All is checked before anything is in its place. The files are the owner's
of the directory.`,
		Example: `  openimds restore openimds-backup.tar --data-dir ./data`,
		Args:    names(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := aFile(cmd, args[0], "who could have written a backup is looked at first"); err != nil {
				return err
			}
			dir, err := dataDirOr(dataDir)
			if err != nil {
				return err
			}
			_, before := os.Lstat(dir)
			if err := server.Restore(args[0], dir); err != nil {
				if errors.Is(before, fs.ErrNotExist) {
					_ = os.Remove(dir) // which was made for it, and is empty again
				}
				return err
			}
			if err := restoreProfiles(dir); err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), "%s: as in %s\n", dir, args[0])
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", dataDirUsage)
	return cmd
}
