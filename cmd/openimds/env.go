package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/runner"
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
	unsetByEnv = append([]string{
		"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
	}, runner.OtherCredentials...)
	// keptByEnv are all that "openimds env --unset" brings back. The last two are set where there is a proxy.
	keptByEnv = strings.Join(slices.Concat(setByEnv, unsetByEnv, []string{"NO_PROXY", "no_proxy"}), " ")
)

// settingsOfEnv are the flags of "openimds serve" that say how it is reached. The others are taken as well, so
// that one command line does for both.
var settingsOfEnv = []string{"data-dir", "imds-listen", "api-listen", "api-cert", "api-key", "api-ca", "region", "config"}

// newEnv makes "openimds env": lines for a shell that point AWS's clients at this installation.
func newEnv() *cobra.Command {
	var c serveConfig
	var unset bool
	var shell string
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print shell lines that point AWS clients at openimds",
		Long: `Print shell lines that point AWS clients at openimds, and take away what would lead them elsewhere.

In that shell SDKs have the role of the instance, by the metadata service, and no other credentials. The control API
is reached by a profile: 'aws lightsail …', 'aws ec2 …' and 'aws cloudwatch …' have it by themselves, other clients with AWS_PROFILE=openimds.
Where there is a proxy, none stands before either of them.

The settings are those of "openimds serve", from the same flags, environment variables and file; the
addresses that these leave open are those of the server of the data directory, as of its last start.`,
		Example: `  eval "$(openimds env)"
  eval "$(openimds env --unset)"  # as it was before
  openimds env --shell fish | source
  openimds env --shell fish --unset | source`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lines, ok := shells[shell]
			if !ok {
				return usagef("--shell must be sh, for all of its kind (bash, dash, zsh), or fish, not %q", shell)
			}
			if unset {
				_, err := io.WriteString(cmd.OutOrStdout(), lines.bringBack+lines.offPath)
				return err
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
			return c.printEnv(cmd.OutOrStdout(), lines, access, bin)
		},
	}
	c.addFlags(cmd.Flags())
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(settingsOfEnv, f.Name) })
	cmd.Flags().StringVar(&shell, "shell", "sh", "kind of `shell` that the lines are for: sh (bash, dash, zsh) or fish")
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
func (c *serveConfig) printEnv(out io.Writer, lines shellLines, access server.Access, bin string) error {
	if _, err := io.WriteString(out, lines.keep); err != nil {
		return err
	}
	values := []string{access.IMDS, access.API, access.API, access.Profiles, access.Profiles, c.Region, c.Region, access.API, access.CA}
	for i, name := range setByEnv {
		if values[i] == "" { // only the CA may be
			if _, err := io.WriteString(out, lines.keepCA); err != nil {
				return err
			}
			continue
		}
		if err := say(out, lines.set, name, lines.quote(values[i])); err != nil {
			return err
		}
	}
	for _, entry := range runner.PastProxies(os.Environ(), slices.Concat(hostOf(access.IMDS), hostOf(access.API))) {
		name, value, _ := strings.Cut(entry, "=")
		if err := say(out, lines.set, name, lines.quote(value)); err != nil {
			return err
		}
	}
	for _, name := range unsetByEnv {
		if err := say(out, lines.unset, name); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(out, lines.taken+lines.offPath); err != nil || bin == "" {
		return err
	}
	return say(out, lines.onPath, lines.quote(bin))
}

// hostOf is the host of a URL in the forms that clients look for in NO_PROXY: some leave the brackets of an address on.
func hostOf(address string) []string {
	at, err := url.Parse(address)
	if err != nil {
		return nil
	}
	if host := at.Hostname(); strings.Contains(host, ":") {
		return []string{host, "[" + host + "]"}
	}
	return []string{at.Hostname()}
}
