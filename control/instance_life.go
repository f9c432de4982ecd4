package control

import (
	"context"
	"net/netip"
	"time"

	"github.com/openimds/openimds"
)

// StopInstance stops a running instance: it is stopping for [Config.TransitionTime], while its guest may still ask,
// and then stopped: its dynamic public IPv4 address is given up, and its metadata endpoint answers nobody until it is
// started. One that is stopping or stopped stays as it is.
//
// Errors: NotFound/DoesNotExist; OperationFailure/WrongState for one that is pending.
// Of more than 20 changes of options that wait, the earliest may have ended all the same.
func (s *Service) StopInstance(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "StopInstance", func(d *draft) error { return s.stop(ctx, d, name, false) }))
}

// ForceStop is [Service.StopInstance] that waits for no guest: one that is stopping is stopped now.
//
// Errors: NotFound/DoesNotExist; OperationFailure/WrongState for one that is pending.
func (s *Service) ForceStop(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "StopInstance", func(d *draft) error { return s.stop(ctx, d, name, true) }))
}

func (s *Service) stop(ctx context.Context, d *draft, name string, force bool) error {
	const what = "StopInstance"
	in, was, err := s.instance(ctx, name)
	if err != nil {
		return err
	}
	defer d.moves(in)()
	switch in.State {
	case openimds.StateStopped:
		d.operation(instanceOperation(what, in))
		return nil
	case openimds.StateRunning:
		err = s.enter(ctx, d, in, openimds.StateStopping, what)
	case openimds.StateStopping:
		if !force {
			return s.join(ctx, d, in, what)
		}
		if err := s.leaveTransition(ctx, d, in, openimds.OperationSucceeded, ""); err != nil {
			return err
		}
		err = s.arrive(ctx, d, in)
		d.operation(instanceOperation(what, in))
	default:
		return wrongState(in, "stopped", openimds.StateRunning)
	}
	if err != nil {
		return err
	}
	d.putInstance(was, in)
	return nil
}

// StartInstance starts a stopped instance on a new life: a new token key, so that no session token
// of the former life is good any more, and a new public IPv4 address unless it has a static one. The
// interruption that was announced to the former life is over. The instance is pending for [Config.TransitionTime],
// while it answers nobody, and runs then. One that is pending or runs stays as it is.
//
// Errors: NotFound/DoesNotExist; OperationFailure/WrongState for one that is stopping.
func (s *Service) StartInstance(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "StartInstance", func(d *draft) error { return s.start(ctx, d, name, nil) }))
}

// StartInstanceOn is [Service.StartInstance] of a stopped instance on another generation of its bundle: the latest one,
// for which "auto" stands too, or the one that it ran on before.
//
// Errors: InvalidInput/NotOffered for a bundle that there is not, InvalidInput/Incompatible for one that is not such a
// generation; NotFound/DoesNotExist; OperationFailure/WrongState for an instance that is not stopped.
func (s *Service) StartInstanceOn(ctx context.Context, name, bundle string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "StartInstance", func(d *draft) error {
		return s.start(ctx, d, name, func(in *openimds.Instance) error { return moveToBundle(in, bundle) })
	}))
}

// start starts an instance. What is to be changed of it before, change changes; it must be stopped then.
func (s *Service) start(ctx context.Context, d *draft, name string, change func(*openimds.Instance) error) error {
	const what = "StartInstance"
	in, was, err := s.instance(ctx, name)
	if err != nil {
		return err
	}
	defer d.moves(in)()
	switch {
	case in.State == openimds.StateStopped:
	case change != nil:
		return wrongState(in, "changed and started", openimds.StateStopped)
	case in.State == openimds.StateRunning:
		d.operation(instanceOperation(what, in))
		return nil
	case in.State == openimds.StatePending:
		return s.join(ctx, d, in, what)
	default:
		return wrongState(in, "started", openimds.StateStopped)
	}
	if change != nil {
		if err := change(in); err != nil {
			return err
		}
	}
	in.LaunchedAt = d.now.Truncate(time.Second)
	in.TokenKey = openimds.NewTokenKey()
	in.Events.Spot, in.Events.RebalanceAt = nil, time.Time{}
	if in.StaticIPName == "" && in.AddressType != openimds.AddressIPv6 {
		setPublicIPv4(in, openimds.NewPublicIPv4())
	}
	if err := s.enter(ctx, d, in, openimds.StatePending, what); err != nil {
		return err
	}
	d.putInstance(was, in)
	return nil
}

