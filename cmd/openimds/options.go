package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// optionFlags are the flags of an instance's metadata options.
type optionFlags struct {
	tokens, endpoint, ipv6, tags string
	hopLimit                     int
}

func (o *optionFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.tokens, "http-tokens", "", "optional or required")
	f.StringVar(&o.endpoint, "http-endpoint", "", "enabled or disabled")
	f.IntVar(&o.hopLimit, "hop-limit", 0, "how many hops a token may travel, 1 to 64")
	f.StringVar(&o.ipv6, "ipv6", "", "enabled or disabled")
	f.StringVar(&o.tags, "instance-metadata-tags", "", "enabled or disabled: whether the guest sees the instance's tags; not at AWS's Lightsail")
}

// launch are the options that flags have, for a new instance.
func (o *optionFlags) launch(f *pflag.FlagSet) wire.LaunchOptions {
	asked := wire.LaunchOptions{
		HTTPTokens: given[wire.HTTPTokens](o.tokens), HTTPEndpoint: given[wire.HTTPEndpoint](o.endpoint),
		HTTPProtocolIPv6: given[wire.HTTPEndpoint](o.ipv6), InstanceMetadataTags: given[wire.HTTPEndpoint](o.tags),
	}
	if f.Changed("hop-limit") {
		asked.HTTPPutResponseHopLimit = &o.hopLimit
	}
	return asked
}

// update is the change that flags ask for, without an instance's name.
func (o *optionFlags) update(f *pflag.FlagSet) wire.UpdateInstanceMetadataOptionsRequest {
	asked := o.launch(f)
	return wire.UpdateInstanceMetadataOptionsRequest{
		HTTPTokens: asked.HTTPTokens, HTTPEndpoint: asked.HTTPEndpoint,
		HTTPPutResponseHopLimit: asked.HTTPPutResponseHopLimit, HTTPProtocolIPv6: asked.HTTPProtocolIPv6,
		InstanceMetadataTags: asked.InstanceMetadataTags,
	}
}

