// Package etcdtest runs a real etcd for tests: its server is built from its own module, once, and runs on loopback
// ports that are free, with its data in a directory of the test's.
package etcdtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// How long the modules may take to come, from a proxy that may be away, and the build, on a machine that is busy:
// together less than a package's tests may take.
const (
	bringTime = 4 * time.Minute
	buildTime = 12 * time.Minute
)

// built is the server of this process, or why there is none.
var built = sync.OnceValues(build)

// Server is the path of etcd's server. A test that cannot have one is skipped, with the reason.
func Server(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Skipf("no etcd: %v", err)
	}
	return path
}

// build makes the server, unless that was done before: by this process, another one or an earlier one.
func build() (string, error) {
	source, err := sourceDir()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, _ = io.WriteString(sum, runtime.Version()+runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		_, _ = sum.Write(text)
	}
	dir := filepath.Join(cache, "openimds", "etcd-"+fmt.Sprintf("%x", sum.Sum(nil))[:16])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(dir, "lock")).Lock() // packages are tested at the same time
	if err != nil {
		return "", err
	}
	defer unlock()
	server := filepath.Join(dir, "etcd")
	if runtime.GOOS == "windows" {
		server += ".exe"
	}
	if _, err := os.Stat(server); err == nil {
		return server, nil
	}
	return server, buildAt(source, server)
}

// buildAt brings the modules and builds the server. It is moved to its place whole, so that nobody runs a part of it.
func buildAt(source, server string) error {
	half := server + ".new"
	for _, step := range []struct {
		within  time.Duration
		command []string
	}{
		{bringTime, []string{"go", "list", "-deps", "-f", "{{if .Error}}{{.Error}}{{end}}", "."}},
		{buildTime, []string{"go", "build", "-o", half, "."}},
		{buildTime, []string{"mv", half, server}},
	} {
		ctx, done := context.WithTimeout(context.Background(), step.within)
		run := exec.CommandContext(ctx, step.command[0], step.command[1:]...) //nolint:gosec // of this file alone
		run.Dir, run.Env, run.WaitDelay = source, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly -modcacherw"), time.Second
		out, err := run.CombinedOutput()
		late := ctx.Err() != nil
		done()
		if late {
			return fmt.Errorf("%s took longer than %s", strings.Join(step.command[:2], " "), step.within)
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(step.command[:2], " "), err, lastLine(out))
		}
	}
	return nil
}

// sourceDir is where the module of the server is, wherever in this module a test runs.
func sourceDir() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/openimds/openimds").Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		return filepath.Join(dir, "store", "etcd", "etcdtest", "server"), nil
	}
	return "", errors.New("the source of its server is not to be found")
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
