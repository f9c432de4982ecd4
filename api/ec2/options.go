package ec2

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
)

func optionsOf(in *openimds.Instance) wire.MetadataOptions {
	o := in.Options
	return wire.MetadataOptions{
		State: o.State, HTTPTokens: o.Tokens, HopLimit: o.HopLimit, HTTPEndpoint: o.Endpoint,
		HTTPProtocolIPv6: o.IPv6, InstanceMetadataTags: o.Tags,
	}
}

func (c *call) modifyOptions(ctx context.Context, in *wire.ModifyInstanceMetadataOptionsRequest) (wire.ModifyInstanceMetadataOptionsResult, error) {
	result := wire.ModifyInstanceMetadataOptionsResult{InstanceID: in.InstanceID}
	if err := checkIDs(in.InstanceID); err != nil {
		return result, err
	}
	changed, err := c.service.ChangeOptions(ctx, in.InstanceID, openimds.OptionsUpdate{
		Tokens: (*openimds.TokensMode)(in.HTTPTokens), HopLimit: in.HopLimit, Endpoint: (*openimds.EndpointMode)(in.HTTPEndpoint),
		IPv6: (*openimds.EndpointMode)(in.HTTPProtocolIPv6), Tags: (*openimds.EndpointMode)(in.InstanceMetadataTags),
	})
	if err != nil {
		return result, err
	}
	result.MetadataOptions = optionsOf(changed)
	return result, nil
}

func (c *call) getDefaults(ctx context.Context, _ *wire.Nothing) (wire.GetInstanceMetadataDefaultsResult, error) {
	d, err := c.service.Defaults(ctx)
	o := d.Options
	return wire.GetInstanceMetadataDefaultsResult{AccountLevel: wire.MetadataDefaults{
		HTTPTokens: o.Tokens, HopLimit: o.HopLimit, HTTPEndpoint: o.Endpoint, InstanceMetadataTags: o.Tags,
		ManagedBy: "account", HTTPTokensEnforced: d.TokensEnforced,
	}}, err
}

func (c *call) modifyDefaults(ctx context.Context, in *wire.ModifyInstanceMetadataDefaultsRequest) (wire.Done, error) {
	_, err := c.service.ModifyDefaults(ctx, openimds.DefaultsUpdate{
		Options: openimds.OptionsUpdate{
			Tokens: (*openimds.TokensMode)(in.HTTPTokens), HopLimit: in.HopLimit, Endpoint: (*openimds.EndpointMode)(in.HTTPEndpoint),
			Tags: (*openimds.EndpointMode)(in.InstanceMetadataTags),
		},
		TokensEnforced: (*openimds.EndpointMode)(in.HTTPTokensEnforced),
	})
	return done(err)
}

// launchOptions reads the options that a launch asks for.
func launchOptions(o wire.LaunchMetadataOptions) openimds.OptionsUpdate {
	return openimds.OptionsUpdate{
		Tokens: (*openimds.TokensMode)(o.HTTPTokens), HopLimit: o.HopLimit, Endpoint: (*openimds.EndpointMode)(o.HTTPEndpoint),
		IPv6: (*openimds.EndpointMode)(o.HTTPProtocolIPv6), Tags: (*openimds.EndpointMode)(o.InstanceMetadataTags),
	}
}
