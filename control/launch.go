package control

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// MaxLaunch is how many instances one call may create: each takes six changes of one commit, and etcd takes
// 128 unless told otherwise.
const MaxLaunch = 20

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
	// EC2 is what else instances are made of that EC2 makes; nil: they are made as Lightsail makes them.
	EC2 *EC2Launch
}

// EC2Launch says how many instances EC2 makes. Each is named by its id, belongs to the account, and has a key pair and
// a role only if one is named; one whose image requires session tokens has a hop limit of 2 (EC2 user guide, "Configure
// the AMI").
type EC2Launch struct {
	Count int
	// Fewest is how many would have done, if not Count: a launch that asks for other ones is another launch.
	Fewest int `json:",omitzero"`
	// RoleName is the role, with an instance profile of the same name; empty: none.
	RoleName string
	// Token is the client's word for this launch: what comes with it again is the same launch, for [LaunchTime]; empty:
	// each request is a launch of its own.
	Token string
}

// LaunchTime is how long a launch may be asked for again.
const LaunchTime = 24 * time.Hour

// size is how many instances are asked for.
func (l *InstancesLaunch) size() int {
	if l.EC2 != nil {
		return l.EC2.Count
	}
	return len(l.Names)
}

// CreateInstances creates all the instances or none, and returns one operation for each, in the
// order of the names. They are pending for [Config.TransitionTime], while they answer nobody, and run then.
//
// Errors: InvalidInput/OutOfRange for no name or too many, InvalidInput/NameTaken; InvalidInput/UnknownValue for
// the zone or the address type, InvalidInput/NotOffered for the blueprint or bundle, InvalidInput/WrongState where
// one is not active any more, InvalidInput/Incompatible where they do not go together; InvalidInput/TooLarge for
// the user data; InvalidInput/OutOfRange, InvalidInput/TooMany, InvalidInput/Duplicate and InvalidInput/Reserved
// for the tags, InvalidInput/NotEnforced for the options; OperationFailure/TokensEnforced for optional tokens where the
// account demands required ones; NotFound/DoesNotExist without the key pair; Unavailable/Unready
// where the default one takes too long to make. It may have been made all the same.
func (s *Service) CreateInstances(ctx context.Context, l InstancesLaunch) ([]openimds.Operation, error) {
	_, ops, err := s.launch(ctx, l)
	return ops, err
}

// RunInstances is [Service.CreateInstances] as EC2 does it, and returns the instances; those of an earlier launch with
// the same token as they are now.
//
// Errors: InvalidInput/Mismatch for another launch with the same token, InvalidInput/Terminated where an instance of the
// earlier launch is gone; InvalidInput/OutOfRange for the number, InvalidInput/UnknownValue for the zone or the address
// type, InvalidInput/NotOffered for the blueprint or bundle, InvalidInput/WrongState where one is not active any more,
// InvalidInput/Incompatible where they do not go together; InvalidInput/TooMany, InvalidInput/Duplicate and
// InvalidInput/Reserved for the tags, InvalidInput/NotEnforced for the options; OperationFailure/TokensEnforced for
// optional tokens where the account demands required ones; NotFound/DoesNotExist without the key pair; Unavailable/Unready
// where the default one takes too long to make.
func (s *Service) RunInstances(ctx context.Context, l InstancesLaunch) ([]*openimds.Instance, error) {
	made, _, err := s.launch(ctx, l)
	return made, err
}

