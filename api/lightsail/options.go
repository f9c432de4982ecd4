package lightsail

import (
	"context"

	"github.com/openimds/openimds"
)

// metadataOptions is how the API shows the options of an instance.
type metadataOptions struct {
	State                   openimds.OptionsState `json:"state"`
	HTTPTokens              openimds.TokensMode   `json:"httpTokens"`
	HTTPEndpoint            openimds.EndpointMode `json:"httpEndpoint"`
	HTTPPutResponseHopLimit int                   `json:"httpPutResponseHopLimit"`
	HTTPProtocolIPv6        openimds.EndpointMode `json:"httpProtocolIpv6"`
}

func optionsOf(in *openimds.Instance) metadataOptions {
	o := in.Options
	return metadataOptions{o.State, o.Tokens, o.Endpoint, o.HopLimit, o.IPv6}
}

// updateOptionsRequest keeps the value of each option that it leaves out.
type updateOptionsRequest struct {
	InstanceName string        `json:"instanceName" check:"required"`
	HTTPTokens   *httpTokens   `json:"httpTokens"`
	HTTPEndpoint *httpEndpoint `json:"httpEndpoint"`
	// The model has no bounds for the hop limit; the service has.
	HTTPPutResponseHopLimit *int          `json:"httpPutResponseHopLimit"`
	HTTPProtocolIPv6        *httpEndpoint `json:"httpProtocolIpv6"`
}

func (a *api) updateOptions(ctx context.Context, in *updateOptionsRequest) (operationResult, error) {
	return a.one(a.service.UpdateOptions(ctx, in.InstanceName, openimds.OptionsUpdate{
		Tokens:   (*openimds.TokensMode)(in.HTTPTokens),
		Endpoint: (*openimds.EndpointMode)(in.HTTPEndpoint),
		HopLimit: in.HTTPPutResponseHopLimit,
		IPv6:     (*openimds.EndpointMode)(in.HTTPProtocolIPv6),
	}))
}
