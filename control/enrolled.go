package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// ErrEnded says that the enrolment has ended by which a host has asked: it was evicted, or has joined anew.
var ErrEnded = errors.New("the enrolment has ended by which this host was let in")

// enrolled is the store as a host has it changed, for as long as the enrolment is the host's by which it was let in. Who
// let it in may not have heard yet that it has ended; the store knows, and makes no change then.
type enrolled struct {
	store.Store
	host, id string
}

// check is the change that holds a commit to the enrolment.
func (e enrolled) check(ctx context.Context) (store.Change, error) {
	r, err := e.Get(ctx, records.EnrolledKey(e.host))
	if errors.Is(err, store.ErrNoRecord) {
		return store.Change{}, ErrEnded
	}
	if err != nil {
		return store.Change{}, err
	}
	if now, err := records.Decode[records.Enrolled](r); err != nil || now.ID == "" || now.ID != e.id {
		return store.Change{}, errors.Join(ErrEnded, err)
	}
	return store.Change{Verb: store.Check, Key: r.Key, If: r.Revision}, nil
}

// Commit implements [store.Store].
func (e enrolled) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	held, err := e.check(ctx)
	if err != nil {
		return 0, err
	}
	return e.Store.Commit(ctx, append(slices.Clip(changes), held)...)
}

// Grant implements [store.Store].
func (e enrolled) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	if _, err := e.check(ctx); err != nil {
		return store.NoLease, err
	}
	return e.Store.Grant(ctx, ttl)
}

// KeepAlive implements [store.Store].
func (e enrolled) KeepAlive(ctx context.Context, l store.Lease) error {
	if _, err := e.check(ctx); err != nil {
		return err
	}
	return e.Store.KeepAlive(ctx, l)
}

// Revoke implements [store.Store].
func (e enrolled) Revoke(ctx context.Context, l store.Lease) error {
	if _, err := e.check(ctx); err != nil {
		return err
	}
	return e.Store.Revoke(ctx, l)
}

// Enrolled says whether the host is let in still, for what is done besides this service; ErrEnded: it is not.
func (h *Hosted) Enrolled(ctx context.Context) error {
	_, err := h.service.store.(enrolled).check(ctx)
	return err
}
