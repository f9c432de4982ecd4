package wire

import (
	"github.com/openimds/openimds"
)

// The operations.
var (
	UpdateInstanceMetadataOptions = changes[UpdateInstanceMetadataOptionsRequest, OperationResult](lightsail + "UpdateInstanceMetadataOptions")
)

// MetadataOptions is how the API shows the options of an instance.
type MetadataOptions struct {
	State                   openimds.OptionsState `json:"state"`
	HTTPTokens              openimds.TokensMode   `json:"httpTokens"`
	HTTPEndpoint            openimds.EndpointMode `json:"httpEndpoint"`
	HTTPPutResponseHopLimit int                   `json:"httpPutResponseHopLimit"`
	HTTPProtocolIPv6        openimds.EndpointMode `json:"httpProtocolIpv6"`
}

// UpdateInstanceMetadataOptionsRequest keeps the value of each option that it leaves out.
type UpdateInstanceMetadataOptionsRequest struct {
	InstanceName string        `json:"instanceName" check:"required"`
	HTTPTokens   *HTTPTokens   `json:"httpTokens,omitzero"`
	HTTPEndpoint *HTTPEndpoint `json:"httpEndpoint,omitzero"`
	// The model has no bounds for the hop limit; the service has.
	HTTPPutResponseHopLimit *int          `json:"httpPutResponseHopLimit,omitzero"`
	HTTPProtocolIPv6        *HTTPEndpoint `json:"httpProtocolIpv6,omitzero"`
}
