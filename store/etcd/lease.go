package etcd

import (
	"context"
	"time"

	"github.com/openimds/openimds/store"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Grant implements [store.Store]. etcd gives every lease one and a half of its elections at least, two seconds unless
// its members are told otherwise.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (l store.Lease, err error) {
	if err := store.CheckTTL(ttl); err != nil {
		return store.NoLease, err
	}
	err = s.once(ctx, func(ctx context.Context) error {
		granted, err := s.client.Grant(ctx, int64(ttl/time.Second))
		if err == nil {
			l = store.Lease(granted.ID)
		}
		return err
	})
	return l, err
}

// KeepAlive implements [store.Store].
func (s *Store) KeepAlive(ctx context.Context, l store.Lease) error {
	return s.repeat(ctx, func(ctx context.Context) error {
		_, err := s.client.KeepAliveOnce(ctx, clientv3.LeaseID(l))
		return err
	})
}

// Revoke implements [store.Store].
func (s *Store) Revoke(ctx context.Context, l store.Lease) error {
	return s.once(ctx, func(ctx context.Context) error {
		_, err := s.client.Revoke(ctx, clientv3.LeaseID(l))
		return err
	})
}
