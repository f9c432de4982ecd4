package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The layouts of the file. The first one had all values among the records, the second knew no leases, the third not
// what is bound to each. All are read and carried on as they are: a file becomes one of a later version with its first
// large value, its first lease, or the first record that is bound to one or was.
const (
	largeVersion = 2
	leaseVersion = 3
	boundVersion = 4
	fileVersion  = boundVersion
)

// lockTime is how long Open waits for another process to let go of the file.
const lockTime = time.Second

// Open opens the store in the file at path and makes a new one if there is no such file. Its errors
// are one line for people and name the file. A file that is not a whole store of this version is
// refused and left as it is: an empty one in its place would forget every restriction.
func Open(path string) (*Store, error) {
	if _, err := examine(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, fmt.Errorf("cannot make the store %s: %w", path, err)
		}
	} else if err != nil {
		return nil, err
	}
	db, err := openFile(path)
	if err != nil {
		return nil, err
	}
	revision, err := inspect(db)
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("the store %s %w", path, err)
	}
	s := &Store{
		db:       db,
		log:      store.NewChangelog(revision, store.ChangelogRecords, store.ChangelogBytes),
		commits:  make(chan *commit, groupSize),
		stop:     make(chan struct{}),
		ended:    make(chan struct{}),
		refusing: make(chan error, 1),
		terms:    terms{of: map[store.Lease]*term{}},
		apart:    rand.Int64N(maxApart), //nolint:gosec // it is to differ, and no secret
	}
	if err := s.loadLeases(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("cannot open the store %s: %w", path, err)
	}
	s.reserve, s.condition.lacking = safefile.OpenReserve(reservePath(path), reserveMost, reserveLeast)
	s.tell()
	go s.write()
	return s, nil
}

// examine refuses what cannot be a store of ours, or could be changed by others.
func examine(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("cannot open the store %s: %w", path, cause(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("the store %s is not a file; move it away or choose another --data-dir", path)
	case safefile.Trusted(path, info) != nil:
		return nil, fmt.Errorf("the store %w", safefile.Trusted(path, info))
	case info.Size() == 0:
		return nil, fmt.Errorf("the store %s is empty, which no store ever is; restore it from a backup, or remove it to begin anew", path)
	}
	return info, nil
}

func openFile(path string) (db *bbolt.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, fmt.Errorf("%v", p))
		}
	}()
	defer faultsPanic()()
	if err := checkSize(path); err != nil {
		return nil, explain(path, err)
	}
	for {
		var opened openedFile
		options := &bbolt.Options{Timeout: lockTime, FreelistType: bbolt.FreelistMapType, OpenFile: opened.open}
		if db, err = bbolt.Open(path, 0o600, options); err != nil {
			return nil, explain(path, err)
		}
		if opened.named(path) {
			return db, nil
		}
		if err := db.Close(); err != nil {
			return nil, explain(path, err)
		}
	}
}

// checkSize refuses a file that was cut off. bbolt maps the file, and the first page that is missing
// then ends the process with SIGBUS, which no recover catches. Opened for reading only, bbolt looks
// at nothing but the meta pages, which say how long the file has to be.
func checkSize(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTime, ReadOnly: true, OpenFile: safefile.Open})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(path)
		if err == nil && info.Size() < tx.Size() {
			err = fmt.Errorf("%d of its %d bytes are there", info.Size(), tx.Size())
		}
		return err
	})
	return errors.Join(err, db.Close())
}

// explain says what to do about a file that bbolt does not open.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("the store %s is in use by another process; stop that one or choose another --data-dir", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot open the store %s: this user may not; check its owner and mode", path)
	}
	return damaged(path, cause(err))
}

func damaged(path string, err error) error {
	return fmt.Errorf("the store %s is damaged or not a store (%w); restore it from a backup, or move it away to begin anew", path, err)
}

// cause takes the operation and the path off an error that will be told with the path.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// inspect says whether an open file is a store that this program can use, and at which revision.
func inspect(db *bbolt.DB) (revision int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("is damaged (%v); restore it from a backup, or move it away to begin anew", p)
		}
	}()
	defer faultsPanic()()
	err = db.View(func(tx *bbolt.Tx) error {
		meta, records := tx.Bucket(metaBucket), tx.Bucket(recordsBucket)
		if meta == nil || records == nil || len(meta.Get(revisionKey)) != 8 {
			return errors.New("is another program's file; choose another --data-dir")
		}
		version, err := strconv.Atoi(string(meta.Get(versionKey)))
		switch {
		case err != nil:
			return errors.New("is another program's file; choose another --data-dir")
		case version < 1 || version > fileVersion:
			return fmt.Errorf("has version %d and this program knows %d; run the openimds that made it, or choose another --data-dir", version, fileVersion)
		}
		revision = revisionOf(tx)
		return nil
	})
	return revision, err
}

// create makes an empty store beside path and moves it there when it is whole and on disk: a power
// cut while bbolt writes its first pages leaves a file that cannot be opened any more. The store that
// another process made in the same moment stays.
func create(path string) error {
	f, err := safefile.Create(path, 0o600)
	if err != nil {
		return cause(err)
	}
	defer f.Discard()
	if err := fill(f.Name()); err != nil {
		return cause(err)
	}
	if err := f.PlaceNew(); err != nil && !errors.Is(err, fs.ErrExist) {
		return cause(err)
	}
	return nil
}

func fill(temp string) error {
	db, err := bbolt.Open(temp, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket(recordsBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		if err := meta.Put(versionKey, []byte(strconv.Itoa(fileVersion))); err != nil {
			return err
		}
		return meta.Put(revisionKey, binary.BigEndian.AppendUint64(nil, 0))
	})
	return errors.Join(err, db.Close())
}
