package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/openimds/openimds/safefile"
)

// Files of the data directory that others know of: the store, the access keys of the control API, what leads AWS's
// clients to them by a profile's name, the key that signs reports, and the keys that sign identity documents.
const (
	StoreFile       = "openimds.db"
	CredentialsFile = "credentials"
	ProfilesFile    = "profiles"
	ReportKeyFile   = "reports.pem"
	IdentityDir     = "identity"
	// InstanceConnectFile has the keys that sign pushed SSH keys.
	InstanceConnectFile = "instance-connect.pem"
)

// regionFile says which region the server is of: its clients sign for it.
const regionFile = "region"

// writeRegion has the clients of this machine know the region, whatever AWS's own settings name.
func (c *Config) writeRegion() error {
	if err := safefile.Write(filepath.Join(c.DataDir, regionFile), []byte(c.Region+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot write the region to the data directory: %w", err)
	}
	return nil
}

// RegionBeside is the region of the server that has this credentials file, or file of profiles, as it was at its last
// start; empty: the file is of no server.
func RegionBeside(credentials string) string {
	if base := filepath.Base(credentials); base != CredentialsFile && base != ProfilesFile {
		return ""
	}
	text, _, err := safefile.Read(filepath.Join(filepath.Dir(credentials), regionFile), maxHint)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

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
	if err := refuseRestoring(real); err != nil {
		return "", err
	}
	// Find out now whether it can be written: later, the first lost write would be the report.
	probe, err := safefile.Create(filepath.Join(real, "probe"), 0o600)
	if err != nil {
		return "", fmt.Errorf("cannot write to the data directory: %w; %s", err, other)
	}
	probe.Discard()
	return real, nil
}
