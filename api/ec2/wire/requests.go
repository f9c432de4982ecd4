package wire

import "github.com/openimds/openimds/api/ec2query"

// The words of the model.
type (
	Tokens          string
	Endpoint        string
	DefaultTokens   string
	DefaultEndpoint string
	Attribute       string
)

// Values is [ec2query.Enumerated].
func (Tokens) Values() []string { return []string{"optional", "required"} }

// Values is [ec2query.Enumerated].
func (Endpoint) Values() []string { return []string{"disabled", "enabled"} }

// Values is [ec2query.Enumerated].
func (DefaultTokens) Values() []string { return []string{"optional", "required", "no-preference"} }

// Values is [ec2query.Enumerated].
func (DefaultEndpoint) Values() []string { return []string{"disabled", "enabled", "no-preference"} }

// Values is [ec2query.Enumerated].
func (Attribute) Values() []string {
	return []string{"instanceType", "kernel", "ramdisk", "userData", "disableApiTermination", "instanceInitiatedShutdownBehavior", "rootDeviceName",
		"blockDeviceMapping", "productCodes", "sourceDestCheck", "groupSet", "ebsOptimized", "sriovNetSupport", "enaSupport", "enclaveOptions", "disableApiStop"}
}

// Filter selects what has one of the values.
type Filter struct {
	Name   string   `query:"Name" check:"required"`
	Values []string `query:"Value"`
}

// DescribeInstancesRequest is for DescribeInstances.
type DescribeInstancesRequest struct {
	InstanceIDs             []string `query:"InstanceId"`
	Filters                 []Filter `query:"Filter"`
	MaxResults              *int     `query:"MaxResults"`
	NextToken               string   `query:"NextToken"`
	IncludeManagedResources bool     `query:"IncludeManagedResources"` // there are none
}

// DescribeInstanceStatusRequest is for DescribeInstanceStatus.
type DescribeInstanceStatusRequest struct {
	InstanceIDs             []string `query:"InstanceId"`
	Filters                 []Filter `query:"Filter"`
	MaxResults              *int     `query:"MaxResults"`
	NextToken               string   `query:"NextToken"`
	IncludeAllInstances     bool     `query:"IncludeAllInstances"`
	IncludeManagedResources bool     `query:"IncludeManagedResources"`
}

// DescribeInstanceAttributeRequest is for DescribeInstanceAttribute.
type DescribeInstanceAttributeRequest struct {
	InstanceID string    `query:"InstanceId" check:"required"`
	Attribute  Attribute `query:"Attribute" check:"required"`
}

// DescribeTagsRequest is for DescribeTags.
type DescribeTagsRequest struct {
	Filters    []Filter `query:"Filter"`
	MaxResults *int     `query:"MaxResults"`
	NextToken  string   `query:"NextToken"`
}

// TagRequest is a tag to be set; one without a value is empty.
type TagRequest struct {
	Key   string `query:"Key" check:"required"`
	Value string `query:"Value"`
}

// TagMatch is a tag to be taken away, whatever its value if it names none.
type TagMatch struct {
	Key   string  `query:"Key" check:"required"`
	Value *string `query:"Value"`
}

// TagSpecification gives tags to what a request makes.
type TagSpecification struct {
	ResourceType string       `query:"ResourceType"`
	Tags         []TagRequest `query:"Tag"`
}

// CreateTagsRequest is for CreateTags.
type CreateTagsRequest struct {
	ResourceIDs []string     `query:"ResourceId" check:"required"`
	Tags        []TagRequest `query:"Tag" check:"required"`
}

// DeleteTagsRequest is for DeleteTags; without a tag all are taken away.
type DeleteTagsRequest struct {
	ResourceIDs []string   `query:"ResourceId" check:"required"`
	Tags        []TagMatch `query:"Tag"`
}

// LaunchMetadataOptions are the options that new instances begin with, as far as the request says.
type LaunchMetadataOptions struct {
	HTTPTokens           *Tokens   `query:"HttpTokens"`
	HopLimit             *int      `query:"HttpPutResponseHopLimit"`
	HTTPEndpoint         *Endpoint `query:"HttpEndpoint"`
	HTTPProtocolIPv6     *Endpoint `query:"HttpProtocolIpv6"`
	InstanceMetadataTags *Endpoint `query:"InstanceMetadataTags"`
}

// PlacementRequest says where instances are to be.
type PlacementRequest struct {
	AvailabilityZone string `query:"AvailabilityZone"`
	// Tenancy may be what every instance has.
	Tenancy            Tenancy          `query:"Tenancy"`
	AvailabilityZoneID ec2query.Unbuilt `query:"AvailabilityZoneId"`
	Affinity           ec2query.Unbuilt `query:"Affinity"`
	GroupName          ec2query.Unbuilt `query:"GroupName"`
	PartitionNumber    ec2query.Unbuilt `query:"PartitionNumber"`
	HostID             ec2query.Unbuilt `query:"HostId"`
	SpreadDomain       ec2query.Unbuilt `query:"SpreadDomain"`
	HostResourceGroup  ec2query.Unbuilt `query:"HostResourceGroupArn"`
	GroupID            ec2query.Unbuilt `query:"GroupId"`
}

