package wire

import (
	"time"

	"github.com/openimds/openimds"
)

// DescribeInstancesResult is of DescribeInstances.
type DescribeInstancesResult struct {
	Reservations []Reservation `ec2:"reservationSet"`
	NextToken    string        `ec2:"nextToken,omitzero"`
}

// StatusDetail is what one check says.
type StatusDetail struct {
	Name          string    `ec2:"name"`
	Status        string    `ec2:"status"`
	ImpairedSince time.Time `ec2:"impairedSince,omitzero"`
}

// StatusSummary is what the checks say.
type StatusSummary struct {
	Status  string         `ec2:"status"`
	Details []StatusDetail `ec2:"details"`
}

// InstanceEvent is a scheduled event.
type InstanceEvent struct {
	InstanceEventID   string    `ec2:"instanceEventId"`
	Code              string    `ec2:"code"`
	Description       string    `ec2:"description"`
	NotBefore         time.Time `ec2:"notBefore"`
	NotAfter          time.Time `ec2:"notAfter,omitzero"`
	NotBeforeDeadline time.Time `ec2:"notBeforeDeadline,omitzero"`
}

// InstanceStatus is how an instance is.
type InstanceStatus struct {
	InstanceID       string          `ec2:"instanceId"`
	AvailabilityZone string          `ec2:"availabilityZone"`
	Events           []InstanceEvent `ec2:"eventsSet"`
	InstanceState    InstanceState   `ec2:"instanceState"`
	SystemStatus     StatusSummary   `ec2:"systemStatus"`
	InstanceStatus   StatusSummary   `ec2:"instanceStatus"`
}

// DescribeInstanceStatusResult is of DescribeInstanceStatus.
type DescribeInstanceStatusResult struct {
	Statuses  []InstanceStatus `ec2:"instanceStatusSet"`
	NextToken string           `ec2:"nextToken,omitzero"`
}

// Value is an attribute that is a text; none is an empty element.
type Value struct {
	Value string `ec2:"value,omitzero"`
}

// Truth is an attribute that is a truth value.
type Truth struct {
	Value bool `ec2:"value"`
}

// InstanceAttribute is of DescribeInstanceAttribute: the one attribute that was asked for.
type InstanceAttribute struct {
	InstanceID            string   `ec2:"instanceId"`
	InstanceType          *Value   `ec2:"instanceType,omitzero"`
	Kernel                *Value   `ec2:"kernel,omitzero"`
	Ramdisk               *Value   `ec2:"ramdisk,omitzero"`
	UserData              *Value   `ec2:"userData,omitzero"`
	RootDeviceName        *Value   `ec2:"rootDeviceName,omitzero"`
	DisableAPITermination *Truth   `ec2:"disableApiTermination,omitzero"`
	DisableAPIStop        *Truth   `ec2:"disableApiStop,omitzero"`
	GroupSet              *[]Group `ec2:"groupSet,omitzero"`
}

// ResourceTag is a tag with whose it is.
type ResourceTag struct {
	ResourceID   string `ec2:"resourceId"`
	ResourceType string `ec2:"resourceType"`
	Key          string `ec2:"key"`
	Value        string `ec2:"value"`
}

// DescribeTagsResult is of DescribeTags.
type DescribeTagsResult struct {
	Tags      []ResourceTag `ec2:"tagSet"`
	NextToken string        `ec2:"nextToken,omitzero"`
}

// Done is of actions that answer nothing else.
type Done struct {
	Return bool `ec2:"return"`
}

// StateChange is what became of an instance.
type StateChange struct {
	InstanceID    string        `ec2:"instanceId"`
	CurrentState  InstanceState `ec2:"currentState"`
	PreviousState InstanceState `ec2:"previousState"`
}

// StateChangesResult is of Start-, Stop- and TerminateInstances.
type StateChangesResult struct {
	Instances []StateChange `ec2:"instancesSet"`
}

// ModifyInstanceMetadataOptionsResult is of ModifyInstanceMetadataOptions.
type ModifyInstanceMetadataOptionsResult struct {
	InstanceID      string          `ec2:"instanceId"`
	MetadataOptions MetadataOptions `ec2:"instanceMetadataOptions"`
}

// MetadataDefaults are the account's; what is absent is nobody's preference.
type MetadataDefaults struct {
	HTTPTokens           *openimds.TokensMode   `ec2:"httpTokens,omitzero"`
	HopLimit             *int                   `ec2:"httpPutResponseHopLimit,omitzero"`
	HTTPEndpoint         *openimds.EndpointMode `ec2:"httpEndpoint,omitzero"`
	InstanceMetadataTags *openimds.EndpointMode `ec2:"instanceMetadataTags,omitzero"`
	ManagedBy            string                 `ec2:"managedBy"`
	HTTPTokensEnforced   openimds.EndpointMode  `ec2:"httpTokensEnforced,omitzero"`
}

