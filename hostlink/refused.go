package hostlink

import (
	"context"
	"errors"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// errUnheard means that a replica has passed over what it was told.
var errUnheard = errors.New("the replica is of an earlier release, and keeps nothing of refused calls")

// TellRefused tells of refused calls that somebody waits for, with who called, which goes before: key says where the
// host's own store has that of an instance. It returns once all of it is where those who wait look.
func (r *Region) TellRefused(ctx context.Context, counted store.Store, key func(instanceID string) string, all []records.Refused) error {
	var q CountsRequest
	size := 0
	flush := func() error {
		if len(q.Refused) == 0 {
			return nil
		}
		var a CountsAnswer
		if err := r.client.call(ctx, PathCounts, q, &a); err != nil {
			return err
		}
		if !a.Heard {
			return errUnheard
		}
		q, size = CountsRequest{}, 0
		return nil
	}
	for _, one := range all {
		one.Process = r.client.cfg.Process
		callers, err := counted.Get(ctx, key(one.InstanceID))
		if err != nil && !errors.Is(err, store.ErrNoRecord) {
			return err
		}
		if size+len(callers.Value) > pushBytes || len(q.Refused) == MaxRefused {
			if err := flush(); err != nil {
				return err
			}
		}
		if err == nil {
			q.Records, size = append(q.Records, Counted{callers.Key, callers.Value}), size+len(callers.Value)
		}
		q.Refused = append(q.Refused, Refused{r.name, one})
	}
	return flush()
}
