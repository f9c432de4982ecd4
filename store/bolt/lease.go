package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

var (
	leasesBucket = []byte("leases") // the time of each lease, in seconds
	leasedBucket = []byte("leased") // the lease of each record that has one
	boundBucket  = []byte("bound")  // the same the other way around: a lease and a key, without a value
)

// terms are when the leases of this file end. Nobody else has the file open, so that to keep one alive
// writes nothing: who opens the file gives each its whole time anew.
type terms struct {
	mu sync.Mutex
	of map[store.Lease]*term
}

type term struct {
	ttl  time.Duration
	ends time.Time
}

func (t *terms) begin(l store.Lease, ttl time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of[l] = &term{ttl: ttl, ends: time.Now().Add(ttl)}
}

func (t *terms) end(l store.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, l)
}

// over takes out a lease whose time is over, and tells that time; NoLease: there is none.
func (t *terms) over(now time.Time) (store.Lease, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l, term := range t.of {
		if now.After(term.ends) {
			delete(t.of, l)
			return l, term.ttl
		}
	}
	return store.NoLease, 0
}

// Grant implements [store.Store].
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	if err := store.CheckTTL(ttl); err != nil {
		return store.NoLease, err
	}
	l := store.Lease(1 + rand.Int64N(1<<62)) //nolint:gosec // a name, not a secret
	if err := s.queue(ctx, &commit{grant: l, ttl: ttl, done: make(chan struct{})}); err != nil {
		return store.NoLease, err
	}
	return l, nil
}

// KeepAlive implements [store.Store].
func (s *Store) KeepAlive(ctx context.Context, l store.Lease) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.stop:
		return store.ErrClosed
	default:
	}
	s.terms.mu.Lock()
	defer s.terms.mu.Unlock()
	term := s.terms.of[l]
	if term == nil {
		return store.ErrNoLease
	}
	term.ends = time.Now().Add(term.ttl)
	return nil
}

// Revoke implements [store.Store].
func (s *Store) Revoke(ctx context.Context, l store.Lease) error {
	return s.queue(ctx, &commit{revoke: l, done: make(chan struct{})})
}

// expire ends the leases whose time is over. What cannot be written now is tried again.
func (s *Store) expire() {
	for {
		l, ttl := s.terms.over(time.Now())
		if l == store.NoLease {
			return
		}
		c := &commit{revoke: l, done: make(chan struct{})}
		if s.carryOut([]*commit{c}); c.err != nil && !errors.Is(c.err, store.ErrNoLease) {
			s.terms.begin(l, ttl)
			return
		}
	}
}

// loadLeases begins the terms of the leases that the file has.
func (s *Store) loadLeases() (err error) {
	defer recoverDamage(&err)
	defer faultsPanic()()
	return s.db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(leasesBucket)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(id, seconds []byte) error {
			s.terms.begin(store.Lease(binary.BigEndian.Uint64(id)), time.Duration(binary.BigEndian.Uint64(seconds))*time.Second)
			return nil
		})
	})
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// leaseOf is the lease that the record of a key is bound to.
func leaseOf(tx *bbolt.Tx, key []byte) store.Lease {
	if bucket := tx.Bucket(leasedBucket); bucket != nil {
		if id := bucket.Get(key); len(id) == 8 {
			return store.Lease(binary.BigEndian.Uint64(id))
		}
	}
	return store.NoLease
}

func lasts(tx *bbolt.Tx, l store.Lease) bool {
	bucket := tx.Bucket(leasesBucket)
	return bucket != nil && bucket.Get(number(int64(l))) != nil
}

// bind has the record of a key last as long as a lease; with NoLease, for good.
func bind(tx *bbolt.Tx, key string, l store.Lease) error {
	was := leaseOf(tx, []byte(key))
	if was == l {
		return nil
	}
	bound, err := boundOf(tx)
	if err != nil {
		return err
	}
	if was != store.NoLease {
		if err := bound.Delete(boundKey(was, key)); err != nil {
			return err
		}
	}
	if l == store.NoLease {
		return tx.Bucket(leasedBucket).Delete([]byte(key))
	}
	if err := bound.Put(boundKey(l, key), nil); err != nil {
		return err
	}
	return tx.Bucket(leasedBucket).Put([]byte(key), number(int64(l)))
}

func boundKey(l store.Lease, key string) []byte { return append(number(int64(l)), key...) }

// boundOf has what is bound to each lease, so that the end of one costs what it has, not what all have. The file of an
// earlier program gets it with its next change.
func boundOf(tx *bbolt.Tx) (*bbolt.Bucket, error) {
	if bound := tx.Bucket(boundBucket); bound != nil {
		return bound, nil
	}
	if err := raise(tx, boundVersion); err != nil {
		return nil, err
	}
	bound, err := tx.CreateBucket(boundBucket)
	if err != nil {
		return nil, err
	}
	leased := tx.Bucket(leasedBucket)
	if leased == nil {
		return bound, nil
	}
	return bound, leased.ForEach(func(key, id []byte) error {
		return bound.Put(append(bytes.Clone(id), key...), nil)
	})
}

// applyGrant writes a new lease. An earlier program would take what is bound to one for what stays.
func (c *commit) applyGrant(tx *bbolt.Tx) error {
	if err := raise(tx, leaseVersion); err != nil {
		return err
	}
	leases, err := tx.CreateBucketIfNotExists(leasesBucket)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucketIfNotExists(leasedBucket); err != nil {
		return err
	}
	return leases.Put(number(int64(c.grant)), number(int64(c.ttl/time.Second)))
}

// applyRevoke ends a lease and deletes what is bound to it.
func (c *commit) applyRevoke(tx *bbolt.Tx, revision int64) error {
	if err := tx.Bucket(leasesBucket).Delete(number(int64(c.revoke))); err != nil {
		return err
	}
	bound, err := boundOf(tx)
	if err != nil {
		return err
	}
	c.changes = c.changes[:0]
	of, at := number(int64(c.revoke)), bound.Cursor()
	for key, _ := at.Seek(of); bytes.HasPrefix(key, of); key, _ = at.Next() {
		c.changes = append(c.changes, store.Change{Verb: store.Delete, Key: string(key[len(of):]), If: store.Whatever})
	}
	return c.applyChanges(tx, revision)
}

// raise has the file refused by programs that know only versions before that one.
func raise(tx *bbolt.Tx, version int) error {
	meta := tx.Bucket(metaBucket)
	if now, err := strconv.Atoi(string(meta.Get(versionKey))); err == nil && now >= version {
		return nil
	}
	return meta.Put(versionKey, []byte(strconv.Itoa(version)))
}
