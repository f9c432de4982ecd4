package server

import (
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/audit"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/store/bolt"
)

// ErrRunning says that a server serves the guests of this host, so that what is asked for is that server's to do.
var ErrRunning = hostnet.ErrBusy

// ReleasePlaces does, on a host whose server is stopped, what the operation of that name does where one runs: the
// places of these names are guarded no more, or all that are. It returns those that were released. Without names and
// all it lists what is guarded. It needs a server's capabilities; the errors are [ErrRunning] and what the host refuses.
func ReleasePlaces(names []string, all bool) ([]openimds.GuardedPlace, error) {
	host, err := hostnet.New(hostnet.Config{Serve: func(_ string, l *hostnet.Listener) func() { return func() { _ = l.Close() } }})
	if err != nil {
		return nil, err
	}
	defer func() { _ = host.Close() }()
	if err := host.Sweep(); err != nil {
		return nil, err
	}
	if len(names) == 0 && !all {
		return guardedPlaces(host.Guarded()), nil
	}
	released, err := host.Release(names...)
	if err != nil {
		return nil, err
	}
	return guardedPlaces(released), nil
}

// Compacted is what [Compact] made of a store: sizes in bytes.
type Compacted struct {
	Path          string
	Before, After int64
}

// Compact writes the store of a data directory, whose server does not run, anew, without the room that deleted
// records have left. The new file takes the old one's place once it is whole and on disk; after an error the old
// one is as it was.
func Compact(dataDir string) (Compacted, error) {
	c := Compacted{Path: filepath.Join(dataDir, StoreFile)}
	var err error
	c.Before, c.After, err = bolt.Compact(c.Path)
	return c, err
}

// ErrDamagedLine means that a line of the audit log cannot be read; the others can.
var ErrDamagedLine = audit.ErrDamaged

// AuditLog reads the audit log of a data directory, the earliest entry first, whether or not its server runs. Behind an
// ErrDamagedLine it goes on.
func AuditLog(dataDir string) iter.Seq2[openimds.AuditEntry, error] {
	return AuditFile(filepath.Join(dataDir, auditFile))
}

// SharesAudit says whether the server of a data directory has its audit log together with others, so that its own is a part of
// it: its records are not there, but in a store that they share. A directory without a log has none of either.
func SharesAudit(dataDir string) bool {
	_, err := os.Stat(filepath.Join(dataDir, auditFile))
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(dataDir, StoreFile))
	return errors.Is(err, fs.ErrNotExist)
}

// AuditFile is AuditLog of one file, such as one that was rotated away.
func AuditFile(path string) iter.Seq2[openimds.AuditEntry, error] { return audit.Read(path) }
