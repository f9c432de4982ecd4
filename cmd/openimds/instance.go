package main

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

func newInstance() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "instance",
		Short: "Create, list, show, change, start, stop and delete instances",
		Args:  noSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.addFlags(cmd)
	cmd.AddCommand(
		waits(newInstanceCreate(&c)), newInstanceList(&c), newInstanceShow(&c), newInstanceSet(&c),
		waits(newInstanceAct(&c, "start", wire.StartInstance, func(name string) wire.StartInstanceRequest {
			return wire.StartInstanceRequest{InstanceName: name}
		}, "Start a stopped instance: new session keys, and a new public address unless it is static")),
		waits(newInstanceAct(&c, "stop", wire.StopInstance, func(name string) wire.StopInstanceRequest {
			return wire.StopInstanceRequest{InstanceName: name}
		}, "Stop an instance: its metadata address answers nobody")),
		newInstanceAct(&c, "reboot", wire.RebootInstance, named, "Reboot an instance: nothing that its guest sees changes"),
		newInstanceAct(&c, "delete", wire.DeleteInstance, func(name string) wire.DeleteInstanceRequest {
			return wire.DeleteInstanceRequest{InstanceName: name}
		}, "Delete an instance: its session tokens are void for ever"),
	)
	return cmd
}

// noSubcommand is the rule of commands that only hold others: alone they print their help.
func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q%s; see '%s --help'", cmd.CommandPath()+" "+args[0], didYouMean(cmd, args[0]), cmd.CommandPath())
	}
	return nil
}

func newInstanceCreate(c *clientConfig) *cobra.Command {
	var request wire.LaunchInstancesRequest
	var options optionFlags
	var userDataFile string
	var tags []string
	cmd := &cobra.Command{
		Use:   "create NAME...",
		Short: "Create instances",
		Args:  names(1, 0, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			request.InstanceNames = args
			if userDataFile != "" {
				text, err := readInput(cmd, userDataFile, openimds.MaxUserData)
				if err != nil {
					return usagef("--user-data: %w", err)
				}
				if !utf8.Valid(text) { // Lightsail's member is a text
					return usagef("--user-data: %s is not text (UTF-8), which is all that an instance can be created with; create it without, then 'openimds instance set NAME --user-data FILE'", userDataFile)
				}
				request.UserData = string(text)
			}
			if request.Tags, err = parseTags(tags); err != nil {
				return err
			}
			request.MetadataOptions = options.launch(cmd.Flags())
			asked := request.MetadataOptions != wire.LaunchOptions{}
			if request.AvailabilityZone != "" && request.BlueprintID != "" && request.BundleID != "" && !asked {
				return change(cmd, c, api, wire.CreateInstances, request.Create()) // which Lightsail has too
			}
			err = change(cmd, c, api, wire.LaunchInstances, request)
			if refused, ok := errors.AsType[*client.Error](err); ok && refused.Exception == "UnknownOperationException" {
				if asked {
					return errors.New("this control API makes no instance with metadata options: create it without them, then 'openimds options NAME'")
				}
				return errors.New("this control API does not choose what an instance is made of: give --zone, --blueprint and --bundle")
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.AvailabilityZone, "zone", "", "availability `zone` (default: the region's first)")
	f.StringVar((*string)(&request.BlueprintID), "blueprint", "", "blueprint `id` (default: "+openimds.DefaultBlueprint+")")
	f.StringVar((*string)(&request.BundleID), "bundle", "", "bundle `id` (default: the region's smallest that the blueprint runs on)")
	f.StringVar(&userDataFile, "user-data", "", "`file` with the user data; - for standard input")
	f.StringVar(&request.KeyPairName, "key-pair", "", "name of the key pair")
	f.StringVar((*string)(&request.IPAddressType), "ip-address-type", "", "dualstack, ipv4 or ipv6")
	f.StringArrayVar(&tags, "tag", nil, "`key=value`, or a key alone; repeatable")
	options.add(f)
	return cmd
}

func parseTags(words []string) ([]wire.Tag, error) {
	var tags []wire.Tag
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		if key == "" {
			return nil, usagef("--tag %q is not of the form key=value or key", word)
		}
		tags = append(tags, wire.Tag{Key: key, Value: value})
	}
	return tags, nil
}

func newInstanceList(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all instances",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			all := []wire.Instance{}
			for page, err := range client.Pages(cmd.Context(), api, wire.GetInstances, wire.GetInstancesRequest{}) {
				if err != nil {
					return err
				}
				all = append(all, page.Instances...)
			}
			return c.show(cmd.OutOrStdout(), all, func(row func(...any)) {
				row("NAME", "STATE", "TOKENS", "ENDPOINT", "HOP LIMIT", "IPV6", "PRIVATE", "PUBLIC", "BLUEPRINT", "FAULTS")
				for _, in := range all {
					o := in.MetadataOptions
					row(in.Name, in.State.Name, dash(o.HTTPTokens), dash(o.HTTPEndpoint), o.HTTPPutResponseHopLimit, dash(o.HTTPProtocolIPv6),
						dash(in.PrivateIPAddress), dash(in.PublicIPAddress), in.BlueprintID, in.Faults)
				}
			})
		},
	}
}

// dash is a word of an answer; one that the answer leaves out is "-".
func dash[T ~string](s T) string {
	if s == "" {
		return "-"
	}
	return string(s)
}

// named is the request of the many operations that take one instance's name.
func named(name string) wire.InstanceRequest { return wire.InstanceRequest{InstanceName: name} }

// newInstanceAct makes the commands that do one thing to each of the instances named.
func newInstanceAct[Q any, R wire.Changed](c *clientConfig, verb string, target wire.Target[Q, R], of func(name string) Q, short string) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NAME...",
		Short: short,
		Args:  names(1, 0, "at least one name"),
		RunE:  func(cmd *cobra.Command, args []string) error { return changeEach(cmd, c, args, target, of) },
	}
}
