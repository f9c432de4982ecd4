package control

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// MaxOverlay is how many bytes the paths and values of an instance's overlay have at most.
const MaxOverlay = metadata.MaxOverlayBytes

// InstanceUpdate is a partial change of what Lightsail has no operation for; nil keeps the value.
type InstanceUpdate struct {
	UserData *[]byte
	// TagsInMetadata is [openimds.MetadataOptions.Tags], set with what else the guest reads.
	TagsInMetadata *bool
	// RoleName gives the instance a role with an instance profile of the same name; empty takes it.
	RoleName *string
	// ExtendedCredentials shows the role's credentials with their account, too.
	ExtendedCredentials *bool

	OwnerID        *string
	ImageID        *string
	InstanceType   *string
	Architecture   *string
	System         *string
	LifeCycle      *string
	ReservationID  *string
	LaunchIndex    *int
	KernelID       *string // empty, here and below: absent
	RamdiskID      *string
	AncestorAMIIDs *[]string
	ProductCodes   *[]string
	PlacementGroup *string
	// PartitionNumber is of a partition placement group; 0: absent.
	PartitionNumber    *int
	HostID             *string
	DetailedMonitoring *bool
	Hibernation        *bool
	Zone               *string
	// Hostname and PublicHostname are the names of the primary interface.
	Hostname       *string
	PublicHostname *string

	// Overlay lays values over the table of categories, nil for "does not exist"; other paths keep
	// theirs. OverlayRemove uncovers the table again.
	Overlay       map[string]*string
	OverlayRemove []string

	// Recording is answered in place of the table; an empty one is taken away.
	Recording *openimds.Recording
}

