package wire

import (
	"time"

	"github.com/openimds/openimds"
)

// DescribeInstancesResult is of DescribeInstances.
type DescribeInstancesResult struct {
	Reservations []Reservation `xml:"reservationSet"`
	NextToken    string        `xml:"nextToken,omitzero"`
}

// StatusDetail is what one check says.
type StatusDetail struct {
	Name          string    `xml:"name"`
	Status        string    `xml:"status"`
	ImpairedSince time.Time `xml:"impairedSince,omitzero"`
}

// StatusSummary is what the checks say.
type StatusSummary struct {
	Status  string         `xml:"status"`
	Details []StatusDetail `xml:"details"`
}

// InstanceEvent is a scheduled event.
type InstanceEvent struct {
	InstanceEventID   string    `xml:"instanceEventId"`
	Code              string    `xml:"code"`
	Description       string    `xml:"description"`
	NotBefore         time.Time `xml:"notBefore"`
	NotAfter          time.Time `xml:"notAfter,omitzero"`
	NotBeforeDeadline time.Time `xml:"notBeforeDeadline,omitzero"`
}

// InstanceStatus is how an instance is.
type InstanceStatus struct {
	InstanceID       string          `xml:"instanceId"`
	AvailabilityZone string          `xml:"availabilityZone"`
	Events           []InstanceEvent `xml:"eventsSet"`
	InstanceState    InstanceState   `xml:"instanceState"`
	SystemStatus     StatusSummary   `xml:"systemStatus"`
	InstanceStatus   StatusSummary   `xml:"instanceStatus"`
}

// DescribeInstanceStatusResult is of DescribeInstanceStatus.
type DescribeInstanceStatusResult struct {
	Statuses  []InstanceStatus `xml:"instanceStatusSet"`
	NextToken string           `xml:"nextToken,omitzero"`
}

// Value is an attribute that is a text; none is an empty element.
type Value struct {
	Value string `xml:"value,omitzero"`
}

// Truth is an attribute that is a truth value.
type Truth struct {
	Value bool `xml:"value"`
}

// InstanceAttribute is of DescribeInstanceAttribute: the one attribute that was asked for.
type InstanceAttribute struct {
	InstanceID            string   `xml:"instanceId"`
	InstanceType          *Value   `xml:"instanceType,omitzero"`
	Kernel                *Value   `xml:"kernel,omitzero"`
	Ramdisk               *Value   `xml:"ramdisk,omitzero"`
	UserData              *Value   `xml:"userData,omitzero"`
	RootDeviceName        *Value   `xml:"rootDeviceName,omitzero"`
	DisableAPITermination *Truth   `xml:"disableApiTermination,omitzero"`
	DisableAPIStop        *Truth   `xml:"disableApiStop,omitzero"`
	GroupSet              *[]Group `xml:"groupSet,omitzero"`
}

// ResourceTag is a tag with whose it is.
type ResourceTag struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
}

// DescribeTagsResult is of DescribeTags.
type DescribeTagsResult struct {
	Tags      []ResourceTag `xml:"tagSet"`
	NextToken string        `xml:"nextToken,omitzero"`
}

// Done is of actions that answer nothing else.
type Done struct {
	Return bool `xml:"return"`
}

// StateChange is what became of an instance.
type StateChange struct {
	InstanceID    string        `xml:"instanceId"`
	CurrentState  InstanceState `xml:"currentState"`
	PreviousState InstanceState `xml:"previousState"`
}

// StateChangesResult is of Start-, Stop- and TerminateInstances.
type StateChangesResult struct {
	Instances []StateChange `xml:"instancesSet"`
}

// ModifyInstanceMetadataOptionsResult is of ModifyInstanceMetadataOptions.
type ModifyInstanceMetadataOptionsResult struct {
	InstanceID      string          `xml:"instanceId"`
	MetadataOptions MetadataOptions `xml:"instanceMetadataOptions"`
}

// MetadataDefaults are the account's; what is absent is nobody's preference.
type MetadataDefaults struct {
	HTTPTokens           *openimds.TokensMode   `xml:"httpTokens,omitzero"`
	HopLimit             *int                   `xml:"httpPutResponseHopLimit,omitzero"`
	HTTPEndpoint         *openimds.EndpointMode `xml:"httpEndpoint,omitzero"`
	InstanceMetadataTags *openimds.EndpointMode `xml:"instanceMetadataTags,omitzero"`
	ManagedBy            string                 `xml:"managedBy"`
	HTTPTokensEnforced   openimds.EndpointMode  `xml:"httpTokensEnforced,omitzero"`
}

// GetInstanceMetadataDefaultsResult is of GetInstanceMetadataDefaults.
type GetInstanceMetadataDefaultsResult struct {
	AccountLevel MetadataDefaults `xml:"accountLevel"`
}

