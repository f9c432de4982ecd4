package safefile

import (
	"errors"
	"math/rand/v2"
	"os"
)

// reserveExtra must be free beside a reserve before the disk counts as one with room again.
const reserveExtra = 64 << 10

// Reserve is a file that does nothing but take up room. On a full disk it is given up, so that what
// makes room, or has to be told, can still be written. It is not safe for use by several goroutines.
type Reserve struct {
	path        string
	most, least int64
	size        int64
	whole       bool
}

// OpenReserve finds the reserve at path, or makes one of most bytes; on a small disk it is smaller, but
// not below least. The error says that there is no room for one; it can be made later.
func OpenReserve(path string, most, least int64) (*Reserve, error) {
	r := &Reserve{path: path, most: most, least: least}
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() >= least {
		r.size, r.whole = min(info.Size(), most), true
		return r, nil
	}
	if err := r.fill(0); NoRoom(err) {
		return r, err
	}
	r.whole = true // a directory that takes no further file has a reserve of nothing
	return r, nil
}

// Whole says whether the reserve is there.
func (r *Reserve) Whole() bool { return r.whole }

// Fill makes the reserve whole if there is room for it, and some more. Otherwise all stays as it was, and
// the error says that the disk is full.
func (r *Reserve) Fill() error {
	err := r.fill(reserveExtra)
	if NoRoom(err) {
		return err
	}
	r.whole = true
	return nil
}

func (r *Reserve) fill(extra int64) error {
	f, err := Open(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() < r.size {
		r.whole = false // somebody took it away
	}
	if r.whole && r.size > 0 {
		return errors.Join(fillUp(f, r.size, r.size+extra), f.Truncate(r.size))
	}
	for size := r.most; size >= r.least; size /= 2 {
		if err = fillUp(f, 0, size+extra); err == nil {
			r.size, r.whole = size, true
			return f.Truncate(size)
		}
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	return err
}

// fillUp writes what no file system can store in less room.
func fillUp(f *os.File, from, to int64) error {
	noise := rand.NewChaCha8([32]byte{})
	block := make([]byte, 32<<10)
	for at := from; at < to; at += int64(len(block)) {
		_, _ = noise.Read(block) // never fails
		if _, err := f.WriteAt(block[:min(int64(len(block)), to-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// GiveUp frees the room that the reserve takes up; it says whether there was any.
func (r *Reserve) GiveUp() bool {
	if !r.whole {
		return false
	}
	f, err := Open(r.path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	r.whole = f.Truncate(0) != nil
	return !r.whole
}