func newOptions() *cobra.Command {
	var c clientConfig
	var o optionFlags
	var selected selection
	var every, yes bool
	cmd := &cobra.Command{
		Use:   "options NAME...",
		Short: "Show or change the metadata options of instances",
		Long: `Show the metadata options of instances, or change those that a flag names. What no flag names
keeps its value; a change holds from the guest's next request on.

While a change is pending, the hosts that do not obey it yet are named; one that is gone without a word is waited for
for 15 seconds.

Whoever called without a token in the last 14 days would be refused once tokens are required: they are named, and
the change is made only after a yes, or with --yes. So it is where nobody can tell who called. 'openimds callers --v1 --since 14d' shows more of them.`,
		Example: `  openimds options demo --http-tokens required
  openimds options --tag tier=web --http-tokens required --yes
  openimds options --all`,
		Args: func(cmd *cobra.Command, args []string) error { return selected.check(cmd, args, false) },
		RunE: func(cmd *cobra.Command, args []string) error {
			update := o.update(cmd.Flags())
			changes := update != wire.UpdateInstanceMetadataOptionsRequest{}
			if changes && every {
				return usagef("--watch only shows; give it without an option to change")
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			if changes {
				return c.changeOptions(cmd, api, &selected, args, update, yes)
			}
			return c.watch(cmd, every, func(ctx context.Context, out io.Writer) error {
				return c.showOptions(ctx, cmd, out, api, &selected, args)
			})
		},
	}
	c.addFlags(cmd)
	o.add(cmd.Flags())
	selected.add(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "require tokens without asking, whoever called without one")
	cmd.Flags().BoolVar(&every, "watch", false, "show again every 2 seconds, until Ctrl-C; with -o json, a line each time")
	return cmd
}

// changeOptions makes a change of all that is selected.
func (c *clientConfig) changeOptions(cmd *cobra.Command, api *client.Client, selected *selection, args []string, update wire.UpdateInstanceMetadataOptionsRequest, yes bool) error {
	names, err := selected.of(cmd.Context(), api, args)
	if err != nil {
		return err
	}
	if update.HTTPTokens != nil && *update.HTTPTokens == "required" {
		if err := confirmTokens(cmd, api, names, yes); err != nil {
			return err
		}
	}
	tell, end := c.gather(cmd)
	return end(forEach(cmd, names, func(name string) error {
		update.InstanceName = name
		if err := hasTagsOption(cmd.Context(), api, update); err != nil {
			return err
		}
		answer, err := client.Call(cmd.Context(), api, wire.UpdateInstanceMetadataOptions, update)
		if err != nil {
			return err
		}
		return tell(answer.Operation)
	}))
}

// hasTagsOption refuses to change an option that the instance does not have: AWS's Lightsail passes over it.
func hasTagsOption(ctx context.Context, api *client.Client, update wire.UpdateInstanceMetadataOptionsRequest) error {
	if update.InstanceMetadataTags == nil {
		return nil
	}
	answer, err := client.Call(ctx, api, wire.GetInstance, wire.GetInstanceRequest{InstanceName: update.InstanceName})
	if err == nil && answer.Instance.MetadataOptions.InstanceMetadataTags == "" {
		err = errors.New("--instance-metadata-tags: this API's instances have no such option; leave it out")
	}
	return err
}

// namedOptions are the options of one of several instances.
type namedOptions struct {
	InstanceName    string               `json:"instanceName"`
	MetadataOptions wire.MetadataOptions `json:"metadataOptions"`
	// Rehearsal is the one of required tokens that is under way, which changes no option; nil: none.
	Rehearsal *openimds.Rehearsal `json:"rehearsal,omitempty"`
	// PendingHosts are those that do not obey the options yet.
	PendingHosts []string `json:"pendingHosts,omitempty"`
}

// oneOptions are those of one instance.
type oneOptions struct {
	wire.MetadataOptions
	Rehearsal    *openimds.Rehearsal `json:"rehearsal,omitempty"`
	PendingHosts []string            `json:"pendingHosts,omitempty"`
}

// showOptions shows the options of what is selected: of one instance that is named as a list, else as a table.
func (c *clientConfig) showOptions(ctx context.Context, cmd *cobra.Command, out io.Writer, api *client.Client, selected *selection, args []string) error {
	names, err := selected.of(ctx, api, args)
	if err != nil {
		return err
	}
	all := []namedOptions{}
	failed := forEach(cmd, names, func(name string) error {
		answer, err := client.Call(ctx, api, wire.GetInstance, wire.GetInstanceRequest{InstanceName: name})
		if err == nil {
			all = append(all, namedOptions{name, answer.Instance.MetadataOptions, answer.Instance.Rehearsal, answer.Instance.PendingHosts})
		}
		return err
	})
	switch {
	case len(all) == 0 && failed != nil:
		return failed
	case len(args) == 1:
		options := oneOptions{all[0].MetadataOptions, all[0].Rehearsal, all[0].PendingHosts}
		return c.show(out, options, func(row func(...any)) {
			rowsOfOptions(options.MetadataOptions, row)
			if len(options.PendingHosts) > 0 {
				row("waits for", strings.Join(options.PendingHosts, ", "))
			}
			if options.Rehearsal != nil {
				row("rehearsal", options.Rehearsal)
			}
		})
	}
	err = c.show(out, all, func(row func(...any)) {
		head := []any{"NAME", "TOKENS", "ENDPOINT", "HOP LIMIT", "IPV6", "OPTIONS"}
		rehearsed := slices.ContainsFunc(all, func(one namedOptions) bool { return one.Rehearsal != nil })
		if rehearsed {
			head = append(head, "REHEARSAL")
		}
		pending := slices.ContainsFunc(all, func(one namedOptions) bool { return len(one.PendingHosts) > 0 })
		if pending {
			head = append(head, "WAITS FOR")
		}
		row(head...)
		for _, one := range all {
			o := one.MetadataOptions
			cells := []any{one.InstanceName, dash(o.HTTPTokens), dash(o.HTTPEndpoint), o.HTTPPutResponseHopLimit, dash(o.HTTPProtocolIPv6), dash(o.State)}
			if rehearsed {
				cells = append(cells, one.Rehearsal)
			}
			if pending {
				cells = append(cells, dash(strings.Join(one.PendingHosts, ", ")))
			}
			row(cells...)
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// given is a word that a flag has; nil: it has none.
func given[T ~string](word string) *T {
	if word == "" {
		return nil
	}
	return new(T(word))
}