// moveToBundle moves an instance to another generation of its bundle.
func moveToBundle(in *openimds.Instance, id string) error {
	latest, has := openimds.LatestBundle(in.Region, in.BundleID)
	if id == "auto" {
		if !has || latest.ID == in.BundleID {
			return openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "The bundle %s has no later generation", in.BundleID)
		}
		id = latest.ID
	}
	bundle, offered := openimds.FindBundle(in.Region, id)
	switch {
	case !offered:
		return openimds.Errorf(openimds.InvalidInput, openimds.NotOffered, "%s %.100s is not offered in this region", openimds.FieldBundle, id)
	case id == in.BundleID:
		return nil
	case (!has || id != latest.ID) && id != in.FormerBundleID:
		return openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "The bundle %s is neither a later generation of %s nor the one that the instance ran on before", id, in.BundleID)
	}
	in.FormerBundleID, in.BundleID, in.InstanceType = in.BundleID, bundle.ID, bundle.EC2Type
	return nil
}

// RebootInstance reboots a running instance. Addresses, ids and session tokens stay what they are,
// so that nothing is left to change here but a fault that is for the first moments of a life.
//
// Errors: NotFound/DoesNotExist; OperationFailure/WrongState unless it runs.
func (s *Service) RebootInstance(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "RebootInstance", func(d *draft) error { return s.reboot(ctx, d, name) }))
}

func (s *Service) reboot(ctx context.Context, d *draft, name string) error {
	in, was, err := s.instance(ctx, name)
	if err != nil {
		return err
	}
	if in.State != openimds.StateRunning {
		return wrongState(in, "rebooted", openimds.StateRunning)
	}
	defer d.moves(in)()
	if in.Faults != nil && in.Faults.AbsentSeconds > 0 {
		faultsBegin(in.Faults, d.now)
		d.put(was, in) // and no modification of anything that the guest reads
	}
	d.operation(instanceOperation("RebootInstance", in))
	return nil
}

// DeleteKnownHostKeys forgets the host keys by which the consoles know an instance. None are kept,
// so that nothing is left to change here.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) DeleteKnownHostKeys(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "DeleteKnownHostKeys", func(d *draft) error {
		in, _, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		d.operation(instanceOperation("DeleteKnownHostKeys", in))
		return nil
	}))
}

// DeleteInstance deletes an instance in any state, with its alarms and its attachment, and frees its static IP. The
// key of its session tokens goes with it: a later instance of the same name has another one. What it was in the middle
// of has failed.
//
// Errors: NotFound/DoesNotExist.
// Of more than 20 changes of options that wait, the earliest may have ended all the same.
func (s *Service) DeleteInstance(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "DeleteInstance", func(d *draft) error { return s.delete(ctx, d, name) }))
}

func (s *Service) delete(ctx context.Context, d *draft, name string) error {
	in, was, err := s.instance(ctx, name)
	if err != nil {
		return err
	}
	if err := s.endOptions(ctx, d, in, openimds.OperationFailed, "The instance was deleted before the change was applied"); err != nil {
		return err
	}
	if err := s.leaveTransition(ctx, d, in, openimds.OperationFailed, "The instance was deleted while it was "+string(in.State)); err != nil {
		return err
	}
	if in.StaticIPName != "" {
		ip, ipWas, err := s.staticIP(ctx, in.StaticIPName)
		if err != nil {
			return err
		}
		ip.AttachedTo = ""
		d.put(ipWas, ip)
		d.pairOperations("DetachStaticIp", ip, in)
	}
	if err := s.removeAlarmsOf(ctx, d, in.Name); err != nil {
		return err
	}
	if err := s.removeAttachment(ctx, d, in); err != nil {
		return err
	}
	d.dropRecording(in)
	d.destroyInstance(was, in)
	d.operation(instanceOperation("DeleteInstance", in))
	d.moved = append(d.moved, StateChange{ID: in.ID, From: in.State, To: openimds.StateTerminated})
	return nil
}

func wrongState(in *openimds.Instance, wanted string, needed openimds.InstanceState) error {
	return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, "The instance %s cannot be %s: it is %s, not %s", in.Name, wanted, in.State, needed)
}

// setPublicIPv4 gives the primary interface that public address; the zero address takes it away.
func setPublicIPv4(in *openimds.Instance, addr netip.Addr) {
	if len(in.NICs) > 0 {
		openimds.SetPublicIPv4(&in.NICs[0], addr, in.Region)
	}
}
