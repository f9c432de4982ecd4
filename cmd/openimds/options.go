package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// optionFlags are the flags of an instance's metadata options.
type optionFlags struct {
	tokens, endpoint, ipv6 string
	hopLimit               int
}

func (o *optionFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.tokens, "http-tokens", "", "optional or required")
	f.StringVar(&o.endpoint, "http-endpoint", "", "enabled or disabled")
	f.IntVar(&o.hopLimit, "hop-limit", 0, "how many hops a token may travel, 1 to 64")
	f.StringVar(&o.ipv6, "ipv6", "", "enabled or disabled")
}

func newOptions() *cobra.Command {
	var c clientConfig
	var o optionFlags
	var every bool
	cmd := &cobra.Command{
		Use:   "options NAME",
		Short: "Show or change the metadata options of an instance",
		Long: `Show the metadata options of an instance, or change those that a flag names. What no flag names
keeps its value; a change holds from the guest's next request on.

  openimds options demo --http-tokens required`,
		Args: names(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			request := struct {
				nameOnly
				Tokens   string `json:"httpTokens,omitempty"`
				Endpoint string `json:"httpEndpoint,omitempty"`
				HopLimit *int   `json:"httpPutResponseHopLimit,omitempty"`
				IPv6     string `json:"httpProtocolIpv6,omitempty"`
			}{nameOnly{args[0]}, o.tokens, o.endpoint, nil, o.ipv6}
			if cmd.Flags().Changed("hop-limit") {
				request.HopLimit = &o.hopLimit
			}
			if request.HopLimit != nil || o.tokens != "" || o.endpoint != "" || o.ipv6 != "" {
				if every {
					return usagef("--watch only shows; give it without an option to change")
				}
				return c.operations(cmd, client, targetLightsail+"UpdateInstanceMetadataOptions", request)
			}
			interval := time.Duration(0)
			if every {
				interval = 2 * time.Second
			}
			return watch(cmd, interval, func(ctx context.Context) error {
				var answer struct {
					Instance json.RawMessage `json:"instance"`
				}
				if err := client.call(ctx, targetLightsail+"GetInstance", nameOnly{args[0]}, &answer); err != nil {
					return err
				}
				in, err := readInstance(answer.Instance)
				if err != nil {
					return err
				}
				return c.show(cmd.OutOrStdout(), in.MetadataOptions, in.MetadataOptions.rows)
			})
		},
	}
	c.addFlags(cmd)
	o.add(cmd.Flags())
	cmd.Flags().BoolVar(&every, "watch", false, "show again every 2 seconds, until Ctrl-C")
	return cmd
}
