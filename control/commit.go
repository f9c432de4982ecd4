package control

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// draft is a commit in the making: the changes that all happen or all do not.
type draft struct {
	service *Service
	now     time.Time
	changes []store.Change
	// operations are those that the client asked for, in the order of its answer.
	operations []openimds.Operation
	entries    []openimds.AuditEntry
	moved      []StateChange
	revision   int64 // of the commit; 0: nothing was committed
	err        error // the first failure to encode
}

// create adds a new resource, on the condition that none of any type has its name.
func (d *draft) create(t openimds.ResourceType, name string, v any) {
	d.changes = append(d.changes, store.Change{Verb: store.Put, Key: records.NameKey(name), Value: []byte(t), If: store.IfAbsent})
	d.put(store.Record{Key: records.Key(t, name), Revision: store.IfAbsent}, v)
}

// put writes a record, on the condition that it still is what was read; it is new if nothing was.
func (d *draft) put(was store.Record, v any) {
	if value := d.note(was, v); value != nil {
		d.audit(was, value)
	}
}

// note is put for what only follows from another change: the audit log has no word of it. It returns
// the record's value; nil if there is none.
func (d *draft) note(was store.Record, v any) []byte {
	if in, ok := v.(*openimds.Instance); ok {
		d.keepRecording(in)
	}
	value, err := records.Encode(v)
	if err != nil {
		d.err = errors.Join(d.err, err)
		return nil
	}
	// One that an earlier version has let grow may still be changed, its options too, but not grow.
	const state = 1 << 10
	if in, ok := v.(*openimds.Instance); ok && len(value) > openimds.MaxInstanceRecord && len(value) > len(was.Value)+state {
		d.err = errors.Join(d.err, openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "All that is kept of the instance %s would take %d bytes, at most %d are allowed: shorten its overlay or its lists",
			in.Name, len(value), openimds.MaxInstanceRecord))
	}
	d.changes = append(d.changes, store.Change{Verb: store.Put, Key: was.Key, Value: value, If: was.Revision, Lease: was.Lease})
	return value
}

// keepRecording gives a recording that has none a record of its own, so that no other change of the
// instance carries it along. It is written once: who reads an instance at any revision finds the
// recording of just that revision, or none.
func (d *draft) keepRecording(in *openimds.Instance) {
	if in.Recording == nil || in.Recorded != nil && in.Recorded.ID != "" {
		return
	}
	in.Recorded = in.Recording.Summary()
	in.Recorded.ID = openimds.NewUUID()
	value, err := records.Encode(in.Recording)
	d.err = errors.Join(d.err, err)
	d.changes = append(d.changes, store.Change{Verb: store.Put, Key: records.RecordingKey(in.Name, in.Recorded.ID), Value: value, If: store.IfAbsent})
}

// dropRecording deletes the record of the instance's recording, if it has one, with the change that
// takes it from the instance.
func (d *draft) dropRecording(in *openimds.Instance) {
	if in.Recorded != nil && in.Recorded.ID != "" {
		d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: records.RecordingKey(in.Name, in.Recorded.ID), If: store.Whatever})
	}
}

// createInstance is create of an instance, which is found by its id from then on.
func (d *draft) createInstance(in *openimds.Instance) {
	d.create(openimds.TypeInstance, in.Name, in)
	d.changes = append(d.changes, store.Change{Verb: store.Put, Key: records.InstanceIDKey(in.ID), Value: []byte(in.Name), If: store.IfAbsent})
}

// destroy removes a resource, whose name is free then.
func (d *draft) destroy(t openimds.ResourceType, was store.Record) {
	d.remove(was)
	name := strings.TrimPrefix(was.Key, records.Prefix(t))
	d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: records.NameKey(name), If: store.Whatever})
}

// remove deletes a record, on the condition that it still is what was read.
func (d *draft) remove(was store.Record) {
	d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: was.Key, If: was.Revision})
	d.audit(was, nil)
}

// operation adds the record of an operation that has succeeded with this commit, unless op says
// something else of its status.
func (d *draft) operation(op openimds.Operation) openimds.Operation {
	op.ID = openimds.NewOperationID(d.now)
	op.CreatedAt, op.StatusChangedAt = d.now, d.now
	if op.Status == "" {
		op.Status = openimds.OperationSucceeded
	}
	if op.Zone == "" {
		op.Zone = openimds.EverywhereZone
	}
	value, err := records.Encode(op)
	if err != nil {
		d.err = errors.Join(d.err, err)
	}
	d.changes = append(d.changes,
		store.Change{Verb: store.Put, Key: records.OperationKey(op.ID), Value: value, If: store.IfAbsent},
		store.Change{Verb: store.Put, Key: records.OperationOfKey(op.Resource, op.ID), Value: []byte(op.ID), If: store.Whatever})
	d.operations = append(d.operations, op)
	return op
}

// end completes an earlier operation.
func (d *draft) end(was store.Record, op openimds.Operation, status openimds.OperationStatus, details string) {
	op.Status, op.StatusChangedAt, op.ErrorDetails = status, d.now, details
	value, err := records.Encode(op)
	if err != nil {
		d.err = errors.Join(d.err, err)
	}
	d.changes = append(d.changes, store.Change{Verb: store.Put, Key: was.Key, Value: value, If: was.Revision})
}

