package control

import (
	"context"
	"net"
	"reflect"
	"regexp"
	"strings"
	"unicode"

	"github.com/openimds/openimds"
)

var instanceIDForm = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

// AddInstance adds a running instance that was made elsewhere, by [openimds.NewInstance] and changes of its
// result: with the id and the addresses that Lightsail lets nobody choose. It begins with its options
// applied, without events, faults and recording.
//
// Errors: InvalidInput/NameTaken for the name and the id; InvalidInput/Conflicting for one that does not begin so, InvalidInput/Mismatch
// for one of another region; InvalidInput/UnknownValue, InvalidInput/OutOfRange, InvalidInput/TooLarge,
// InvalidInput/TooMany, InvalidInput/Duplicate, InvalidInput/Reserved and InvalidInput/Incomplete for what no
// instance can have, InvalidInput/NotEnforced for what this installation does not carry out.
func (s *Service) AddInstance(ctx context.Context, in *openimds.Instance) (openimds.Operation, error) {
	if err := s.checkInstance(in); err != nil {
		return openimds.Operation{}, err
	}
	d, err := s.commit(ctx, "AddInstance", func(d *draft) error {
		if err := s.refuseTaken(ctx, in.Name); err != nil {
			return err
		}
		if err := s.refuseTakenID(ctx, in.ID); err != nil {
			return err
		}
		d.createInstance(in)
		d.operation(instanceOperation("CreateInstance", in))
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// checkInstance refuses an instance that could not have come about here, or not be served.
func (s *Service) checkInstance(in *openimds.Instance) error {
	if err := openimds.ValidateName(in.Name); err != nil {
		return err
	}
	switch {
	case !instanceIDForm.MatchString(in.ID):
		return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The instance id cannot be %.60q: it is i- and 8 to 17 hexadecimal digits", in.ID)
	case in.State != openimds.StateRunning || in.Options.State != openimds.OptionsApplied || in.OptionsOperation != "":
		return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "A new instance runs and has nothing pending")
	case len(in.TokenKey) != openimds.TokenKeySize:
		return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The token key has %d bytes, not %d", len(in.TokenKey), openimds.TokenKeySize)
	case in.Region != s.cfg.Region:
		return openimds.Errorf(openimds.InvalidInput, openimds.Mismatch, "The region is %s, not %.60q", s.cfg.Region, in.Region)
	case !reflect.ValueOf(in.Events).IsZero() || in.Faults != nil || in.Recorded != nil || in.Recording != nil:
		return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "An instance has no events, no faults and no recording before it is there")
	}
	if err := in.Options.Validate(); err != nil {
		return err
	}
	if err := s.checkOptions(openimds.OptionsUpdate{IPv6: &in.Options.IPv6}); err != nil {
		return err
	}
	if err := wordsOf(in).check(); err != nil {
		return err
	}
	if err := checkZone(in.Region, in.Zone); err != nil {
		return err
	}
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	if err := checkTagsInMetadata(in); err != nil {
		return err
	}
	if err := checkOverlay(in.Overlay); err != nil {
		return err
	}
	if err := checkPublicKeys(in.PublicKeys); err != nil {
		return err
	}
	return checkNICs(in.NICs)
}

// wordsOf is the change that would bring in about, as far as it is made of words of a guest's answers.
func wordsOf(in *openimds.Instance) *InstanceUpdate {
	u := &InstanceUpdate{
		UserData: &in.UserData, OwnerID: &in.OwnerID, ImageID: &in.ImageID, InstanceType: &in.InstanceType,
		Architecture: &in.Architecture, System: &in.System, LifeCycle: &in.LifeCycle,
		ReservationID: &in.ReservationID, LaunchIndex: &in.LaunchIndex, KernelID: &in.KernelID,
		RamdiskID: &in.RamdiskID, AncestorAMIIDs: &in.AncestorAMIIDs, ProductCodes: &in.ProductCodes,
		PlacementGroup: &in.PlacementGroup, PartitionNumber: &in.PartitionNumber, HostID: &in.HostID, Zone: &in.Zone,
	}
	if in.Role != nil {
		u.RoleName = &in.Role.Name
	}
	return u
}

func checkPublicKeys(keys []openimds.PublicKey) error {
	for _, k := range keys {
		if !wordForm.MatchString(k.Name) {
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "A key pair cannot have the name %.100q", k.Name)
		}
		if k.Key == "" || strings.ContainsFunc(k.Key, unicode.IsControl) {
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The public key %.100s is not one line of authorized_keys", k.Name)
		}
	}
	return nil
}

// checkNICs refuses interfaces whose names could not stand in a path, or their hosts' in an answer.
func checkNICs(nics []openimds.NIC) error {
	if len(nics) == 0 {
		return openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "An instance has a network interface")
	}
	macs := map[string]bool{}
	for i := range nics {
		nic := &nics[i]
		mac, err := net.ParseMAC(nic.MAC)
		if err != nil || len(mac) != 6 || mac.String() != nic.MAC || macs[nic.MAC] {
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The MAC address %.60q is not six pairs of lower-case hexadecimal digits with colons, or is given twice", nic.MAC)
		}
		macs[nic.MAC] = true
		names := InstanceUpdate{Hostname: &nic.LocalHostname, PublicHostname: &nic.PublicHostname}
		if err := names.check(); err != nil {
			return err
		}
		for _, a := range nic.PrivateIPv4 {
			if !a.Is4() {
				return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The private address %s is not of IPv4", a)
			}
		}
		for _, a := range nic.Associations {
			if !a.Public.Is4() {
				return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The public address %s is not of IPv4", a.Public)
			}
		}
		for _, a := range nic.IPv6 {
			if !a.Is6() || a.Zone() != "" {
				return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The address %s is not of IPv6", a)
			}
		}
	}
	return nil
}
