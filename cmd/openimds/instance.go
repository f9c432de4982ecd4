package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/openimds/openimds"
	"github.com/spf13/cobra"
)

// wireInstance is what the commands show of an instance.
type wireInstance struct {
	Name            string       `json:"name"`
	BlueprintID     string       `json:"blueprintId"`
	BundleID        string       `json:"bundleId"`
	CreatedAt       epoch        `json:"createdAt"`
	PrivateIP       string       `json:"privateIpAddress"`
	PublicIP        string       `json:"publicIpAddress"`
	IPv6Addresses   []string     `json:"ipv6Addresses"`
	State           wireState    `json:"state"`
	MetadataOptions *wireOptions `json:"metadataOptions"`
	// Faults on purpose; nil: none, or a service that knows of none.
	Faults *openimds.Faults `json:"faults"`
}

type wireState struct {
	Name string `json:"name"`
}

type wireOptions struct {
	State    string `json:"state"`
	Tokens   string `json:"httpTokens"`
	Endpoint string `json:"httpEndpoint"`
	HopLimit int    `json:"httpPutResponseHopLimit"`
	IPv6     string `json:"httpProtocolIpv6"`
}

// wireOperation is what the commands show of an operation.
type wireOperation struct {
	Type     string `json:"operationType"`
	Resource string `json:"resourceName"`
	Status   string `json:"status"`
}

// nameOnly is the request of the many operations that take one instance's name.
type nameOnly struct {
	Name string `json:"instanceName"`
}

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
		newInstanceCreate(&c), newInstanceList(&c), newInstanceShow(&c), newInstanceSet(&c),
		newInstanceAct(&c, "start", "StartInstance", "Start a stopped instance: new session keys, and a new public address unless it is static"),
		newInstanceAct(&c, "stop", "StopInstance", "Stop an instance: its metadata address answers nobody"),
		newInstanceAct(&c, "reboot", "RebootInstance", "Reboot an instance: nothing that its guest sees changes"),
		newInstanceAct(&c, "delete", "DeleteInstance", "Delete an instance: its session tokens are void for ever"),
	)
	return cmd
}

// noSubcommand is the rule of commands that only hold others: alone they print their help.
func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q; see '%s --help'", cmd.CommandPath()+" "+args[0], cmd.CommandPath())
	}
	return nil
}

// createRequest is the request of the operation CreateInstances.
type createRequest struct {
	Names       []string `json:"instanceNames"`
	Zone        string   `json:"availabilityZone"`
	Blueprint   string   `json:"blueprintId"`
	Bundle      string   `json:"bundleId"`
	UserData    string   `json:"userData,omitempty"`
	KeyPair     string   `json:"keyPairName,omitempty"`
	AddressType string   `json:"ipAddressType,omitempty"`
	Tags        []tag    `json:"tags,omitempty"`
}

// What an instance is made of unless something else is asked for.
const (
	defaultBlueprint = "amazon_linux_2023"
	defaultBundle    = "nano_3_0"
)

func newInstanceCreate(c *clientConfig) *cobra.Command {
	var request createRequest
	var userDataFile string
	var tags []string
	cmd := &cobra.Command{
		Use:   "create NAME...",
		Short: "Create instances",
		Args:  names(1, 0, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			request.Names = args
			if request.Zone == "" {
				request.Zone = client.region + "a"
			}
			if userDataFile != "" {
				text, err := os.ReadFile(userDataFile)
				if err != nil {
					return usagef("--user-data: %w", err)
				}
				request.UserData = string(text)
			}
			if request.Tags, err = parseTags(tags); err != nil {
				return err
			}
			return c.operations(cmd, client, targetLightsail+"CreateInstances", request)
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.Zone, "zone", "", "availability zone (default: the region's first)")
	f.StringVar(&request.Blueprint, "blueprint", defaultBlueprint, "blueprint id")
	f.StringVar(&request.Bundle, "bundle", defaultBundle, "bundle id")
	f.StringVar(&userDataFile, "user-data", "", "`file` with the user data")
	f.StringVar(&request.KeyPair, "key-pair", "", "name of the key pair")
	f.StringVar(&request.AddressType, "ip-address-type", "", "dualstack, ipv4 or ipv6")
	f.StringArrayVar(&tags, "tag", nil, "`key=value`; repeatable")
	return cmd
}

type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func parseTags(words []string) ([]tag, error) {
	var tags []tag
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return nil, usagef("--tag %q is not of the form key=value", word)
		}
		tags = append(tags, tag{key, value})
	}
	return tags, nil
}