// Tenancy is of a host's hardware.
type Tenancy string

// Values is [ec2query.Enumerated].
func (Tenancy) Values() []string { return []string{"default"} }

// InstanceProfile names an instance profile in one of two ways.
type InstanceProfile struct {
	ARN  string `query:"Arn"`
	Name string `query:"Name"`
}

// RunInstancesRequest is for RunInstances.
type RunInstancesRequest struct {
	ImageID            string                `query:"ImageId"`
	InstanceType       string                `query:"InstanceType"`
	MinCount           *int                  `query:"MinCount" check:"required"`
	MaxCount           *int                  `query:"MaxCount" check:"required"`
	KeyName            string                `query:"KeyName"`
	UserData           UserData              `query:"UserData"`
	ClientToken        string                `query:"ClientToken"`
	Placement          PlacementRequest      `query:"Placement"`
	TagSpecifications  []TagSpecification    `query:"TagSpecification"`
	MetadataOptions    LaunchMetadataOptions `query:"MetadataOptions"`
	IAMInstanceProfile InstanceProfile       `query:"IamInstanceProfile"`

	BlockDeviceMappings   ec2query.Unbuilt `query:"BlockDeviceMapping"`
	IPv6AddressCount      ec2query.Unbuilt `query:"Ipv6AddressCount"`
	IPv6Addresses         ec2query.Unbuilt `query:"Ipv6Address"`
	KernelID              ec2query.Unbuilt `query:"KernelId"`
	Monitoring            Monitoring       `query:"Monitoring"`
	RamdiskID             ec2query.Unbuilt `query:"RamdiskId"`
	SecurityGroupIDs      ec2query.Unbuilt `query:"SecurityGroupId"`
	SecurityGroups        ec2query.Unbuilt `query:"SecurityGroup"`
	SubnetID              ec2query.Unbuilt `query:"SubnetId"`
	ElasticGPUs           ec2query.Unbuilt `query:"ElasticGpuSpecification"`
	InferenceAccelerators ec2query.Unbuilt `query:"ElasticInferenceAccelerator"`
	LaunchTemplate        ec2query.Unbuilt `query:"LaunchTemplate"`
	MarketOptions         ec2query.Unbuilt `query:"InstanceMarketOptions"`
	CreditSpecification   ec2query.Unbuilt `query:"CreditSpecification"`
	CPUOptions            ec2query.Unbuilt `query:"CpuOptions"`
	CapacityReservation   ec2query.Unbuilt `query:"CapacityReservationSpecification"`
	HibernationOptions    Configured       `query:"HibernationOptions"`
	Licenses              ec2query.Unbuilt `query:"LicenseSpecification"`
	EnclaveOptions        Enabled          `query:"EnclaveOptions"`
	PrivateDNSNameOptions ec2query.Unbuilt `query:"PrivateDnsNameOptions"`
	MaintenanceOptions    ec2query.Unbuilt `query:"MaintenanceOptions"`
	DisableAPIStop        ec2query.Unbuilt `query:"DisableApiStop"`
	EnablePrimaryIPv6     ec2query.Unbuilt `query:"EnablePrimaryIpv6"`
	NetworkPerformance    ec2query.Unbuilt `query:"NetworkPerformanceOptions"`
	Operator              ec2query.Unbuilt `query:"Operator"`
	SecondaryInterfaces   ec2query.Unbuilt `query:"SecondaryInterface"`
	DisableAPITermination ec2query.Unbuilt `query:"DisableApiTermination"`
	ShutdownBehavior      ec2query.Unbuilt `query:"InstanceInitiatedShutdownBehavior"`
	PrivateIPAddress      ec2query.Unbuilt `query:"PrivateIpAddress"`
	AdditionalInfo        ec2query.Unbuilt `query:"AdditionalInfo"`
	NetworkInterfaces     ec2query.Unbuilt `query:"NetworkInterface"`
	EBSOptimized          ec2query.Unbuilt `query:"EbsOptimized"`
}

// UserData is in base64 on the wire, and refused by another name than other data.
type UserData string

// Monitoring may be off.
type Monitoring struct {
	Enabled ec2query.Unbuilt `query:"Enabled"`
}

// Enabled may be false.
type Enabled struct {
	Enabled ec2query.Unbuilt `query:"Enabled"`
}

