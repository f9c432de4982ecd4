package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func optionsOf(in *openimds.Instance) wire.MetadataOptions {
	o := in.Options
	return wire.MetadataOptions{State: o.State, HTTPTokens: o.Tokens, HTTPEndpoint: o.Endpoint, HTTPPutResponseHopLimit: o.HopLimit, HTTPProtocolIPv6: o.IPv6}
}

func (a *protocol) updateOptions(ctx context.Context, in *wire.UpdateInstanceMetadataOptionsRequest) (wire.OperationResult, error) {
	return a.one(a.service.UpdateOptions(ctx, in.InstanceName, openimds.OptionsUpdate{
		Tokens:   (*openimds.TokensMode)(in.HTTPTokens),
		Endpoint: (*openimds.EndpointMode)(in.HTTPEndpoint),
		HopLimit: in.HTTPPutResponseHopLimit,
		IPv6:     (*openimds.EndpointMode)(in.HTTPProtocolIPv6),
	}))
}
