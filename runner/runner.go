// Package runner runs a command as the guest of an instance: in a network namespace of its own, in which the
// metadata service answers at its real addresses (package sandbox). The instance is one that lives in this
// process, for this one command, or one of a running server of this machine (package handover).
//
//	r, err := runner.Open(ctx, cfg)   // the instance answers
//	defer r.Close()
//	ended, err := r.Run(ctx, signals) // the command, from its start to its end
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/sandbox"
)

// The command cannot be started at all.
var (
	ErrNotFound      = errors.New("is not found")
	ErrNotExecutable = errors.New("cannot be executed")
)

// notExecutable is [ErrNotExecutable] with the system's reason.
type notExecutable struct{ error }

func (e notExecutable) Is(target error) bool { return target == ErrNotExecutable }

// Config is what a [Runner] is told.
type Config struct {
	// Args are the command, found as a shell does, and its arguments.
	Args []string
	// Environment is the command's; see [Environment.Of].
	Environment []string
	// Network is the way to the rest of the network.
	Network sandbox.Network

	// Own is the instance that is made for the command, unless Instance names one of a running server whose
	// data is in DataDir.
	Own      Own
	Instance string
	DataDir  string

	// Observe has it told at the end who called what. ReportFile, unless empty, is a file that this is written
	// to as well, as JSON: "requests", and "unknown" with the reason if there may be others; an earlier one is
	// taken away first.
	Observe    bool
	ReportFile string

	// Log is where lines of an own instance's log go. Nobody has to read them.
	Log io.Writer
	// Note is told what differs inside from outside, and Warn what went wrong beside the command.
	Note, Warn func(text string)
}

// Own says what an instance that is made for a command is like.
type Own struct {
	Region, AccountID string
	// RoleCredentials are where the credentials of roles come from, as in a server.
	RoleCredentials map[string]*credentials.Source
	Instance        control.InstanceUpdate
	Options         openimds.OptionsUpdate
	// IdentityDir has the keys that sign identity documents. Where it has none, keys are made.
	IdentityDir string
}

// ConfigError says that no instance can be as [Own] says.
type ConfigError struct{ error }

// Unwrap returns what is wrong.
func (e ConfigError) Unwrap() error { return e.error }

// Runner is one command and its instance.
type Runner struct {
	cfg  Config
	path string // of the command
	at   home
	seen *sightings
}

// Ended is how a command ended.
type Ended struct {
	// Code is its exit code, that of a shell if a signal ended it.
	Code int
	// Report is who called what, IMDSv1 first; empty without Config.Observe.
	Report Report
	// Unknown says why there may be requests that are not in the report; nil: all are.
	Unknown error
}

// home is where a command's guests are answered.
type home interface {
	serve(l *net.TCPListener) error
	// told waits until all requests that were answered have been seen, and returns how many could not be,
	// by version. An error says that there may be others.
	told() (lost map[string]int, err error)
	close()
}

// Open finds the command ([ErrNotFound], [ErrNotExecutable]), takes an earlier report away ([ReportError]), and makes the
// instance, or finds the server that has it. An instance with a role waits for its first credentials, a minute
// at most; the context ends that.
func Open(ctx context.Context, cfg Config) (*Runner, error) {
	path, err := lookPath(cfg.Args[0])
	if err != nil {
		return nil, err
	}
	if err := clearReport(cfg.ReportFile); err != nil {
		return nil, err
	}
	r := &Runner{cfg: cfg, path: path, seen: newSightings(cfg.Observe || cfg.ReportFile != "")}
	if cfg.Instance == "" {
		r.at, err = r.launchOwn(ctx)
	} else {
		r.at, err = r.openRemote()
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Run runs the command to its end; it is called once. The signals are passed on to it. An error says that it
// could not be started ([ErrNotExecutable] where the system does not execute it) or, as a [ReportError], that its report could not be written.
func (r *Runner) Run(ctx context.Context, signals <-chan os.Signal) (Ended, error) {
	started, err := sandbox.Start(sandbox.Config{
		Path: r.path, Args: r.cfg.Args, Env: r.cfg.Environment, Network: r.cfg.Network, Serve: r.at.serve, Note: r.cfg.Note,
	})
	if err != nil {
		return Ended{}, err
	}
	r.seen.by(started)
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = started.Signal(s) // the command may just have ended
			case <-over:
				return
			}
		}
	}()
	code, err := started.Wait(ctx)
	if errors.Is(err, sandbox.ErrNotRun) {
		return Ended{}, notExecutable{err}
	}
	if err != nil {
		return Ended{}, err
	}
	ended := Ended{Code: code}
	if r.seen.wanted {
		var lost map[string]int
		lost, ended.Unknown = r.at.told()
		r.seen.miss(lost)
		ended.Report = r.seen.all()
	}
	if r.cfg.ReportFile != "" {
		err = ended.write(r.cfg.ReportFile)
	}
	return ended, err
}

// Close ends an instance that was made for the command, and takes back what was handed over to a server.
func (r *Runner) Close() { r.at.close() }

// lookPath finds the command as a shell does.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EISDIR):
		return "", fmt.Errorf("%s %w", name, ErrNotExecutable)
	}
	return "", fmt.Errorf("the command %s %w", name, ErrNotFound)
}
