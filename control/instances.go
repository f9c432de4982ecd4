package control

import (
	"context"
	"slices"

	"github.com/openimds/openimds"
)

// StateChange is what became of an instance's state.
type StateChange struct {
	ID       string // of the instance
	From, To openimds.InstanceState
}

// moves takes note of what becomes of an instance's state until what it returns is called.
func (d *draft) moves(in *openimds.Instance) func() {
	from := in.State
	return func() { d.moved = append(d.moved, StateChange{in.ID, from, in.State}) }
}

// each changes several resources, one commit each, in the order of their names, of which one that is given twice counts
// once. Before the first is changed, the changes of all are tried: when one is refused, none is made, unless others
// change the resources at the same time.
func (s *Service) each(ctx context.Context, what string, names []string, one func(s *Service, d *draft, name string) error) ([]StateChange, error) {
	var moved []StateChange
	carryOut := func(s *Service) error {
		moved = nil
		for i, name := range names {
			if slices.Contains(names[:i], name) {
				continue
			}
			d, err := s.commit(ctx, what, func(d *draft) error { return one(s, d, name) })
			if err != nil {
				return err
			}
			moved = append(moved, d.moved...)
		}
		return nil
	}
	if len(names) > 1 {
		if err := carryOut(s.Trial()); err != nil {
			return nil, err
		}
	}
	err := carryOut(s)
	return moved, err
}

// StopInstances is [Service.StopInstance] of several, or [Service.ForceStop] of them. If one cannot be stopped, none is;
// an error beside what others change at the same time leaves those stopped that came before.
//
// Errors: NotFound/DoesNotExist; OperationFailure/WrongState.
func (s *Service) StopInstances(ctx context.Context, names []string, force bool) ([]StateChange, error) {
	return s.each(ctx, "StopInstance", names, func(s *Service, d *draft, name string) error { return s.stop(ctx, d, name, force) })
}

// StartInstances is [Service.StartInstance] of several, as [Service.StopInstances].
//
// Errors: NotFound/DoesNotExist; OperationFailure/WrongState.
func (s *Service) StartInstances(ctx context.Context, names []string) ([]StateChange, error) {
	return s.each(ctx, "StartInstance", names, func(s *Service, d *draft, name string) error { return s.start(ctx, d, name, nil) })
}

// RebootInstances is [Service.RebootInstance] of several, as [Service.StopInstances].
//
// Errors: NotFound/DoesNotExist; OperationFailure/WrongState.
func (s *Service) RebootInstances(ctx context.Context, names []string) ([]StateChange, error) {
	return s.each(ctx, "RebootInstance", names, func(s *Service, d *draft, name string) error { return s.reboot(ctx, d, name) })
}

// TerminateInstances is [Service.DeleteInstance] of several, as [Service.StopInstances], by their ids whatever the service
// goes by. One that is terminated already stays so.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) TerminateInstances(ctx context.Context, ids []string) ([]StateChange, error) {
	return s.ByID().each(ctx, "DeleteInstance", ids, func(s *Service, d *draft, id string) error {
		err := s.delete(ctx, d, id)
		if openimds.CodeOf(err) != openimds.DoesNotExist {
			return err
		}
		gone, err := s.Terminated(ctx, id)
		if err != nil {
			return err
		}
		d.moved = append(d.moved, StateChange{gone.ID, gone.State, gone.State})
		return nil
	})
}
