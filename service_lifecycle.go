package openimds

import (
	"context"
	"net/netip"
	"time"
)

// StopInstance stops a running instance: its dynamic public IPv4 address is given up, and its
// metadata endpoint answers nobody until it is started. A stopped instance stays as it is.
func (s *Service) StopInstance(ctx context.Context, name string) ([]Operation, error) {
	return operationsOf(s.commit(ctx, "StopInstance", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		switch in.State {
		case StateStopped:
		case StateRunning:
			in.State = StateStopped
			if in.StaticIPName == "" {
				in.setPublicIPv4(netip.Addr{})
			}
			// Nothing serves a stopped instance, so nothing is left to be applied: its next start
			// begins with these options.
			if err := s.endOptions(ctx, d, in, OperationSucceeded, ""); err != nil {
				return err
			}
			d.putInstance(was, in)
		default:
			return wrongState(in, "stopped", StateRunning)
		}
		d.operation(instanceOperation("StopInstance", in))
		return nil
	}))
}

// StartInstance starts a stopped instance on a new life: a new token key, so that no session token
// of the former life is good any more, and a new public IPv4 address unless it has a static one. The
// interruption that was announced to the former life is over.
// A running instance stays as it is.
func (s *Service) StartInstance(ctx context.Context, name string) ([]Operation, error) {
	return operationsOf(s.commit(ctx, "StartInstance", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		switch in.State {
		case StateRunning:
		case StateStopped:
			in.State = StateRunning
			in.LaunchedAt = d.now.Truncate(time.Second)
			in.TokenKey = NewTokenKey()
			in.Events.Spot, in.Events.RebalanceAt = nil, time.Time{}
			if in.Faults != nil {
				in.Faults.lifeBegins(d.now)
			}
			if in.StaticIPName == "" && in.AddressType != AddressIPv6 {
				in.setPublicIPv4(NewPublicIPv4())
			}
			d.putInstance(was, in)
		default:
			return wrongState(in, "started", StateStopped)
		}
		d.operation(instanceOperation("StartInstance", in))
		return nil
	}))
}

// RebootInstance reboots a running instance. Addresses, ids and session tokens stay what they are,
// so that nothing is left to change here but a fault that is for the first moments of a life.
func (s *Service) RebootInstance(ctx context.Context, name string) ([]Operation, error) {
	return operationsOf(s.commit(ctx, "RebootInstance", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if in.State != StateRunning {
			return wrongState(in, "rebooted", StateRunning)
		}
		if in.Faults != nil && in.Faults.AbsentSeconds > 0 {
			in.Faults.lifeBegins(d.now)
			d.put(was, in) // and no modification of anything that the guest reads
		}
		d.operation(instanceOperation("RebootInstance", in))
		return nil
	}))
}

// DeleteKnownHostKeys forgets the host keys by which the consoles know an instance. None are kept,
// so that nothing is left to change here.
func (s *Service) DeleteKnownHostKeys(ctx context.Context, name string) ([]Operation, error) {
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
// key of its session tokens goes with it: a later instance of the same name has another one.
func (s *Service) DeleteInstance(ctx context.Context, name string) ([]Operation, error) {
	return operationsOf(s.commit(ctx, "DeleteInstance", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if err := s.endOptions(ctx, d, in, OperationFailed, "The instance was deleted before the change was applied"); err != nil {
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
		if err := s.removeAttachment(ctx, d, in.Name); err != nil {
			return err
		}
		d.dropRecording(in)
		d.remove(was)
		d.operation(instanceOperation("DeleteInstance", in))
		return nil
	}))
}

func wrongState(in *Instance, wanted string, needed InstanceState) error {
	return Errorf(OperationFailure, "", "The instance %s cannot be %s: it is %s, not %s", in.Name, wanted, in.State, needed)
}

// setPublicIPv4 gives the primary interface that public address; the zero address takes it away.
func (in *Instance) setPublicIPv4(addr netip.Addr) {
	if len(in.NICs) > 0 {
		SetPublicIPv4(&in.NICs[0], addr, in.Region)
	}
}

// The kinds of addresses that an instance has.
const (
	AddressDual = "dualstack"
	AddressIPv4 = "ipv4"
	AddressIPv6 = "ipv6"
)

func checkAddressType(t string) error {
	if t != AddressDual && t != AddressIPv4 && t != AddressIPv6 {
		return Errorf(InvalidInput, "", "ipAddressType must be dualstack, ipv4 or ipv6, not %.50q", t)
	}
	return nil
}

// SetAddressType changes which addresses an instance has. To or from IPv6 alone the bundle changes
// with it, which the caller must accept.
func (s *Service) SetAddressType(ctx context.Context, name, addressType string, acceptBundle bool) ([]Operation, error) {
	if err := checkAddressType(addressType); err != nil {
		return nil, err
	}
	return operationsOf(s.commit(ctx, "SetIpAddressType", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if in.AddressType != addressType {
			if err := in.setAddressType(addressType, acceptBundle); err != nil {
				return err
			}
			d.putInstance(was, in)
		}
		d.operation(instanceOperation("SetIpAddressType", in))
		return nil
	}))
}

func (in *Instance) setAddressType(t string, acceptBundle bool) error {
	if len(in.NICs) == 0 {
		return Errorf(OperationFailure, "", "The instance %s has no network interface", in.Name)
	}
	if (t == AddressIPv6) != (in.AddressType == AddressIPv6) {
		if in.StaticIPName != "" {
			return Errorf(OperationFailure, "", "The instance %s has the static IP %s; detach it first", in.Name, in.StaticIPName)
		}
		bundle, ok := otherBundle(in.Region, in.BundleID)
		if !ok {
			return Errorf(InvalidInput, "", "The bundle %s has no counterpart for the IP address type %s", in.BundleID, t)
		}
		if !acceptBundle {
			return Errorf(InvalidInput, "", "The IP address type %s needs the bundle %s; set acceptBundleUpdate to change to it", t, bundle.ID)
		}
		in.BundleID, in.InstanceType = bundle.ID, bundle.EC2Type
	}
	nic := &in.NICs[0]
	if t == AddressIPv4 {
		nic.clearIPv6()
	} else if len(nic.IPv6) == 0 {
		nic.giveIPv6()
	}
	if t == AddressIPv6 {
		nic.clearIPv4()
	} else if len(nic.PrivateIPv4) == 0 {
		nic.giveIPv4(in.Region, in.State == StateRunning)
	}
	in.AddressType = t
	return nil
}
