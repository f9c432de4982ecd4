package wire

// GetInstanceAccessDetails shows a secret, so that keys which only look may not ask for it.
var GetInstanceAccessDetails = changes[GetInstanceAccessDetailsRequest, GetInstanceAccessDetailsResult](lightsail + "GetInstanceAccessDetails")

// GetInstanceAccessDetailsRequest asks how to get into an instance; without a protocol, by that of its system.
type GetInstanceAccessDetailsRequest struct {
	InstanceName string         `json:"instanceName" check:"required"`
	Protocol     AccessProtocol `json:"protocol,omitzero"`
}

// GetInstanceAccessDetailsResult has the way in.
type GetInstanceAccessDetailsResult struct {
	AccessDetails InstanceAccessDetails `json:"accessDetails"`
}

// InstanceAccessDetails is a way into an instance. PrivateKey is a secret. There is no certificate: the key is
// one that the guest has from its metadata, and it does not expire.
type InstanceAccessDetails struct {
	IPAddress     string         `json:"ipAddress,omitempty"`
	IPv6Addresses []string       `json:"ipv6Addresses"`
	PrivateKey    string         `json:"privateKey,omitempty"` // absent unless the instance has the default key pair
	Protocol      AccessProtocol `json:"protocol"`
	InstanceName  string         `json:"instanceName"`
	Username      string         `json:"username"`
	HostKeys      []None         `json:"hostKeys"`
}
