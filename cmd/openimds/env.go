package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What "openimds env" sets, and what it takes away since it would lead AWS's clients elsewhere.
var (
	setByEnv = []string{
		"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL_LIGHTSAIL", "AWS_ENDPOINT_URL_EC2", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
		"AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_CA_BUNDLE",
	}
	unsetByEnv = []string{
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
	}
)

// keepBefore has the shell itself keep what it had: a value may be a secret, which is neither printed nor passed
// on to the programs that the shell starts; so a shell that it starts must not take itself for one that keeps
// anything. A second evaluation keeps what the first one found.
const keepBefore = `if [ -z "${OPENIMDS_IN_ENV-}" ]; then for openimds_name in %s; do eval "if [ -n \"\${$openimds_name+x}\" ]; then OPENIMDS_BEFORE_$openimds_name=\$$openimds_name; fi"; done; unset openimds_name; fi
OPENIMDS_IN_ENV=1
`

// keepCA is for a server whose certificate AWS's clients know anyway: an earlier evaluation may have set that of
// another server.
const keepCA = `if [ -n "${OPENIMDS_BEFORE_AWS_CA_BUNDLE+x}" ]; then export AWS_CA_BUNDLE="$OPENIMDS_BEFORE_AWS_CA_BUNDLE"; else unset AWS_CA_BUNDLE; fi
`

// bringBack undoes it all, in a shell in which it was done.
const bringBack = `if [ -n "${OPENIMDS_IN_ENV-}" ]; then for openimds_name in %s; do unset "$openimds_name"; eval "if [ -n \"\${OPENIMDS_BEFORE_$openimds_name+x}\" ]; then export $openimds_name=\"\$OPENIMDS_BEFORE_$openimds_name\"; fi"; unset "OPENIMDS_BEFORE_$openimds_name"; done; unset openimds_name OPENIMDS_IN_ENV; fi
`

// offPath takes the "aws" of an earlier evaluation, maybe of another installation, from the path again.
const offPath = `if [ -n "${OPENIMDS_BIN-}" ]; then case "$PATH" in "$OPENIMDS_BIN:"*) PATH="${PATH#"$OPENIMDS_BIN:"}" ;; *":$OPENIMDS_BIN:"*) PATH="${PATH%%%%":$OPENIMDS_BIN:"*}:${PATH#*":$OPENIMDS_BIN:"}" ;; esac; unset OPENIMDS_BIN; hash -r; fi
`

// pathOfEnv puts the program's own "aws" before the real one, if there is a real one. What it found on the path stays
// there, so that what the user adds meanwhile is not lost when it is taken away again.
const pathOfEnv = `OPENIMDS_BIN=%s
case ":$PATH:" in *":$OPENIMDS_BIN:"*) ;; *) if command -v aws >/dev/null 2>&1; then PATH="$OPENIMDS_BIN:$PATH"; fi ;; esac
`

// settingsOfEnv are the flags of "openimds serve" that say how it is reached. The others are taken as well, so
// that one command line does for both.
var settingsOfEnv = []string{"data-dir", "imds-listen", "api-listen", "api-cert", "api-key", "api-ca", "region", "config"}

// newEnv makes "openimds env": lines for a shell that point AWS's clients at this installation.
func newEnv() *cobra.Command {
	var c serveConfig
	var unset bool
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print shell lines that point AWS clients at openimds",
		Long: `Print shell lines that point AWS clients at openimds, and take away what would lead them elsewhere.

In that shell SDKs have the role of the instance, by the metadata service, and no other credentials. The control API
is reached by a profile: 'aws lightsail …', 'aws ec2 …' and 'aws cloudwatch …' have it by themselves, other clients with AWS_PROFILE=openimds.

The settings are those of "openimds serve", from the same flags, environment variables and file; the
addresses that these leave open are those of the server of the data directory, as of its last start.`,
		Example: `  eval "$(openimds env)"
  eval "$(openimds env --unset)"  # as it was before`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if unset {
				return say(cmd.OutOrStdout(), bringBack+offPath, strings.Join(slices.Concat(setByEnv, unsetByEnv), " "))
			}
			if err := c.settle(cmd.Flags()); err != nil {
				return err
			}
			access, err := c.Access()
			if err != nil {
				return err
			}
			c.whereItIs(cmd.Flags(), &access)
			for _, file := range []string{access.Credentials, access.CA} {
				if file != printable.Line(file) {
					return fmt.Errorf("no shell line can be printed for %s, whose name has control characters; choose another name", file)
				}
			}
			bin := filepath.Join(filepath.Dir(access.Profiles), binDir)
			if strings.ContainsRune(bin, ':') {
				if err := say(cmd.ErrOrStderr(), "openimds: a name with a colon cannot be on a shell's path, so 'aws lightsail' and 'aws ec2' need AWS_PROFILE=%s here: %s\n", apiProfile, bin); err != nil {
					return err
				}
				bin = ""
			}
			return c.printEnv(cmd.OutOrStdout(), access, bin)
		},
	}
	c.addFlags(cmd.Flags())
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(settingsOfEnv, f.Name) })
	cmd.Flags().BoolVar(&unset, "unset", false, "print the lines that bring back what the shell had before")
	return cmd
}

// whereItIs has what the settings leave open said by the server of the data directory, if one has been there.
func (c *serveConfig) whereItIs(flags *pflag.FlagSet, access *server.Access) {
	if region := server.RegionBeside(access.Credentials); region != "" && !flags.Changed("region") {
		c.Region = region
	}
	last, ok := server.LastAccess(c.DataDir)
	if !ok {
		return
	}
	if !flags.Changed("imds-listen") {
		access.IMDS = last.IMDS
	}
	if flags.Changed("api-listen") || flags.Changed("api-cert") {
		return
	}
	access.API = last.API
	if !flags.Changed("api-ca") {
		access.CA = last.CA
	}
}

// printEnv prints the lines. bin is for the path; empty: it cannot be there.
func (c *serveConfig) printEnv(out io.Writer, access server.Access, bin string) error {
	if err := say(out, keepBefore, strings.Join(slices.Concat(setByEnv, unsetByEnv), " ")); err != nil {
		return err
	}
	values := []string{access.IMDS, access.API, access.API, access.Profiles, access.Profiles, c.Region, c.Region, access.API, access.CA}
	for i, name := range setByEnv {
		if values[i] == "" { // only the CA may be
			if err := say(out, keepCA); err != nil {
				return err
			}
			continue
		}
		if err := say(out, "export %s=%s\n", name, quote(values[i])); err != nil {
			return err
		}
	}
	for _, name := range unsetByEnv {
		if err := say(out, "unset %s\n", name); err != nil {
			return err
		}
	}
	if err := say(out, offPath); err != nil || bin == "" {
		return err
	}
	return say(out, pathOfEnv, quote(bin))
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
