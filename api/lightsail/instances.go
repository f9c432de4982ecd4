package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

type createInstancesRequest struct {
	InstanceNames    []string `json:"instanceNames" check:"required"`
	AvailabilityZone string   `json:"availabilityZone" check:"required"`
	BlueprintID      nonEmpty `json:"blueprintId" check:"required"`
	BundleID         nonEmpty `json:"bundleId" check:"required"`
	// UserData is plain text: what has to be binary goes through SetInstance.
	UserData      string      `json:"userData"`
	KeyPairName   string      `json:"keyPairName"`
	Tags          []tag       `json:"tags"`
	AddOns        unbuilt     `json:"addOns"`
	IPAddressType addressType `json:"ipAddressType"`
}

func (a *api) createInstances(ctx context.Context, in *createInstancesRequest) (operationsResult, error) {
	return a.many(a.service.CreateInstances(ctx, control.InstancesLaunch{
		Names:       in.InstanceNames,
		Zone:        in.AvailabilityZone,
		BlueprintID: string(in.BlueprintID),
		BundleID:    string(in.BundleID),
		UserData:    []byte(in.UserData),
		KeyPairName: in.KeyPairName,
		Tags:        readTags(in.Tags),
		AddressType: string(in.IPAddressType),
	}))
}

// instanceRequest is the request of what needs nothing but an instance's name.
type instanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
}

type getInstanceResult struct {
	Instance instance `json:"instance"`
}

func (a *api) getInstance(ctx context.Context, in *instanceRequest) (getInstanceResult, error) {
	found, err := a.service.Instance(ctx, in.InstanceName)
	if err != nil {
		return getInstanceResult{}, err
	}
	return getInstanceResult{a.instance(found)}, nil
}

type getInstancesResult struct {
	Instances     []instance `json:"instances"`
	NextPageToken string     `json:"nextPageToken,omitempty"`
}

func (a *api) getInstances(ctx context.Context, in *pageRequest) (getInstancesResult, error) {
	const list = "GetInstances"
	after, err := pagePlace(list, in.PageToken)
	if err != nil {
		return getInstancesResult{}, err
	}
	found, next, err := a.service.Instances(ctx, after, pageSize)
	result := getInstancesResult{Instances: []instance{}, NextPageToken: pageToken(list, next)}
	for _, one := range found {
		result.Instances = append(result.Instances, a.instance(one))
	}
	return result, err
}

type getInstanceStateResult struct {
	State instanceState `json:"state"`
}

func (a *api) getInstanceState(ctx context.Context, in *instanceRequest) (getInstanceStateResult, error) {
	found, err := a.service.Instance(ctx, in.InstanceName)
	if err != nil {
		return getInstanceStateResult{}, err
	}
	return getInstanceStateResult{stateOf(found)}, nil
}

type startInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	// AttributeUpdates is of SDKs since late 2026: a start on another bundle.
	AttributeUpdates unbuilt `json:"attributeUpdates"`
}

func (a *api) startInstance(ctx context.Context, in *startInstanceRequest) (operationsResult, error) {
	return a.many(a.service.StartInstance(ctx, in.InstanceName))
}

// stopInstanceRequest may ask for force, which changes nothing: no guest can delay a stop here.
type stopInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	Force        bool   `json:"force"`
}

func (a *api) stopInstance(ctx context.Context, in *stopInstanceRequest) (operationsResult, error) {
	return a.many(a.service.StopInstance(ctx, in.InstanceName))
}

func (a *api) rebootInstance(ctx context.Context, in *instanceRequest) (operationsResult, error) {
	return a.many(a.service.RebootInstance(ctx, in.InstanceName))
}

// deleteInstanceRequest may ask for the add-ons to go too; there are none.
type deleteInstanceRequest struct {
	InstanceName      string `json:"instanceName" check:"required"`
	ForceDeleteAddOns bool   `json:"forceDeleteAddOns"`
}

func (a *api) deleteInstance(ctx context.Context, in *deleteInstanceRequest) (operationsResult, error) {
	return a.many(a.service.DeleteInstance(ctx, in.InstanceName))
}

type setIPAddressTypeRequest struct {
	ResourceType       resourceType `json:"resourceType" check:"required"`
	ResourceName       string       `json:"resourceName" check:"required"`
	IPAddressType      addressType  `json:"ipAddressType" check:"required"`
	AcceptBundleUpdate bool         `json:"acceptBundleUpdate"`
}

func (a *api) setIPAddressType(ctx context.Context, in *setIPAddressTypeRequest) (operationsResult, error) {
	if in.ResourceType != resourceType(openimds.TypeInstance) {
		return operationsResult{}, openimds.Errorf(openimds.InvalidInput, "", "Only an Instance has an IP address type here, not a %s", in.ResourceType)
	}
	return a.many(a.service.SetAddressType(ctx, in.ResourceName, string(in.IPAddressType), in.AcceptBundleUpdate))
}

func (a *api) deleteKnownHostKeys(ctx context.Context, in *instanceRequest) (operationsResult, error) {
	return a.many(a.service.DeleteKnownHostKeys(ctx, in.InstanceName))
}