// KeyPair is a key pair.
type KeyPair struct {
	KeyPairID      string    `xml:"keyPairId"`
	KeyName        string    `xml:"keyName"`
	KeyFingerprint string    `xml:"keyFingerprint"`
	KeyType        string    `xml:"keyType"`
	CreateTime     time.Time `xml:"createTime"`
	PublicKey      string    `xml:"publicKey,omitzero"`
	TagSet         []Tag     `xml:"tagSet"`
}

// DescribeKeyPairsResult is of DescribeKeyPairs.
type DescribeKeyPairsResult struct {
	Keys []KeyPair `xml:"keySet"`
}

// ImportKeyPairResult is of ImportKeyPair.
type ImportKeyPairResult struct {
	KeyPairID      string `xml:"keyPairId"`
	KeyName        string `xml:"keyName"`
	KeyFingerprint string `xml:"keyFingerprint"`
	TagSet         []Tag  `xml:"tagSet"`
}

// Region is a region.
type Region struct {
	RegionName     string `xml:"regionName"`
	RegionEndpoint string `xml:"regionEndpoint"`
	OptInStatus    string `xml:"optInStatus"`
}

// DescribeRegionsResult is of DescribeRegions.
type DescribeRegionsResult struct {
	Regions []Region `xml:"regionInfo"`
}

// AvailabilityZone is one of a region's.
type AvailabilityZone struct {
	ZoneName           string     `xml:"zoneName"`
	ZoneState          string     `xml:"zoneState"`
	RegionName         string     `xml:"regionName"`
	ZoneID             string     `xml:"zoneId"`
	ZoneType           string     `xml:"zoneType"`
	GroupName          string     `xml:"groupName"`
	NetworkBorderGroup string     `xml:"networkBorderGroup"`
	OptInStatus        string     `xml:"optInStatus"`
	Messages           []struct{} `xml:"messageSet"`
}

// DescribeAvailabilityZonesResult is of DescribeAvailabilityZones.
type DescribeAvailabilityZonesResult struct {
	Zones []AvailabilityZone `xml:"availabilityZoneInfo"`
}

// VCPUInfo tells the cores.
type VCPUInfo struct {
	DefaultVCPUs int `xml:"defaultVCpus"`
}

// MemoryInfo tells the memory.
type MemoryInfo struct {
	SizeInMiB int64 `xml:"sizeInMiB"`
}

// ProcessorInfo tells the architectures.
type ProcessorInfo struct {
	SupportedArchitectures []string `xml:"supportedArchitectures"`
}

// InstanceType is what an instance may run on.
type InstanceType struct {
	InstanceType         string        `xml:"instanceType"`
	CurrentGeneration    bool          `xml:"currentGeneration"`
	SupportedUsage       []string      `xml:"supportedUsageClasses"`
	BareMetal            bool          `xml:"bareMetal"`
	Hypervisor           string        `xml:"hypervisor"`
	ProcessorInfo        ProcessorInfo `xml:"processorInfo"`
	VCPUInfo             VCPUInfo      `xml:"vCpuInfo"`
	MemoryInfo           MemoryInfo    `xml:"memoryInfo"`
	HibernationSupported bool          `xml:"hibernationSupported"`
}

// DescribeInstanceTypesResult is of DescribeInstanceTypes.
type DescribeInstanceTypesResult struct {
	InstanceTypes []InstanceType `xml:"instanceTypeSet"`
	NextToken     string         `xml:"nextToken,omitzero"`
}

// Image is what an instance is made of.
type Image struct {
	ImageID            string `xml:"imageId"`
	ImageLocation      string `xml:"imageLocation"`
	ImageState         string `xml:"imageState"`
	ImageOwnerID       string `xml:"imageOwnerId"`
	CreationDate       string `xml:"creationDate,omitzero"`
	IsPublic           bool   `xml:"isPublic"`
	Architecture       string `xml:"architecture"`
	ImageType          string `xml:"imageType"`
	Platform           string `xml:"platform,omitzero"`
	PlatformDetails    string `xml:"platformDetails"`
	ImageOwnerAlias    string `xml:"imageOwnerAlias"`
	Name               string `xml:"name"`
	Description        string `xml:"description"`
	RootDeviceType     string `xml:"rootDeviceType"`
	RootDeviceName     string `xml:"rootDeviceName"`
	VirtualizationType string `xml:"virtualizationType"`
	Hypervisor         string `xml:"hypervisor"`
	IMDSSupport        string `xml:"imdsSupport,omitzero"`
}

// DescribeImagesResult is of DescribeImages.
type DescribeImagesResult struct {
	Images    []Image `xml:"imagesSet"`
	NextToken string  `xml:"nextToken,omitzero"`
}
