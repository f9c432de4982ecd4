package main

import (
	"context"
	"io"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
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
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			request := wire.UpdateInstanceMetadataOptionsRequest{
				InstanceName: args[0], HTTPTokens: given[wire.HTTPTokens](o.tokens),
				HTTPEndpoint: given[wire.HTTPEndpoint](o.endpoint), HTTPProtocolIPv6: given[wire.HTTPEndpoint](o.ipv6),
			}
			if cmd.Flags().Changed("hop-limit") {
				request.HTTPPutResponseHopLimit = &o.hopLimit
			}
			if request != (wire.UpdateInstanceMetadataOptionsRequest{InstanceName: args[0]}) {
				if every {
					return usagef("--watch only shows; give it without an option to change")
				}
				return change(cmd, &c, api, wire.UpdateInstanceMetadataOptions, request)
			}
			return c.watch(cmd, every, func(ctx context.Context, out io.Writer) error {
				answer, err := client.Call(ctx, api, wire.GetInstance, named(args[0]))
				if err != nil {
					return err
				}
				options := answer.Instance.MetadataOptions
				return c.show(out, options, func(row func(...any)) { rowsOfOptions(options, row) })
			})
		},
	}
	c.addFlags(cmd)
	o.add(cmd.Flags())
	cmd.Flags().BoolVar(&every, "watch", false, "show again every 2 seconds, until Ctrl-C; with -o json, a line each time")
	return cmd
}

// given is a word that a flag has; nil: it has none.
func given[T ~string](word string) *T {
	if word == "" {
		return nil
	}
	return new(T(word))
}
