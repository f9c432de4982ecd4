package control

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// MaxTransitionTime is the longest that [Config.TransitionTime] may be: clients wait for operations for minutes.
const MaxTransitionTime = time.Hour

// enter drafts that an instance enters a transition, which is the state pending or stopping, with the operation
// that ends with it. The caller writes in. Where transitions take no time, the instance has come through.
func (s *Service) enter(ctx context.Context, d *draft, in *openimds.Instance, transition openimds.InstanceState, what string) error {
	in.State = transition
	op := instanceOperation(what, in)
	if s.cfg.TransitionTime <= 0 {
		if err := s.arrive(ctx, d, in); err != nil {
			return err
		}
		d.operation(op)
		return nil
	}
	op.Status = openimds.OperationStarted
	began := records.Transition{Operation: d.operation(op).ID, Begun: d.now, Lasts: s.cfg.TransitionTime}
	d.note(store.Record{Key: records.TransitionKey(in.Name), Revision: store.Whatever}, began)
	return nil
}

// arrive ends the transition that in is in; the caller writes in.
func (s *Service) arrive(ctx context.Context, d *draft, in *openimds.Instance) error {
	switch in.State {
	case openimds.StatePending:
		in.State = openimds.StateRunning
		if in.Faults != nil {
			faultsBegin(in.Faults, d.now)
		}
	case openimds.StateStopping:
		in.State = openimds.StateStopped
		if in.StaticIPName == "" {
			setPublicIPv4(in, netip.Addr{})
		}
		// Nothing serves a stopped instance, so nothing is left to be applied: its next start begins with these
		// options.
		return s.endOptions(ctx, d, in, openimds.OperationSucceeded, "")
	}
	return nil
}

// join drafts an operation that asks for the transition that in is in already, and ends with it.
func (s *Service) join(ctx context.Context, d *draft, in *openimds.Instance, what string) error {
	t, was, err := s.transition(ctx, in.Name)
	if err != nil {
		return err
	}
	op := instanceOperation(what, in)
	op.Status, op.Follows = openimds.OperationStarted, t.Operation
	t.Operation = d.operation(op).ID
	d.note(was, t)
	return nil
}

// transition reads the transition that an instance is in. One without a record, which a damaged store may have
// lost, is over as soon as somebody looks.
func (s *Service) transition(ctx context.Context, instance string) (records.Transition, store.Record, error) {
	key := records.TransitionKey(instance)
	r, err := s.store.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return records.Transition{Begun: s.cfg.Now().UTC()}, store.Record{Key: key, Revision: store.IfAbsent}, nil
	}
	if err != nil {
		return records.Transition{}, r, storeFailed(err)
	}
	t, err := read[records.Transition](r)
	return t, r, err
}

// leaveTransition drafts the end of the transition that in is in, if it is in one: its operations end with that
// status.
func (s *Service) leaveTransition(ctx context.Context, d *draft, in *openimds.Instance, status openimds.OperationStatus, details string) error {
	if in.State != openimds.StatePending && in.State != openimds.StateStopping {
		return nil
	}
	t, was, err := s.transition(ctx, in.Name)
	if err != nil || was.Revision == store.IfAbsent {
		return err
	}
	return s.endTransition(ctx, d, t, was, status, details)
}

func (s *Service) endTransition(ctx context.Context, d *draft, t records.Transition, was store.Record, status openimds.OperationStatus, details string) error {
	d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: was.Key, If: was.Revision})
	return s.endWaiting(ctx, d, t.Operation, status, details)
}

// EndTransition ends the transition of an instance that began then: the instance runs or is stopped from now on, and
// the operations that waited for it have succeeded. One that has ended already, by whomever, and an instance that is
// gone are no error. Whoever has the office calls it when the transition's time has come.
func (s *Service) EndTransition(ctx context.Context, instance string, begun time.Time) error {
	_, err := s.commit(ctx, "EndTransition", func(d *draft) error {
		t, record, err := s.transition(ctx, instance)
		if err != nil || record.Revision == store.IfAbsent || !t.Begun.Equal(begun) {
			return err
		}
		in, was, err := s.instance(ctx, instance)
		if err != nil && openimds.KindOf(err) == openimds.NotFound {
			return s.endTransition(ctx, d, t, record, openimds.OperationFailed, "The instance is gone")
		}
		if err != nil {
			return err
		}
		if err := s.endTransition(ctx, d, t, record, openimds.OperationSucceeded, ""); err != nil {
			return err
		}
		if err := s.arrive(ctx, d, in); err != nil {
			return err
		}
		d.putInstance(was, in)
		return nil
	})
	return err
}
