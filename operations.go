package openimds

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// OperationStatus is how far an operation has come, by the names of the Lightsail API.
type OperationStatus string

// The states of an operation. Lightsail also knows NotStarted, which clients do not wait for, and
// Completed, which means the same to them as Succeeded; neither is used.
const (
	OperationStarted   OperationStatus = "Started"
	OperationSucceeded OperationStatus = "Succeeded"
	OperationFailed    OperationStatus = "Failed"
)

// EverywhereZone is the availability zone of operations on what belongs to a whole region.
const EverywhereZone = "all"

// Operation is the record of one change that a client asked for. It is written in the same commit
// as the change itself.
type Operation struct {
	// ID is a UUID whose first bits are the time of creation (RFC 9562, version 7), so that the keys
	// of the store are in the order of time.
	ID string `json:"id"`
	// Type is the name of the API's operation, in the singular ("CreateInstance").
	Type         string       `json:"type"`
	Resource     string       `json:"resource"`
	ResourceType ResourceType `json:"resourceType"`
	Zone         string       `json:"zone"`
	CreatedAt    time.Time    `json:"createdAt"`
	// Details names the other resource of an operation on two; empty otherwise.
	Details         string          `json:"details,omitempty"`
	Status          OperationStatus `json:"status"`
	StatusChangedAt time.Time       `json:"statusChangedAt"`
	ErrorDetails    string          `json:"errorDetails,omitempty"`
	// Follows is the id of the operation whose change was still waiting to be applied when this one
	// was added to it; what completes this one completes that one too.
	Follows string `json:"follows,omitempty"`
}

// Terminal says whether the status is the last one.
func (o Operation) Terminal() bool { return o.Status != OperationStarted }

func operationKey(id string) string { return OperationPrefix + id }

func operationOfKey(resource, id string) string { return OperationOfPrefix + resource + "/" + id }

// Operation returns the operation of that id.
func (s *Service) Operation(ctx context.Context, id string) (Operation, error) {
	op, _, err := s.operation(ctx, id)
	return op, err
}

func (s *Service) operation(ctx context.Context, id string) (Operation, Record, error) {
	r, err := s.store.Get(ctx, operationKey(id))
	if errors.Is(err, ErrNoRecord) {
		return Operation{}, Record{}, Errorf(NotFound, "DoesNotExist", "The Operation does not exist: %.100s", id)
	}
	if err != nil {
		return Operation{}, Record{}, storeFailed(err)
	}
	op, err := read[Operation](r)
	return op, r, err
}

// Operations returns at most limit operations, the latest first, beginning behind the id after
// (empty: at the latest), and the id to go on behind, which is empty at the end.
func (s *Service) Operations(ctx context.Context, after string, limit int) ([]Operation, string, error) {
	r := Range{Prefix: OperationPrefix, Limit: limit, Descending: true}
	if after != "" {
		r.After = operationKey(after)
	}
	page, err := s.store.List(ctx, r)
	if err != nil {
		return nil, "", storeFailed(err)
	}
	ops := make([]Operation, 0, len(page.Records))
	for _, r := range page.Records {
		op, err := read[Operation](r)
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
func (s *Service) OperationsOf(ctx context.Context, resource, after string, limit int) ([]Operation, string, error) {
	if err := ValidateName(resource); err != nil {
		return nil, "", err
	}
	prefix := operationOfKey(resource, "")
	r := Range{Prefix: prefix, Limit: limit, Descending: true}
	if after != "" {
		r.After = prefix + after
	}
	page, err := s.store.List(ctx, r)
	if err != nil {
		return nil, "", storeFailed(err)
	}
	ops := make([]Operation, 0, len(page.Records))
	next := ""
	for _, r := range page.Records {
		next = strings.TrimPrefix(r.Key, prefix)
		op, err := s.Operation(ctx, next)
		if KindOf(err) == NotFound && err != nil {
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
func (s *Service) PruneOperations(ctx context.Context, olderThan time.Duration, keep int) (int, error) {
	const batch = 50 // two keys each; etcd takes 128 changes in a commit unless told otherwise
	before, young := s.cfg.Now().Add(-olderThan), s.cfg.Now().Add(-2*concludeTime)
	surplus, err := s.surplusOperation(ctx, keep)
	if err != nil {
		return 0, err
	}
	after, pruned := "", 0
	for {
		page, err := s.store.List(ctx, Range{Prefix: OperationPrefix, After: after, Limit: batch})
		if err != nil {
			return pruned, storeFailed(err)
		}
		var changes []Change
		ended := !page.More
		for _, r := range page.Records {
			after = r.Key
			op, err := read[Operation](r)
			if err != nil {
				return pruned, err
			}
			if !op.CreatedAt.Before(before) && (r.Key > surplus || !op.CreatedAt.Before(young)) {
				ended = true
				break
			}
			if op.Terminal() {
				changes = append(changes,
					Change{Verb: Delete, Key: r.Key, If: Whatever},
					Change{Verb: Delete, Key: operationOfKey(op.Resource, op.ID), If: Whatever})
			}
		}
		if len(changes) > 0 {
			if _, err := s.store.Commit(ctx, changes...); err != nil {
				return pruned, storeFailed(err)
			}
			pruned += len(changes) / 2
		}
		if ended {
			return pruned, nil
		}
	}
}

// surplusOperation is the key of the latest operation before the latest keep; empty: there is none.
func (s *Service) surplusOperation(ctx context.Context, keep int) (string, error) {
	const page = 1000
	r := Range{Prefix: OperationPrefix, Descending: true}
	for left := keep + 1; ; {
		r.Limit = min(left, page)
		found, err := s.store.List(ctx, r)
		if err != nil {
			return "", storeFailed(err)
		}
		left -= len(found.Records)
		if left == 0 {
			return found.Records[len(found.Records)-1].Key, nil
		}
		if !found.More {
			return "", nil
		}
		r.After = found.Records[len(found.Records)-1].Key
	}
}

// newOperationID makes a UUID of version 7 (RFC 9562, section 5.7), with the fraction of the
// millisecond in the bits that may hold it (section 6.2, method 3).
func newOperationID(now time.Time) string {
	var b [16]byte
	fill(b[8:])
	ms := now.UnixMilli()
	fraction := uint64(now.Nanosecond()%1e6) * 4096 / 1e6
	binary.BigEndian.PutUint64(b[:8], uint64(ms)<<16|7<<12|fraction)
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