func (d *draft) audit(was store.Record, value []byte) {
	if d.service.cfg.Audit == nil {
		return
	}
	e := openimds.AuditEntry{Resource: resourceOf(was.Key), Base: &was.Revision}
	e.Before, e.After = auditDiff(was.Value, value)
	d.entries = append(d.entries, e)
}

// resourceOf turns a record's key into what an audit entry calls the resource.
func resourceOf(key string) string {
	for _, t := range resourceTypes() {
		if name, ok := strings.CutPrefix(key, records.Prefix(t)); ok {
			return string(t) + "/" + name
		}
	}
	return key
}

// resourceKey is the way back.
func resourceKey(resource string) string {
	t, name, ok := strings.Cut(resource, "/")
	if !ok {
		return resource
	}
	for _, known := range resourceTypes() {
		if string(known) == t {
			return records.Key(known, name)
		}
	}
	return resource
}

// How often a change is tried against the writers of other services, and how long it waits between
// two tries at most.
const (
	maxAttempts = 64
	maxBackoff  = 50 * time.Millisecond
)

// commit lets compose draft a change from what the store holds, and commits it; when another writer
// was faster, all of that happens anew. It returns the draft that was committed. A compose that
// drafts nothing commits nothing; one that returns [store.ErrConflict] is tried anew. It must not commit
// by itself.
//
// The writers of one service that have met a conflict line up and try again one by one: in a crowd,
// nearly every try would be in vain, and each of them waits for the disk. So a thousand writers of
// one record all get through, in about the time of a thousand commits.
func (s *Service) commit(ctx context.Context, what string, compose func(*draft) error) (*draft, error) {
	d, err := s.committed(ctx, what, compose)
	if err == nil {
		s.await(ctx, d)
	}
	return d, err
}

// seatsTime is how long a change is not answered because a guest of this process does not obey it yet: far more than that
// takes, unless it cannot.
const seatsTime = 3 * time.Second

// await waits until this process's guests obey what a client asked for, so that a script that changes something and then
// asks as the guest is not answered by luck. A guest that takes longer, or is another process's, obeys later; of options,
// which lock callers out, it is told that they are pending until then. The changes of this program's own work (a state
// that ends, options that are applied) answer nobody, and do not wait.
func (s *Service) await(ctx context.Context, d *draft) {
	if s.cfg.Seats == nil || d.revision == 0 || len(d.operations) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.SeatsTime)
	defer cancel()
	for _, c := range d.changes {
		if c.Verb == store.Check {
			continue // it is as it was
		}
		if name, ok := strings.CutPrefix(c.Key, records.InstancePrefix); ok {
			_ = s.cfg.Seats.Await(ctx, name, d.revision)
		}
	}
}

// committed is commit without the guests.
func (s *Service) committed(ctx context.Context, what string, compose func(*draft) error) (*draft, error) {
	d, err := s.try(ctx, what, compose)
	if s.trial || !errors.Is(err, store.ErrConflict) {
		return d, err
	}
	select {
	case s.again <- struct{}{}:
		defer func() { <-s.again }()
	case <-ctx.Done():
		return nil, storeFailed(ctx.Err())
	}
	for attempt := range maxAttempts {
		d, err := s.try(ctx, what, compose)
		if !errors.Is(err, store.ErrConflict) {
			return d, err
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, storeFailed(err)
		}
	}
	return nil, openimds.Errorf(openimds.Unavailable, openimds.Contended, "The resource is being changed by too many others; try again")
}

// try is one attempt of commit; it returns ErrConflict as itself.
func (s *Service) try(ctx context.Context, what string, compose func(*draft) error) (*draft, error) {
	d := &draft{service: s, now: s.cfg.Now().UTC()}
	if err := compose(d); err != nil {
		return nil, err
	}
	if refused, ok := errors.AsType[*openimds.Error](d.err); ok {
		return nil, refused
	}
	if d.err != nil {
		return nil, broken(d.err)
	}
	if len(d.changes) == 0 || s.trial {
		return d, nil
	}
	entries := s.entries(ctx, what, d)
	if err := s.tell(ctx, entries); err != nil {
		return nil, err
	}
	ahead, within, err := s.tellAhead(ctx, entries)
	if err != nil {
		s.takeBack(ctx, entries, "not made: the log of all servers could not be written")
		return nil, storeFailed(err)
	}
	revision, err := s.store.Commit(ctx, append(within, d.changes...)...)
	d.revision = revision
	switch {
	case errors.Is(err, store.ErrConflict):
		s.forgetAhead(ctx, ahead)
		s.takeBack(ctx, entries, "not made: another change came first")
		return nil, err
	case err != nil:
		s.takeBack(ctx, entries, "the store failed, the change may have been made: "+err.Error())
		return nil, storeFailed(err)
	}
	return d, nil
}

// pause waits for a random part of a time that grows with the attempts.
func pause(ctx context.Context, attempt int) error {
	limit := min(maxBackoff, 100*time.Microsecond<<min(attempt, 16))
	timer := time.NewTimer(rand.N(limit)) //nolint:gosec // jitter, not a secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
