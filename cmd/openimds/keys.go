package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/openimds/openimds/api/accesskeys"
	"github.com/spf13/cobra"
)

// newKeys makes "openimds keys". It edits the server's credentials file itself: whoever may do that
// is the owner of the installation, and the first key cannot come through an API that needs one.
func newKeys() *cobra.Command {
	var dataDir string
	var c clientConfig // for the output
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Create, list and revoke the control API's access keys",
		Long: `Create, list and revoke the access keys of the control API, in the credentials file of the server's
data directory. A running server obeys the change with its next request.`,
		Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	f.StringVar(&dataDir, "data-dir", "", "where the server keeps its data")
	f.StringVarP(&c.output, "output", "o", "table", "form of the output: table or json")
	open := func() (*accesskeys.File, string, error) {
		if err := c.checkOutput(); err != nil {
			return nil, "", err
		}
		dir := dataDir
		if dir == "" {
			var err error
			if dir, err = defaultDataDir(); err != nil {
				return nil, "", err
			}
		}
		path := filepath.Join(dir, credentialsFile)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("no server has its data in %s: start 'openimds serve' first, or name its --data-dir", dir)
		}
		return accesskeys.Open(path), path, nil
	}
	cmd.AddCommand(newKeysCreate(&c, open), newKeysList(&c, open), newKeysRevoke(&c, open), newKeysProcess(open))
	return cmd
}

type openKeys func() (*accesskeys.File, string, error)

func newKeysCreate(c *clientConfig, open openKeys) *cobra.Command {
	var readOnly bool
	cmd := &cobra.Command{
		Use:   "create PROFILE",
		Short: "Create a key under a new profile; its secret is in the file only",
		Args:  names(1, 1, "one profile name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, path, err := open()
			if err != nil {
				return err
			}
			key, err := keys.Create(args[0], readOnly)
			if err != nil {
				return err
			}
			return c.showKey(cmd.OutOrStdout(), key, "created %s in %s; use it with --profile %s\n", key.ID, path, key.Profile)
		},
	}
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "let the key look, but change nothing")
	return cmd
}

func newKeysList(c *clientConfig, open openKeys) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys, without their secrets",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, _, err := open()
			if err != nil {
				return err
			}
			all, err := keys.List()
			if err != nil {
				return err
			}
			shown := []shownKey{}
			for _, key := range all {
				shown = append(shown, shownOf(key))
			}
			return c.show(cmd.OutOrStdout(), shown, func(row func(...any)) {
				row("PROFILE", "KEY ID", "MAY")
				for _, key := range shown {
					row(key.Profile, key.ID, map[bool]string{true: "look", false: "change"}[key.ReadOnly])
				}
			})
		},
	}
}

// shownKey is what is shown of a key: never its secret.
type shownKey struct {
	ID       string `json:"accessKeyId"`
	Profile  string `json:"profile"`
	ReadOnly bool   `json:"readOnly"`
}

func shownOf(key accesskeys.Key) shownKey { return shownKey{key.ID, key.Profile, key.ReadOnly} }

// showKey tells of one key: as JSON, or in a line for people.
func (c *clientConfig) showKey(w io.Writer, key accesskeys.Key, format string, args ...any) error {
	if c.output == "json" {
		return c.show(w, shownOf(key), nil)
	}
	return say(w, format, args...)
}

func newKeysRevoke(c *clientConfig, open openKeys) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "revoke PROFILE|KEY-ID",
		Short: "Revoke a key: requests that it signs are refused from now on",
		Args:  names(1, 1, "one profile or key id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, _, err := open()
			if err != nil {
				return err
			}
			key, err := keys.Revoke(args[0], force)
			if err != nil {
				return err
			}
			return c.showKey(cmd.OutOrStdout(), key, "revoked %s\n", args[0])
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "revoke even the last key that may change something")
	return cmd
}
