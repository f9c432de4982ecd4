package wire

import (
	"time"

	"github.com/openimds/openimds"
)

// InstanceState is a state with EC2's number for it.
type InstanceState struct {
	Code int                    `xml:"code"`
	Name openimds.InstanceState `xml:"name"`
}

// MetadataOptions is how the API shows the options of an instance.
type MetadataOptions struct {
	State                openimds.OptionsState `xml:"state"`
	HTTPTokens           openimds.TokensMode   `xml:"httpTokens"`
	HopLimit             int                   `xml:"httpPutResponseHopLimit"`
	HTTPEndpoint         openimds.EndpointMode `xml:"httpEndpoint"`
	HTTPProtocolIPv6     openimds.EndpointMode `xml:"httpProtocolIpv6"`
	InstanceMetadataTags openimds.EndpointMode `xml:"instanceMetadataTags"`
}

// Tag is a key and a value.
type Tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

// Group is a security group.
type Group struct {
	GroupID   string `xml:"groupId"`
	GroupName string `xml:"groupName"`
}

// Placement is where an instance is.
type Placement struct {
	AvailabilityZone   string `xml:"availabilityZone"`
	AvailabilityZoneID string `xml:"availabilityZoneId,omitzero"`
	GroupName          string `xml:"groupName"`
	PartitionNumber    int    `xml:"partitionNumber,omitzero"`
	HostID             string `xml:"hostId,omitzero"`
	Tenancy            string `xml:"tenancy"`
}

// Association is a public address.
type Association struct {
	IPOwnerID     string `xml:"ipOwnerId"`
	PublicDNSName string `xml:"publicDnsName"`
	PublicIP      string `xml:"publicIp"`
}

// PrivateAddress is one of an interface's.
type PrivateAddress struct {
	Association      *Association `xml:"association,omitzero"`
	Primary          bool         `xml:"primary"`
	PrivateDNSName   string       `xml:"privateDnsName"`
	PrivateIPAddress string       `xml:"privateIpAddress"`
}

// IPv6Address is one of an interface's.
type IPv6Address struct {
	IPv6Address string `xml:"ipv6Address"`
}

// NetworkAttachment is an interface's being part of an instance.
type NetworkAttachment struct {
	AttachTime  time.Time `xml:"attachTime"`
	DeviceIndex int       `xml:"deviceIndex"`
	Status      string    `xml:"status"`
}

// NetworkInterface is one of an instance's.
type NetworkInterface struct {
	Association        *Association      `xml:"association,omitzero"`
	Attachment         NetworkAttachment `xml:"attachment"`
	GroupSet           []Group           `xml:"groupSet"`
	IPv6Addresses      []IPv6Address     `xml:"ipv6AddressesSet"`
	MACAddress         string            `xml:"macAddress"`
	NetworkInterfaceID string            `xml:"networkInterfaceId"`
	OwnerID            string            `xml:"ownerId"`
	PrivateDNSName     string            `xml:"privateDnsName"`
	PrivateIPAddress   string            `xml:"privateIpAddress,omitzero"`
	PrivateIPAddresses []PrivateAddress  `xml:"privateIpAddressesSet"`
	Status             string            `xml:"status"`
	SubnetID           string            `xml:"subnetId"`
	VPCID              string            `xml:"vpcId"`
	InterfaceType      string            `xml:"interfaceType"`
}

// StateReason is why an instance is in its state.
type StateReason struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

// MonitoringState is of detailed monitoring.
type MonitoringState struct {
	State string `xml:"state"`
}

// ProfileOf is an instance's profile.
type ProfileOf struct {
	ARN string `xml:"arn"`
	ID  string `xml:"id"`
}

// CPUOptions are the cores of an instance.
type CPUOptions struct {
	CoreCount      int `xml:"coreCount"`
	ThreadsPerCore int `xml:"threadsPerCore"`
}

// Flag is a switch.
type Flag struct {
	Enabled bool `xml:"enabled"`
}

// ConfiguredFlag is hibernation's.
type ConfiguredFlag struct {
	Configured bool `xml:"configured"`
}

// Instance is an instance.
type Instance struct {
	InstanceID         string             `xml:"instanceId"`
	ImageID            string             `xml:"imageId"`
	InstanceState      InstanceState      `xml:"instanceState"`
	PrivateDNSName     string             `xml:"privateDnsName"`
	DNSName            string             `xml:"dnsName"`
	Reason             string             `xml:"reason"`
	KeyName            string             `xml:"keyName,omitzero"`
	AMILaunchIndex     int                `xml:"amiLaunchIndex"`
	InstanceType       string             `xml:"instanceType"`
	LaunchTime         time.Time          `xml:"launchTime"`
	Placement          Placement          `xml:"placement"`
	KernelID           string             `xml:"kernelId,omitzero"`
	RamdiskID          string             `xml:"ramdiskId,omitzero"`
	Platform           string             `xml:"platform,omitzero"`
	Monitoring         MonitoringState    `xml:"monitoring"`
	SubnetID           string             `xml:"subnetId,omitzero"`
	VPCID              string             `xml:"vpcId,omitzero"`
	PrivateIPAddress   string             `xml:"privateIpAddress,omitzero"`
	IPAddress          string             `xml:"ipAddress,omitzero"`
	IPv6Address        string             `xml:"ipv6Address,omitzero"`
	GroupSet           []Group            `xml:"groupSet"`
	StateReason        *StateReason       `xml:"stateReason,omitzero"`
	Architecture       string             `xml:"architecture"`
	RootDeviceType     string             `xml:"rootDeviceType"`
	RootDeviceName     string             `xml:"rootDeviceName,omitzero"`
	BlockDevices       []struct{}         `xml:"blockDeviceMapping"`
	VirtualizationType string             `xml:"virtualizationType"`
	InstanceLifecycle  string             `xml:"instanceLifecycle,omitzero"`
	TagSet             []Tag              `xml:"tagSet,omitzero"`
	Hypervisor         string             `xml:"hypervisor"`
	NetworkInterfaces  []NetworkInterface `xml:"networkInterfaceSet"`
	IAMInstanceProfile *ProfileOf         `xml:"iamInstanceProfile,omitzero"`
	Hibernation        ConfiguredFlag     `xml:"hibernationOptions"`
	MetadataOptions    MetadataOptions    `xml:"metadataOptions"`
}

// Reservation is the instances of one launch.
type Reservation struct {
	ReservationID string     `xml:"reservationId"`
	OwnerID       string     `xml:"ownerId"`
	GroupSet      []Group    `xml:"groupSet"`
	Instances     []Instance `xml:"instancesSet"`
}
