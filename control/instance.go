package control

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// maxLaunch is how many instances one call may create: each takes five changes of one commit, and etcd takes
// 128 unless told otherwise.
const maxLaunch = 20

// InstancesLaunch is a request for new instances that differ in nothing but their names.
type InstancesLaunch struct {
	Names       []string
	Zone        string // empty: the region's first
	BlueprintID string // empty: openimds.DefaultBlueprint
	BundleID    string // empty: openimds.DefaultBundle
	// UserData is what the guests read, at most MaxUserData bytes.
	UserData []byte
	// KeyPairName is the key pair for the guests' users; empty: the default one, made at first use.
	KeyPairName string
	Tags        []openimds.Tag
	AddressType string // empty: "dualstack", or "ipv6" on a bundle without IPv4
	// Options go before the account's defaults ([Service.Defaults]), and those before the blueprint's.
	Options openimds.OptionsUpdate
}

// CreateInstances creates all the instances or none, and returns one operation for each, in the
// order of the names. They are pending for [Config.TransitionTime], while they answer nobody, and run then.
//
// Errors: InvalidInput/OutOfRange for no name or too many, InvalidInput/NameTaken; InvalidInput/UnknownValue for
// the zone or the address type, InvalidInput/NotOffered for the blueprint or bundle, InvalidInput/WrongState where
// one is not active any more, InvalidInput/Incompatible where they do not go together; InvalidInput/TooLarge for
// the user data; InvalidInput/OutOfRange, InvalidInput/TooMany, InvalidInput/Duplicate and InvalidInput/Reserved
// for the tags, InvalidInput/NotEnforced for the options; NotFound/DoesNotExist without the key pair. The default key pair may have been made all the same.
func (s *Service) CreateInstances(ctx context.Context, l InstancesLaunch) ([]openimds.Operation, error) {
	if err := s.checkLaunch(&l); err != nil {
		return nil, err
	}
	if err := s.refuseTaken(ctx, l.Names...); err != nil { // before a key pair is made in vain
		return nil, err
	}
	keys, err := s.launchKeys(ctx, &l)
	if err != nil {
		return nil, err
	}
	d, err := s.commit(ctx, "CreateInstances", func(d *draft) error {
		if err := s.refuseTaken(ctx, l.Names...); err != nil {
			return err
		}
		defaults, err := s.launchDefaults(ctx)
		if err != nil {
			return err
		}
		reservation := openimds.NewID("r-")
		for i, name := range l.Names {
			in := openimds.NewInstance(openimds.Launch{
				Name: name, Region: s.cfg.Region, Zone: l.Zone, BlueprintID: l.BlueprintID, BundleID: l.BundleID,
				ReservationID: reservation, LaunchIndex: i, UserData: l.UserData, Tags: l.Tags,
				PublicKeys: keys, KeyPairName: l.KeyPairName, AddressType: l.AddressType,
				Options: l.Options.Or(defaults),
			}, d.now)
			if err := s.enter(ctx, d, in, openimds.StatePending, "CreateInstance"); err != nil {
				return err
			}
			d.create(openimds.TypeInstance, name, in)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d.operations, nil
}

// checkLaunch refuses what can never become an instance, and fills in what was left out.
func (s *Service) checkLaunch(l *InstancesLaunch) error {
	if len(l.Names) == 0 || len(l.Names) > maxLaunch {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A call creates 1 to %d instances, not %d", maxLaunch, len(l.Names))
	}
	for i, name := range l.Names {
		if err := openimds.ValidateName(name); err != nil {
			return err
		}
		if slices.Contains(l.Names[:i], name) {
			return nameExists([]string{name})
		}
	}
	zones := openimds.Zones(s.cfg.Region)
	l.Zone = cmp.Or(l.Zone, zones[0])
	if !slices.Contains(zones, l.Zone) {
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The availability zone %.100s is not in the region %s", l.Zone, s.cfg.Region)
	}
	l.BlueprintID = cmp.Or(l.BlueprintID, openimds.DefaultBlueprint)
	blueprint, ok := openimds.FindBlueprint(l.BlueprintID)
	if !ok {
		return openimds.Errorf(openimds.InvalidInput, openimds.NotOffered, "%s %.100s is not offered in this region", openimds.FieldBlueprint, l.BlueprintID)
	}
	bundle, ok := openimds.FindBundle(s.cfg.Region, l.BundleID)
	if l.BundleID == "" {
		bundle, ok = openimds.DefaultBundle(s.cfg.Region, blueprint, l.AddressType)
		l.BundleID = bundle.ID
	}
	if !ok {
		return openimds.Errorf(openimds.InvalidInput, openimds.NotOffered, "%s %.100s is not offered in this region", openimds.FieldBundle, l.BundleID)
	}
	if err := fits(blueprint, bundle); err != nil {
		return err
	}
	if l.AddressType == "" {
		l.AddressType = openimds.AddressDual
		if bundle.IPv6Only {
			l.AddressType = openimds.AddressIPv6
		}
	}
	if err := checkAddressType(l.AddressType); err != nil {
		return err
	}
	if bundle.IPv6Only != (l.AddressType == openimds.AddressIPv6) {
		return openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "The bundle %s cannot have the IP address type %s", bundle.ID, l.AddressType)
	}
	if err := checkUserData(l.UserData); err != nil {
		return err
	}
	if err := s.checkOptions(l.Options); err != nil {
		return err
	}
	return checkTags(l.Tags)
}

// fits refuses a bundle that the blueprint cannot run on.
func fits(blueprint openimds.Blueprint, bundle openimds.Bundle) error {
	if !blueprint.Active || !bundle.Active {
		return openimds.Errorf(openimds.InvalidInput, openimds.WrongState, "The blueprint %s and the bundle %s must both be active to make an instance", blueprint.ID, bundle.ID)
	}
	if blueprint.Platform != bundle.Platform {
		return openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "The bundle %s is for %s, the blueprint %s for %s", bundle.ID, bundle.Platform, blueprint.ID, blueprint.Platform)
	}
	if bundle.Power < blueprint.MinPower {
		return openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "The bundle %s has power %d, the blueprint %s needs %d", bundle.ID, bundle.Power, blueprint.ID, blueprint.MinPower)
	}
	return nil
}

