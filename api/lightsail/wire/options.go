package wire

import (
	"github.com/openimds/openimds"
)

// The operations.
var (
	GetInstanceMetadataDefaults    = looks[Nothing, MetadataDefaults](openIMDS + "GetInstanceMetadataDefaults")
	ModifyInstanceMetadataDefaults = changes[MetadataDefaultsChange, MetadataDefaults](openIMDS + "ModifyInstanceMetadataDefaults")
	UpdateInstanceMetadataOptions  = changes[UpdateInstanceMetadataOptionsRequest, OperationResult](lightsail + "UpdateInstanceMetadataOptions")
)

// MetadataOptions is how the API shows the options of an instance.
type MetadataOptions struct {
	State                   openimds.OptionsState `json:"state"`
	HTTPTokens              openimds.TokensMode   `json:"httpTokens"`
	HTTPEndpoint            openimds.EndpointMode `json:"httpEndpoint"`
	HTTPPutResponseHopLimit int                   `json:"httpPutResponseHopLimit"`
	HTTPProtocolIPv6        openimds.EndpointMode `json:"httpProtocolIpv6"`
	// InstanceMetadataTags is EC2's; Lightsail has none.
	InstanceMetadataTags openimds.EndpointMode `json:"instanceMetadataTags,omitzero"`
}

// UpdateInstanceMetadataOptionsRequest keeps the value of each option that it leaves out.
type UpdateInstanceMetadataOptionsRequest struct {
	InstanceName string        `json:"instanceName" check:"required"`
	HTTPTokens   *HTTPTokens   `json:"httpTokens,omitzero"`
	HTTPEndpoint *HTTPEndpoint `json:"httpEndpoint,omitzero"`
	// The model has no bounds for the hop limit; the service has.
	HTTPPutResponseHopLimit *int          `json:"httpPutResponseHopLimit,omitzero"`
	HTTPProtocolIPv6        *HTTPEndpoint `json:"httpProtocolIpv6,omitzero"`
	InstanceMetadataTags    *HTTPEndpoint `json:"instanceMetadataTags,omitzero"` // as EC2's
}

// LaunchOptions are the options that new instances begin with, as far as the request says.
type LaunchOptions struct {
	HTTPTokens              *HTTPTokens   `json:"httpTokens,omitzero"`
	HTTPEndpoint            *HTTPEndpoint `json:"httpEndpoint,omitzero"`
	HTTPPutResponseHopLimit *int          `json:"httpPutResponseHopLimit,omitzero"`
	HTTPProtocolIPv6        *HTTPEndpoint `json:"httpProtocolIpv6,omitzero"`
	InstanceMetadataTags    *HTTPEndpoint `json:"instanceMetadataTags,omitzero"` // as EC2's
}

// MetadataDefaults are the options that new instances of the region begin with where their launch does not say.
// What is absent is nobody's preference: the blueprint decides.
type MetadataDefaults struct {
	HTTPTokens              *openimds.TokensMode   `json:"httpTokens,omitzero"`
	HTTPEndpoint            *openimds.EndpointMode `json:"httpEndpoint,omitzero"`
	HTTPPutResponseHopLimit *int                   `json:"httpPutResponseHopLimit,omitzero"`
	HTTPProtocolIPv6        *openimds.EndpointMode `json:"httpProtocolIpv6,omitzero"`
	InstanceMetadataTags    *openimds.EndpointMode `json:"instanceMetadataTags,omitzero"`
	// HTTPTokensEnforced, when enabled, has nobody launch an instance whose tokens are not required, or make them
	// optional again.
	HTTPTokensEnforced openimds.EndpointMode `json:"httpTokensEnforced,omitzero"`
}

// MetadataDefaultsChange keeps each default that it leaves out. The word no-preference takes one away, and so does a
// hop limit of -1.
type MetadataDefaultsChange struct {
	HTTPTokens              *DefaultTokens   `json:"httpTokens,omitzero"`
	HTTPEndpoint            *DefaultEndpoint `json:"httpEndpoint,omitzero"`
	HTTPPutResponseHopLimit *int             `json:"httpPutResponseHopLimit,omitzero"`
	HTTPProtocolIPv6        *DefaultEndpoint `json:"httpProtocolIpv6,omitzero"`
	InstanceMetadataTags    *DefaultEndpoint `json:"instanceMetadataTags,omitzero"`
	HTTPTokensEnforced      *DefaultEndpoint `json:"httpTokensEnforced,omitzero"`
}

// DefaultTokens is an [HTTPTokens] that may be nobody's preference.
type DefaultTokens string

// Values is [awsjson.Enumerated].
func (DefaultTokens) Values() []string { return append(HTTPTokens.Values(""), openimds.NoPreference) }

// DefaultEndpoint is an [HTTPEndpoint] that may be nobody's preference.
type DefaultEndpoint string

// Values is [awsjson.Enumerated].
func (DefaultEndpoint) Values() []string {
	return append(HTTPEndpoint.Values(""), openimds.NoPreference)
}
