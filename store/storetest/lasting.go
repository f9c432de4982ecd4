package storetest

import (
	"context"
	"time"

	"github.com/openimds/openimds/store"
)

// Lasting is a store whose leases last a hundred times as long, for tests of hosts that nobody keeps there and that are to
// be there to the end of the test.
func Lasting(s store.Store) store.Store { return lasting{s} }

type lasting struct{ store.Store }

// Grant implements [store.Store].
func (s lasting) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	return s.Store.Grant(ctx, 100*ttl)
}
