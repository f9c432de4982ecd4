package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

// apiProfile is the profile by which AWS's clients find a key of the control API where "openimds env" was evaluated.
const apiProfile = "openimds"

// writeProfiles writes the file of that profile. It has no key of its own, so that one that is revoked is found nowhere
// else: clients run this program for it.
func writeProfiles(dataDir string) error {
	program, err := exec.LookPath(os.Args[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return fmt.Errorf("where is this program? %w", err)
	}
	text := "# Written at each start of 'openimds serve'; read where 'openimds env' was evaluated.\n"
	if command := "credential_process = " + quote(program) + " keys credential-process --data-dir " + quote(dataDir); !strings.ContainsAny(command, "\n\r") {
		text += "[" + apiProfile + "]\n" + command + "\n"
	}
	if err := safefile.Write(filepath.Join(dataDir, server.ProfilesFile), []byte(text), 0o600); err != nil {
		return err
	}
	bin := filepath.Join(dataDir, binDir)
	if err := os.Mkdir(bin, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return safefile.Write(filepath.Join(bin, "aws"), fmt.Appendf(nil, ownAWS, quote(bin), apiProfile), 0o700)
}

// restoreProfiles writes them into a directory that was restored, for its owner: what a backup has names the directory and
// the program of another place, and no archive says that a file can be run.
func restoreProfiles(dataDir string) error {
	dir, err := safefile.Directory(dataDir)
	if err != nil {
		return err
	}
	like, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if err := writeProfiles(dir); err != nil {
		return err
	}
	bin := filepath.Join(dir, binDir)
	return errors.Join(safefile.Give(filepath.Join(dir, server.ProfilesFile), like), safefile.Give(bin, like), safefile.Give(filepath.Join(bin, "aws"), like))
}

// binDir is where the data directory has programs for the path.
const binDir = "bin"

// ownAWS has "aws lightsail", "aws ec2" and "aws cloudwatch" sign with a key of the API, while all else finds the role of the instance: AWS's clients
// have one chain of credentials for both, in which a key would hide the role. The words are looked at as the AWS CLI
// does: options of its own may stand before the service.
const ownAWS = `#!/bin/sh
# Written at each start of 'openimds serve'; before the real aws where 'openimds env' was evaluated.
bin=%s
rest=$PATH:
PATH=
while [ -n "$rest" ]; do
	one=${rest%%%%:*}
	rest=${rest#*:}
	[ "$one" = "$bin" ] || [ "$one" -ef "$bin" ] || PATH=$PATH${PATH:+:}$one
done
option=
for word do
	case $option in
	--region|--output|--endpoint-url|--profile|--query|--color|--ca-bundle|--cli-read-timeout|--cli-connect-timeout|--cli-binary-format)
		option=
		continue ;;
	esac
	case $word in
	lightsail|ec2|cloudwatch)
		export AWS_PROFILE="${AWS_PROFILE:-%s}"
		break ;;
	-*) option=$word ;;
	*) break ;;
	esac
done
exec aws "$@"
`

// newKeysProcess makes what AWS's clients run for the profile.
func newKeysProcess(open openKeys) *cobra.Command {
	return &cobra.Command{
		Use:   "credential-process [PROFILE]",
		Short: "Print a key with its secret, as AWS's clients want it of a credential_process",
		Long: `Print a key with its secret, as AWS's clients want it of a credential_process: that of the profile "default",
or of another one.`,
		Args: names(0, 1, "at most one profile name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			profile := "default"
			if len(args) > 0 {
				profile = args[0]
			}
			keys, path, err := open()
			if err != nil {
				return err
			}
			all, err := keys.List()
			if err != nil {
				return err
			}
			for _, key := range all {
				if key.Profile != profile {
					continue
				}
				whole, known, err := keys.Lookup(key.ID)
				if err != nil {
					return err
				}
				if known {
					return printProcess(cmd, whole)
				}
			}
			return fmt.Errorf("%s has no profile %s: 'openimds keys list' lists them", path, profile)
		},
	}
}

// printProcess prints a key in the form of AWS's documentation, "Sourcing credentials with an external process".
func printProcess(cmd *cobra.Command, key accesskeys.Key) error {
	return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
		Version                      int
		AccessKeyId, SecretAccessKey string //nolint:revive // AWS's spelling
	}{1, key.ID, key.Secret})
}
