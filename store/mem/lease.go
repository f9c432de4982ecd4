package mem

import (
	"context"
	"time"

	"github.com/openimds/openimds/store"
)

// lease is one that lasts until its timer fires.
type lease struct {
	ttl time.Duration
	end *time.Timer
}

// Grant implements [store.Store].
func (m *Store) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	if err := store.CheckTTL(ttl); err != nil {
		return store.NoLease, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return store.NoLease, err
	}
	m.granted++
	id := m.granted
	l := &lease{ttl: ttl}
	l.end = time.AfterFunc(ttl, func() { m.expire(id, l) })
	m.leases[id] = l
	return id, nil
}

// KeepAlive implements [store.Store].
func (m *Store) KeepAlive(ctx context.Context, id store.Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return err
	}
	l := m.leases[id]
	// A timer that has fired waits for the lock: the lease's time is over, whoever comes first.
	if l == nil || !l.end.Reset(l.ttl) {
		return store.ErrNoLease
	}
	return nil
}

// Revoke implements [store.Store].
func (m *Store) Revoke(ctx context.Context, id store.Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return err
	}
	l := m.leases[id]
	if l == nil {
		return store.ErrNoLease
	}
	l.end.Stop()
	m.drop(id)
	return nil
}

func (m *Store) expire(id store.Lease, l *lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed && m.leases[id] == l {
		m.drop(id)
	}
}

// drop ends a lease with all that is bound to it. m.mu is held.
func (m *Store) drop(id store.Lease) {
	delete(m.leases, id)
	var bound []store.Change
	for key, r := range m.records {
		if r.Lease == id {
			bound = append(bound, store.Change{Verb: store.Delete, Key: key})
		}
	}
	if len(bound) > 0 {
		m.apply(bound)
	}
}