// GetInstanceMetadataDefaultsResult is of GetInstanceMetadataDefaults.
type GetInstanceMetadataDefaultsResult struct {
	AccountLevel MetadataDefaults `ec2:"accountLevel"`
}

// KeyPair is a key pair.
type KeyPair struct {
	KeyPairID      string    `ec2:"keyPairId"`
	KeyName        string    `ec2:"keyName"`
	KeyFingerprint string    `ec2:"keyFingerprint"`
	KeyType        string    `ec2:"keyType"`
	CreateTime     time.Time `ec2:"createTime"`
	PublicKey      string    `ec2:"publicKey,omitzero"`
	TagSet         []Tag     `ec2:"tagSet"`
}

// DescribeKeyPairsResult is of DescribeKeyPairs.
type DescribeKeyPairsResult struct {
	Keys []KeyPair `ec2:"keySet"`
}

// ImportKeyPairResult is of ImportKeyPair.
type ImportKeyPairResult struct {
	KeyPairID      string `ec2:"keyPairId"`
	KeyName        string `ec2:"keyName"`
	KeyFingerprint string `ec2:"keyFingerprint"`
	TagSet         []Tag  `ec2:"tagSet"`
}

// Region is a region.
type Region struct {
	RegionName     string `ec2:"regionName"`
	RegionEndpoint string `ec2:"regionEndpoint"`
	OptInStatus    string `ec2:"optInStatus"`
}

// DescribeRegionsResult is of DescribeRegions.
type DescribeRegionsResult struct {
	Regions []Region `ec2:"regionInfo"`
}

// AvailabilityZone is one of a region's.
type AvailabilityZone struct {
	ZoneName           string     `ec2:"zoneName"`
	ZoneState          string     `ec2:"zoneState"`
	RegionName         string     `ec2:"regionName"`
	ZoneID             string     `ec2:"zoneId"`
	ZoneType           string     `ec2:"zoneType"`
	GroupName          string     `ec2:"groupName"`
	NetworkBorderGroup string     `ec2:"networkBorderGroup"`
	OptInStatus        string     `ec2:"optInStatus"`
	Messages           []struct{} `ec2:"messageSet"`
}

// DescribeAvailabilityZonesResult is of DescribeAvailabilityZones.
type DescribeAvailabilityZonesResult struct {
	Zones []AvailabilityZone `ec2:"availabilityZoneInfo"`
}

// VCPUInfo tells the cores.
type VCPUInfo struct {
	DefaultVCPUs int `ec2:"defaultVCpus"`
}

// MemoryInfo tells the memory.
type MemoryInfo struct {
	SizeInMiB int64 `ec2:"sizeInMiB"`
}

// ProcessorInfo tells the architectures.
type ProcessorInfo struct {
	SupportedArchitectures []string `ec2:"supportedArchitectures"`
}

// InstanceType is what an instance may run on.
type InstanceType struct {
	InstanceType         string        `ec2:"instanceType"`
	CurrentGeneration    bool          `ec2:"currentGeneration"`
	SupportedUsage       []string      `ec2:"supportedUsageClasses"`
	BareMetal            bool          `ec2:"bareMetal"`
	Hypervisor           string        `ec2:"hypervisor"`
	ProcessorInfo        ProcessorInfo `ec2:"processorInfo"`
	VCPUInfo             VCPUInfo      `ec2:"vCpuInfo"`
	MemoryInfo           MemoryInfo    `ec2:"memoryInfo"`
	HibernationSupported bool          `ec2:"hibernationSupported"`
}

// DescribeInstanceTypesResult is of DescribeInstanceTypes.
type DescribeInstanceTypesResult struct {
	InstanceTypes []InstanceType `ec2:"instanceTypeSet"`
	NextToken     string         `ec2:"nextToken,omitzero"`
}

// Image is what an instance is made of.
type Image struct {
	ImageID            string `ec2:"imageId"`
	ImageLocation      string `ec2:"imageLocation"`
	ImageState         string `ec2:"imageState"`
	ImageOwnerID       string `ec2:"imageOwnerId"`
	CreationDate       string `ec2:"creationDate,omitzero"`
	IsPublic           bool   `ec2:"isPublic"`
	Architecture       string `ec2:"architecture"`
	ImageType          string `ec2:"imageType"`
	Platform           string `ec2:"platform,omitzero"`
	PlatformDetails    string `ec2:"platformDetails"`
	ImageOwnerAlias    string `ec2:"imageOwnerAlias"`
	Name               string `ec2:"name"`
	Description        string `ec2:"description"`
	RootDeviceType     string `ec2:"rootDeviceType"`
	RootDeviceName     string `ec2:"rootDeviceName"`
	VirtualizationType string `ec2:"virtualizationType"`
	Hypervisor         string `ec2:"hypervisor"`
	IMDSSupport        string `ec2:"imdsSupport,omitzero"`
}

// DescribeImagesResult is of DescribeImages.
type DescribeImagesResult struct {
	Images    []Image `ec2:"imagesSet"`
	NextToken string  `ec2:"nextToken,omitzero"`
}
