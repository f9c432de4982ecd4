// Package wire has the shapes of EC2's API, version 2016-11-15, as far as it is built: what is asked, whose members are
// named as in a form, what is answered, named as in XML, and which of both belong to an action. Server and client share
// them.
package wire

// Target is an action, with the types of request and answer.
type Target[Q, R any] struct {
	Name string
	// Changes says that the action may change something: keys that only look may not ask for it, and nobody may send it
	// twice unasked.
	Changes bool
}

// Version is the API's, which every request names.
const Version = "2016-11-15"

// The actions.
var (
	DescribeInstances         = Target[DescribeInstancesRequest, DescribeInstancesResult]{"DescribeInstances", false}
	DescribeInstanceStatus    = Target[DescribeInstanceStatusRequest, DescribeInstanceStatusResult]{"DescribeInstanceStatus", false}
	DescribeInstanceAttribute = Target[DescribeInstanceAttributeRequest, InstanceAttribute]{"DescribeInstanceAttribute", false}
	RunInstances              = Target[RunInstancesRequest, Reservation]{"RunInstances", true}
	StartInstances            = Target[StartInstancesRequest, StateChangesResult]{"StartInstances", true}
	StopInstances             = Target[StopInstancesRequest, StateChangesResult]{"StopInstances", true}
	RebootInstances           = Target[RebootInstancesRequest, Done]{"RebootInstances", true}
	TerminateInstances        = Target[TerminateInstancesRequest, StateChangesResult]{"TerminateInstances", true}

	ModifyInstanceMetadataOptions  = Target[ModifyInstanceMetadataOptionsRequest, ModifyInstanceMetadataOptionsResult]{"ModifyInstanceMetadataOptions", true}
	GetInstanceMetadataDefaults    = Target[Nothing, GetInstanceMetadataDefaultsResult]{"GetInstanceMetadataDefaults", false}
	ModifyInstanceMetadataDefaults = Target[ModifyInstanceMetadataDefaultsRequest, Done]{"ModifyInstanceMetadataDefaults", true}

	DescribeTags = Target[DescribeTagsRequest, DescribeTagsResult]{"DescribeTags", false}
	CreateTags   = Target[CreateTagsRequest, Done]{"CreateTags", true}
	DeleteTags   = Target[DeleteTagsRequest, Done]{"DeleteTags", true}

	DescribeKeyPairs = Target[DescribeKeyPairsRequest, DescribeKeyPairsResult]{"DescribeKeyPairs", false}
	ImportKeyPair    = Target[ImportKeyPairRequest, ImportKeyPairResult]{"ImportKeyPair", true}

	DescribeRegions           = Target[DescribeRegionsRequest, DescribeRegionsResult]{"DescribeRegions", false}
	DescribeAvailabilityZones = Target[DescribeAvailabilityZonesRequest, DescribeAvailabilityZonesResult]{"DescribeAvailabilityZones", false}
	DescribeInstanceTypes     = Target[DescribeInstanceTypesRequest, DescribeInstanceTypesResult]{"DescribeInstanceTypes", false}
	DescribeImages            = Target[DescribeImagesRequest, DescribeImagesResult]{"DescribeImages", false}
)