func newInstanceList(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all instances",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			all, err := client.instances(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), all, func(row func(...any)) {
				row("NAME", "STATE", "TOKENS", "ENDPOINT", "HOP LIMIT", "IPV6", "PRIVATE", "PUBLIC", "BLUEPRINT", "FAULTS")
				for _, raw := range all {
					in, err := readInstance(raw)
					if err != nil {
						row("?", err)
						continue
					}
					o := in.MetadataOptions
					row(in.Name, in.State.Name, o.Tokens, o.Endpoint, o.HopLimit, o.IPv6, dash(in.PrivateIP), dash(in.PublicIP), in.BlueprintID, in.Faults)
				}
			})
		},
	}
}

// instances returns all instances, page by page, as the API sent them.
func (c *client) instances(ctx context.Context) ([]json.RawMessage, error) {
	all := []json.RawMessage{}
	for token := ""; ; {
		request := struct {
			Token string `json:"pageToken,omitempty"`
		}{token}
		var page struct {
			Instances []json.RawMessage `json:"instances"`
			Next      string            `json:"nextPageToken"`
		}
		if err := c.call(ctx, targetLightsail+"GetInstances", request, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Instances...)
		if page.Next == "" || page.Next == token {
			return all, nil
		}
		token = page.Next
	}
}

func readInstance(raw json.RawMessage) (wireInstance, error) {
	in := wireInstance{}
	err := json.Unmarshal(raw, &in)
	if in.MetadataOptions == nil {
		in.MetadataOptions = &wireOptions{State: "-", Tokens: "-", Endpoint: "-", IPv6: "-"}
	}
	return in, err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newInstanceShow(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show one instance",
		Args:  names(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			var answer struct {
				Instance json.RawMessage `json:"instance"`
			}
			if err := client.call(cmd.Context(), targetLightsail+"GetInstance", nameOnly{args[0]}, &answer); err != nil {
				return err
			}
			in, err := readInstance(answer.Instance)
			if err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), answer.Instance, func(row func(...any)) {
				row("name", in.Name)
				row("state", in.State.Name)
				row("created", in.CreatedAt)
				row("blueprint", in.BlueprintID)
				row("bundle", in.BundleID)
				row("private address", dash(in.PrivateIP))
				row("public address", dash(in.PublicIP))
				row("IPv6 addresses", dash(strings.Join(in.IPv6Addresses, " ")))
				in.MetadataOptions.rows(row)
				row("faults", in.Faults)
			})
		},
	}
}

func (o *wireOptions) rows(row func(...any)) {
	row("tokens", o.Tokens)
	row("endpoint", o.Endpoint)
	row("hop limit", o.HopLimit)
	row("IPv6 endpoint", o.IPv6)
	row("options", o.State)
}

// newInstanceAct makes the commands that do one thing to each of the instances named.
func newInstanceAct(c *clientConfig, verb, operation, short string) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NAME...",
		Short: short,
		Args:  names(1, 0, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := c.operations(cmd, client, targetLightsail+operation, nameOnly{name}); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		},
	}
}

// operations makes a call that answers with one or more operations, and shows them.
func (c *clientConfig) operations(cmd *cobra.Command, client *client, target string, request any) error {
	var answer struct {
		One  *json.RawMessage  `json:"operation,omitempty"`
		Many []json.RawMessage `json:"operations,omitempty"`
	}
	if err := client.call(cmd.Context(), target, request, &answer); err != nil {
		return err
	}
	all := answer.Many
	if answer.One != nil {
		all = append(all, *answer.One)
	}
	return c.show(cmd.OutOrStdout(), all, func(row func(...any)) {
		for _, raw := range all {
			var op wireOperation
			if err := json.Unmarshal(raw, &op); err != nil {
				row("?", err)
				continue
			}
			row(op.Resource, op.Type, op.Status)
		}
	})
}