// launch creates the instances or finds those of the same launch.
func (s *Service) launch(ctx context.Context, l InstancesLaunch) (made []*openimds.Instance, ops []openimds.Operation, err error) {
	sum, err := sumOf(l)
	if err != nil {
		return nil, nil, broken(err)
	}
	if err := s.checkLaunch(&l); err != nil {
		return nil, nil, err
	}
	if err := s.refuseTaken(ctx, l.Names...); err != nil { // before a key pair is made in vain
		return nil, nil, err
	}
	// Before the key pair is looked for, which may be gone since.
	earlier, _, err := s.earlierLaunch(ctx, l, sum)
	if err != nil {
		return nil, nil, err
	}
	if earlier != nil {
		made, err = s.launched(ctx, earlier)
		return made, nil, err
	}
	keys, err := s.launchKeys(ctx, &l)
	if err != nil {
		return nil, nil, err
	}
	d, err := s.commit(ctx, "CreateInstances", func(d *draft) (err error) {
		var was store.Record
		if earlier, was, err = s.earlierLaunch(ctx, l, sum); err != nil || earlier != nil {
			return err
		}
		if made, err = s.draftLaunch(ctx, d, l, keys); err != nil || was.Key == "" {
			return err
		}
		asked := records.Launch{Sum: sum, At: d.now}
		for _, in := range made {
			asked.IDs = append(asked.IDs, in.ID)
		}
		d.note(was, asked)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if earlier != nil {
		made, err = s.launched(ctx, earlier)
		return made, nil, err
	}
	return made, d.operations, nil
}

// draftLaunch drafts the instances.
func (s *Service) draftLaunch(ctx context.Context, d *draft, l InstancesLaunch, keys []openimds.PublicKey) ([]*openimds.Instance, error) {
	if err := s.refuseTaken(ctx, l.Names...); err != nil {
		return nil, err
	}
	account, _, err := s.defaults(ctx)
	if err != nil {
		return nil, err
	}
	made := make([]*openimds.Instance, 0, l.size())
	reservation := openimds.NewID("r-")
	for i := range l.size() {
		launch := openimds.Launch{
			Region: s.cfg.Region, Zone: l.Zone, BlueprintID: l.BlueprintID, BundleID: l.BundleID,
			ReservationID: reservation, LaunchIndex: i, UserData: l.UserData, Tags: slices.Clone(l.Tags),
			PublicKeys: keys, KeyPairName: l.KeyPairName, AddressType: l.AddressType,
			Options: l.Options.Or(s.carriedOut(account.Options)),
		}
		if l.EC2 != nil {
			launch.OwnerID, launch.RoleName = s.cfg.AccountID, &l.EC2.RoleName
			if blueprint, _ := openimds.FindBlueprint(l.BlueprintID); blueprint.RequiresTokens() {
				launch.Options = launch.Options.Or(openimds.OptionsUpdate{HopLimit: new(2)})
			}
		} else {
			launch.Name = l.Names[i]
		}
		in := openimds.NewInstance(launch, d.now)
		if l.EC2 != nil {
			in.Name = in.ID
		}
		if err := s.enforceTokens(ctx, d, "a new instance", in.Options.Tokens); err != nil {
			return nil, err
		}
		if err := checkTagsInMetadata(in); err != nil {
			return nil, err
		}
		if err := s.enter(ctx, d, in, openimds.StatePending, "CreateInstance"); err != nil {
			return nil, err
		}
		d.createInstance(in)
		made = append(made, in)
	}
	return made, nil
}

// sumOf tells launches apart that have the same token.
func sumOf(l InstancesLaunch) ([]byte, error) {
	if l.EC2 == nil || l.EC2.Token == "" {
		return nil, nil
	}
	text, err := json.Marshal(l)
	sum := sha256.Sum256(text)
	return sum[:], err
}

// earlierLaunch finds the instances of an earlier launch with the same token; nil: there was none, and this one is to
// be written to the record, if that has a key.
func (s *Service) earlierLaunch(ctx context.Context, l InstancesLaunch, sum []byte) ([]string, store.Record, error) {
	if sum == nil {
		return nil, store.Record{}, nil
	}
	key := records.LaunchKey(l.EC2.Token)
	r, err := s.store.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return nil, store.Record{Key: key, Revision: store.IfAbsent}, nil
	}
	if err != nil {
		return nil, r, storeFailed(err)
	}
	was, err := read[records.Launch](r)
	switch {
	case err != nil:
		return nil, r, err
	case s.cfg.Now().Sub(was.At) >= LaunchTime:
		return nil, r, nil
	case !bytes.Equal(was.Sum, sum):
		return nil, r, openimds.Errorf(openimds.InvalidInput, openimds.Mismatch, "%s came with another launch before", openimds.FieldClientToken)
	}
	return was.IDs, r, nil
}

// launched returns the instances of an earlier launch.
func (s *Service) launched(ctx context.Context, ids []string) ([]*openimds.Instance, error) {
	found := make([]*openimds.Instance, 0, len(ids))
	for _, id := range ids {
		in, err := s.InstanceOfID(ctx, id)
		if openimds.CodeOf(err) == openimds.DoesNotExist || err == nil && in.State == openimds.StateTerminated {
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.Terminated, "The instance %s of the earlier launch with %s is terminated", id, openimds.FieldClientToken)
		}
		if err != nil {
			return nil, err
		}
		found = append(found, in)
	}
	return found, nil
}

// checkLaunch refuses what can never become an instance, and fills in what was left out.
func (s *Service) checkLaunch(l *InstancesLaunch) error {
	if l.size() < 1 || l.size() > MaxLaunch {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A call creates 1 to %d instances, not %d", MaxLaunch, l.size())
	}
	for i, name := range l.Names {
		if err := openimds.ValidateName(name); err != nil {
			return err
		}
		if slices.Contains(l.Names[:i], name) {
			return nameExists([]string{name})
		}
	}
	l.Zone = cmp.Or(l.Zone, openimds.Zones(s.cfg.Region)[0])
	if err := checkZone(s.cfg.Region, l.Zone); err != nil {
		return err
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
	if l.EC2 != nil {
		if err := (&InstanceUpdate{RoleName: &l.EC2.RoleName}).check(); err != nil {
			return err
		}
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
