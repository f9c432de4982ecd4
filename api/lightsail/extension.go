package lightsail

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

func (a *protocol) describeService(ctx context.Context, _ *wire.Nothing) (wire.DescribeServiceResult, error) {
	who := api.Caller(ctx)
	return wire.DescribeServiceResult{
		Region: a.service.Region(), AccountID: a.service.AccountID(), Version: a.cfg.Version, Time: awsjson.Epoch{Time: a.cfg.Now()},
		Caller: wire.CallerIdentity{AccessKeyID: who.KeyID, Profile: who.Profile, ReadOnly: who.ReadOnly},
	}, nil
}

func (a *protocol) describeInstance(ctx context.Context, in *wire.DescribeInstanceRequest) (wire.DescribeInstanceResult, error) {
	found, err := a.service.Instance(ctx, in.InstanceName)
	if err != nil {
		return wire.DescribeInstanceResult{}, err
	}
	whole := wire.WholeInstance{
		Instance: found.Told(), ARN: a.service.ARN(openimds.TypeInstance, found.UUID),
		UserData: found.UserData, UserDataSize: len(found.UserData), Overlay: found.Overlay, Hidden: []string{},
		TagsInMetadata: found.Options.Tags == openimds.EndpointEnabled,
	}
	whole.Recording = summaryOf(found.Recorded)
	if !in.IncludeUserData {
		hideUserData(&whole)
	}
	return wire.DescribeInstanceResult{Instance: whole}, nil
}

// hideUserData takes the user data out, wherever it came from.
func hideUserData(w *wire.WholeInstance) {
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

func (a *protocol) setInstance(ctx context.Context, in *wire.SetInstanceRequest) (wire.OperationResult, error) {
	return a.one(a.service.SetInstance(ctx, in.InstanceName, control.InstanceUpdate{
		UserData: (*[]byte)(in.UserData), TagsInMetadata: in.TagsInMetadata, RoleName: in.RoleName, ExtendedCredentials: in.ExtendedCredentials,
		OwnerID: in.OwnerID, ImageID: in.ImageID, InstanceType: in.InstanceType, Architecture: in.Architecture,
		System: in.System, LifeCycle: in.LifeCycle, ReservationID: in.ReservationID, LaunchIndex: in.LaunchIndex,
		KernelID: in.KernelID, RamdiskID: in.RamdiskID, AncestorAMIIDs: in.AncestorAMIIDs, ProductCodes: in.ProductCodes,
		PlacementGroup: in.PlacementGroup, PartitionNumber: in.PartitionNumber, HostID: in.HostID,
		DetailedMonitoring: in.DetailedMonitoring, Hibernation: in.Hibernation, Zone: in.AvailabilityZone,
		Hostname: in.Hostname, PublicHostname: in.PublicHostname, Overlay: in.Overlay, OverlayRemove: in.OverlayRemove,
		Recording: recordingOf(in.Recording),
	}))
}
