package bolt

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

// groupSize bounds how many commits share a transaction, and so how long the first one waits.
const groupSize = 256

// commit is one call of [Store.Commit], [Store.Grant] or [Store.Revoke] on its way through the writer.
type commit struct {
	changes  []store.Change
	grant    store.Lease // that is to begin
	ttl      time.Duration
	revoke   store.Lease // that is to end
	revision int64
	records  []store.Record
	err      error
	done     chan struct{}
}

// Commit implements [store.Store]. When ctx ends before the disk has answered, the outcome is unknown.
func (s *Store) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if err := store.CheckChanges(changes); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c := &commit{changes: make([]store.Change, len(changes)), done: make(chan struct{})}
	for i, change := range changes {
		// The caller may go away, and change its bytes, while the writer still works.
		change.Value = append([]byte{}, change.Value...)
		c.changes[i] = change
	}
	if err := s.queue(ctx, c); err != nil {
		return 0, err
	}
	return c.revision, nil
}

// queue hands a commit to the writer and waits until it was carried out or refused.
func (s *Store) queue(ctx context.Context, c *commit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.commits <- c:
	case <-s.stop:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.done:
		return c.err
	case <-s.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	// The writer has ended: it has taken this commit up, or it never will.
	select {
	case <-c.done:
		return c.err
	default:
		return store.ErrClosed
	}
}

// write is the only goroutine that changes the file.
func (s *Store) write() {
	defer close(s.ended)
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case c := <-s.commits:
			s.carryOut(s.gather(c))
		case <-retry.C:
			s.retry()
			s.expire()
		case <-s.stop:
			return
		}
	}
}

// gather takes up the commits that wait already.
func (s *Store) gather(first *commit) []*commit {
	group := []*commit{first}
	for len(group) < groupSize {
		select {
		case c := <-s.commits:
			group = append(group, c)
		default:
			return group
		}
	}
	return group
}

// writeGroup carries out the commits of a group one after the other in one transaction, and tells
// the watchers once the disk has them.
func (s *Store) writeGroup(group []*commit) (err error) {
	defer func() {
		if err != nil {
			s.resetLog()
		}
	}()
	defer recoverDamage(&err)
	defer faultsPanic()()
	apart := s.apart
	err = s.db.Update(func(tx *bbolt.Tx) error {
		revision := revisionOf(tx)
		for _, c := range group {
			if c.err = c.conditions(tx); c.err != nil {
				continue
			}
			revision += 1 + apart
			apart = 0
			if err := c.apply(tx, revision); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(revisionKey, binary.BigEndian.AppendUint64(nil, uint64(revision)))
	})
	if err != nil {
		return fmt.Errorf("the store cannot be written: %w", err)
	}
	s.apart = apart
	for _, c := range group {
		if c.err != nil {
			continue
		}
		s.log.Append(c.revision, c.records)
		switch {
		case c.grant != store.NoLease:
			s.terms.begin(c.grant, c.ttl)
		case c.revoke != store.NoLease:
			s.terms.end(c.revoke)
		}
	}
	return nil
}

// resetLog makes the watchers list again when a transaction has failed: its last step may have
// reached the file all the same.
func (s *Store) resetLog() {
	var err error
	defer recoverDamage(&err)
	defer faultsPanic()()
	_ = s.db.View(func(tx *bbolt.Tx) error {
		s.log.Reset(revisionOf(tx))
		return nil
	})
}

// conditions says whether all of a commit's conditions hold, before any of its changes is made.
func (c *commit) conditions(tx *bbolt.Tx) error {
	if c.revoke != store.NoLease && !lasts(tx, c.revoke) {
		return store.ErrNoLease
	}
	for _, c := range c.changes {
		if c.Lease != store.NoLease && !lasts(tx, c.Lease) {
			return store.ErrNoLease
		}
		if c.If == store.Whatever {
			continue
		}
		var revision int64
		if sealed := tx.Bucket(recordsBucket).Get([]byte(c.Key)); len(sealed) >= headerSize {
			revision = int64(binary.BigEndian.Uint64(sealed))
		}
		if revision != c.If {
			return store.ErrConflict
		}
	}
	return nil
}

func (c *commit) apply(tx *bbolt.Tx, revision int64) error {
	c.revision, c.records = revision, nil
	switch {
	case c.grant != store.NoLease:
		return c.applyGrant(tx)
	case c.revoke != store.NoLease:
		return c.applyRevoke(tx, revision)
	}
	return c.applyChanges(tx, revision)
}

func (c *commit) applyChanges(tx *bbolt.Tx, revision int64) error {
	for _, change := range c.changes {
		switch change.Verb {
		case store.Put:
			if err := put(tx, change.Key, change.Value, revision); err != nil {
				return err
			}
			if err := bind(tx, change.Key, change.Lease); err != nil {
				return err
			}
			c.records = append(c.records, store.Record{Key: change.Key, Value: change.Value, Revision: revision, Lease: change.Lease})
		case store.Delete:
			if tx.Bucket(recordsBucket).Get([]byte(change.Key)) == nil {
				continue
			}
			if err := remove(tx, change.Key); err != nil {
				return err
			}
			c.records = append(c.records, store.Record{Key: change.Key, Revision: revision})
		}
	}
	return nil
}
