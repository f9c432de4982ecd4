package store

import (
	"context"
	"errors"
	"time"
)

// Lease names a promise to come back. Records that are bound to one are there as long as it lasts, so that
// they tell of whoever keeps it alive.
type Lease int64

// NoLease is that of records that stay until they are deleted.
const NoLease Lease = 0

// MinTTL is the shortest time for which a lease can be granted; times are whole multiples of it.
const MinTTL = time.Second

// Leases are a store's. A lease ends a while after it was last kept alive: not before its time, and as soon
// after it as the store comes to it. All records that are bound to it vanish then, in one commit. A store
// that was away, or that an earlier process had open, gives each lease its whole time anew.
type Leases interface {
	// Grant begins a lease that lasts for ttl unless it is kept alive.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)
	// KeepAlive has the lease last for its whole time from now on. ErrNoLease: it has ended.
	KeepAlive(ctx context.Context, l Lease) error
	// Revoke ends the lease now. ErrNoLease: it has ended already.
	Revoke(ctx context.Context, l Lease) error
}

// CheckTTL refuses a time that not every store can keep; stores call it before they grant anything.
func CheckTTL(ttl time.Duration) error {
	if ttl < MinTTL || ttl%MinTTL != 0 {
		return errors.New("a lease lasts for whole seconds, one at least")
	}
	return nil
}

// Campaign waits until the holder of l has the office that key stands for, and returns nil: of all who
// campaign for it, one has it, until its lease ends or it resigns by deleting the key. who is what others read
// there. ErrNoLease: l has ended; of one that ends while Campaign waits, that is seen when the office is free.
// Whoever holds an office asks before each act of it whether its lease still lasts, or acts under the condition
// that the key is as it was.
func Campaign(ctx context.Context, s Store, key, who string, l Lease) error {
	for l != NoLease {
		_, err := s.Commit(ctx, Change{Verb: Put, Key: key, Value: []byte(who), If: IfAbsent, Lease: l})
		if !errors.Is(err, ErrConflict) {
			return err
		}
		page, err := s.List(ctx, Range{Prefix: key, Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Records) == 0 || page.Records[0].Key != key {
			continue
		}
		if page.Records[0].Lease == l {
			return nil // it was won by a commit whose answer was lost, or before
		}
		if err := awaitVacancy(ctx, s.Watch(key, page.Revision), key); err != nil && !errors.Is(err, ErrCompacted) {
			return err
		}
	}
	return ErrNoLease // an office without one would be had for ever
}

// awaitVacancy waits until the key is deleted.
func awaitVacancy(ctx context.Context, w Watcher, key string) error {
	for {
		records, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range records {
			if e.Key == key && e.Value == nil {
				return nil
			}
		}
	}
}
