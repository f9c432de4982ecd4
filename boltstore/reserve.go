package boltstore

import (
	"errors"
	"math/rand/v2"
	"os"

	"github.com/openimds/openimds/safefile"
)

const (
	// What a reserve takes up: the most, and the least that is worth it.
	reserveMost  = 1 << 20
	reserveLeast = 64 << 10
	// reserveExtra must be free beside it before the disk counts as one with room again.
	reserveExtra = 64 << 10
	// reserveInside of free room in the store's own file does in a reserve's place.
	reserveInside = 256 << 10
)

// reserve is a file beside the store that does nothing but take up room. On a full disk it is given up,
// so that what makes the store smaller can still be written.
type reserve struct {
	path  string
	size  int64
	whole bool
}

func reservePath(store string) string { return store + ".reserve" }

// openReserve makes the reserve of a store, or finds it. The error says that there is no room for one;
// it can be made later.
func openReserve(store string) (*reserve, error) {
	r := &reserve{path: reservePath(store)}
	if info, err := os.Lstat(r.path); err == nil && info.Mode().IsRegular() && info.Size() >= reserveLeast {
		r.size, r.whole = min(info.Size(), reserveMost), true
		return r, nil
	}
	if err := r.fill(0); noRoom(err) {
		return r, err
	}
	return r, nil // a directory that takes no further file has no reserve
}

// fill makes the reserve whole if there is room for it and for extra bytes more; on a small disk it is
// smaller. Otherwise all stays as it was: what is missing is left to others.
func (r *reserve) fill(extra int64) error {
	f, err := safefile.Open(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() < r.size {
		r.whole = false // somebody took it away
	}
	if r.whole {
		return errors.Join(fillUp(f, r.size, r.size+extra), f.Truncate(r.size))
	}
	for size := int64(reserveMost); size >= reserveLeast; size /= 2 {
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

// giveUp frees the room that the reserve takes up; it says whether there was any.
func (r *reserve) giveUp() bool {
	if !r.whole {
		return false
	}
	f, err := safefile.Open(r.path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	r.whole = f.Truncate(0) != nil
	return !r.whole
}
