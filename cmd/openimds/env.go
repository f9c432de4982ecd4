package main

import (
	"fmt"
	"strings"

	"github.com/openimds/openimds/printable"
	"github.com/spf13/cobra"
)

// newEnv makes "openimds env": lines for a shell that point AWS's clients at this installation.
func newEnv() *cobra.Command {
	var c serveConfig
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print shell lines that point AWS clients at openimds",
		Long: `Print shell lines that point AWS clients at openimds:

  eval "$(openimds env)"

The settings are those of "openimds serve", from the same flags, environment variables and file.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.settle(cmd.Flags()); err != nil {
				return err
			}
			access, err := c.Access()
			if err != nil {
				return err
			}
			for _, file := range []string{access.Credentials, access.CA} {
				if file != printable.Line(file) {
					return fmt.Errorf("no shell line can be printed for %s, whose name has control characters; choose another name", file)
				}
			}
			err = say(cmd.OutOrStdout(), `export AWS_EC2_METADATA_SERVICE_ENDPOINT=%s
export AWS_ENDPOINT_URL_LIGHTSAIL=%s
export AWS_SHARED_CREDENTIALS_FILE=%s
export AWS_DEFAULT_REGION=%s
`, quote(access.IMDS), quote(access.API), quote(access.Credentials), quote(c.Region))
			if err == nil && access.CA != "" {
				err = say(cmd.OutOrStdout(), "export AWS_CA_BUNDLE=%s\n", quote(access.CA))
			}
			return err
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// quote makes a word that a shell reads as it is.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/:.-_", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
