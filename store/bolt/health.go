package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

const (
	// What the store's reserve takes up: the most, and the least that is worth it.
	reserveMost  = 1 << 20
	reserveLeast = 64 << 10
	// reserveInside of free room in the store's own file does in a reserve's place.
	reserveInside = 256 << 10
)

// reservePath is where the reserve of a store lies, from which deletions are written on a full disk.
func reservePath(store string) string { return store + ".reserve" }

// retryEvery is how often a store that refuses changes looks whether it can take them again.
const retryEvery = time.Second

// deleteSlack is how much larger a commit that deletes something may make the store on a full disk: it
// brings the record of its own operation.
const deleteSlack = 1 << 10

// probeSize is of what a store has to have room for before it calls itself well again.
const probeSize = 32 << 10

// Health says why the store refuses changes, in one line with what to do; nil: it takes them. Reads are
// not affected. It never waits.
func (s *Store) Health() error {
	if p := s.health.Load(); p != nil {
		return *p
	}
	return nil
}

// Refusing tells when the store begins to refuse changes, and why; one refusal waits to be heard. Who only
// asks Health at times would miss one that soon ends.
func (s *Store) Refusing() <-chan error { return s.refusing }

// condition is what the writer knows of its disk.
type condition struct {
	// broken: an fsync failed. The kernel may have dropped what it could not write and call it clean, so
	// that a later fsync would acknowledge what is not there: nothing is written any more.
	broken error
	// failed is how the last attempt failed otherwise; nil: it did not.
	failed error
	// lacking is why the reserve is not whole; nil: it is.
	lacking error
}

// tell makes the condition known.
func (s *Store) tell() {
	err := s.condition.broken
	if err == nil {
		if err = s.condition.failed; err == nil {
			err = s.cramped()
		}
		switch {
		case safefile.NoRoom(err):
			err = fmt.Errorf("the store's disk is full (%w); changes are refused and only deletions carried out until there is room again: free some, or delete what is not needed", err)
		case err != nil:
			err = fmt.Errorf("%w; check the disk", err)
		}
	}
	if err == nil {
		s.health.Store(nil)
		return
	}
	if s.health.Swap(&err) == nil {
		select {
		case s.refusing <- err:
		default:
		}
	}
}

// carryOut writes a group and answers its commits.
func (s *Store) carryOut(group []*commit) {
	err := s.condition.broken
	if err == nil {
		group, err = s.try(group)
		s.tell()
	}
	answer(group, err)
}

// try writes a group. On a full disk, what makes the store smaller is written all the same, from the
// reserve if need be; all else is refused, and not even tried while there is no reserve. It returns
// those that are still to be answered.
func (s *Store) try(group []*commit) ([]*commit, error) {
	c := &s.condition
	err := s.cramped()
	if err == nil {
		// That the store could be made smaller says nothing of room.
		proves := !safefile.NoRoom(c.failed) || len(s.growing(group)) > 0
		if err = s.writeGroup(group); err == nil {
			if proves {
				c.failed = nil
			}
			return group, nil
		}
	}
	if safefile.NoRoom(err) {
		c.failed = err
		if group, err = s.shrink(group, err); err == nil {
			return group, nil
		}
	}
	c.note(err)
	return group, err
}

// note takes up how an attempt failed.
func (c *condition) note(err error) {
	c.failed = err
	if suspect(err) {
		c.broken = fmt.Errorf("the store takes no more changes since the disk failed (%w); check the disk, then start openimds again", err)
	}
}

// shrink answers those of a group that there is no room for, and carries out the others, which it
// returns.
func (s *Store) shrink(group []*commit, full error) (smaller []*commit, err error) {
	larger := s.growing(group)
	for _, c := range group {
		if !slices.Contains(larger, c) {
			smaller = append(smaller, c)
		}
	}
	answer(larger, full)
	if len(smaller) == 0 {
		return nil, nil
	}
	err = s.writeGroup(smaller)
	if safefile.NoRoom(err) && s.reserve.GiveUp() {
		s.condition.lacking = err
		err = s.writeGroup(smaller)
	}
	return smaller, err
}

// growing returns those of a group that need room.
func (s *Store) growing(group []*commit) (larger []*commit) {
	var err error // which writing the rest will meet too
	defer recoverDamage(&err)
	defer faultsPanic()()
	_ = s.db.View(func(tx *bbolt.Tx) error {
		for _, c := range group {
			if c.revoke == store.NoLease && !shrinks(tx, c.changes) {
				larger = append(larger, c)
			}
		}
		return nil
	})
	return larger
}

// answer ends commits, with the error if there is one.
func answer(group []*commit, err error) {
	if safefile.NoRoom(err) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	for _, c := range group {
		if err != nil {
			c.revision, c.err = 0, err
		}
		close(c.done)
	}
}

// shrinks says whether a commit makes the store smaller, or deletes something and adds next to nothing.
func shrinks(tx *bbolt.Tx, changes []store.Change) bool {
	grows, deletes := 0, false
	for _, c := range changes {
		old := sizeOf(tx, c.Key)
		switch c.Verb {
		case store.Put:
			grows += len(c.Key) + headerSize + len(c.Value) - old
		case store.Delete:
			grows -= old
			deletes = deletes || old > 0
		}
	}
	return grows < 0 || deletes && grows <= deleteSlack
}

// cramped says that there is neither a reserve nor, inside the file, as much free room as one: what is
// left is for deletions.
func (s *Store) cramped() error {
	if s.condition.lacking == nil || s.roomInside() {
		return nil
	}
	return s.condition.lacking
}

func (s *Store) roomInside() bool {
	return int64(s.db.Stats().FreePageN)*int64(s.db.Info().PageSize) >= reserveInside
}

// retry looks whether a store that refuses changes can take them again: nobody need change anything to
// see it work.
func (s *Store) retry() {
	c := &s.condition
	switch {
	case c.broken != nil || c.failed == nil && c.lacking == nil:
		return
	case c.failed == nil || safefile.NoRoom(c.failed):
		if s.reserve.Fill() == nil {
			c.failed, c.lacking = nil, nil
		} else if s.roomInside() { // deletions have made it, be it in one piece or not
			if err := s.probe(); err == nil {
				c.failed = nil
			} else {
				c.note(err)
			}
		}
	default:
		_, _ = s.try(nil)
	}
	s.tell()
}

// probe writes as much as a large instance, and takes it away.
func (s *Store) probe() (err error) {
	defer recoverDamage(&err)
	defer faultsPanic()()
	err = s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(probeKey, make([]byte, probeSize)) })
	if err == nil {
		err = s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Delete(probeKey) })
	}
	return err
}

// suspect says whether a failed commit leaves the file in doubt. A write or a truncation that failed
// (a full disk) does not; a failed fsync does. bbolt returns that one as a bare error number, where the
// system has no fdatasync as an error of the file's Sync, and while it grows the file as a text.
func suspect(err error) bool {
	if strings.Contains(err.Error(), "file sync error") {
		return true
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Op == "sync"
	}
	var number syscall.Errno
	return errors.As(err, &number) && !safefile.NoRoom(err)
}
