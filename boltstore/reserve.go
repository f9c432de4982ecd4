package boltstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
)

// What a reserve takes up: the most, the least that is worth it, and how much must be free beside it
// before the disk counts as one with room again.
const (
	reserveMost  = 1 << 20
	reserveLeast = 64 << 10
	reserveExtra = 64 << 10
)

// reserve is a file beside the store that does nothing but take up room. On a full disk it is given up,
// so that what makes the store smaller can still be written.
type reserve struct {
	path  string
	size  int64
	whole bool
}

func reservePath(store string) string { return store + ".reserve" }

// openReserve makes the reserve of a store, or finds it. On a small disk it is smaller. The error says
// that there is no room for one; the reserve can be filled later.
func openReserve(store string) (*reserve, error) {
	r := &reserve{path: reservePath(store), size: reserveMost}
	if info, err := os.Lstat(r.path); err == nil && info.Mode().IsRegular() && info.Size() >= reserveLeast {
		r.size, r.whole = min(info.Size(), reserveMost), true
		return r, nil
	}
	for {
		err := r.fill(0)
		if !noRoom(err) {
			return r, nil // a directory that takes no further file has no reserve
		}
		if r.size/2 < reserveLeast {
			return r, err
		}
		r.size /= 2
	}
}

// fill makes the reserve whole if there is room for it and for extra bytes more. Otherwise it stays as
// it was: what is missing is left to others.
func (r *reserve) fill(extra int64) error {
	if info, err := os.Lstat(r.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is there and is not a file", r.path)
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	was := int64(0)
	if r.whole {
		was = r.size
	}
	err = fillUp(f, was, r.size+extra)
	if err != nil {
		return errors.Join(err, f.Truncate(was))
	}
	r.whole = true
	return f.Truncate(r.size)
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
	if !r.whole || os.Truncate(r.path, 0) != nil {
		return false
	}
	r.whole = false
	return true
}
