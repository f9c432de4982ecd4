package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/openimds/openimds/sandbox"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary the program "openimds" of the tests.
func TestMain(m *testing.M) {
	sandbox.Warden()
	if filepath.Base(os.Args[0]) != "openimds" {
		if err := ownMounts(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	testscript.Main(suite{m}, map[string]func(){"openimds": main})
}

type suite struct{ *testing.M }

// stopVariable gives the servers of all tests time to end in. The tests of a stop itself give their own.
const stopVariable = "OPENIMDS_STOP_TIMEOUT"

// apiVariable gives their operations time: on a busy machine a disk alone can take more than the 5 seconds of users.
const (
	apiVariable = "OPENIMDS_API_TIMEOUT"
	apiTimeout  = "50s"
)

func (s suite) Run() int {
	for name, value := range map[string]string{stopVariable: patience.String(), apiVariable: apiTimeout} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	defer func() { _ = os.RemoveAll(quickDir) }()
	return s.M.Run()
}

// raceEnabled says whether the race detector, which needs memory of its own, is built in.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// concurrent are the commands that do several things at a time. Tests that have the race detector run these with it.
// The others ask once and print the answer: the race detector finds nothing in them, and takes most of the time of
// each, of which there are thousands.
var concurrent = []string{"serve", "agent", "run", "migrate", "trace", "record"}

// quickDir is where quick makes its program, if it does.
var quickDir string

// quick is a program "openimds" that runs the commands that are not concurrent without the race detector, for which it
// builds it; where it cannot, or need not, it is this test binary.
var quick = sync.OnceValue(func() string {
	program, err := exec.LookPath("openimds")
	if err != nil || !raceEnabled() || runtime.GOOS == "windows" {
		return program
	}
	dir, err := os.MkdirTemp("", "openimds-quick")
	if err != nil {
		return program
	}
	quickDir = dir
	plain := filepath.Join(dir, "plain", "openimds")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", plain, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "all commands have the race detector, since this program cannot be built without: %v\n%s", err, out)
		return program
	}
	chooses := filepath.Join(dir, "openimds")
	script := fmt.Sprintf("#!/bin/sh\ncase $1 in\n%s) exec '%s' \"$@\" ;;\n*) exec '%s' \"$@\" ;;\nesac\n", strings.Join(concurrent, "|"), program, plain)
	if err := os.WriteFile(chooses, []byte(script), 0o755); err != nil {
		return program
	}
	for _, dir := range []string{dir, filepath.Dir(filepath.Dir(program))} { // stories have other users, too
		if err := os.Chmod(dir, 0o755); err != nil {
			return program
		}
	}
	return chooses
})

// command is the program with these arguments and a data directory, and nothing else from this environment.
func command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Args[0] = "openimds" // by which this test binary knows what it is
	if !slices.Contains(concurrent, args[0]) {
		cmd.Path = quick()
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OPENIMDS_") && !strings.HasPrefix(v, "AWS_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "OPENIMDS_DATA_DIR="+dir, stopVariable+"="+patience.String(), apiVariable+"="+apiTimeout)
	return cmd
}
