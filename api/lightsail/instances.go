package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

func (a *protocol) createInstances(ctx context.Context, in *wire.CreateInstancesRequest) (wire.OperationsResult, error) {
	launch := in.Launch() // it has all members, which Lightsail demands
	return a.launchInstances(ctx, &launch)
}

func (a *protocol) launchInstances(ctx context.Context, in *wire.LaunchInstancesRequest) (wire.OperationsResult, error) {
	return a.many(a.service.CreateInstances(ctx, control.InstancesLaunch{
		Names:       in.InstanceNames,
		Zone:        in.AvailabilityZone,
		BlueprintID: string(in.BlueprintID),
		BundleID:    string(in.BundleID),
		UserData:    []byte(in.UserData),
		KeyPairName: in.KeyPairName,
		Tags:        readTags(in.Tags),
		AddressType: string(in.IPAddressType),
		Options:     readOptions(in.MetadataOptions),
	}))
}

func (a *protocol) getInstance(ctx context.Context, in *wire.GetInstanceRequest) (wire.GetInstanceResult, error) {
	found, err := a.service.Instance(ctx, in.InstanceName)
	if err != nil {
		return wire.GetInstanceResult{}, err
	}
	shown, err := a.instanceWith(ctx, found, in.IncludeHealthStatus)
	if err == nil {
		shown.PendingHosts, err = a.service.PendingHosts(ctx, found)
	}
	return wire.GetInstanceResult{Instance: shown}, err
}

func (a *protocol) getInstances(ctx context.Context, in *wire.GetInstancesRequest) (wire.GetInstancesResult, error) {
	list := a.list("GetInstances")
	after, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return wire.GetInstancesResult{}, err
	}
	found, next, err := a.service.Instances(ctx, after, pageSize)
	if err != nil {
		return wire.GetInstancesResult{}, err
	}
	result := wire.GetInstancesResult{Instances: []wire.Instance{}, NextPageToken: api.PageToken(list, next)}
	for _, one := range found {
		shown, err := a.instanceWith(ctx, one, in.IncludeHealthStatus)
		if err != nil {
			return wire.GetInstancesResult{}, err
		}
		result.Instances = append(result.Instances, shown)
	}
	return result, nil
}

func (a *protocol) getInstanceState(ctx context.Context, in *wire.InstanceRequest) (wire.GetInstanceStateResult, error) {
	found, err := a.service.Instance(ctx, in.InstanceName)
	if err != nil {
		return wire.GetInstanceStateResult{}, err
	}
	return wire.GetInstanceStateResult{State: stateOf(found)}, nil
}

func (a *protocol) startInstance(ctx context.Context, in *wire.StartInstanceRequest) (wire.OperationsResult, error) {
	if bundle := string(in.AttributeUpdates.BundleID); bundle != "" {
		return a.many(a.service.StartInstanceOn(ctx, in.InstanceName, bundle))
	}
	return a.many(a.service.StartInstance(ctx, in.InstanceName))
}

func (a *protocol) stopInstance(ctx context.Context, in *wire.StopInstanceRequest) (wire.OperationsResult, error) {
	if in.Force {
		return a.many(a.service.ForceStop(ctx, in.InstanceName))
	}
	return a.many(a.service.StopInstance(ctx, in.InstanceName))
}

func (a *protocol) rebootInstance(ctx context.Context, in *wire.InstanceRequest) (wire.OperationsResult, error) {
	return a.many(a.service.RebootInstance(ctx, in.InstanceName))
}

func (a *protocol) deleteInstance(ctx context.Context, in *wire.DeleteInstanceRequest) (wire.OperationsResult, error) {
	return a.many(a.service.DeleteInstance(ctx, in.InstanceName))
}

func (a *protocol) setIPAddressType(ctx context.Context, in *wire.SetIPAddressTypeRequest) (wire.OperationsResult, error) {
	if in.ResourceType != wire.ResourceType(openimds.TypeInstance) {
		return wire.OperationsResult{}, openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "Only an Instance has an IP address type here, not a %s", in.ResourceType)
	}
	return a.many(a.service.SetAddressType(ctx, in.ResourceName, string(in.IPAddressType), in.AcceptBundleUpdate))
}

func (a *protocol) deleteKnownHostKeys(ctx context.Context, in *wire.InstanceRequest) (wire.OperationsResult, error) {
	return a.many(a.service.DeleteKnownHostKeys(ctx, in.InstanceName))
}
