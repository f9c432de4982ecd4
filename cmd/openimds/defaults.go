package main

import (
	"cmp"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

func newDefaults() *cobra.Command {
	var c clientConfig
	var o optionFlags
	var enforced string
	cmd := &cobra.Command{
		Use:   "defaults",
		Short: "Show or change the metadata options that new instances begin with",
		Long: `Show the metadata options that new instances of the region begin with, or change those that a flag names.
What a launch asks for goes before these; where nothing is preferred, the blueprint decides. Instances that
are there keep their options.`,
		Example: `  openimds defaults --http-tokens required --hop-limit 2
  openimds defaults --http-tokens no-preference
  openimds defaults`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			request := wire.MetadataDefaultsChange{
				HTTPTokens: given[wire.DefaultTokens](o.tokens), HTTPEndpoint: given[wire.DefaultEndpoint](o.endpoint),
				HTTPProtocolIPv6: given[wire.DefaultEndpoint](o.ipv6), InstanceMetadataTags: given[wire.DefaultEndpoint](o.tags),
				HTTPTokensEnforced: given[wire.DefaultEndpoint](enforced),
			}
			if cmd.Flags().Changed("hop-limit") {
				request.HTTPPutResponseHopLimit = &o.hopLimit
			}
			var now wire.MetadataDefaults
			if request == (wire.MetadataDefaultsChange{}) {
				now, err = client.Call(cmd.Context(), api, wire.GetInstanceMetadataDefaults, wire.Nothing{})
			} else {
				now, err = client.Call(cmd.Context(), api, wire.ModifyInstanceMetadataDefaults, request)
			}
			if err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), now, func(row func(...any)) {
				row("tokens", preference(now.HTTPTokens))
				row("endpoint", preference(now.HTTPEndpoint))
				row("hop limit", preference(now.HTTPPutResponseHopLimit))
				row("IPv6 endpoint", preference(now.HTTPProtocolIPv6))
				row("tags in metadata", preference(now.InstanceMetadataTags))
				row("tokens enforced", cmp.Or(now.HTTPTokensEnforced, openimds.NoPreference))
			})
		},
	}
	c.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.tokens, "http-tokens", "", "optional, required or no-preference")
	f.StringVar(&o.endpoint, "http-endpoint", "", "enabled, disabled or no-preference")
	f.IntVar(&o.hopLimit, "hop-limit", 0, "how many hops a token may travel, 1 to 64; -1: no preference")
	f.StringVar(&o.ipv6, "ipv6", "", "enabled, disabled or no-preference")
	f.StringVar(&o.tags, "instance-metadata-tags", "", "enabled, disabled or no-preference")
	f.StringVar(&enforced, "http-tokens-enforced", "", "enabled, disabled or no-preference: while enabled, nothing is launched without required tokens, and required ones cannot be made optional")
	return cmd
}

// preference is a default; one that nobody has set is said as the flag that takes it away says it.
func preference[T any](value *T) any {
	if value == nil {
		return openimds.NoPreference
	}
	return *value
}
