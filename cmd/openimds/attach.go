package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// placeOf is where an attachment is, for people.
func placeOf(a wire.Attachment) string {
	if a.ByName {
		return locationOf(a) + " by name"
	}
	return locationOf(a)
}

// placeOnHost is placeOf, with the host where hosts have names.
func placeOnHost(a wire.Attachment) string {
	if a.Host == "" {
		return placeOf(a)
	}
	return "host " + a.Host + " " + placeOf(a)
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

const attachHelp = `Attach an instance: whoever calls 169.254.169.254 from that place of a host, the server's own unless
--host names another, is the instance's guest. Without a name: list what is attached.

An interface or namespace that does not exist yet is attached when it appears. From then on the
instance is bound to that very one: the next one of its name may be another machine's. It is taken for the
same if its MAC address, when somebody has set one, and its alias are the same, as those of a VM that was
started again; otherwise the attachment waits, and the list says so.

Where servers share a store, an instance that is attached to one host is moved by attaching it to another that is named. The former
one lets go first, or is gone for 15 seconds; then the new one answers, and the guest's session tokens stay good: it is
taken for the same guest, wherever it runs by then. 'openimds host list' tells which hosts there are.

The guest is told its own MAC and private addresses, as far as the host can see them: those in its namespace,
those of the other end of its veth, and of a machine those that the host has heard of. What is given beats
what is learned.`

const attachExamples = `  openimds attach web-1 --interface tap0                          # a VM behind a tap or veth, routed or a port of a bridge
  openimds attach web-2 --netns web2                              # a network namespace, by name or path
  openimds attach web-2 --pid 4711                                # the network namespace of a process
  openimds attach web-3 --interface br0 --source 10.0.0.7         # only where the network stops spoofing
  openimds attach web-1 --interface tap0                          # again: binds it to what is there now
  openimds attach web-1 --interface tap0 --mac 52:54:00:12:34:56  # only the link of that guest
  openimds attach web-1 --interface tap0 --ifalias web-1          # only a link with this alias
  openimds attach web-1 --interface tap0 --by-name                # whatever has the name
  openimds attach web-1 --host host-17 --interface tap0
  openimds attach web-1 --interface tap0 --guest-mac 52:54:00:12:34:56 --private-ip 10.9.1.2/24
  openimds attach web-2 --netns web2 --mac 52:54:00:12:34:56 --private-ip 10.9.1.2 --private-ip 2001:db8::2
  openimds attach --guests                                        # what they are told`

func newAttach() *cobra.Command {
	var c clientConfig
	var request wire.AttachInstanceRequest
	var guests bool
	cmd := &cobra.Command{
		Use:     "attach [NAME]",
		Short:   "Attach an instance to an interface or a namespace of the host, or list what is attached",
		Long:    attachHelp,
		Example: attachExamples,
		Args:    names(0, 1, "at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			places := 0
			for _, flag := range []string{"interface", "netns", "pid"} {
				if cmd.Flags().Changed(flag) {
					places++
				}
			}
			switch {
			case len(args) == 0 && (places > 0 || len(request.Sources) > 0 || request.MACAddress != "" || request.IfAlias != "" || request.ByName || request.Host != "" || request.GuestMACAddress != "" || len(request.PrivateIPAddresses) > 0):
				return usagef("say which instance to attach; see '%s --help'", cmd.CommandPath())
			case len(args) == 1 && guests:
				return usagef("--guests lists all: leave out the name")
			case len(args) == 1 && places != 1:
				return usagef("say where: one of --interface, --netns and --pid")
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return c.showAttachments(cmd, api, guests)
			}
			request.InstanceName = args[0]
			return change(cmd, &c, api, wire.AttachInstance, request)
		},
	}
	c.addFlags(cmd)
	addAttachmentFlags(cmd.Flags(), &request)
	cmd.Flags().BoolVar(&guests, "guests", false, "list what the guests are told of their MAC and private addresses")
	return cmd
}

// addAttachmentFlags adds what an attachment is made of.
func addAttachmentFlags(f *pflag.FlagSet, request *wire.AttachInstanceRequest) {
	f.StringVar(&request.Host, "host", "", "on the host of this `name`; of an instance that is attached to another: move it there")
	f.StringVar(&request.Interface, "interface", "", "the host's end of the guest's link: a `name`")
	f.StringSliceVar(&request.Sources, "source", nil, "only callers from this `address` or prefix; repeatable")
	f.StringVar(&request.NetworkNamespace, "netns", "", "a network namespace: a `name` or path")
	f.IntVar(&request.ProcessID, "pid", 0, "a process: its network namespace")
	f.StringVar(&request.MACAddress, "mac", "", "the guest's MAC `address`; of interfaces only one with it, a hypervisor's tap for a guest with it, or a veth to one")
	f.StringVar(&request.GuestMACAddress, "guest-mac", "", "tell the guest that this is its MAC `address`, whatever the interface shows")
	f.StringSliceVar(&request.PrivateIPAddresses, "private-ip", nil, "tell the guest that it has this `address`, with its subnet's length (10.9.1.2/24) or without; repeatable, the primary one first")
	f.StringVar(&request.IfAlias, "ifalias", "", "only an interface with this alias: a `text` as of 'ip link set alias'")
	f.BoolVar(&request.ByName, "by-name", false, "whatever has the name, now and later: only where no other guest's can get it")
}

// rowsOfGuest are what the guest of an attachment is told of its interfaces.
func rowsOfGuest(row func(...any), a wire.Attachment) {
	if len(a.GuestInterfaces) == 0 {
		row(a.InstanceName, "-", "-", "not known: it is told of the addresses that were made up for it")
	}
	for i, link := range a.GuestInterfaces {
		note := ""
		switch {
		case link.MACAddress == "":
			note = "the MAC address is not known: it is told the one that was made up"
		case i == 0 && len(link.Addresses) == 0:
			note = "no private address is known: it is told of those that were made up"
		}
		row(a.InstanceName, cmp.Or(link.MACAddress, "-"), cmp.Or(strings.Join(link.Addresses, " "), "-"), note)
	}
}

func (c *clientConfig) showAttachments(cmd *cobra.Command, api *client.Client, guests bool) error {
	attached, err := client.Call(cmd.Context(), api, wire.GetAttachments, wire.Nothing{})
	if err != nil {
		return err
	}
	guarded, err := client.Call(cmd.Context(), api, wire.GetGuardedPlaces, wire.Nothing{})
	if err != nil {
		return err
	}
	return c.show(cmd.OutOrStdout(), attached.Attachments, func(row func(...any)) {
		if guests {
			row("INSTANCE", "MAC ADDRESS", "PRIVATE ADDRESSES", "NOTE")
			for _, a := range attached.Attachments {
				rowsOfGuest(row, a)
			}
			return
		}
		row("INSTANCE", "STATE", "PLACE", "REASON")
		for _, a := range attached.Attachments {
			row(a.InstanceName, a.State, placeOnHost(a), a.Reason)
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
