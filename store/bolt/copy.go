package bolt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"go.etcd.io/bbolt"
)

// Copy gives a copy of the store as it is now, of so many bytes, while commits go on. Each record is read before: a
// damaged store is not copied. While copy runs, a commit for which the file has to grow a good deal may have to wait.
func (s *Store) Copy(copy func(size int64, content io.WriterTo) error) error {
	return copyOf(s.db, copy)
}

// Copy does the same with the store at path, which nobody may have open. Nothing is written.
func Copy(path string, copy func(size int64, content io.WriterTo) error) error {
	db, err := openToRead(path)
	if err != nil {
		return err
	}
	return errors.Join(copyOf(db, copy), db.Close())
}

// Check reads the whole store at path, which nobody may have open, each record with its checksum.
func Check(path string) error {
	return Copy(path, func(int64, io.WriterTo) error { return nil })
}

func openToRead(path string) (*bbolt.DB, error) {
	if _, err := examine(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no store %s", path)
	} else if err != nil {
		return nil, err
	}
	db, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := inspect(db); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("the store %s %w", path, err)
	}
	return db, nil
}

func copyOf(db *bbolt.DB, copy func(size int64, content io.WriterTo) error) (err error) {
	defer recoverDamage(&err)
	defer faultsPanic()()
	return db.View(func(tx *bbolt.Tx) error {
		if _, err := count(tx); err != nil {
			return err
		}
		return copy(tx.Size(), tx)
	})
}
