// Command openimds is an instance metadata service: "openimds serve" runs it, the other commands
// are clients of its control API.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"unicode"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/sandbox"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// release is set when one is built by make.
var release string

// version is the release, or what the toolchain knows of a program that 'go install' or 'go build' made: the version of
// its module.
var version = versionOf(release, debug.ReadBuildInfo)

func versionOf(release string, built func() (*debug.BuildInfo, bool)) string {
	const unknown = "dev"
	if release != "" {
		return release
	}
	if info, ok := built(); ok && info.Main.Version != "(devel)" {
		return cmp.Or(info.Main.Version, unknown)
	}
	return unknown
}

// Exit codes: part of the command line's contract.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is an error that a different command line would not have.
type usageError struct{ error }

// withCode is an error with an exit code of its own.
type withCode struct {
	code int
	error
}

// endedWith is the exit code of a command that has said all there is to say.
type endedWith int

func (e endedWith) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// The kernel hands a process's signal to its first thread wherever it can, even to one that waits for a disk,
// and to no other. So the first thread does nothing but wait: a disk that hangs keeps no SIGTERM from its process.
func init() { runtime.LockOSThread() }

func main() {
	ended := make(chan int)
	go func() {
		sandbox.Warden()
		ended <- run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	}()
	os.Exit(<-ended)
}

// behindName is what stands behind the program's name: the rules' own errors are sentences of the API, with a capital.
func behindName(err error, text string) string {
	rule, ok := errors.AsType[*openimds.Error](err)
	if !ok || !strings.HasPrefix(text, rule.Error()) {
		return text
	}
	first, rest, _ := strings.Cut(text, " ")
	if first == "" || strings.ContainsFunc(first[1:], func(r rune) bool { return !unicode.IsLower(r) }) {
		return text // the name of something
	}
	return strings.TrimSuffix(strings.ToLower(first)+" "+rest, " ")
}

// run carries out one command line. Whatever fails ends as one line on stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	stdout, stderr = printable.NewWriter(stdout), printable.NewWriter(stderr) // whatever a command forgets
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if ended, ok := errors.AsType[endedWith](err); ok {
		return int(ended)
	}
	lastWords(stderr, "openimds: %s\n", behindName(err, advised(cmd, err).Error()))
	if coded, ok := errors.AsType[withCode](err); ok {
		return coded.code
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[server.ConfigError](err); ok {
		return exitUsage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "openimds",
		Short:         "An instance metadata service, wire-compatible with that of Amazon EC2 and Lightsail",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetVersionTemplate("openimds {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 { // whose flag it is, nobody can know
			if err := cmd.ValidateArgs(words); err != nil {
				return err
			}
		}
		return usagef("%w%s; see '%s --help'", plainly(err), didYouMeanFlag(cmd, err), cmd.CommandPath())
	})
	root.AddCommand(
		newServe(), newAgent(), newRun(), newEnv(), newConsole(),
		newInstance(), newOptions(), newDefaults(), newCallers(), newTrace(), newMigrate(), newEvent(), newSSHKey(), newFaults(),
		newMetrics(), newAlarm(), newOperations(), newAudit(),
		newRecord(), newImport(),
		newAttach(), newDetach(), newRelease(), newHost(),
		newKeys(), newIdentity(), newBackup(), newRestore(), newCompact(), newStore(),
	)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		return cmp.Or(refuseDashes(cmd), refuseInput(cmd))
	}
	addHelp(root)
	addCompletion(root)
	addExamples(root)
	return root
}

// noArgs refuses words that a command does not take; on the root command, an unknown command.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasParent() {
		return usagef("unknown command %q%s; see 'openimds --help'", args[0], didYouMean(cmd, args[0]))
	}
	return usagef("%s takes no argument, but got %q; see '%s --help'", subject(cmd), args[0], cmd.CommandPath())
}

// subject is what an error calls a command: the name of the program stands before it already.
func subject(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// refuseDashes refuses the end of the flags as a flag's value: whoever wrote it forgot the value.
func refuseDashes(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.String() == "--" || f.Value.String() == "[--]" {
			err = usagef("flag needs an argument: --%s; see '%s --help'", f.Name, cmd.CommandPath())
		}
	})
	return err
}

// addHelp adds the command that shows the help of another one, and fails where there is none.
func addHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		help.Example = "  openimds help migrate rehearse"
		help.Run, help.RunE = nil, func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("unknown command %q%s; see 'openimds --help'", strings.Join(args, " "), didYouMean(cmd, rest[0]))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		}
	}
}
