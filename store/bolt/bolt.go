// Package bolt keeps the records of one installation in one file, by bbolt.
//
// A commit is durable before it is acknowledged. Commits that wait at the same time share one
// transaction of the file, and so one wait for the disk; each still stands or falls by itself.
package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	recordsBucket = []byte("records")
	largeBucket   = []byte("large")
	metaBucket    = []byte("meta")
	versionKey    = []byte("version")
	revisionKey   = []byte("revision")
	probeKey      = []byte("probe")
)

// Store is the [store.Store] in a file.
type Store struct {
	db      *bbolt.DB
	log     *store.Changelog
	commits chan *commit
	stop    chan struct{} // closed: the writer is to end
	ended   chan struct{} // closed: it has
	closing sync.Once
	terms   terms

	health   atomic.Pointer[error]
	refusing chan error
	// Of the writer alone.
	reserve   *safefile.Reserve
	condition condition
	// apart is how far the first commit's revision is behind the last one's before the file was opened. It is random, so
	// that a file that was put back to an earlier state has no revision twice: who knows a record of one, knows the record.
	apart int64
}

// maxApart is the most that apart is: a file may be opened a billion times.
const maxApart = 1 << 32

// revisionOf is the revision of the last commit that tx sees.
func revisionOf(tx *bbolt.Tx) int64 {
	return int64(binary.BigEndian.Uint64(tx.Bucket(metaBucket).Get(revisionKey)))
}

// view runs read on a snapshot of the file. bbolt panics on pages that cannot be; a damaged file must
// cost the caller an answer, not everyone the process.
func (s *Store) view(ctx context.Context, read func(*bbolt.Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer recoverDamage(&err)
	defer faultsPanic()()
	var revision int64
	err = s.db.View(func(tx *bbolt.Tx) error {
		revision = revisionOf(tx)
		return read(tx)
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	if err != nil {
		return err
	}
	return s.log.Reach(ctx, revision)
}

// recoverDamage is deferred, with faultsPanic, by whoever reads pages.
func recoverDamage(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the store is damaged (%v); restore it from a backup", p)
	}
}

// faultsPanic has faults of memory panic in this goroutine, and returns what undoes it: a damaged page may
// name one beyond the file that is mapped, and no recover catches what that would be otherwise.
func faultsPanic() func() {
	was := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(was) }
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (r store.Record, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		sealed := tx.Bucket(recordsBucket).Get([]byte(key))
		if sealed == nil {
			return store.ErrNoRecord
		}
		r, err = open(tx, []byte(key), sealed)
		return err
	})
	return r, err
}

// Revisions implements [store.Store].
func (s *Store) Revisions(ctx context.Context, keys ...string) (all []int64, err error) {
	all = make([]int64, len(keys))
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(recordsBucket)
		for i, key := range keys {
			sealed := bucket.Get([]byte(key))
			if sealed == nil {
				continue
			}
			r, err := openKey(tx, []byte(key), sealed)
			if err != nil {
				return err
			}
			all[i] = r.Revision
		}
		return nil
	})
	return all, err
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, r store.Range) (page store.Page, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		page.Revision = revisionOf(tx)
		at := newCursor(tx, r)
		for key, sealed := at.first(); key != nil; key, sealed = at.next() {
			if r.Limit > 0 && len(page.Records) == r.Limit {
				page.More = true
				return nil
			}
			read := open
			if r.KeysOnly {
				read = openKey
			}
			record, err := read(tx, key, sealed)
			if err != nil {
				return err
			}
			page.Records = append(page.Records, record)
		}
		return nil
	})
	return page, err
}

// Watch implements [store.Store].
func (s *Store) Watch(prefix string, after int64) store.Watcher {
	return s.log.Watch(prefix, after)
}

// Close ends the calls under way and releases the file. Commits that were taken up are still carried
// out; the others end with ErrClosed.
func (s *Store) Close() (err error) {
	err = errors.New("the store was closed before")
	s.closing.Do(func() {
		close(s.stop)
		<-s.ended
		s.log.Close()
		err = s.db.Close()
	})
	return err
}
