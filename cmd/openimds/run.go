package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/sandbox"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes of "openimds run" beside those of the command: but for exitV1, those that a shell has for the
// same, and so is that of [endedBy].
const (
	exitV1            = 3
	exitNotExecutable = 126
	exitNotFound      = 127
)

// runConfig is what "openimds run" is told.
type runConfig struct {
	instance string
	options  optionFlags
	set      setFlags
	profile  string
	roles    []string
	region   string
	account  string
	dataDir  string
	network  string

	failOnV1   bool
	report     bool
	reportFile string
	keepAWS    bool
	passAWS    []string
	quiet      bool
}

func newRun() *cobra.Command {
	var c runConfig
	cmd := &cobra.Command{
		Use:   "run [flags] [--] COMMAND [ARGUMENT]...",
		Short: "Run a command that finds the metadata service at its real addresses (Linux, without root)",
		Long: `Run a command in a network namespace of its own, in which http://169.254.169.254 and
http://[fd00:ec2::254] answer as they do on an instance. Nothing needs root, and nothing is left
behind.

  openimds run -- aws sts get-caller-identity
  openimds run --http-tokens required --fail-on-v1 -- make test
  openimds run --profile prod -- ./app        your own credentials, as an instance role

The instance is made for this one command, and the flags say what it is like; with --instance it is
one of an 'openimds serve' of yours that runs on this machine. The rest of the network works as outside
where pasta (package passt) or slirp4netns is installed, but for ports that the command opens, which are
not seen outside.

Signals, terminal, working directory and exit code are the command's. Exit code 3 is of --fail-on-v1,
126 and 127 of a command that cannot be run or found.

AWS_EC2_METADATA_SERVICE_ENDPOINT and its kind are taken out of the command's environment. With --role
or --profile, all AWS_… variables are, but for regions, endpoints, time-outs and the like that hold no
credentials, and ~/.aws is hidden from AWS's clients, so that the role's are found. --pass-aws-env NAME
lets one more through; --keep-aws-env leaves all as it is.

Each flag is also an environment variable (OPENIMDS_ and its name) and a key of the --config file.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("name a command to run; see '%s --help'", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.settle(cmd.Flags()); err != nil {
				return err
			}
			return c.run(cmd, args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is its own
	c.addFlags(f)
	return cmd
}

func (c *runConfig) addFlags(f *pflag.FlagSet) {
	f.StringVar(&c.instance, "instance", "", "be the guest of this instance of a running server: a `name`")
	f.StringVar(&c.dataDir, "data-dir", "", "where 'openimds serve' keeps its data: the way to it, and the keys that sign identity documents")
	c.options.add(f)
	f.Lookup("ipv6").DefValue = "enabled"
	c.set.add(f)
	f.StringVar(&c.profile, "profile", "", "AWS `profile` whose credentials the instance's role has")
	f.StringArrayVar(&c.roles, "role-credentials", nil, "where a role's credentials come from: `role=source`, as for 'openimds serve'; repeatable")
	f.StringVar(&c.region, "region", defaultRegion, "region of the instance")
	f.StringVar(&c.account, "account-id", defaultAccountID, "account id of the instance")
	f.StringVar(&c.network, "network", string(sandbox.Auto), "way to the rest of the network: auto, pasta, slirp4netns or none")
	f.BoolVar(&c.failOnV1, "fail-on-v1", false, "end with exit code 3 and a list of callers if anything used IMDSv1")
	f.BoolVar(&c.report, "report", false, "tell on standard error, at the end, who called what")
	f.StringVar(&c.reportFile, "report-file", "", "write the same as JSON to a `file`")
	f.BoolVar(&c.keepAWS, "keep-aws-env", false, "leave the command's AWS_… variables alone")
	f.StringSliceVar(&c.passAWS, "pass-aws-env", nil, "leave the command this AWS_… `variable`, with --role or --profile; repeatable")
	f.BoolVar(&c.quiet, "quiet", false, "do not say what differs from outside")
	f.String("config", "", "YAML `file` with settings, named as the flags are")
}

// settle completes the settings and refuses those that cannot work.
func (c *runConfig) settle(f *pflag.FlagSet) error {
	// Before the environment and the file, which may speak of servers, and of runs with a role.
	typed, passes := ofOwnInstance(f), f.Changed("pass-aws-env")
	if err := settle(f); err != nil {
		return err
	}
	if !slices.Contains(sandbox.Networks(), sandbox.Network(c.network)) {
		return usagef("--network must be auto, pasta, slirp4netns or none, not %q", c.network)
	}
	if c.dataDir == "" {
		var err error
		if c.dataDir, err = defaultDataDir(); err != nil && c.instance != "" {
			return err // without --instance it only means that nobody's keys are there
		}
	}
	if err := c.checkPassed(passes); err != nil {
		return err
	}
	if c.profile != "" {
		c.roles = append(c.roles, "*=profile:"+c.profile)
	}
	if c.instance == "" {
		return nil
	}
	if err := openimds.ValidateName(c.instance); err != nil {
		return usagef("--instance: %w", err)
	}
	if typed != "" {
		return usagef("--%s is of an instance made for the command; change that of a server with 'openimds options' or 'openimds instance set'", typed)
	}
	return nil
}

// checkPassed refuses a --pass-aws-env that would let nothing through. What does not look like a name may be
// a secret.
func (c *runConfig) checkPassed(typed bool) error {
	for _, name := range c.passAWS {
		if !strings.HasPrefix(name, "AWS_") || strings.Contains(name, "=") {
			return usagef("--pass-aws-env takes the name of a variable that begins with AWS_, without its value")
		}
	}
	if typed && c.profile == "" && c.set.role == "" {
		return usagef("--pass-aws-env goes with --role or --profile; without them the command keeps its AWS_… variables")
	}
	return nil
}

// ofOwnInstance returns the first flag given that says what an instance made for the command is like. What
// one of a server is like is that server's to say.
func ofOwnInstance(f *pflag.FlagSet) (name string) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(optionFlags).add(own)
	new(setFlags).add(own)
	for _, flag := range []string{"profile", "role-credentials", "region", "account-id"} {
		own.String(flag, "", "")
	}
	own.VisitAll(func(flag *pflag.Flag) {
		if name == "" && f.Changed(flag.Name) {
			name = flag.Name
		}
	})
	return name
}

// home is where a command's guests are answered.
type home interface {
	// serve answers the connections of a listener, and has them seen if they are wanted.
	serve(l *net.TCPListener, seen *sightings) error
	close()
}

// open makes the instance, or finds the server that has it.
func (c *runConfig) open(cmd *cobra.Command) (home, error) {
	if c.instance == "" {
		return c.launchOwn(cmd)
	}
	return openRemote(c.dataDir, c.instance, func(text string) {
		_ = say(cmd.ErrOrStderr(), "openimds: %s\n", text)
	})
}

// openUnlessEnded is open, which may wait for credentials for a while: what is run for them ends with
// this program.
func (c *runConfig) openUnlessEnded(cmd *cobra.Command) (home, error) {
	outer := cmd.Context()
	ctx, stop := untilSignal(outer, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	cmd.SetContext(ctx)
	defer cmd.SetContext(outer)
	at, err := c.open(cmd)
	if err == nil && ctx.Err() != nil {
		at.close()
		err = ctx.Err()
	}
	if by, ok := errors.AsType[endedBy](context.Cause(ctx)); ok && err != nil {
		return nil, withCode{by.exitCode(), errors.New("interrupted before the command was started")}
	}
	return at, err
}

// run runs the command and returns how it ended.
func (c *runConfig) run(cmd *cobra.Command, args []string) error {
	path, err := lookPath(args[0])
	if err != nil {
		return err
	}
	if err := clearReport(c.reportFile); err != nil {
		return err
	}
	at, err := c.openUnlessEnded(cmd)
	if err != nil {
		return err
	}
	defer at.close()
	// From before the command is there, so that none is lost between the two.
	signals := make(chan os.Signal, 16)
	for _, s := range sandbox.Signals() {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	seen := newSightings(c.failOnV1 || c.report || c.reportFile != "")
	started, err := sandbox.Start(sandbox.Config{
		Path: path, Args: args, Env: c.environment(os.Environ()), Network: sandbox.Network(c.network),
		Serve: func(l *net.TCPListener) error { return at.serve(l, seen) },
		Note: func(text string) {
			if !c.quiet {
				_ = say(cmd.ErrOrStderr(), "openimds: %s\n", text)
			}
		},
	})
	if err != nil {
		return err
	}
	seen.by(started)
	go func() {
		for s := range signals {
			_ = started.Signal(s) // the command may just have ended
		}
	}()
	code, err := started.Wait(cmd.Context())
	if err != nil {
		return err
	}
	return c.conclude(cmd, seen.all(), code)
}

// conclude tells what is to be told at the end.
func (c *runConfig) conclude(cmd *cobra.Command, rows []sighting, code int) error {
	if c.reportFile != "" {
		if err := writeReport(c.reportFile, rows); err != nil {
			return err
		}
	}
	if c.report {
		if err := showReport(cmd.ErrOrStderr(), rows); err != nil {
			return err
		}
	}
	v1 := slices.DeleteFunc(rows, func(s sighting) bool { return s.Version != "v1" })
	if c.failOnV1 && len(v1) > 0 {
		_ = say(cmd.ErrOrStderr(), "openimds: IMDSv1 was used; the command ended with exit code %d\n", code)
		if !c.report {
			_ = showReport(cmd.ErrOrStderr(), v1)
		}
		return endedWith(exitV1)
	}
	if code != exitDone {
		return endedWith(code)
	}
	return nil
}

// lookPath finds the command as a shell does.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, fs.ErrPermission):
		return "", withCode{exitNotExecutable, fmt.Errorf("%s cannot be executed", name)}
	}
	return "", withCode{exitNotFound, fmt.Errorf("the command %s is not found", name)}
}
