package lightsail

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

type describeServiceResult struct {
	Region    string `json:"region"`
	AccountID string `json:"accountId"`
	Version   string `json:"version"`
	Time      epoch  `json:"time"`
	// Caller is who asks.
	Caller callerIdentity `json:"caller"`
}

type callerIdentity struct {
	AccessKeyID string `json:"accessKeyId"`
	Profile     string `json:"profile"`
	ReadOnly    bool   `json:"readOnly"`
}

func (a *api) describeService(ctx context.Context, _ *nothing) (describeServiceResult, error) {
	who := caller(ctx)
	return describeServiceResult{
		Region: a.service.Region(), AccountID: a.service.AccountID(), Version: a.cfg.Version, Time: epoch{a.cfg.Now()},
		Caller: callerIdentity{who.KeyID, who.Profile, who.ReadOnly},
	}, nil
}

type describeInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	// IncludeUserData asks for the user data too; it often holds secrets.
	IncludeUserData bool `json:"includeUserData"`
}

type describeInstanceResult struct {
	Instance wholeInstance `json:"instance"`
}

// wholeInstance is everything that is known of an instance, in the form of its record: times are
// RFC 3339 texts. The members here hide those of the same name in the record.
type wholeInstance struct {
	*openimds.Instance
	ARN      string  `json:"arn"`
	TokenKey *string `json:"tokenKey,omitempty"` // never set
	Recorded *string `json:"recorded,omitempty"` // the same: see Recording
	UserData blob    `json:"userData,omitempty"`
	// UserDataSize is in bytes, whether or not the user data is shown.
	UserDataSize int                `json:"userDataSize"`
	Overlay      map[string]*string `json:"overlay,omitempty"`
	// Recording tells of the recording that the guest is answered, without its items.
	Recording *recordingSummary `json:"recording,omitempty"`
	// Hidden names what there is and was not asked for: "userData", or paths of the overlay.
	Hidden []string `json:"hidden"`
}

func (a *api) describeInstance(ctx context.Context, in *describeInstanceRequest) (describeInstanceResult, error) {
	found, err := a.service.Instance(ctx, in.InstanceName)
	if err != nil {
		return describeInstanceResult{}, err
	}
	whole := wholeInstance{
		Instance: found, ARN: a.service.ARN(openimds.TypeInstance, found.UUID),
		UserData: found.UserData, UserDataSize: len(found.UserData), Overlay: found.Overlay, Hidden: []string{},
	}
	whole.Recording = summaryOf(found.Recorded)
	if !in.IncludeUserData {
		whole.hideUserData()
	}
	return describeInstanceResult{whole}, nil
}

// hideUserData takes the user data out, wherever it came from.
func (w *wholeInstance) hideUserData() {
	if len(w.UserData) > 0 {
		w.UserData = nil
		w.Hidden = append(w.Hidden, "userData")
	}
	for _, path := range slices.Sorted(maps.Keys(w.Overlay)) {
		if w.Overlay[path] != nil && (path == "user-data" || strings.HasPrefix(path, "user-data/")) {
			delete(w.Overlay, path)
			w.Hidden = append(w.Hidden, path)
		}
	}
}

// setInstanceRequest changes what it has and keeps the rest. An empty text takes away what may be
// absent (publicHostname, roleName, kernelId, ramdiskId, placementGroup, hostId).
type setInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	// UserData is in base64; the empty text takes it away.
	UserData           *blob     `json:"userData"`
	TagsInMetadata     *bool     `json:"tagsInMetadata"`
	RoleName           *string   `json:"roleName"`
	OwnerID            *string   `json:"ownerId"`
	ImageID            *string   `json:"imageId"`
	InstanceType       *string   `json:"instanceType"`
	Architecture       *string   `json:"architecture"`
	System             *string   `json:"system"`
	LifeCycle          *string   `json:"lifeCycle"`
	ReservationID      *string   `json:"reservationId"`
	LaunchIndex        *int      `json:"launchIndex"`
	KernelID           *string   `json:"kernelId"`
	RamdiskID          *string   `json:"ramdiskId"`
	AncestorAMIIDs     *[]string `json:"ancestorAmiIds"`
	ProductCodes       *[]string `json:"productCodes"`
	PlacementGroup     *string   `json:"placementGroup"`
	PartitionNumber    *int      `json:"partitionNumber"` // 0: absent
	HostID             *string   `json:"hostId"`
	DetailedMonitoring *bool     `json:"detailedMonitoring"`
	Hibernation        *bool     `json:"hibernation"`
	AvailabilityZone   *string   `json:"availabilityZone"`
	Hostname           *string   `json:"hostname"`
	PublicHostname     *string   `json:"publicHostname"`
	// Overlay lays values over the table of categories by path ("meta-data/ami-id"), null for "does
	// not exist"; OverlayRemove uncovers paths again.
	Overlay       map[string]*string `json:"overlay"`
	OverlayRemove []string           `json:"overlayRemove"`
	// Recording is answered in place of the table; one without items is taken away.
	Recording *recording `json:"recording"`
}

func (a *api) setInstance(ctx context.Context, in *setInstanceRequest) (operationResult, error) {
	return a.one(a.service.SetInstance(ctx, in.InstanceName, control.InstanceUpdate{
		UserData: (*[]byte)(in.UserData), TagsInMetadata: in.TagsInMetadata, RoleName: in.RoleName,
		OwnerID: in.OwnerID, ImageID: in.ImageID, InstanceType: in.InstanceType, Architecture: in.Architecture,
		System: in.System, LifeCycle: in.LifeCycle, ReservationID: in.ReservationID, LaunchIndex: in.LaunchIndex,
		KernelID: in.KernelID, RamdiskID: in.RamdiskID, AncestorAMIIDs: in.AncestorAMIIDs, ProductCodes: in.ProductCodes,
		PlacementGroup: in.PlacementGroup, PartitionNumber: in.PartitionNumber, HostID: in.HostID,
		DetailedMonitoring: in.DetailedMonitoring, Hibernation: in.Hibernation, Zone: in.AvailabilityZone,
		Hostname: in.Hostname, PublicHostname: in.PublicHostname, Overlay: in.Overlay, OverlayRemove: in.OverlayRemove,
		Recording: in.Recording.words(),
	}))
}
