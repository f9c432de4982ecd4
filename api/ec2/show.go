package ec2

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
)

// show shows an instance, whichever API made it.
func show(in *openimds.Instance) wire.Instance {
	in = in.Told()
	shown := wire.Instance{
		InstanceID: in.ID, ImageID: in.ImageID, InstanceState: stateOf(in.State), KeyName: in.KeyPairName, AMILaunchIndex: in.ShownLaunchIndex(),
		InstanceType: in.InstanceType, LaunchTime: in.LaunchedAt, KernelID: in.KernelID, RamdiskID: in.RamdiskID, Platform: platformOf(in),
		Placement: wire.Placement{
			AvailabilityZone: in.Zone, AvailabilityZoneID: in.ZoneID, GroupName: in.PlacementGroup, PartitionNumber: in.PartitionNumber,
			HostID: in.HostID, Tenancy: "default",
		},
		Monitoring: wire.MonitoringState{State: "disabled"}, GroupSet: groupsOf(in), Architecture: in.Architecture,
		RootDeviceType: "ebs", RootDeviceName: rootDevice(in), BlockDevices: []struct{}{}, VirtualizationType: "hvm", Hypervisor: hypervisorOf(in),
		InstanceLifecycle: lifecycleOf(in), TagSet: showTags(in.Tags), Hibernation: wire.ConfiguredFlag{Configured: in.Hibernates()},
		MetadataOptions: optionsOf(in), NetworkInterfaces: []wire.NetworkInterface{},
	}
	if in.DetailedMonitoring {
		shown.Monitoring.State = "enabled"
	}
	if in.Role != nil {
		shown.IAMInstanceProfile = &wire.ProfileOf{ARN: in.Role.ProfileARN, ID: in.Role.ProfileID}
	}
	if in.State == openimds.StateTerminated {
		shown.Reason = "User initiated (" + in.ModifiedAt.UTC().Format(time.DateTime) + " GMT)"
		shown.StateReason = &wire.StateReason{Code: "Client.UserInitiatedShutdown", Message: "Client.UserInitiatedShutdown: User initiated shutdown"}
	}
	for i := range in.NICs {
		shown.NetworkInterfaces = append(shown.NetworkInterfaces, showNIC(in, &in.NICs[i]))
	}
	if len(in.NICs) > 0 {
		first := &in.NICs[0]
		shown.SubnetID, shown.VPCID, shown.PrivateDNSName, shown.DNSName = first.SubnetID, first.VPCID, first.LocalHostname, first.PublicHostname
		shown.PrivateIPAddress = shown.NetworkInterfaces[0].PrivateIPAddress
		if public, ok := in.PublicIPv4(); ok {
			shown.IPAddress = public.String()
		}
		if len(first.IPv6) > 0 {
			shown.IPv6Address = first.IPv6[0].String()
		}
	}
	return shown
}

func showNIC(in *openimds.Instance, nic *openimds.NIC) wire.NetworkInterface {
	shown := wire.NetworkInterface{
		Attachment: wire.NetworkAttachment{AttachTime: in.CreatedAt, DeviceIndex: nic.DeviceNumber, Status: "attached"},
		GroupSet:   groups(nic), IPv6Addresses: []wire.IPv6Address{}, MACAddress: nic.MAC, NetworkInterfaceID: nic.ID, OwnerID: in.OwnerID,
		PrivateDNSName: nic.LocalHostname, PrivateIPAddresses: []wire.PrivateAddress{}, Status: "in-use", SubnetID: nic.SubnetID, VPCID: nic.VPCID,
		InterfaceType: "interface",
	}
	for _, addr := range nic.IPv6 {
		shown.IPv6Addresses = append(shown.IPv6Addresses, wire.IPv6Address{IPv6Address: addr.String()})
	}
	for i, addr := range nic.PrivateIPv4 {
		one := wire.PrivateAddress{Primary: i == 0, PrivateDNSName: openimds.PrivateHostname(addr, in.Region), PrivateIPAddress: addr.String()}
		for _, a := range nic.Associations {
			for _, private := range a.Private {
				if private == addr && a.Public.IsValid() {
					one.Association = &wire.Association{IPOwnerID: "amazon", PublicDNSName: nic.PublicHostname, PublicIP: a.Public.String()}
				}
			}
		}
		if i == 0 {
			shown.PrivateIPAddress, shown.Association, one.PrivateDNSName = one.PrivateIPAddress, one.Association, nic.LocalHostname
		}
		shown.PrivateIPAddresses = append(shown.PrivateIPAddresses, one)
	}
	return shown
}

func groups(nic *openimds.NIC) []wire.Group {
	all := []wire.Group{}
	for i, id := range nic.SecurityGroupIDs {
		g := wire.Group{GroupID: id}
		if i < len(nic.SecurityGroups) {
			g.GroupName = nic.SecurityGroups[i]
		}
		all = append(all, g)
	}
	return all
}

func groupsOf(in *openimds.Instance) []wire.Group {
	if len(in.NICs) == 0 {
		return []wire.Group{}
	}
	return groups(&in.NICs[0])
}

func rootDevice(in *openimds.Instance) string {
	for _, device := range in.BlockDevices {
		if device.Name == "root" {
			return device.Device
		}
	}
	return ""
}

