package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/openimds/openimds/safefile"
	"go.etcd.io/bbolt"
)

// compactBatch is how many bytes of records one transaction of the copy has.
const compactBatch = 4 << 20

// Compact writes the store at path anew, without the room that deleted records have left, and tells
// its size in bytes before and after. Nobody may have it open. The new file takes the old one's place,
// with its mode and owner, once it is whole, on disk and read back; until then the old one is untouched.
func Compact(path string) (before, after int64, err error) {
	src, err := openToRead(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, src.Close()) }() // it holds the lock until the new file has the name
	info, err := os.Lstat(path)
	if err != nil {
		return 0, 0, err
	}
	safefile.Sweep(path) // of a compaction that was killed
	f, err := safefile.Create(path, 0o600)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot compact the store %s: %w", path, cause(err))
	}
	defer f.Discard()
	if err := copyStore(f.Name(), src); err != nil {
		return 0, 0, fmt.Errorf("cannot compact the store %s: %w; it stays as it was", path, cause(err))
	}
	if err := f.Like(info); err != nil {
		return 0, 0, fmt.Errorf("cannot compact the store %s: %w; it stays as it was", path, cause(err))
	}
	now, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	if runtime.GOOS == "windows" { // which moves nothing over an open file
		if err := src.Close(); err != nil {
			return 0, 0, err
		}
	}
	if err := f.Place(); err != nil {
		return 0, 0, fmt.Errorf("cannot put the compacted store in the place of %s: %w", path, cause(err))
	}
	return info.Size(), now.Size(), nil
}

// copyStore copies the store into the empty file at path, and reads the copy.
func copyStore(path string, src *bbolt.DB) (err error) {
	defer recoverDamage(&err)
	defer faultsPanic()()
	options := &bbolt.Options{FreelistType: bbolt.FreelistMapType, OpenFile: safefile.Open, NoSync: true, NoGrowSync: true} // who places it syncs it
	dst, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := bbolt.Compact(dst, src, compactBatch); err != nil {
		return err
	}
	want, err := tally(src)
	if err != nil {
		return err
	}
	got, err := tally(dst)
	if err == nil && got != want {
		err = fmt.Errorf("the copy has %d records at revision %d, not %d at %d", got.records, got.revision, want.records, want.revision)
	}
	return err
}

// whole is what two copies of a store have in common.
type whole struct {
	records  int
	revision int64
}

// tally reads every record, each with its checksum.
func tally(db *bbolt.DB) (w whole, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		w, err = count(tx)
		return err
	})
	return w, err
}

func count(tx *bbolt.Tx) (w whole, err error) {
	w.revision = revisionOf(tx)
	err = tx.Bucket(recordsBucket).ForEach(func(key, sealed []byte) error {
		w.records++
		_, err := open(tx, key, sealed)
		return err
	})
	return w, err
}

// openedFile remembers the file that bbolt opens, and has it make none: it would be an empty store.
type openedFile struct{ f *os.File }

func (o *openedFile) open(path string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := safefile.Open(path, flag&^os.O_CREATE, mode)
	o.f = f
	return f, err
}

// named says whether the file still has the name: while one waits for the lock, a compaction may put
// another in its place.
func (o *openedFile) named(path string) bool {
	mine, err := o.f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, now)
}