// SetInstance changes what Lightsail has no operation for. The guest's next request sees it.
//
// Errors: InvalidInput/UnknownValue and InvalidInput/OutOfRange for values that cannot stand in an answer,
// InvalidInput/TooLarge for the user data or the overlay, InvalidInput/Malformed for an overlay or a recording that
// cannot be served, InvalidInput/Conflicting for a change that a recording would hide; NotFound/DoesNotExist;
// OperationFailure/WrongState for a host name without a network interface.
func (s *Service) SetInstance(ctx context.Context, name string, u InstanceUpdate) (openimds.Operation, error) {
	if err := u.check(); err != nil {
		return openimds.Operation{}, err
	}
	d, err := s.commit(ctx, "SetInstance", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if err := d.record(in, u.Recording); err != nil {
			return err
		}
		if err := u.checkRecorded(in); err != nil {
			return err
		}
		if err := u.apply(in); err != nil {
			return err
		}
		if err := checkOverlay(in.Overlay); err != nil {
			return err
		}
		if err := checkTagsInMetadata(in); err != nil {
			return err
		}
		d.putInstance(was, in)
		d.operation(instanceOperation("SetInstance", in))
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

func checkOverlay(overlay map[string]*string) error {
	if size := metadata.OverlaySize(overlay); size > metadata.MaxOverlayBytes {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "The overlay of an instance is limited to %d bytes, not %d", metadata.MaxOverlayBytes, size)
	}
	if err := metadata.ValidateOverlay(overlay); err != nil {
		return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The overlay cannot be used: %s", err)
	}
	return nil
}

var (
	ec2TypeForm  = regexp.MustCompile(`^[a-z0-9-]{1,20}\.[a-z0-9-]{1,20}$`)
	imageIDForm  = regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`)
	hostnameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
	wordForm     = regexp.MustCompile(`^[A-Za-z0-9_./:=+@-]{1,255}$`)
)

// check refuses values that could not stand where the guest reads them: most are a line of an
// answer, some a part of a path.
func (u *InstanceUpdate) check() error {
	if u.UserData != nil {
		if err := checkUserData(*u.UserData); err != nil {
			return err
		}
	}
	systems := regexp.MustCompile(`^(nitro|xen|xen-on-nitro)$`)
	lives := regexp.MustCompile(`^(on-demand|spot|scheduled|capacity-block)$`)
	architectures := regexp.MustCompile(`^(x86_64|arm64)$`)
	for _, f := range []struct {
		name     openimds.Field
		value    *string
		form     *regexp.Regexp
		optional bool // may be empty
	}{
		{openimds.FieldOwnerID, u.OwnerID, accountIDForm, false},
		{openimds.FieldImageID, u.ImageID, imageIDForm, false},
		{openimds.FieldInstanceType, u.InstanceType, ec2TypeForm, false},
		{openimds.FieldArchitecture, u.Architecture, architectures, false},
		{openimds.FieldSystem, u.System, systems, false},
		{openimds.FieldLifeCycle, u.LifeCycle, lives, false},
		{openimds.FieldReservationID, u.ReservationID, wordForm, false},
		{openimds.FieldZone, u.Zone, wordForm, false},
		{openimds.FieldHostname, u.Hostname, hostnameForm, false},
		{openimds.FieldPublicHostname, u.PublicHostname, hostnameForm, true},
		{openimds.FieldRoleName, u.RoleName, openimds.RoleNameForm, true},
		{openimds.FieldKernelID, u.KernelID, wordForm, true},
		{openimds.FieldRamdiskID, u.RamdiskID, wordForm, true},
		{openimds.FieldPlacementGroup, u.PlacementGroup, wordForm, true},
		{openimds.FieldHostID, u.HostID, wordForm, true},
	} {
		if f.value == nil || f.optional && *f.value == "" {
			continue
		}
		if !f.form.MatchString(*f.value) {
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%s cannot be %.100q: it must have the form %s", f.name, *f.value, f.form)
		}
	}
	for _, n := range []*int{u.LaunchIndex, u.PartitionNumber} {
		if n != nil && (*n < 0 || *n > 1<<20) {
			return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "%s and %s must be 0 to %d, not %d", openimds.FieldLaunchIndex, openimds.FieldPartitionNumber, 1<<20, *n)
		}
	}
	for _, words := range []*[]string{u.AncestorAMIIDs, u.ProductCodes} {
		if words == nil {
			continue
		}
		for _, w := range *words {
			if !wordForm.MatchString(w) {
				return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%s and %s cannot have %.100q among them", openimds.FieldAncestorAMIIDs, openimds.FieldProductCodes, w)
			}
		}
	}
	return nil
}

func (u *InstanceUpdate) apply(in *openimds.Instance) error {
	set(&in.UserData, u.UserData)
	if u.TagsInMetadata != nil {
		in.Options.Tags = openimds.EndpointDisabled
		if *u.TagsInMetadata {
			in.Options.Tags = openimds.EndpointEnabled
		}
	}
	set(&in.ExtendedCredentials, u.ExtendedCredentials)
	set(&in.OwnerID, u.OwnerID)
	set(&in.ImageID, u.ImageID)
	set(&in.InstanceType, u.InstanceType)
	set(&in.Architecture, u.Architecture)
	set(&in.System, u.System)
	set(&in.LifeCycle, u.LifeCycle)
	set(&in.ReservationID, u.ReservationID)
	set(&in.LaunchIndex, u.LaunchIndex)
	set(&in.KernelID, u.KernelID)
	set(&in.RamdiskID, u.RamdiskID)
	set(&in.AncestorAMIIDs, u.AncestorAMIIDs)
	set(&in.ProductCodes, u.ProductCodes)
	set(&in.PlacementGroup, u.PlacementGroup)
	set(&in.PartitionNumber, u.PartitionNumber)
	set(&in.HostID, u.HostID)
	set(&in.DetailedMonitoring, u.DetailedMonitoring)
	set(&in.Hibernation, u.Hibernation)
	if u.Zone != nil {
		if err := checkZone(in.Region, *u.Zone); err != nil {
			return err
		}
		in.Zone, in.ZoneID = *u.Zone, openimds.ZoneID(in.Region, *u.Zone)
	}
	if u.RoleName != nil {
		in.Role = openimds.NewRole(*u.RoleName, in)
	}
	if u.Hostname != nil || u.PublicHostname != nil {
		if len(in.NICs) == 0 {
			return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, "The instance %s has no network interface to name", in.Name)
		}
		set(&in.NICs[0].LocalHostname, u.Hostname)
		set(&in.NICs[0].PublicHostname, u.PublicHostname)
	}
	if in.Overlay == nil && len(u.Overlay) > 0 {
		in.Overlay = make(map[string]*string, len(u.Overlay))
	}
	return u.lay(in)
}

// lay lays values over an instance's table. A path may be as a guest asks for it, with a version in front and slashes
// around it, and is kept as it is below the version: what is laid is there at all of them.
func (u InstanceUpdate) lay(in *openimds.Instance) error {
	laid := make(map[string]*string, len(u.Overlay))
	for path, value := range u.Overlay {
		below := metadata.Below(path)
		if _, twice := laid[below]; twice {
			return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "The overlay cannot be used: overlay path %q is there twice, once as it is below a version", below)
		}
		if first, _, _ := strings.Cut(below, "/"); slices.Contains(metadata.Versions(), first) {
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, `The overlay cannot be used: overlay path %q is of a version; write it below, like "meta-data/ami-id"`, path)
		}
		laid[below] = value
	}
	maps.Copy(in.Overlay, laid)
	maps.DeleteFunc(in.Overlay, func(path string, _ *string) bool {
		return slices.ContainsFunc(u.OverlayRemove, func(remove string) bool { return path == remove || path == metadata.Below(remove) })
	})
	if in.Recorded != nil {
		return nil // which has values of its own
	}
	for path, value := range laid {
		above, ok := metadata.ValueAbove(path)
		if _, aside := in.Overlay[above]; ok && value != nil && !aside {
			return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "The overlay cannot be used: overlay path %q lies below %q, which is a value of the table: a path is a value or a directory, not both; have that one not exist first", path, above)
		}
	}
	return nil
}

// checkZone refuses a zone that the region does not show.
func checkZone(region, zone string) error {
	if !slices.Contains(openimds.Zones(region), zone) {
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The availability zone %.100s is not in the region %s", zone, region)
	}
	return nil
}

func set[T any](to *T, value *T) {
	if value != nil {
		*to = *value
	}
}
