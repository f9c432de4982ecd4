package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	CreateInstances     = changes[CreateInstancesRequest, OperationsResult](lightsail + "CreateInstances")
	DeleteInstance      = changes[DeleteInstanceRequest, OperationsResult](lightsail + "DeleteInstance")
	LaunchInstances     = changes[LaunchInstancesRequest, OperationsResult](openIMDS + "LaunchInstances")
	GetInstance         = looks[GetInstanceRequest, GetInstanceResult](lightsail + "GetInstance")
	GetInstances        = looks[GetInstancesRequest, GetInstancesResult](lightsail + "GetInstances")
	GetInstanceState    = looks[InstanceRequest, GetInstanceStateResult](lightsail + "GetInstanceState")
	RebootInstance      = changes[InstanceRequest, OperationsResult](lightsail + "RebootInstance")
	SetIPAddressType    = changes[SetIPAddressTypeRequest, OperationsResult](lightsail + "SetIpAddressType")
	StartInstance       = changes[StartInstanceRequest, OperationsResult](lightsail + "StartInstance")
	StopInstance        = changes[StopInstanceRequest, OperationsResult](lightsail + "StopInstance")
	DeleteKnownHostKeys = changes[InstanceRequest, OperationsResult](lightsail + "DeleteKnownHostKeys")
)

// CreateInstancesRequest makes an instance of each name: all of them or none.
type CreateInstancesRequest struct {
	InstanceNames    []string `json:"instanceNames" check:"required"`
	AvailabilityZone string   `json:"availabilityZone" check:"required"`
	BlueprintID      NonEmpty `json:"blueprintId" check:"required"`
	BundleID         NonEmpty `json:"bundleId" check:"required"`
	// UserData is plain text: what has to be binary goes through SetInstance.
	UserData      string          `json:"userData,omitzero"`
	KeyPairName   string          `json:"keyPairName,omitzero"`
	Tags          []Tag           `json:"tags,omitzero"`
	AddOns        awsjson.Unbuilt `json:"addOns,omitzero"`
	IPAddressType AddressType     `json:"ipAddressType,omitzero"`
}

// LaunchInstancesRequest is a CreateInstancesRequest of which only the names are needed. What is left out is
// the service's choice: the region's first zone, and the smallest bundle that the blueprint runs on and that
// has the type of addresses.
type LaunchInstancesRequest struct {
	InstanceNames    []string        `json:"instanceNames" check:"required"`
	AvailabilityZone string          `json:"availabilityZone,omitzero"`
	BlueprintID      NonEmpty        `json:"blueprintId,omitzero"`
	BundleID         NonEmpty        `json:"bundleId,omitzero"`
	UserData         string          `json:"userData,omitzero"`
	KeyPairName      string          `json:"keyPairName,omitzero"`
	Tags             []Tag           `json:"tags,omitzero"`
	AddOns           awsjson.Unbuilt `json:"addOns,omitzero"`
	IPAddressType    AddressType     `json:"ipAddressType,omitzero"`
	// MetadataOptions go before the account's defaults and those of the blueprint.
	MetadataOptions LaunchOptions `json:"metadataOptions,omitzero"`
}

// Launch is the same as a LaunchInstancesRequest.
func (r CreateInstancesRequest) Launch() LaunchInstancesRequest {
	return LaunchInstancesRequest{
		InstanceNames: r.InstanceNames, AvailabilityZone: r.AvailabilityZone, BlueprintID: r.BlueprintID, BundleID: r.BundleID,
		UserData: r.UserData, KeyPairName: r.KeyPairName, Tags: r.Tags, AddOns: r.AddOns, IPAddressType: r.IPAddressType,
	}
}

// Create is the same as a CreateInstancesRequest, but for the options, of which that has none.
func (r LaunchInstancesRequest) Create() CreateInstancesRequest {
	return CreateInstancesRequest{
		InstanceNames: r.InstanceNames, AvailabilityZone: r.AvailabilityZone, BlueprintID: r.BlueprintID, BundleID: r.BundleID,
		UserData: r.UserData, KeyPairName: r.KeyPairName, Tags: r.Tags, AddOns: r.AddOns, IPAddressType: r.IPAddressType,
	}
}

// InstanceRequest is the request of what needs nothing but an instance's name.
type InstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
}

// GetInstanceRequest asks for one instance.
type GetInstanceRequest struct {
	InstanceName        string `json:"instanceName" check:"required"`
	IncludeHealthStatus bool   `json:"includeHealthStatus,omitzero"`
}

// GetInstancesRequest asks for all instances.
type GetInstancesRequest struct {
	PageToken           string `json:"pageToken,omitzero"`
	IncludeHealthStatus bool   `json:"includeHealthStatus,omitzero"`
}

// GetInstanceResult has one instance.
type GetInstanceResult struct {
	Instance Instance `json:"instance"`
}

// GetInstancesResult is a page of instances, by name.
type GetInstancesResult struct {
	Instances     []Instance `json:"instances"`
	NextPageToken string     `json:"nextPageToken,omitempty"`
}

// GetInstanceStateResult has the state alone.
type GetInstanceStateResult struct {
	State InstanceState `json:"state"`
}

// StartInstanceRequest starts a stopped instance.
type StartInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	// AttributeUpdates is what is changed before the start.
	AttributeUpdates InstanceAttributeUpdates `json:"attributeUpdates,omitzero"`
}

// InstanceAttributeUpdates moves an instance to another generation of its bundle.
type InstanceAttributeUpdates struct {
	// BundleID is the bundle's id, or "auto" for the latest of the size that the instance has.
	BundleID NonEmpty `json:"bundleId,omitzero"`
}

// StopInstanceRequest may ask for force: an instance that is stopping is stopped at once.
type StopInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	Force        bool   `json:"force,omitzero"`
}

// DeleteInstanceRequest may ask for the add-ons to go too; there are none.
type DeleteInstanceRequest struct {
	InstanceName      string `json:"instanceName" check:"required"`
	ForceDeleteAddOns bool   `json:"forceDeleteAddOns,omitzero"`
}

// SetIPAddressTypeRequest changes which addresses an instance has. From and to IPv6 alone changes its
// bundle too, which the request has to accept.
type SetIPAddressTypeRequest struct {
	ResourceType       ResourceType `json:"resourceType" check:"required"`
	ResourceName       string       `json:"resourceName" check:"required"`
	IPAddressType      AddressType  `json:"ipAddressType" check:"required"`
	AcceptBundleUpdate bool         `json:"acceptBundleUpdate,omitzero"`
}
