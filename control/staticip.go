package control

import (
	"context"
	"net/netip"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// StaticIP returns the static IP of that name.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) StaticIP(ctx context.Context, name string) (*openimds.StaticIP, error) {
	ip, _, err := s.staticIP(ctx, name)
	return ip, err
}

// StaticIPs is to static IPs what [Service.Instances] is to instances.
func (s *Service) StaticIPs(ctx context.Context, after string, limit int) ([]*openimds.StaticIP, string, error) {
	return list[*openimds.StaticIP](ctx, s.store, openimds.TypeStaticIP, after, limit)
}

func (s *Service) staticIP(ctx context.Context, name string) (*openimds.StaticIP, store.Record, error) {
	return find[*openimds.StaticIP](ctx, s.store, openimds.TypeStaticIP, name)
}

// AllocateStaticIP makes a static IP that is attached to nothing.
//
// Errors: InvalidInput/NameTaken.
func (s *Service) AllocateStaticIP(ctx context.Context, name string) ([]openimds.Operation, error) {
	if err := openimds.ValidateName(name); err != nil {
		return nil, err
	}
	return operationsOf(s.commit(ctx, "AllocateStaticIp", func(d *draft) error {
		if err := s.refuseTaken(ctx, name); err != nil {
			return err
		}
		ip := &openimds.StaticIP{Name: name, UUID: openimds.NewUUID(), Address: openimds.NewPublicIPv4(), CreatedAt: d.now}
		d.create(openimds.TypeStaticIP, name, ip)
		d.operation(staticIPOperation("AllocateStaticIp", ip))
		return nil
	}))
}

// AttachStaticIP makes the static IP the instance's public address, in place of its dynamic one. An
// address that is attached to another instance, and an instance that has another static IP, must be
// freed first.
//
// Errors: NotFound/DoesNotExist without the static IP or the instance; OperationFailure/InUse where either has
// another one; InvalidInput/Incompatible for an instance without IPv4.
func (s *Service) AttachStaticIP(ctx context.Context, name, instance string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "AttachStaticIp", func(d *draft) error {
		ip, ipWas, err := s.staticIP(ctx, name)
		if err != nil {
			return err
		}
		in, was, err := s.instance(ctx, instance)
		if err != nil {
			return err
		}
		if ip.AttachedTo != instance {
			switch {
			case ip.AttachedTo != "":
				return openimds.Errorf(openimds.OperationFailure, openimds.InUse, "The static IP %s is attached to the instance %s; detach it first", name, ip.AttachedTo)
			case in.StaticIPName != "":
				return openimds.Errorf(openimds.OperationFailure, openimds.InUse, "The instance %s has the static IP %s; detach it first", instance, in.StaticIPName)
			case in.AddressType == openimds.AddressIPv6:
				return openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "The instance %s has no IPv4 address that a static IP could stand for", instance)
			}
			ip.AttachedTo, in.StaticIPName = in.Name, ip.Name
			setPublicIPv4(in, ip.Address)
			d.put(ipWas, ip)
			d.putInstance(was, in)
		}
		d.pairOperations("AttachStaticIp", ip, in)
		return nil
	}))
}

// DetachStaticIP frees the static IP. A running instance gets a new dynamic address in its place, a
// stopped one when it is started.
//
// Errors: NotFound/DoesNotExist; OperationFailure/WrongState where it is not attached.
func (s *Service) DetachStaticIP(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "DetachStaticIp", func(d *draft) error {
		ip, ipWas, err := s.staticIP(ctx, name)
		if err != nil {
			return err
		}
		if ip.AttachedTo == "" {
			return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, "The static IP %s is not attached to an instance", name)
		}
		if err := s.detach(ctx, d, ip); err != nil {
			return err
		}
		d.put(ipWas, ip)
		return nil
	}))
}

// ReleaseStaticIP gives the static IP up, and detaches it first where it is attached.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) ReleaseStaticIP(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "ReleaseStaticIp", func(d *draft) error {
		ip, ipWas, err := s.staticIP(ctx, name)
		if err != nil {
			return err
		}
		if ip.AttachedTo != "" {
			if err := s.detach(ctx, d, ip); err != nil {
				return err
			}
		}
		d.destroy(openimds.TypeStaticIP, ipWas)
		d.operation(staticIPOperation("ReleaseStaticIp", ip))
		return nil
	}))
}

// detach takes the static IP from its instance, with the pair of operations; the caller writes ip.
func (s *Service) detach(ctx context.Context, d *draft, ip *openimds.StaticIP) error {
	in, was, err := s.instance(ctx, ip.AttachedTo)
	if err != nil {
		return err
	}
	ip.AttachedTo, in.StaticIPName = "", ""
	dynamic := netip.Addr{}
	if in.State != openimds.StateStopped {
		dynamic = openimds.NewPublicIPv4()
	}
	setPublicIPv4(in, dynamic)
	d.putInstance(was, in)
	d.pairOperations("DetachStaticIp", ip, in)
	return nil
}

// pairOperations adds the two operations that Lightsail records when a static IP and an instance
// come together or part, each naming the other.
func (d *draft) pairOperations(what string, ip *openimds.StaticIP, in *openimds.Instance) {
	one := staticIPOperation(what, ip)
	one.Details = in.Name
	two := instanceOperation(what, in)
	two.Details = ip.Name
	d.operation(one)
	d.operation(two)
}

func staticIPOperation(what string, ip *openimds.StaticIP) openimds.Operation {
	return openimds.Operation{Type: what, Resource: ip.Name, ResourceType: openimds.TypeStaticIP}
}
