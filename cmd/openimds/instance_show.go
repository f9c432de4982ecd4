package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

// shownInstance is an instance as Lightsail shows it, and what it does not: the record of all that its guest reads,
// and where it is attached. A control API that is Lightsail's has no more than the first.
type shownInstance struct {
	wire.Instance
	Record     *wire.WholeInstance `json:"record,omitempty"`
	Attachment *wire.Attachment    `json:"attachment,omitempty"`
}

func newInstanceShow(c *clientConfig) *cobra.Command {
	var userData bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show all that is known of one instance",
		Long:  `Show all that is known of one instance, but for its user data, which may hold secrets.`,
		Example: `  openimds instance show demo
  openimds instance show demo --user-data > user-data  # the user data alone, byte for byte
  openimds instance show demo -o json --user-data      # all, the user data in base64`,
		Args: names(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			in, err := readInstance(cmd.Context(), api, args[0], userData)
			if err != nil {
				return err
			}
			if userData && c.output != "json" {
				return printUserData(cmd.OutOrStdout(), in)
			}
			return c.show(cmd.OutOrStdout(), in, in.rows)
		},
	}
	cmd.Flags().BoolVar(&userData, "user-data", false, "the user data alone, as the guest reads it; with -o json all of the instance and that")
	return cmd
}

// readInstance reads what there is to show.
func readInstance(ctx context.Context, api *client.Client, name string, userData bool) (in shownInstance, err error) {
	answer, err := client.Call(ctx, api, wire.GetInstance, wire.GetInstanceRequest{InstanceName: name, IncludeHealthStatus: true})
	if err != nil {
		return in, err
	}
	in.Instance = answer.Instance
	whole, err := client.Call(ctx, api, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: name, IncludeUserData: userData})
	if isUnknown(err) {
		return in, nil
	}
	if err != nil {
		return in, err
	}
	in.Record = &whole.Instance
	attached, err := client.Call(ctx, api, wire.GetAttachments, wire.Nothing{})
	if err != nil {
		return in, err
	}
	if at := slices.IndexFunc(attached.Attachments, func(a wire.Attachment) bool { return a.InstanceName == name }); at >= 0 {
		in.Attachment = &attached.Attachments[at]
	}
	return in, nil
}

// isUnknown says that a control API does not have an operation: it is Lightsail's.
func isUnknown(err error) bool {
	refused, ok := errors.AsType[*client.Error](err)
	return ok && refused.Exception == "UnknownOperationException"
}

// printUserData prints it as the guest reads it, unless that could do something to a terminal.
func printUserData(out io.Writer, in shownInstance) error {
	if in.Record == nil {
		return errors.New("this control API does not show user data")
	}
	if raw, ok := out.(interface{ Unwrap() io.Writer }); ok && screenOf(out) == nil {
		out = raw.Unwrap()
	}
	_, err := out.Write(in.Record.UserData)
	return err
}

// rows are the instance for people.
func (s shownInstance) rows(row func(...any)) {
	in := s.Instance
	row("name", in.Name)
	row("state", in.State.Name)
	for _, checked := range []struct {
		what  string
		found *wire.HealthStatus
	}{{"instance check", in.InstanceStatus}, {"system check", in.SystemStatus}} {
		if checked.found != nil {
			row(checked.what, checked.found.Status)
		}
	}
	row("created", when(in.CreatedAt))
	row("blueprint", in.BlueprintID)
	row("bundle", in.BundleID)
	row("private address", dash(in.PrivateIPAddress))
	row("public address", dash(in.PublicIPAddress))
	row("IPv6 addresses", dash(strings.Join(in.IPv6Addresses, " ")))
	row("key pair", dash(in.SSHKeyName))
	rowsOfOptions(in.MetadataOptions, row)
	for _, tag := range in.Tags {
		row("tag", strings.TrimSuffix(tag.Key+"="+tag.Value, "="))
	}
	row("faults", in.Faults)
	row("rehearsal", in.Rehearsal)
	if s.Record != nil {
		rowsOfRecord(s.Record, row)
		place := "nowhere"
		if a := s.Attachment; a != nil {
			place = strings.TrimSuffix(placeOf(*a)+", "+a.State+": "+a.Reason, ": ")
		}
		row("attached", place)
	}
}

func rowsOfOptions(o wire.MetadataOptions, row func(...any)) {
	row("tokens", dash(o.HTTPTokens))
	row("endpoint", dash(o.HTTPEndpoint))
	row("hop limit", o.HTTPPutResponseHopLimit)
	row("IPv6 endpoint", dash(o.HTTPProtocolIPv6))
	if o.InstanceMetadataTags != "" { // AWS's Lightsail has none
		row("tags in metadata", o.InstanceMetadataTags)
	}
	row("options", dash(o.State))
}

// rowsOfRecord are what the guest reads and Lightsail does not show. What few instances have is shown where it is.
func rowsOfRecord(w *wire.WholeInstance, row func(...any)) {
	if w.Instance == nil {
		return
	}
	row("id", w.ID)
	row("image", w.ImageID)
	row("instance type", w.InstanceType)
	row("zone", w.Zone)
	row("owner", w.OwnerID)
	for _, nic := range w.NICs {
		row("host name", dash(nic.LocalHostname))
		row("public host name", dash(nic.PublicHostname))
		row("MAC address", dash(nic.MAC))
	}
	role := "none"
	if w.Role != nil {
		role = w.Role.Name
	}
	row("role", role)
	row("user data", counted(w.UserDataSize, "byte"))
	rare := func(name, value string) {
		if value != "" {
			row(name, value)
		}
	}
	if w.ExtendedCredentials {
		row("extended credentials", "yes")
	}
	rare("kernel", w.KernelID)
	rare("RAM disk", w.RamdiskID)
	rare("ancestor images", strings.Join(w.AncestorAMIIDs, " "))
	rare("product codes", strings.Join(w.ProductCodes, " "))
	rare("placement group", w.PlacementGroup)
	rare("host id", w.HostID)
	if w.PartitionNumber != 0 {
		row("partition", w.PartitionNumber)
	}
	rowsOfEvents(w.Events, row)
	if r := w.Recording; r != nil {
		row("recording", fmt.Sprintf("of %s at %s, %s", r.Source, r.RecordedAt, counted(r.Items, "item")))
	}
	for _, path := range slices.Sorted(maps.Keys(w.Overlay)) {
		row("overlay", path, overlaid(w.Overlay[path]))
	}
	for _, path := range w.Hidden {
		if path != "userData" {
			row("overlay", path, "hidden; --user-data shows it with -o json")
		}
	}
}

// overlaid is a value that lies over a path, as far as it fits a line.
func overlaid(value *string) string {
	const most = 60
	if value == nil {
		return "absent"
	}
	if utf8.RuneCountInString(*value) > most {
		return fmt.Sprintf("%.*s… (%s)", most, *value, counted(len(*value), "byte"))
	}
	return *value
}

func rowsOfEvents(e openimds.Events, row func(...any)) {
	if e.Spot != nil {
		row("spot", e.Spot.Action, e.Spot.Time.UTC().Format(time.DateTime))
	}
	if !e.RebalanceAt.IsZero() {
		row("rebalance", e.RebalanceAt.UTC().Format(time.DateTime))
	}
	if e.LifecycleState != "" {
		row("lifecycle", e.LifecycleState)
	}
	for _, m := range e.Maintenance {
		row("maintenance", m.ID, m.Code, m.State, m.NotBefore.UTC().Format(time.DateTime), m.Description)
	}
}
