package control

import (
	"context"

	"github.com/openimds/openimds"
)

func checkAddressType(t string) error {
	if t != openimds.AddressDual && t != openimds.AddressIPv4 && t != openimds.AddressIPv6 {
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "%s must be dualstack, ipv4 or ipv6, not %.50q", openimds.FieldAddressType, t)
	}
	return nil
}

// SetAddressType changes which addresses an instance has. To or from IPv6 alone the bundle changes
// with it, which the caller must accept.
//
// Errors: InvalidInput/UnknownValue for a type that there is not, InvalidInput/Incompatible where the bundle has
// no counterpart, InvalidInput/Incomplete where it would change and the caller does not accept that;
// NotFound/DoesNotExist; OperationFailure/WrongState without a network interface, OperationFailure/InUse with a
// static IP that would lose its address.
func (s *Service) SetAddressType(ctx context.Context, name, addressType string, acceptBundle bool) ([]openimds.Operation, error) {
	if err := checkAddressType(addressType); err != nil {
		return nil, err
	}
	return operationsOf(s.commit(ctx, "SetIpAddressType", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if in.AddressType != addressType {
			if err := setAddressType(in, addressType, acceptBundle); err != nil {
				return err
			}
			d.putInstance(was, in)
		}
		d.operation(instanceOperation("SetIpAddressType", in))
		return nil
	}))
}

func setAddressType(in *openimds.Instance, t string, acceptBundle bool) error {
	if len(in.NICs) == 0 {
		return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, "The instance %s has no network interface", in.Name)
	}
	if (t == openimds.AddressIPv6) != (in.AddressType == openimds.AddressIPv6) {
		if in.StaticIPName != "" {
			return openimds.Errorf(openimds.OperationFailure, openimds.InUse, "The instance %s has the static IP %s; detach it first", in.Name, in.StaticIPName)
		}
		bundle, ok := openimds.CounterpartBundle(in.Region, in.BundleID)
		if !ok {
			return openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "The bundle %s has no counterpart for the IP address type %s", in.BundleID, t)
		}
		if !acceptBundle {
			return openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "The IP address type %s needs the bundle %s; set %s to change to it", t, bundle.ID, openimds.FieldAcceptBundle)
		}
		in.BundleID, in.FormerBundleID, in.InstanceType = bundle.ID, "", bundle.EC2Type
	}
	nic := &in.NICs[0]
	if t == openimds.AddressIPv4 {
		nic.ClearIPv6()
	} else if len(nic.IPv6) == 0 {
		nic.GiveIPv6()
	}
	if t == openimds.AddressIPv6 {
		nic.ClearIPv4()
	} else if len(nic.PrivateIPv4) == 0 {
		nic.GiveIPv4(in.Region, in.State != openimds.StateStopped)
	}
	in.AddressType = t
	return nil
}
