package etcd

import (
	"context"
	"fmt"

	"github.com/openimds/openimds/store"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What etcd takes in one transaction unless its members are told otherwise: so many operations, so many bytes with
// what is around them. A commit that is larger is refused before it is sent.
const (
	maxChanges = 128
	maxBytes   = 3 << 19 // 1.5 MiB
)

// Commit implements [store.Store]. It is never sent twice: of one whose answer was lost nobody knows the outcome.
func (s *Store) Commit(ctx context.Context, changes ...store.Change) (revision int64, err error) {
	if err := store.CheckChanges(changes); err != nil {
		return 0, err
	}
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	if err := s.checkSize(changes); err != nil {
		return 0, err
	}
	var conditions []clientv3.Cmp
	var operations []clientv3.Op
	puts := false
	for _, c := range changes {
		key := s.key(c.Key)
		if c.If != store.Whatever {
			conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(key), "=", c.If))
		}
		switch c.Verb {
		case store.Put:
			puts = true
			operations = append(operations, clientv3.OpPut(key, string(c.Value), clientv3.WithLease(clientv3.LeaseID(c.Lease))))
		case store.Delete:
			operations = append(operations, clientv3.OpDelete(key))
		}
	}
	var answer *clientv3.TxnResponse
	err = s.once(ctx, func(ctx context.Context) (err error) {
		answer, err = s.client.Txn(ctx).If(conditions...).Then(operations...).Commit()
		return err
	})
	s.noteRoom(err, puts)
	if err != nil {
		return 0, err
	}
	if !answer.Succeeded {
		return 0, s.refused(ctx, changes)
	}
	return answer.Header.Revision, nil
}

// checkSize refuses what no member would take.
func (s *Store) checkSize(changes []store.Change) error {
	if len(changes) > maxChanges {
		return fmt.Errorf("%w: %d changes, and etcd takes %d in one transaction", store.ErrTooLarge, len(changes), maxChanges)
	}
	bytes := 0
	for _, c := range changes {
		const around, mentions = 64, 2 // lengths and numbers; the key is named by the condition and by the change
		bytes += mentions*len(s.key(c.Key)) + len(c.Value) + around
	}
	if bytes > maxBytes {
		return fmt.Errorf("%w: %d bytes, and etcd takes %d in one transaction", store.ErrTooLarge, bytes, maxBytes)
	}
	return nil
}

// refused says why a transaction's conditions did not hold: a lease that has ended comes first.
func (s *Store) refused(ctx context.Context, changes []store.Change) error {
	asked := map[store.Lease]bool{store.NoLease: true}
	for _, c := range changes {
		if asked[c.Lease] {
			continue
		}
		asked[c.Lease] = true
		var lease *clientv3.LeaseTimeToLiveResponse
		err := s.repeat(ctx, func(ctx context.Context) (err error) {
			lease, err = s.client.TimeToLive(ctx, clientv3.LeaseID(c.Lease))
			return err
		})
		if err == nil && lease.TTL <= 0 {
			return store.ErrNoLease
		}
	}
	return store.ErrConflict
}

// noteRoom makes known whether the cluster has room, as far as a commit tells.
func (s *Store) noteRoom(err error, puts bool) {
	switch {
	case kindOf(err) == store.ErrFull: //nolint:errorlint // it is one of the table
		full := fmt.Errorf("etcd at %s has no room: changes are refused and only deletions carried out until its members are compacted and defragmented, or given a larger quota, and the alarm is disarmed", s.members())
		s.note(&s.health.full, full)
	case err == nil && puts:
		s.note(&s.health.full, nil)
	}
}

// lookForRoom asks whether a cluster that had no room still says so.
func (s *Store) lookForRoom(ctx context.Context) {
	if s.health.full.Load() == nil {
		return
	}
	ctx, done := context.WithTimeout(ctx, attemptTime)
	defer done()
	alarms, err := s.client.AlarmList(ctx)
	if err != nil {
		return
	}
	for _, alarm := range alarms.Alarms {
		if alarm.Alarm == etcdserverpb.AlarmType_NOSPACE {
			return
		}
	}
	s.note(&s.health.full, nil)
}
