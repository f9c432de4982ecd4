package control

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Operation returns the operation of that id. A change of options that is not in force everywhere yet names the hosts
// that it waits for.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) Operation(ctx context.Context, id string) (openimds.Operation, error) {
	op, _, err := s.operation(ctx, id)
	if err == nil {
		err = s.tellPending(ctx, &op)
	}
	return op, err
}

func (s *Service) operation(ctx context.Context, id string) (openimds.Operation, store.Record, error) {
	r, err := s.store.Get(ctx, records.OperationKey(id))
	if errors.Is(err, store.ErrNoRecord) {
		return openimds.Operation{}, store.Record{}, doesNotExist(openimds.TypeOperation, fmt.Sprintf("%.100s", id))
	}
	if err != nil {
		return openimds.Operation{}, store.Record{}, storeFailed(err)
	}
	op, err := read[openimds.Operation](r)
	return op, r, err
}

// Operations returns at most limit operations, the latest first, beginning behind the id after
// (empty: at the latest), and the id to go on behind, which is empty at the end.
func (s *Service) Operations(ctx context.Context, after string, limit int) ([]openimds.Operation, string, error) {
	r := store.Range{Prefix: records.OperationPrefix, Limit: limit}
	if after != "" {
		r.After = records.OperationKey(after)
	}
	page, err := s.store.List(ctx, r)
	if err != nil {
		return nil, "", storeFailed(err)
	}
	ops := make([]openimds.Operation, 0, len(page.Records))
	for _, r := range page.Records {
		op, err := read[openimds.Operation](r)
		if err == nil {
			err = s.tellPending(ctx, &op)
		}
		if err != nil {
			return nil, "", err
		}
		ops = append(ops, op)
	}
	if !page.More {
		return ops, "", nil
	}
	return ops, ops[len(ops)-1].ID, nil
}

// OperationsOf is [Service.Operations] of one resource, which may be gone already.
func (s *Service) OperationsOf(ctx context.Context, resource, after string, limit int) ([]openimds.Operation, string, error) {
	if err := openimds.ValidateName(resource); err != nil {
		return nil, "", err
	}
	prefix := records.OperationOfKey(resource, "")
	r := store.Range{Prefix: prefix, Limit: limit}
	if after != "" {
		r.After = records.OperationOfKey(resource, after)
	}
	page, err := s.store.List(ctx, r)
	if err != nil {
		return nil, "", storeFailed(err)
	}
	ops := make([]openimds.Operation, 0, len(page.Records))
	next := ""
	for _, r := range page.Records {
		next = string(r.Value)
		op, err := s.Operation(ctx, next)
		if openimds.KindOf(err) == openimds.NotFound && err != nil {
			continue // pruned since the index was read
		}
		if err != nil {
			return nil, "", err
		}
		ops = append(ops, op)
	}
	if !page.More {
		next = ""
	}
	return ops, next, nil
}

// PruneOperations forgets the operations that have ended and were created more than olderThan ago, or
// before the latest keep, and tells how many those were. The audit may still ask for the youngest
// ([Service.ConcludeAudit]), so that they stay, however many there are. Each batch is a commit of its own, so that
// other changes wait for one at most.
//
// One that cannot be read stays, and is an error once the others were looked at. Any other error leaves those operations
// that it has not come to; the number tells how many are forgotten.
func (s *Service) PruneOperations(ctx context.Context, olderThan time.Duration, keep int) (int, error) {
	const batch = 50 // two keys each; etcd takes 128 changes in a commit unless told otherwise
	now := s.cfg.Now()
	after, err := store.Nth(ctx, s.store, records.OperationPrefix, keep)
	if err != nil {
		return 0, storeFailed(err)
	}
	old := records.OperationsBefore(now.Add(-olderThan))
	if after == "" {
		after = old
	} else {
		after = min(old, max(after, records.OperationsBefore(now.Add(-2*concludeTime))))
	}
	var unread error
	more := 0
	for pruned := 0; ; {
		page, err := s.store.List(ctx, store.Range{Prefix: records.OperationPrefix, After: after, Limit: batch})
		if err != nil {
			return pruned, storeFailed(err)
		}
		var changes []store.Change
		for _, r := range page.Records {
			after = r.Key
			op, err := read[openimds.Operation](r)
			if err != nil { // it stays, and does not hinder the others
				if unread == nil {
					unread = err
				} else {
					more++
				}
				continue
			}
			if op.Terminal() {
				changes = append(changes,
					store.Change{Verb: store.Delete, Key: r.Key, If: store.Whatever},
					store.Change{Verb: store.Delete, Key: records.OperationOfKey(op.Resource, op.ID), If: store.Whatever})
			}
		}
		if len(changes) > 0 {
			if _, err := s.store.Commit(ctx, changes...); err != nil {
				return pruned, storeFailed(err)
			}
			pruned += len(changes) / 2
		}
		if !page.More {
			if more > 0 {
				unread = errors.Join(unread, errors.New(strconv.Itoa(more)+" more operations cannot be read"))
			}
			return pruned, unread
		}
	}
}
