package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

// instance shows an instance. Its support code tells what the guest sees: the account and the id.
func (a *protocol) instance(in *openimds.Instance) wire.Instance {
	in = in.Told()
	blueprint := a.blueprints[in.BlueprintID]
	bundle, hasBundle := a.bundles[in.BundleID]
	shown := wire.Instance{
		Name: in.Name, ARN: a.service.ARN(openimds.TypeInstance, in.UUID), SupportCode: in.OwnerID + "/" + in.ID,
		CreatedAt: awsjson.Epoch{Time: in.CreatedAt}, Location: wire.Location{AvailabilityZone: in.Zone, RegionName: in.Region}, ResourceType: string(openimds.TypeInstance),
		Tags: showTags(in.Tags), BlueprintID: in.BlueprintID, BlueprintName: blueprint.Name, BundleID: in.BundleID,
		IsStaticIP: in.StaticIPName != "", IPv6Addresses: []string{}, IPAddressType: in.AddressType,
		Hardware:   wire.Hardware{CPUCount: bundle.CPUs, Disks: []wire.Disk{}, RAMSizeInGB: awsjson.Double(bundle.RAM)},
		Networking: wire.Networking{MonthlyTransfer: wire.MonthlyTransfer{GBPerMonthAllocated: bundle.TransferGB}, Ports: []wire.PortInfo{}},
		State:      stateOf(in), Username: in.Username, SSHKeyName: in.KeyPairName, MetadataOptions: optionsOf(in), Faults: in.Faults, Rehearsal: a.rehearsal(in),
	}
	if public, ok := in.PublicIPv4(); ok {
		shown.PublicIPAddress = public.String()
	}
	if len(in.NICs) > 0 {
		if private := in.NICs[0].PrivateIPv4; len(private) > 0 {
			shown.PrivateIPAddress = private[0].String()
		}
		for _, addr := range in.NICs[0].IPv6 {
			shown.IPv6Addresses = append(shown.IPv6Addresses, addr.String())
		}
	}
	if hasBundle {
		shown.Hardware.Disks = append(shown.Hardware.Disks, systemDisk(in, bundle.DiskGB))
	}
	for _, p := range control.JoinPorts(in.Ports) {
		shown.Networking.Ports = append(shown.Networking.Ports, showPort(p))
	}
	return shown
}

// instanceWith shows an instance, with what the status checks say if that is asked for.
func (a *protocol) instanceWith(ctx context.Context, in *openimds.Instance, health bool) (wire.Instance, error) {
	shown := a.instance(in)
	if !health {
		return shown, nil
	}
	found, err := a.service.Health(ctx, in)
	if err != nil {
		return wire.Instance{}, err
	}
	shown.SystemStatus = healthOf(found)
	found.Impaired = false // of the guest itself nothing is known, as in StatusCheckFailed_Instance
	shown.InstanceStatus = healthOf(found)
	return shown, nil
}

func healthOf(h control.Health) *wire.HealthStatus {
	switch {
	case !h.Checked:
		return &wire.HealthStatus{Status: "not-applicable", Details: []wire.HealthDetail{}}
	case !h.Impaired:
		return &wire.HealthStatus{Status: "ok", Details: []wire.HealthDetail{{Name: "reachability", Status: "passed"}}}
	}
	failed := wire.HealthDetail{Name: "reachability", Status: "failed"}
	if !h.Since.IsZero() {
		failed.ImpairedSince = awsjson.Epoch{Time: h.Since}
	}
	return &wire.HealthStatus{Status: "impaired", Details: []wire.HealthDetail{failed}}
}

func systemDisk(in *openimds.Instance, sizeGB int) wire.Disk {
	shown := wire.Disk{
		CreatedAt: awsjson.Epoch{Time: in.CreatedAt}, SizeInGB: sizeGB, IsSystemDisk: true, IOPS: max(100, 3*sizeGB),
		AttachedTo: in.Name, AttachmentState: "attached",
	}
	for _, device := range in.BlockDevices {
		if device.Name == "root" {
			shown.Path = device.Device
		}
	}
	return shown
}

// stateOf shows the state with EC2's number for it.
func stateOf(in *openimds.Instance) wire.InstanceState {
	codes := map[openimds.InstanceState]int{
		openimds.StatePending: 0, openimds.StateRunning: 16, openimds.StateShuttingDown: 32,
		openimds.StateTerminated: 48, openimds.StateStopping: 64, openimds.StateStopped: 80,
	}
	return wire.InstanceState{Code: codes[in.State], Name: string(in.State)}
}
