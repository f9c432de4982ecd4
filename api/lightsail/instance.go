package lightsail

import (
	"github.com/openimds/openimds"
)

// instance is how the API shows an instance. addOns is left out: nothing here has any.
type instance struct {
	Name             string          `json:"name"`
	ARN              string          `json:"arn"`
	SupportCode      string          `json:"supportCode"`
	CreatedAt        epoch           `json:"createdAt"`
	Location         location        `json:"location"`
	ResourceType     string          `json:"resourceType"`
	Tags             []tag           `json:"tags"`
	BlueprintID      string          `json:"blueprintId,omitempty"`
	BlueprintName    string          `json:"blueprintName,omitempty"`
	BundleID         string          `json:"bundleId,omitempty"`
	IsStaticIP       bool            `json:"isStaticIp"`
	PrivateIPAddress string          `json:"privateIpAddress,omitempty"`
	PublicIPAddress  string          `json:"publicIpAddress,omitempty"`
	IPv6Addresses    []string        `json:"ipv6Addresses"`
	IPAddressType    string          `json:"ipAddressType,omitempty"`
	Hardware         hardware        `json:"hardware"`
	Networking       networking      `json:"networking"`
	State            instanceState   `json:"state"`
	Username         string          `json:"username,omitempty"`
	SSHKeyName       string          `json:"sshKeyName,omitempty"`
	MetadataOptions  metadataOptions `json:"metadataOptions"`
	// Faults is not Lightsail's: it is there while the guest meets faults on purpose, so that nobody
	// can overlook them.
	Faults *openimds.Faults `json:"faults,omitempty"`
}

type hardware struct {
	CPUCount    int    `json:"cpuCount,omitempty"`
	Disks       []disk `json:"disks"`
	RAMSizeInGB double `json:"ramSizeInGb,omitempty"`
}

// disk is the system disk of an instance, which has neither a name nor an ARN.
type disk struct {
	CreatedAt       epoch  `json:"createdAt"`
	SizeInGB        int    `json:"sizeInGb"`
	IsSystemDisk    bool   `json:"isSystemDisk"`
	IOPS            int    `json:"iops"`
	Path            string `json:"path"`
	AttachedTo      string `json:"attachedTo"`
	AttachmentState string `json:"attachmentState"`
}

type networking struct {
	MonthlyTransfer monthlyTransfer `json:"monthlyTransfer"`
	Ports           []portInfo      `json:"ports"`
}

type monthlyTransfer struct {
	GBPerMonthAllocated int `json:"gbPerMonthAllocated"`
}

type instanceState struct {
	Code int    `json:"code"`
	Name string `json:"name"`
}

// instance shows an instance. Its support code tells what the guest sees: the account and the id.
func (a *api) instance(in *openimds.Instance) instance {
	blueprint := a.blueprints[in.BlueprintID]
	bundle, hasBundle := a.bundles[in.BundleID]
	shown := instance{
		Name: in.Name, ARN: a.service.ARN(openimds.TypeInstance, in.UUID), SupportCode: in.OwnerID + "/" + in.ID,
		CreatedAt: epoch{in.CreatedAt}, Location: location{in.Zone, in.Region}, ResourceType: string(openimds.TypeInstance),
		Tags: showTags(in.Tags), BlueprintID: in.BlueprintID, BlueprintName: blueprint.Name, BundleID: in.BundleID,
		IsStaticIP: in.StaticIPName != "", IPv6Addresses: []string{}, IPAddressType: in.AddressType,
		Hardware:   hardware{CPUCount: bundle.CPUs, Disks: []disk{}, RAMSizeInGB: double(bundle.RAM)},
		Networking: networking{MonthlyTransfer: monthlyTransfer{bundle.TransferGB}, Ports: []portInfo{}},
		State:      stateOf(in), Username: in.Username, SSHKeyName: in.KeyPairName, MetadataOptions: optionsOf(in), Faults: in.Faults,
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
	for _, p := range in.Ports {
		shown.Networking.Ports = append(shown.Networking.Ports, showPort(p))
	}
	return shown
}

func systemDisk(in *openimds.Instance, sizeGB int) disk {
	shown := disk{
		CreatedAt: epoch{in.CreatedAt}, SizeInGB: sizeGB, IsSystemDisk: true, IOPS: max(100, 3*sizeGB),
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
func stateOf(in *openimds.Instance) instanceState {
	codes := map[openimds.InstanceState]int{
		openimds.StatePending: 0, openimds.StateRunning: 16, openimds.StateShuttingDown: 32,
		openimds.StateTerminated: 48, openimds.StateStopping: 64, openimds.StateStopped: 80,
	}
	return instanceState{codes[in.State], string(in.State)}
}
