package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func optionsOf(in *openimds.Instance) wire.MetadataOptions { return shownOptions(in.Options) }

func shownOptions(o openimds.MetadataOptions) wire.MetadataOptions {
	return wire.MetadataOptions{
		State: o.State, HTTPTokens: o.Tokens, HTTPEndpoint: o.Endpoint, HTTPPutResponseHopLimit: o.HopLimit, HTTPProtocolIPv6: o.IPv6,
		InstanceMetadataTags: o.Tags,
	}
}

func (a *protocol) updateOptions(ctx context.Context, in *wire.UpdateInstanceMetadataOptionsRequest) (wire.OperationResult, error) {
	return a.one(a.service.UpdateOptions(ctx, in.InstanceName, openimds.OptionsUpdate{
		Tokens:   (*openimds.TokensMode)(in.HTTPTokens),
		Endpoint: (*openimds.EndpointMode)(in.HTTPEndpoint),
		HopLimit: in.HTTPPutResponseHopLimit,
		IPv6:     (*openimds.EndpointMode)(in.HTTPProtocolIPv6),
		Tags:     (*openimds.EndpointMode)(in.InstanceMetadataTags),
	}))
}

// readOptions reads the options that a launch asks for.
func readOptions(o wire.LaunchOptions) openimds.OptionsUpdate {
	return openimds.OptionsUpdate{
		Tokens: (*openimds.TokensMode)(o.HTTPTokens), Endpoint: (*openimds.EndpointMode)(o.HTTPEndpoint),
		HopLimit: o.HTTPPutResponseHopLimit, IPv6: (*openimds.EndpointMode)(o.HTTPProtocolIPv6),
		Tags: (*openimds.EndpointMode)(o.InstanceMetadataTags),
	}
}

func (a *protocol) getDefaults(ctx context.Context, _ *wire.Nothing) (wire.MetadataDefaults, error) {
	return shownDefaults(a.service.Defaults(ctx))
}

func (a *protocol) modifyDefaults(ctx context.Context, in *wire.MetadataDefaultsChange) (wire.MetadataDefaults, error) {
	return shownDefaults(a.service.ModifyDefaults(ctx, openimds.DefaultsUpdate{
		Options: openimds.OptionsUpdate{
			Tokens: (*openimds.TokensMode)(in.HTTPTokens), Endpoint: (*openimds.EndpointMode)(in.HTTPEndpoint),
			HopLimit: in.HTTPPutResponseHopLimit, IPv6: (*openimds.EndpointMode)(in.HTTPProtocolIPv6),
			Tags: (*openimds.EndpointMode)(in.InstanceMetadataTags),
		},
		TokensEnforced: (*openimds.EndpointMode)(in.HTTPTokensEnforced),
	}))
}

func shownDefaults(d openimds.AccountDefaults, err error) (wire.MetadataDefaults, error) {
	o := d.Options
	return wire.MetadataDefaults{HTTPTokens: o.Tokens, HTTPEndpoint: o.Endpoint, HTTPPutResponseHopLimit: o.HopLimit, HTTPProtocolIPv6: o.IPv6,
		InstanceMetadataTags: o.Tags, HTTPTokensEnforced: d.TokensEnforced}, err
}
