package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	AllocateStaticIP = changes[StaticIPRequest, OperationsResult](lightsail + "AllocateStaticIp")
	AttachStaticIP   = changes[AttachStaticIPRequest, OperationsResult](lightsail + "AttachStaticIp")
	DetachStaticIP   = changes[StaticIPRequest, OperationsResult](lightsail + "DetachStaticIp")
	GetStaticIP      = looks[StaticIPRequest, GetStaticIPResult](lightsail + "GetStaticIp")
	GetStaticIPs     = looks[PageRequest, GetStaticIPsResult](lightsail + "GetStaticIps")
	ReleaseStaticIP  = changes[StaticIPRequest, OperationsResult](lightsail + "ReleaseStaticIp")
)

// StaticIP is how the API shows a static IP address.
type StaticIP struct {
	Name         string        `json:"name"`
	ARN          string        `json:"arn"`
	SupportCode  string        `json:"supportCode"`
	CreatedAt    awsjson.Epoch `json:"createdAt"`
	Location     Location      `json:"location"`
	ResourceType string        `json:"resourceType"`
	IPAddress    string        `json:"ipAddress"`
	AttachedTo   string        `json:"attachedTo,omitempty"`
	IsAttached   bool          `json:"isAttached"`
}

// StaticIPRequest is the request of what needs nothing but a static IP's name.
type StaticIPRequest struct {
	StaticIPName string `json:"staticIpName" check:"required"`
}

// AttachStaticIPRequest gives an instance that address in the place of its own.
type AttachStaticIPRequest struct {
	StaticIPName string `json:"staticIpName" check:"required"`
	InstanceName string `json:"instanceName" check:"required"`
}

// GetStaticIPResult has one static IP.
type GetStaticIPResult struct {
	StaticIP StaticIP `json:"staticIp"`
}

// GetStaticIPsResult is a page of static IPs, by name.
type GetStaticIPsResult struct {
	StaticIPs     []StaticIP `json:"staticIps"`
	NextPageToken string     `json:"nextPageToken,omitempty"`
}