func checkUserData(data []byte) error {
	if len(data) > openimds.MaxUserData {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "User data is limited to %d bytes, not %d", openimds.MaxUserData, len(data))
	}
	return nil
}

// EnsureInstance returns the instance of that name, and creates it with the defaults, running at once, if the store
// holds no instance at all. In a store with others a missing name is an error: it is more likely
// misspelt than meant to be made.
//
// Errors: NotFound/DoesNotExist in a store with other instances; InvalidInput/NameTaken where something else has
// the name.
func (s *Service) EnsureInstance(ctx context.Context, name string) (*openimds.Instance, error) {
	in, err := s.Instance(ctx, name)
	if err == nil || openimds.KindOf(err) != openimds.NotFound {
		return in, err
	}
	notFound := err
	_, err = s.commit(ctx, "CreateInstances", func(d *draft) error {
		page, err := s.store.List(ctx, store.Range{Prefix: records.InstancePrefix, Limit: 1})
		if err != nil {
			return storeFailed(err)
		}
		if len(page.Records) > 0 {
			return notFound // or somebody else was first: the second look below tells
		}
		if err := s.refuseTaken(ctx, name); err != nil {
			return err
		}
		defaults, err := s.launchDefaults(ctx)
		if err != nil {
			return err
		}
		in = openimds.NewInstance(openimds.Launch{Name: name, Region: s.cfg.Region, Options: defaults}, d.now)
		d.create(openimds.TypeInstance, name, in)
		d.operation(instanceOperation("CreateInstance", in))
		return nil
	})
	if err != nil && errors.Is(err, notFound) {
		return s.Instance(ctx, name)
	}
	return in, err
}

// Instance returns the instance of that name.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) Instance(ctx context.Context, name string) (*openimds.Instance, error) {
	in, _, err := s.instance(ctx, name)
	return in, err
}

// Instances returns at most limit instances in the order of their names, beginning behind the name
// after, and the name to go on behind, which is empty at the end.
func (s *Service) Instances(ctx context.Context, after string, limit int) ([]*openimds.Instance, string, error) {
	all, next, err := list[*openimds.Instance](ctx, s.store, openimds.TypeInstance, after, limit)
	for _, in := range all {
		s.present(in)
	}
	return all, next, err
}

// instance reads an instance and the record to compare with.
func (s *Service) instance(ctx context.Context, name string) (*openimds.Instance, store.Record, error) {
	in, was, err := find[*openimds.Instance](ctx, s.store, openimds.TypeInstance, name)
	s.present(in)
	return in, was, err
}

// putInstance writes an instance that was changed.
func (d *draft) putInstance(was store.Record, in *openimds.Instance) {
	in.ModifiedAt = d.now.Truncate(time.Second)
	d.put(was, in)
}

// noteInstance is putInstance for what follows from another change.
func (d *draft) noteInstance(was store.Record, in *openimds.Instance) {
	in.ModifiedAt = d.now.Truncate(time.Second)
	d.note(was, in)
}

func instanceOperation(what string, in *openimds.Instance) openimds.Operation {
	return openimds.Operation{Type: what, Resource: in.Name, ResourceType: openimds.TypeInstance, Zone: in.Zone}
}

// operationsOf takes the operations of a commit, or its error.
func operationsOf(d *draft, err error) ([]openimds.Operation, error) {
	if err != nil {
		return nil, err
	}
	return d.operations, nil
}
