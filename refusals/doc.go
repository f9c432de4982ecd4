// Package refusals has whoever waits for an instance's refused calls be told of them at once, at whichever host they are
// refused, without a refusal being a change of the store as long as nobody waits.
//
// Who waits ([Watch]) leaves a mark in the store, bound to a lease that lasts as long as somebody waits. The hosts that serve
// the instance follow the marks ([Teller]) and tell when what they refused is another number: once at the beginning, and then
// as it changes, with who called before it. What they tell is bound to the mark's lease, so that all of it is gone when
// nobody waits any more. A host that has not told for the mark that there is now is not known to have refused nothing.
package refusals

import (
	"context"
	"errors"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// keepAttempts is how often what a host tells is put beside what another request of it has put there meanwhile.
const keepAttempts = 3

// Keep keeps what a host has told, as far as somebody waits for it: what was told for a mark that is there no more is
// passed over. Of two that come in another order than they were told in, the later one stays.
func Keep(ctx context.Context, s store.Store, host string, all ...records.Refused) error {
	var err error
	for range keepAttempts {
		var writes []store.Write
		var again []records.Refused
		for _, one := range all {
			change, due, err := draft(ctx, s, host, one)
			if err != nil {
				return err
			}
			if due {
				writes = append(writes, store.Write{Change: change, Done: func(int64) {}, Conflict: func() { again = append(again, one) }})
			}
		}
		err = store.CommitEach(ctx, s, writes)
		switch {
		case errors.Is(err, store.ErrNoLease) && len(all) > 1: // nobody waits for one of them any more, and it is not known for which
			return keepOneByOne(ctx, s, host, all)
		case errors.Is(err, store.ErrNoLease):
			return nil
		case !errors.Is(err, store.ErrConflict):
			return err
		}
		all = again
	}
	return err
}

func keepOneByOne(ctx context.Context, s store.Store, host string, all []records.Refused) error {
	for _, one := range all {
		if err := Keep(ctx, s, host, one); err != nil {
			return err
		}
	}
	return nil
}

// draft is the change by which something told is kept; due is false where nobody waits for it, or a later one is there.
func draft(ctx context.Context, s store.Store, host string, one records.Refused) (c store.Change, due bool, err error) {
	mark, err := s.Get(ctx, records.WatchedKey(one.Instance))
	if errors.Is(err, store.ErrNoRecord) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	watched, err := records.Decode[records.Watched](mark)
	if err != nil || watched.ID != one.Watch || watched.InstanceID != one.InstanceID || mark.Lease == store.NoLease {
		return c, false, err
	}
	key := records.RefusedKey(one.Instance, host)
	was, err := s.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return c, false, err
	}
	if err == nil {
		before, err := records.Decode[records.Refused](was)
		if err == nil && before.Counter == one.Counter && before.NoToken > one.NoToken {
			return c, false, nil
		}
	}
	value, err := records.Encode(one)
	return store.Change{Verb: store.Put, Key: key, Value: value, If: was.Revision, Lease: mark.Lease}, true, err
}
