package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// Instance is how the API shows an instance. addOns is left out: nothing here has any.
type Instance struct {
	Name             string          `json:"name"`
	ARN              string          `json:"arn"`
	SupportCode      string          `json:"supportCode"`
	CreatedAt        awsjson.Epoch   `json:"createdAt"`
	Location         Location        `json:"location"`
	ResourceType     string          `json:"resourceType"`
	Tags             []Tag           `json:"tags"`
	BlueprintID      string          `json:"blueprintId,omitempty"`
	BlueprintName    string          `json:"blueprintName,omitempty"`
	BundleID         string          `json:"bundleId,omitempty"`
	IsStaticIP       bool            `json:"isStaticIp"`
	PrivateIPAddress string          `json:"privateIpAddress,omitempty"`
	PublicIPAddress  string          `json:"publicIpAddress,omitempty"`
	IPv6Addresses    []string        `json:"ipv6Addresses"`
	IPAddressType    string          `json:"ipAddressType,omitempty"`
	Hardware         Hardware        `json:"hardware"`
	Networking       Networking      `json:"networking"`
	State            InstanceState   `json:"state"`
	Username         string          `json:"username,omitempty"`
	SSHKeyName       string          `json:"sshKeyName,omitempty"`
	MetadataOptions  MetadataOptions `json:"metadataOptions"`
	// InstanceStatus and SystemStatus are there only where the request asks for them.
	InstanceStatus *HealthStatus `json:"instanceStatus,omitempty"`
	SystemStatus   *HealthStatus `json:"systemStatus,omitempty"`
	// Faults is not Lightsail's: it is there while the guest meets faults on purpose, so that nobody
	// can overlook them.
	Faults *openimds.Faults `json:"faults,omitempty"`
	// Rehearsal is not Lightsail's either: it is there while required session tokens are tried out, which
	// changes no option.
	Rehearsal *openimds.Rehearsal `json:"rehearsal,omitempty"`
	// PendingHosts is not Lightsail's either: the hosts that do not obey the options yet, while these are pending. Only
	// GetInstance tells.
	PendingHosts []string `json:"pendingHosts,omitempty"`
}

// HealthStatus is what status checks found: "ok", "impaired" or, where none are made, "not-applicable".
type HealthStatus struct {
	Details []HealthDetail `json:"details"`
	Status  string         `json:"status"`
}

// HealthDetail is one check: "passed" or "failed".
type HealthDetail struct {
	Name          string        `json:"name"`
	Status        string        `json:"status"`
	ImpairedSince awsjson.Epoch `json:"impairedSince,omitzero"`
}

// Hardware is what an instance's bundle gives it.
type Hardware struct {
	CPUCount    int            `json:"cpuCount,omitempty"`
	Disks       []Disk         `json:"disks"`
	RAMSizeInGB awsjson.Double `json:"ramSizeInGb,omitempty"`
}

// Disk is the system disk of an instance, which has neither a name nor an ARN.
type Disk struct {
	CreatedAt       awsjson.Epoch `json:"createdAt"`
	SizeInGB        int           `json:"sizeInGb"`
	IsSystemDisk    bool          `json:"isSystemDisk"`
	IOPS            int           `json:"iops"`
	Path            string        `json:"path"`
	AttachedTo      string        `json:"attachedTo"`
	AttachmentState string        `json:"attachmentState"`
}

// Networking is an instance's traffic and its port rules.
type Networking struct {
	MonthlyTransfer MonthlyTransfer `json:"monthlyTransfer"`
	Ports           []PortInfo      `json:"ports"`
}

// MonthlyTransfer is how much traffic a bundle includes.
type MonthlyTransfer struct {
	GBPerMonthAllocated int `json:"gbPerMonthAllocated"`
}

// InstanceState is a state, with EC2's number for it.
type InstanceState struct {
	Code int    `json:"code"`
	Name string `json:"name"`
}
