package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/runner"
	"github.com/openimds/openimds/sandbox"
	"github.com/openimds/openimds/server"
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
		Example: `  openimds run -- aws sts get-caller-identity
  openimds run --http-tokens required --fail-on-v1 -- make test
  openimds run --profile prod -- ./app  # your own credentials, as an instance role`,
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
	f.StringVar(&c.instance, "instance", "", "be the guest of this instance of a running server: a `name`, or REGION/NAME for another region than the server's first")
	f.StringVar(&c.dataDir, "data-dir", "", "where 'openimds serve' keeps its data: the way to it, and the keys that sign identity documents")
	c.options.add(f)
	f.Lookup("ipv6").DefValue = "enabled"
	c.set.add(f)
	f.StringVar(&c.profile, "profile", "", "AWS `profile` whose credentials the instance's role has")
	f.StringArrayVar(&c.roles, "role-credentials", nil, "where a role's credentials come from: `role=source`, as for 'openimds serve'; repeatable")
	f.StringVar(&c.region, "region", defaultRegion, "region of the instance (default: that of --profile, else "+defaultRegion+")")
	f.Lookup("region").DefValue = "" // the text says it
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
		if !f.Changed("region") {
			// What is wrong with the profile is said when its credentials are fetched.
			if found, err := credentials.Find(context.Background(), credentials.Search{Profile: c.profile, DefaultRegion: c.region}); err == nil {
				c.region = found.Region
			}
		}
		c.roles = append(c.roles, "*=profile:"+c.profile)
	}
	if c.instance == "" {
		return nil
	}
	name := c.instance
	if _, behind, qualified := strings.Cut(name, "/"); qualified {
		name = behind
	}
	if err := openimds.ValidateName(name); err != nil {
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
	if typed && !c.hasRole() {
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

// config is what a runner is told.
func (c *runConfig) config(cmd *cobra.Command, args []string) (runner.Config, error) {
	say := func(text string) { _ = say(cmd.ErrOrStderr(), "openimds: %s\n", text) }
	cfg := runner.Config{
		Args:        args,
		Environment: runner.Environment{HasRole: c.hasRole(), Pass: c.passAWS, KeepAll: c.keepAWS}.Of(os.Environ()),
		Network:     sandbox.Network(c.network),
		Instance:    c.instance, DataDir: c.dataDir,
		Observe: c.failOnV1 || c.report, ReportFile: c.reportFile,
		Log: cmd.ErrOrStderr(), Note: say, Warn: say,
	}
	if c.quiet {
		cfg.Note = func(string) {}
	}
	if c.instance != "" {
		return cfg, nil
	}
	var err error
	cfg.Own, err = c.own(cmd)
	return cfg, err
}

// hasRole says whether the instance has a role, by which the command must find its credentials.
func (c *runConfig) hasRole() bool { return c.profile != "" || c.set.role != "" }

// own is the instance as the flags say.
func (c *runConfig) own(cmd *cobra.Command) (runner.Own, error) {
	flags := cmd.Flags()
	c.set.inputTaken = true
	own := runner.Own{Region: c.region, AccountID: c.account}
	if c.dataDir != "" {
		own.IdentityDir = filepath.Join(c.dataDir, server.IdentityDir)
	}
	var err error
	if own.RoleCredentials, err = parseRoleCredentials(c.roles); err != nil {
		return own, err
	}
	request, err := c.set.request(cmd, "")
	if err != nil {
		return own, err
	}
	own.Instance = control.InstanceUpdate{
		UserData: (*[]byte)(request.UserData), TagsInMetadata: request.TagsInMetadata, RoleName: request.RoleName, ExtendedCredentials: request.ExtendedCredentials,
		OwnerID: request.OwnerID, ImageID: request.ImageID, InstanceType: request.InstanceType, Zone: request.AvailabilityZone,
		Hostname: request.Hostname, PublicHostname: request.PublicHostname, Overlay: request.Overlay,
	}
	on := openimds.EndpointEnabled
	own.Options = openimds.OptionsUpdate{IPv6: &on}
	if tokens := openimds.TokensMode(c.options.tokens); flags.Changed("http-tokens") {
		own.Options.Tokens = &tokens
	}
	if endpoint := openimds.EndpointMode(c.options.endpoint); flags.Changed("http-endpoint") {
		own.Options.Endpoint = &endpoint
	}
	if flags.Changed("hop-limit") {
		own.Options.HopLimit = &c.options.hopLimit
	}
	if ipv6 := openimds.EndpointMode(c.options.ipv6); flags.Changed("ipv6") {
		own.Options.IPv6 = &ipv6
	}
	return own, nil
}

// open gets the instance ready, which may wait for credentials for a while: what is run for them ends with
// this program.
func (c *runConfig) open(cmd *cobra.Command, args []string) (*runner.Runner, error) {
	cfg, err := c.config(cmd, args)
	if err != nil {
		return nil, err
	}
	ctx, stop := untilSignal(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r, err := runner.Open(ctx, cfg)
	if err == nil && ctx.Err() != nil {
		r.Close()
		err = ctx.Err()
	}
	if by, ok := errors.AsType[endedBy](context.Cause(ctx)); ok && err != nil {
		return nil, withCode{by.exitCode(), errors.New("interrupted before the command was started")}
	}
	return r, err
}

// run runs the command and returns how it ended.
func (c *runConfig) run(cmd *cobra.Command, args []string) error {
	r, err := c.open(cmd, args)
	if err != nil {
		return ofRunner(err)
	}
	defer r.Close()
	// From before the command is there, so that none is lost between the two.
	signals := make(chan os.Signal, 16)
	for _, s := range sandbox.Signals() {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	ended, err := r.Run(cmd.Context(), signals)
	if err != nil {
		return ofRunner(err)
	}
	return c.conclude(cmd, ended)
}

// ofRunner gives an error of a runner its exit code, and the flag that it is of.
func ofRunner(err error) error {
	if _, ok := errors.AsType[runner.ConfigError](err); ok {
		return usageError{err}
	}
	if _, ok := errors.AsType[runner.ReportError](err); ok {
		return fmt.Errorf("--report-file: %w", err)
	}
	switch {
	case errors.Is(err, runner.ErrNotFound):
		return withCode{exitNotFound, err}
	case errors.Is(err, runner.ErrNotExecutable):
		return withCode{exitNotExecutable, err}
	}
	return err
}

// conclude tells what is to be told at the end.
func (c *runConfig) conclude(cmd *cobra.Command, ended runner.Ended) error {
	if c.report {
		if err := showReport(cmd.ErrOrStderr(), ended.Report); err != nil {
			return err
		}
	}
	if ended.Unknown != nil {
		_ = say(cmd.ErrOrStderr(), "openimds: there may be requests that are not reported: %s\n", ended.Unknown)
	}
	if v1 := ended.Report.V1(); c.failOnV1 && len(v1) > 0 {
		_ = say(cmd.ErrOrStderr(), "openimds: IMDSv1 was used; the command ended with exit code %d\n", ended.Code)
		if !c.report {
			_ = showReport(cmd.ErrOrStderr(), v1)
		}
		return endedWith(exitV1)
	}
	if ended.Unknown != nil && c.failOnV1 {
		return endedWith(exitV1)
	}
	if ended.Code != exitDone {
		return endedWith(ended.Code)
	}
	return nil
}

// showReport prints rows for people.
func showReport(w io.Writer, rows runner.Report) error {
	return printTable(w, func(row func(...any)) {
		row("IMDS", "COUNT", "STATUS", "REQUEST", "PROCESS", "USER AGENT")
		for _, r := range rows {
			process := "not seen"
			if r.PID != 0 {
				process = fmt.Sprint(r.PID)
				if len(r.Args) > 0 {
					process += " " + shorten(strings.Join(r.Args, " "), 80)
				}
			}
			row(r.Version, r.Count, r.Status, dash(r.Method)+" "+shorten(r.Path, 120), process, dash(shorten(r.UserAgent, 80)))
		}
	})
}

// shorten cuts what is longer than a table can show.
func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}
