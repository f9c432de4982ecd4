package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/openimds/openimds/safefile"
)

// Files of the data directory that others know of: the store, the access keys of the control API, and the
// keys that sign identity documents.
const (
	StoreFile       = "openimds.db"
	CredentialsFile = "credentials"
	IdentityDir     = "identity"
)

// auditFile is where the data directory keeps who changed what.
const auditFile = "audit.log"

// openDataDir makes the data directory, if it is not there, for this user only, and returns where it
// really is. One that others could change is refused: whoever exchanges the store or the credentials is
// the operator.
func (c *Config) openDataDir() (string, error) {
	other := "choose another with " + c.named("DataDir") + " DIR"
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, errNotDir) {
			return "", fmt.Errorf("the data directory cannot be %s: a file is there or on the way; %s", c.DataDir, other)
		}
		return "", fmt.Errorf("cannot make the data directory: %w; %s", err, other)
	}
	real, err := safefile.Directory(c.DataDir)
	if err != nil {
		return "", fmt.Errorf("the data directory %s is not safe: %w; or %s", c.DataDir, err, other)
	}
	// Find out now whether it can be written: later, the first lost write would be the report.
	probe, err := safefile.Create(filepath.Join(real, "probe"), 0o600)
	if err != nil {
		return "", fmt.Errorf("cannot write to the data directory: %w; %s", err, other)
	}
	probe.Discard()
	return real, nil
}
