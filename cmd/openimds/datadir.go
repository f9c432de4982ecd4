package main

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"

	"github.com/openimds/openimds/server"
)

const credentialsFile = server.CredentialsFile

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

// dataDirOr is the directory that a flag names, else the default one.
func dataDirOr(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	return defaultDataDir()
}
