// Package store says what a store of records is: [Store] with its commits, ranges, watches and leases, and
// the [Changelog] that stores keep for those who watch. It knows nothing of what the records hold.
package store

import (
	"context"
	"errors"
	"fmt"
)

// Failures that a [Store] reports as themselves. All others mean that the store is not available.
var (
	// ErrNoRecord means that a key has no record.
	ErrNoRecord = errors.New("no such record")
	// ErrConflict means that a condition of a commit did not hold; nothing was written.
	ErrConflict = errors.New("the record was changed meanwhile")
	// ErrCompacted means that a watch cannot be resumed at its revision: list again and watch from there.
	ErrCompacted = errors.New("the revision is no longer in the store's history")
	// ErrFull means that there is no room on the store's disk for a change. What makes the store smaller may still be
	// made.
	ErrFull = errors.New("the disk is full")
	// ErrTooLarge means that a commit is more than the store takes at once; nothing was written.
	ErrTooLarge = errors.New("the change is too large for the store")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrNoLease means that a lease has ended, with all that was bound to it, or never was.
	ErrNoLease = errors.New("no such lease")
)

// Record is one key's value, the revision of the commit that wrote it, and the lease that it is bound to. A
// [Watcher] tells by a record without a Value that the key was deleted.
type Record struct {
	Key      string
	Value    []byte
	Revision int64
	Lease    Lease
}

// Conditions on a key's present revision, for [Change.If]. A positive value asks for just that revision.
const (
	// Whatever puts no condition on the key.
	Whatever int64 = -1
	// IfAbsent asks that the key has no record.
	IfAbsent int64 = 0
)

// Verb says what a [Change] does to its key.
type Verb uint8

// The verbs of a change.
const (
	// Put writes Value and binds the record to Lease; with [NoLease] it stays until it is deleted, even if it
	// was bound before.
	Put Verb = iota
	// Delete removes the record; a missing one is no error unless If asks for a revision.
	Delete
	// Check only asks that If holds.
	Check
)

// Change is one part of a commit.
type Change struct {
	Verb  Verb
	Key   string
	Value []byte
	If    int64
	Lease Lease
}

// CheckChanges refuses a commit that no store may carry out; stores call it before anything else.
func CheckChanges(changes []Change) error {
	seen := make(map[string]bool, len(changes))
	for _, c := range changes {
		switch {
		case c.Key == "":
			return errors.New("a change has no key")
		case seen[c.Key]:
			return fmt.Errorf("two changes of one commit have the key %s", c.Key)
		case c.Verb > Check:
			return fmt.Errorf("the change of %s has no known verb", c.Key)
		case c.Verb != Put && c.Lease != NoLease:
			return fmt.Errorf("the change of %s writes nothing that could be bound to a lease", c.Key)
		}
		seen[c.Key] = true
	}
	return nil
}

// Range selects records by key, in the order of the keys' bytes. What is read the other way around has keys
// that are turned around: not every store pages backwards at one revision.
type Range struct {
	// Prefix that all keys have; the empty prefix is every key.
	Prefix string
	// After is the key behind which the range begins, itself excluded; empty begins at the first key.
	After string
	// Limit is the most records to return; 0 is no limit.
	Limit int
	// KeysOnly asks for keys and revisions alone, as who knows the values of earlier ones does: values and leases are
	// left out wherever that is cheaper than to read them.
	KeysOnly bool
}

// Page is the answer to a [Range].
type Page struct {
	Records []Record
	// Revision of the store at which the page was read: watch from here to miss nothing.
	Revision int64
	// More says that Limit cut the range.
	More bool
}

// Store keeps records, orders all changes by one revision, and lets others follow them.
//
// Commits are atomic, isolated and durable: when Commit has returned nil, the changes survive a
// crash of the process and of the machine, and every later Get, List and Watch of any client sees
// them. When it returns an error other than [ErrConflict], the outcome may be unknown; callers read
// again before they repeat. Implementations must be safe for use by many goroutines; values given
// to and returned by a store belong to the caller.
//
// [github.com/openimds/openimds/store/storetest] has the contract as a test suite.
type Store interface {
	// Get returns the record of key, or ErrNoRecord.
	Get(ctx context.Context, key string) (Record, error)
	// List returns the records of r as they stood at one revision.
	List(ctx context.Context, r Range) (Page, error)
	// Revisions returns the revision that the record of each key has, in their order, each as it is at some moment of
	// the call; 0: there is no record. Values are not read, nor is it noticed that one is damaged.
	Revisions(ctx context.Context, keys ...string) ([]int64, error)
	// Commit carries out all changes or none, and returns the revision that all of them share. It
	// returns ErrConflict when a condition does not hold, and ErrNoLease when a record is to be bound to a
	// lease that has ended; of a change that is both, ErrNoLease. No key may occur twice. Every store takes 100
	// changes of 1 MiB together; what is more than it takes is ErrTooLarge.
	Commit(ctx context.Context, changes ...Change) (int64, error)
	// Watch follows the changes of keys that begin with prefix, made after revision after.
	Watch(prefix string, after int64) Watcher
	Leases
	// Close releases the store; calls under way end with ErrClosed.
	Close() error
}

// Watcher yields changes in the order of their revisions, each exactly once, never half a commit.
type Watcher interface {
	// Next waits for changes and returns those of one or more whole commits. It returns
	// ErrCompacted when the watcher has fallen behind the store's history, ErrClosed when the
	// store is closed, or the context's error.
	Next(ctx context.Context) ([]Record, error)
}
