package hostlink

import (
	"context"
	"time"

	"github.com/openimds/openimds/store"
)

// InStep is a region in which a host says that it is there, and what it serves, only as far as its copy bears that out:
// what was changed before nobody waits for, so that the first guest is to be answered by it.
type InStep struct {
	*Region
	Copy *Copy
	// Within is how long seats that were taken wait for the copy, and their guests with them.
	Within time.Duration
}

// JoinHost implements [agent.Hosts]. The host is there once its copy is in step. Until then nobody waits for it, and it
// goes on by what it knows.
func (r InStep) JoinHost(ctx context.Context, takeOver bool) (store.Lease, error) {
	if err := r.Copy.InStep(ctx, len(r.client.cfg.Replicas)); err != nil {
		return store.NoLease, err
	}
	return r.Region.JoinHost(ctx, takeOver)
}

// TakeSeats implements [agent.Hosts]. It returns once the copy has all that was changed before the seats were taken, or
// with ErrBehind.
func (r InStep) TakeSeats(ctx context.Context, lease store.Lease, instances ...string) error {
	revision, err := r.takeSeats(ctx, lease, instances)
	if err != nil || revision == 0 {
		return err
	}
	bounded, done := context.WithTimeoutCause(ctx, r.Within, ErrBehind)
	defer done()
	if err := r.Copy.reach(bounded, r.name, revision, len(r.client.cfg.Replicas)); err != nil {
		return cmpCause(bounded, err)
	}
	return nil
}