// platformOf is a word only for Windows.
func platformOf(in *openimds.Instance) string {
	if bundle, _ := openimds.FindBlueprint(in.BlueprintID); bundle.Platform == openimds.PlatformWindows {
		return "Windows"
	}
	return ""
}

// hypervisorOf is what EC2 says of the system: Nitro is xen to it.
func hypervisorOf(*openimds.Instance) string { return "xen" }

// lifecycleOf is a word only for what is not on demand.
func lifecycleOf(in *openimds.Instance) string {
	if shown := in.ShownLifeCycle(); shown != "on-demand" {
		return shown
	}
	return ""
}

// showTags is nil where there are no tags, which then are left out.
func showTags(tags []openimds.Tag) (shown []wire.Tag) {
	for _, t := range tags {
		shown = append(shown, wire.Tag{Key: t.Key, Value: t.Value})
	}
	return shown
}

// instanceAttributes tells what an instance has of a filter.
func instanceAttributes(in *openimds.Instance, filter string) ([]string, bool) {
	if values, known := tagAttributes(in, filter); known {
		return values, true
	}
	tell, known := instanceFilters[filter]
	if !known || in == nil {
		return nil, known
	}
	return tell(in), true
}

// tagAttributes tells what an instance has of a filter for tags.
func tagAttributes(in *openimds.Instance, filter string) (values []string, known bool) {
	var tags []openimds.Tag
	if in != nil {
		tags = in.Tags
	}
	return ofTags(tags, filter)
}

// one is a text that a filter compares; an empty one is not there.
func one(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// instanceFilters are the filters for instances beside those for tags.
var instanceFilters = map[string]func(*openimds.Instance) []string{
	"instance-id":         func(in *openimds.Instance) []string { return one(in.ID) },
	"instance-state-name": func(in *openimds.Instance) []string { return one(string(in.State)) },
	"instance-state-code": func(in *openimds.Instance) []string { return one(strconv.Itoa(stateOf(in.State).Code)) },
	"instance-type":       func(in *openimds.Instance) []string { return one(in.InstanceType) },
	"image-id":            func(in *openimds.Instance) []string { return one(in.ImageID) },
	"availability-zone":   func(in *openimds.Instance) []string { return one(in.Zone) },
	"availability-zone-id": func(in *openimds.Instance) []string {
		return one(in.ZoneID)
	},
	"architecture":   func(in *openimds.Instance) []string { return one(in.Architecture) },
	"key-name":       func(in *openimds.Instance) []string { return one(in.KeyPairName) },
	"launch-index":   func(in *openimds.Instance) []string { return one(strconv.Itoa(in.ShownLaunchIndex())) },
	"owner-id":       func(in *openimds.Instance) []string { return one(in.OwnerID) },
	"reservation-id": func(in *openimds.Instance) []string { return one(in.ReservationID) },
	"launch-time": func(in *openimds.Instance) []string {
		return one(in.LaunchedAt.UTC().Format("2006-01-02T15:04:05.000Z"))
	},
	"hibernation-options.configured": func(in *openimds.Instance) []string {
		return one(strconv.FormatBool(in.Hibernates()))
	},
	"instance-lifecycle": func(in *openimds.Instance) []string { return one(lifecycleOf(in)) },
	"platform":           func(in *openimds.Instance) []string { return one(strings.ToLower(platformOf(in))) }, // as documented
	"hypervisor":         func(in *openimds.Instance) []string { return one(hypervisorOf(in)) },
	"iam-instance-profile.arn": func(in *openimds.Instance) []string {
		if in.Role == nil {
			return nil
		}
		return one(in.Role.ProfileARN)
	},

	"private-ip-address": func(in *openimds.Instance) []string { return one(show(in).PrivateIPAddress) },
	"ip-address":         func(in *openimds.Instance) []string { return one(show(in).IPAddress) },
	"private-dns-name":   func(in *openimds.Instance) []string { return one(show(in).PrivateDNSName) },
	"dns-name":           func(in *openimds.Instance) []string { return one(show(in).DNSName) },
	"subnet-id":          func(in *openimds.Instance) []string { return one(show(in).SubnetID) },
	"vpc-id":             func(in *openimds.Instance) []string { return one(show(in).VPCID) },

	"metadata-options.http-tokens": func(in *openimds.Instance) []string { return one(string(in.Options.Tokens)) },
	"metadata-options.http-put-response-hop-limit": func(in *openimds.Instance) []string {
		return one(strconv.Itoa(in.Options.HopLimit))
	},
	"metadata-options.http-endpoint":      func(in *openimds.Instance) []string { return one(string(in.Options.Endpoint)) },
	"metadata-options.http-protocol-ipv6": func(in *openimds.Instance) []string { return one(string(in.Options.IPv6)) },
	"metadata-options.http-protocol-ipv4": func(in *openimds.Instance) []string { return one(string(in.Options.Endpoint)) },
	"metadata-options.instance-metadata-tags": func(in *openimds.Instance) []string {
		return one(string(cmp.Or(in.Options.Tags, openimds.EndpointDisabled)))
	},
	"metadata-options.state": func(in *openimds.Instance) []string { return one(string(in.Options.State)) },
}
