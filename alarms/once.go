package alarms

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

const (
	// claimTTL is how long one server has for a notice, longer than all of its tries take: then another tells it.
	claimTTL = time.Minute
	// toldTTL is how long it is known that a change was told: longer than any server is behind.
	toldTTL = time.Hour
	// claimPatience is how long a store may refuse: a change that is told twice is better than one that nobody is told.
	claimPatience = time.Minute
)

// errElsewhere says that another server tells, or has told, of a change.
var errElsewhere = errors.New("another server has told of it")

// once has each change told by one of the servers that share a store, whichever comes first. Its claim is bound to a
// lease, so that a change whose teller is killed is told by another one; that may be the second time.
type once struct {
	store store.Store
	look  time.Duration // how often it looks whether another one has told
}

// told is what the store knows of an alarm's latest notice.
type told struct {
	Change change `json:"change"`
	// Revision of the alarm's record in which it was seen, by which later changes are known.
	Revision int64 `json:"revision"`
	Done     bool  `json:"done"`
}

// change names one change of one alarm, whichever server has seen it.
type change struct {
	Alarm string    `json:"alarm"`
	At    time.Time `json:"at"`
}

// do calls tell, unless another server does so. tell says whether it has come to an end, be it a bad one.
func (o *once) do(ctx context.Context, n queued, tell func() bool) {
	key := records.ToldKey(n.Alarm)
	mine := told{Change: change{Alarm: n.ARN, At: n.ChangedAt}, Revision: n.revision}
	begun := time.Now()
	var claim store.Record
	for {
		var err error
		if claim, err = o.claim(ctx, key, mine); err == nil {
			break
		}
		if ctx.Err() != nil || errors.Is(err, errElsewhere) {
			return
		}
		if !errors.Is(err, store.ErrConflict) && time.Since(begun) > claimPatience {
			tell()
			return
		}
		wait(ctx, o.look)
	}
	ended := tell()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), postTimeout)
	defer cancel()
	if ended {
		mine.Done = true
		_, _ = o.put(ctx, key, mine, claim.Revision, toldTTL) // else it is told again
	}
	_ = o.store.Revoke(ctx, claim.Lease) // of what was not told: another one can at once
}

// claim is that of this server alone. ErrConflict: another one has it, and has not told yet.
func (o *once) claim(ctx context.Context, key string, mine told) (store.Record, error) {
	was, err := o.store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return was, err
	}
	var theirs told
	if err == nil && json.Unmarshal(was.Value, &theirs) == nil {
		same := theirs.Change.Alarm == mine.Change.Alarm && theirs.Change.At.Equal(mine.Change.At)
		switch {
		case same && theirs.Done, !same && theirs.Revision > mine.Revision:
			return was, errElsewhere
		case !theirs.Done: // of an earlier change too: they are told in their order
			return was, store.ErrConflict
		}
	}
	return o.put(ctx, key, mine, was.Revision, claimTTL)
}

// put writes under a lease of its own.
func (o *once) put(ctx context.Context, key string, t told, was int64, ttl time.Duration) (store.Record, error) {
	value, err := json.Marshal(t)
	if err != nil {
		return store.Record{}, err
	}
	lease, err := o.store.Grant(ctx, ttl)
	if err != nil {
		return store.Record{}, err
	}
	revision, err := o.store.Commit(ctx, store.Change{Key: key, Value: value, If: was, Lease: lease})
	if err != nil {
		_ = o.store.Revoke(ctx, lease)
		return store.Record{}, err
	}
	return store.Record{Key: key, Revision: revision, Lease: lease}, nil
}
