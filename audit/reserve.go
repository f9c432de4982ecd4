package audit

import (
	"errors"
	"math/rand/v2"
	"os"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
)

// reserveSize is room for the lines of some deletions, in bytes.
const reserveSize = 128 << 10

// reserve is a file beside the log that does nothing but take up room. On a full disk it is given up, so
// that what makes the store smaller can still be told, and so still be done. While it is gone, the room
// is for such lines alone.
type reserve struct {
	path  string
	given bool // up, and not made again yet
}

// fill makes the reserve, if there is room for it. A directory that takes no further file has none.
func (r *reserve) fill() {
	f, err := safefile.Open(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() == reserveSize {
		r.given = false
		return
	}
	noise := make([]byte, reserveSize) // which no file system can store in less room
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	if _, err = f.WriteAt(noise, 0); err == nil {
		err = f.Sync()
	}
	if r.given = err != nil; r.given {
		_ = f.Truncate(0)
	}
}

// giveUp frees the room that the reserve takes up.
func (r *reserve) giveUp() error {
	f, err := safefile.Open(r.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	r.given = true
	return errors.Join(f.Truncate(0), f.Close())
}

// frees tells a request that makes the store smaller: something is deleted, and nothing made.
func frees(entries []openimds.AuditEntry) bool {
	deleted := false
	for _, e := range entries {
		if e.Failure == "" && e.Before == nil && e.After != nil {
			return false
		}
		deleted = deleted || e.Before != nil && e.After == nil
	}
	return deleted
}
