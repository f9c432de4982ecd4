package main

import (
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/scenario"
	"github.com/spf13/cobra"
)

func newImport() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Make an instance of what another metadata service or mock answers",
		Args:  noSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.addFlags(cmd)
	cmd.AddCommand(newImportDump(&c), newImportAEMM(&c))
	return cmd
}

func newImportDump(c *clientConfig) *cobra.Command {
	var crawl crawlFlags
	cmd := &cobra.Command{
		Use:   "dump FILE|URL NAME",
		Short: "Let an instance answer what was recorded, or what a running service answers",
		Long: `Let the instance NAME answer what 'openimds record' has recorded in FILE (- is standard input), or
what the metadata service at URL answers now. The instance is made if there is none of that name.

What is announced, user data and values laid over paths go before the recording, so it can be changed
live.`,
		Example: `  openimds import dump tree.json web
  openimds instance set web --set meta-data/instance-type=m7g.large
  openimds event spot web
  openimds instance set web --no-recording`,
		Args: names(2, 2, "a file or URL, and a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := openimds.ValidateName(args[1]); err != nil {
				return usageError{err}
			}
			var r *openimds.Recording
			var err error
			if strings.HasPrefix(args[0], "http://") || strings.HasPrefix(args[0], "https://") {
				r, err = crawl.run(cmd, args[0])
			} else {
				r, err = readRecording(cmd, args[0])
			}
			if err != nil {
				return err
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			tell, end := c.gather(cmd)
			return end(scenario.OfRecording(r).Onto(cmd.Context(), api, args[1], tell))
		},
	}
	crawl.add(cmd)
	return cmd
}
