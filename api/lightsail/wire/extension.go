package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	DescribeInstance = looks[DescribeInstanceRequest, DescribeInstanceResult](openIMDS + "DescribeInstance")
	DescribeService  = looks[Nothing, DescribeServiceResult](openIMDS + "DescribeService")
	SetInstance      = changes[SetInstanceRequest, OperationResult](openIMDS + "SetInstance")
)

// DescribeServiceResult tells of the service, and of who asks it.
type DescribeServiceResult struct {
	Region    string        `json:"region"`
	AccountID string        `json:"accountId"`
	Version   string        `json:"version"`
	Time      awsjson.Epoch `json:"time"`
	// Caller is who asks.
	Caller CallerIdentity `json:"caller"`
}

// CallerIdentity is a key by its id, as the service knows it.
type CallerIdentity struct {
	AccessKeyID string `json:"accessKeyId"`
	Profile     string `json:"profile"`
	ReadOnly    bool   `json:"readOnly"`
}

// DescribeInstanceRequest asks for all that is known of an instance.
type DescribeInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	// IncludeUserData asks for the user data too; it often holds secrets.
	IncludeUserData bool `json:"includeUserData,omitzero"`
}

// DescribeInstanceResult is the answer to it.
type DescribeInstanceResult struct {
	Instance WholeInstance `json:"instance"`
}

// WholeInstance is everything that is known of an instance, in the form of its record: times are
// RFC 3339 texts. The members here hide those of the same name in the record.
type WholeInstance struct {
	*openimds.Instance
	ARN      string       `json:"arn"`
	TokenKey *string      `json:"tokenKey,omitempty"` // never set
	Recorded *string      `json:"recorded,omitempty"` // the same: see Recording
	UserData awsjson.Blob `json:"userData,omitempty"`
	// UserDataSize is in bytes, whether or not the user data is shown.
	UserDataSize int                `json:"userDataSize"`
	Overlay      map[string]*string `json:"overlay,omitempty"`
	// TagsInMetadata says by itself what one of the options says.
	TagsInMetadata bool `json:"tagsInMetadata,omitempty"`
	// Recording tells of the recording that the guest is answered, without its items.
	Recording *RecordingSummary `json:"recording,omitempty"`
	// Hidden names what there is and was not asked for: "userData", or paths of the overlay.
	Hidden []string `json:"hidden"`
}

// SetInstanceRequest changes what it has and keeps the rest. An empty text takes away what may be
// absent (publicHostname, roleName, kernelId, ramdiskId, placementGroup, hostId).
type SetInstanceRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	// UserData is in base64; the empty text takes it away.
	UserData       *awsjson.Blob `json:"userData,omitzero"`
	TagsInMetadata *bool         `json:"tagsInMetadata,omitzero"`
	RoleName       *string       `json:"roleName,omitzero"`
	// ExtendedCredentials shows the role's credentials with their account, below iam/security-credentials-extended.
	ExtendedCredentials *bool     `json:"extendedCredentials,omitzero"`
	OwnerID             *string   `json:"ownerId,omitzero"`
	ImageID             *string   `json:"imageId,omitzero"`
	InstanceType        *string   `json:"instanceType,omitzero"`
	Architecture        *string   `json:"architecture,omitzero"`
	System              *string   `json:"system,omitzero"`
	LifeCycle           *string   `json:"lifeCycle,omitzero"`
	ReservationID       *string   `json:"reservationId,omitzero"`
	LaunchIndex         *int      `json:"launchIndex,omitzero"`
	KernelID            *string   `json:"kernelId,omitzero"`
	RamdiskID           *string   `json:"ramdiskId,omitzero"`
	AncestorAMIIDs      *[]string `json:"ancestorAmiIds,omitzero"`
	ProductCodes        *[]string `json:"productCodes,omitzero"`
	PlacementGroup      *string   `json:"placementGroup,omitzero"`
	PartitionNumber     *int      `json:"partitionNumber,omitzero"` // 0: absent
	HostID              *string   `json:"hostId,omitzero"`
	DetailedMonitoring  *bool     `json:"detailedMonitoring,omitzero"`
	Hibernation         *bool     `json:"hibernation,omitzero"`
	AvailabilityZone    *string   `json:"availabilityZone,omitzero"`
	Hostname            *string   `json:"hostname,omitzero"`
	PublicHostname      *string   `json:"publicHostname,omitzero"`
	// Overlay lays values over the table of categories by path ("meta-data/ami-id"), null for "does
	// not exist"; OverlayRemove uncovers paths again.
	Overlay       map[string]*string `json:"overlay,omitzero"`
	OverlayRemove []string           `json:"overlayRemove,omitzero"`
	// Recording is answered in place of the table; one without items is taken away.
	Recording *Recording `json:"recording,omitzero"`
}
