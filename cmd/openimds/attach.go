package main

import (
	"fmt"
	"strings"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

// placeOf is where an attachment is, for people.
func placeOf(a wire.Attachment) string {
	if a.ByName {
		return locationOf(a) + " by name"
	}
	return locationOf(a)
}

func locationOf(a wire.Attachment) string {
	switch {
	case a.NetworkNamespace != "":
		return "namespace " + a.NetworkNamespace
	case a.ProcessID != 0:
		return fmt.Sprint("process ", a.ProcessID)
	case len(a.Sources) > 0:
		return "interface " + a.Interface + " from " + strings.Join(a.Sources, " ")
	}
	return "interface " + a.Interface
}

func newAttach() *cobra.Command {
	var c clientConfig
	var request wire.AttachInstanceRequest
	cmd := &cobra.Command{
		Use:   "attach [NAME]",
		Short: "Attach an instance to an interface or a namespace of the host, or list what is attached",
		Long: `Attach an instance: whoever calls 169.254.169.254 from that place of the server's host is the
instance's guest. Without a name: list what is attached.

  openimds attach web-1 --interface tap0      a VM behind a tap or veth, routed or a port of a bridge
  openimds attach web-2 --netns web2          a network namespace, by name or path
  openimds attach web-2 --pid 4711            the network namespace of a process
  openimds attach web-3 --interface br0 --source 10.0.0.7     only where the network stops spoofing

An interface or namespace that does not exist yet is attached when it appears. From then on the
instance is bound to that very one: the next one of its name may be another machine's. It is taken for the
same if its MAC address, when somebody has set one, and its alias are the same, as those of a VM that was
started again; otherwise the attachment waits, and the list says so.

  openimds attach web-1 --interface tap0                     again: binds it to what is there now
  openimds attach web-1 --interface tap0 --mac 52:54:00:12:34:56    only the link of that guest
  openimds attach web-1 --interface tap0 --ifalias web-1     only a link with this alias
  openimds attach web-1 --interface tap0 --by-name           whatever has the name`,
		Args: names(0, 1, "at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			places := 0
			for _, flag := range []string{"interface", "netns", "pid"} {
				if cmd.Flags().Changed(flag) {
					places++
				}
			}
			switch {
			case len(args) == 0 && (places > 0 || len(request.Sources) > 0 || request.MACAddress != "" || request.IfAlias != "" || request.ByName):
				return usagef("say which instance to attach; see '%s --help'", cmd.CommandPath())
			case len(args) == 1 && places != 1:
				return usagef("say where: one of --interface, --netns and --pid")
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return c.showAttachments(cmd, api)
			}
			request.InstanceName = args[0]
			return change(cmd, &c, api, wire.AttachInstance, request)
		},
	}
	c.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&request.Interface, "interface", "", "the host's end of the guest's link: a `name`")
	f.StringSliceVar(&request.Sources, "source", nil, "only callers from this `address` or prefix; repeatable")
	f.StringVar(&request.NetworkNamespace, "netns", "", "a network namespace: a `name` or path")
	f.IntVar(&request.ProcessID, "pid", 0, "a process: its network namespace")
	f.StringVar(&request.MACAddress, "mac", "", "only an interface with this `address`, or a hypervisor's tap for a guest with it")
	f.StringVar(&request.IfAlias, "ifalias", "", "only an interface with this alias: a `text` as of 'ip link set alias'")
	f.BoolVar(&request.ByName, "by-name", false, "whatever has the name, now and later: only where no other guest's can get it")
	return cmd
}

func (c *clientConfig) showAttachments(cmd *cobra.Command, api *client.Client) error {
	attached, err := client.Call(cmd.Context(), api, wire.GetAttachments, wire.Nothing{})
	if err != nil {
		return err
	}
	guarded, err := client.Call(cmd.Context(), api, wire.GetGuardedPlaces, wire.Nothing{})
	if err != nil {
		return err
	}
	return c.show(cmd.OutOrStdout(), attached.Attachments, func(row func(...any)) {
		row("INSTANCE", "STATE", "PLACE", "REASON")
		for _, a := range attached.Attachments {
			row(a.InstanceName, a.State, placeOf(a), a.Reason)
		}
		for _, g := range guarded.Places {
			row("-", "guarded", placeOfGuarded(g), "it was attached; see 'openimds release --help'")
		}
	})
}

func newDetach() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "detach NAME...",
		Short: "Detach instances: their guests are answered no more",
		Args:  names(1, 0, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeEach(cmd, &c, args, wire.DetachInstance, named)
		},
	}
	c.addFlags(cmd)
	return cmd
}
