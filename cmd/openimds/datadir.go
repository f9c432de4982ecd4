package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"

	"github.com/openimds/openimds/safefile"
)

// Files of the data directory.
const (
	storeFile       = "openimds.db"
	credentialsFile = "credentials"
)

// defaultDataDir is where commands look that are not told where: where the server's environment
// variable says, else where a user's state belongs (XDG Base Directory Specification).
func defaultDataDir() (string, error) {
	if dir := os.Getenv(environmentName("data-dir")); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "openimds"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		u, uerr := user.Current()
		if uerr != nil || u.HomeDir == "" {
			return "", errors.New("this user has no home directory; say where to keep the data with --data-dir DIR")
		}
		home = u.HomeDir
	}
	return filepath.Join(home, ".local", "state", "openimds"), nil
}

// openDataDir makes the data directory, if it is not there, for this user only, and returns where it
// really is. One that others could change is refused: whoever exchanges the store or the credentials is
// the operator.
func openDataDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, errNotDir) {
			return "", fmt.Errorf("the data directory cannot be %s: a file is there or on the way; choose another with --data-dir DIR", dir)
		}
		return "", fmt.Errorf("cannot make the data directory: %w; choose another with --data-dir DIR", err)
	}
	real, err := safefile.Directory(dir)
	if err != nil {
		return "", fmt.Errorf("the data directory %s is not safe: %w; or choose another with --data-dir DIR", dir, err)
	}
	// Find out now whether it can be written: later, the first lost write would be the report.
	probe, err := safefile.Create(filepath.Join(real, "probe"), 0o600)
	if err != nil {
		return "", fmt.Errorf("cannot write to the data directory: %w; choose another with --data-dir DIR", err)
	}
	probe.Discard()
	return real, nil
}