// Configured may be false.
type Configured struct {
	Configured ec2query.Unbuilt `query:"Configured"`
}

// StartInstancesRequest is for StartInstances.
type StartInstancesRequest struct {
	InstanceIDs    []string         `query:"InstanceId" check:"required"`
	AdditionalInfo ec2query.Unbuilt `query:"AdditionalInfo"`
}

// StopInstancesRequest is for StopInstances.
type StopInstancesRequest struct {
	InstanceIDs    []string         `query:"InstanceId" check:"required"`
	Force          bool             `query:"Force"`
	Hibernate      ec2query.Unbuilt `query:"Hibernate"`
	SkipOSShutdown ec2query.Unbuilt `query:"SkipOsShutdown"`
}

// RebootInstancesRequest is for RebootInstances.
type RebootInstancesRequest struct {
	InstanceIDs []string `query:"InstanceId" check:"required"`
}

// TerminateInstancesRequest is for TerminateInstances, which is over at once whether it is forced or not.
type TerminateInstancesRequest struct {
	InstanceIDs    []string `query:"InstanceId" check:"required"`
	Force          bool     `query:"Force"`
	SkipOSShutdown bool     `query:"SkipOsShutdown"`
}

// ModifyInstanceMetadataOptionsRequest keeps the value of each option that it leaves out.
type ModifyInstanceMetadataOptionsRequest struct {
	InstanceID           string    `query:"InstanceId" check:"required"`
	HTTPTokens           *Tokens   `query:"HttpTokens"`
	HopLimit             *int      `query:"HttpPutResponseHopLimit"`
	HTTPEndpoint         *Endpoint `query:"HttpEndpoint"`
	HTTPProtocolIPv6     *Endpoint `query:"HttpProtocolIpv6"`
	InstanceMetadataTags *Endpoint `query:"InstanceMetadataTags"`
}

// ModifyInstanceMetadataDefaultsRequest keeps each default that it leaves out.
type ModifyInstanceMetadataDefaultsRequest struct {
	HTTPTokens           *DefaultTokens   `query:"HttpTokens"`
	HopLimit             *int             `query:"HttpPutResponseHopLimit"`
	HTTPEndpoint         *DefaultEndpoint `query:"HttpEndpoint"`
	InstanceMetadataTags *DefaultEndpoint `query:"InstanceMetadataTags"`
	HTTPTokensEnforced   *DefaultEndpoint `query:"HttpTokensEnforced"`
}

// Nothing is the request of an action without parameters.
type Nothing struct{}

// DescribeKeyPairsRequest is for DescribeKeyPairs.
type DescribeKeyPairsRequest struct {
	KeyNames         []string `query:"KeyName"`
	KeyPairIDs       []string `query:"KeyPairId"`
	IncludePublicKey bool     `query:"IncludePublicKey"`
	Filters          []Filter `query:"Filter"`
}

// ImportKeyPairRequest is for ImportKeyPair.
type ImportKeyPairRequest struct {
	KeyName           string             `query:"KeyName" check:"required"`
	PublicKeyMaterial ec2query.Blob      `query:"PublicKeyMaterial" check:"required"`
	TagSpecifications []TagSpecification `query:"TagSpecification"`
}

// DescribeRegionsRequest is for DescribeRegions.
type DescribeRegionsRequest struct {
	RegionNames []string `query:"RegionName"`
	AllRegions  bool     `query:"AllRegions"`
	Filters     []Filter `query:"Filter"`
}

// DescribeAvailabilityZonesRequest is for DescribeAvailabilityZones.
type DescribeAvailabilityZonesRequest struct {
	ZoneNames            []string `query:"ZoneName"`
	ZoneIDs              []string `query:"ZoneId"`
	AllAvailabilityZones bool     `query:"AllAvailabilityZones"`
	Filters              []Filter `query:"Filter"`
}

// DescribeInstanceTypesRequest is for DescribeInstanceTypes.
type DescribeInstanceTypesRequest struct {
	InstanceTypes              []string `query:"InstanceType"`
	Filters                    []Filter `query:"Filter"`
	MaxResults                 *int     `query:"MaxResults"`
	NextToken                  string   `query:"NextToken"`
	IncludeUnsupportedInRegion bool     `query:"IncludeUnsupportedInRegion"`
}

// DescribeImagesRequest is for DescribeImages.
type DescribeImagesRequest struct {
	ImageIDs          []string `query:"ImageId"`
	Owners            []string `query:"Owner"`
	ExecutableBy      []string `query:"ExecutableBy"`
	Filters           []Filter `query:"Filter"`
	IncludeDeprecated bool     `query:"IncludeDeprecated"`
	IncludeDisabled   bool     `query:"IncludeDisabled"`
	MaxResults        *int     `query:"MaxResults"`
	NextToken         string   `query:"NextToken"`
}
