package wire

import (
	"time"

	"github.com/openimds/openimds"
)

// InstanceState is a state with EC2's number for it.
type InstanceState struct {
	Code int                    `ec2:"code"`
	Name openimds.InstanceState `ec2:"name"`
}

// MetadataOptions is how the API shows the options of an instance.
type MetadataOptions struct {
	State                openimds.OptionsState `ec2:"state"`
	HTTPTokens           openimds.TokensMode   `ec2:"httpTokens"`
	HopLimit             int                   `ec2:"httpPutResponseHopLimit"`
	HTTPEndpoint         openimds.EndpointMode `ec2:"httpEndpoint"`
	HTTPProtocolIPv6     openimds.EndpointMode `ec2:"httpProtocolIpv6"`
	InstanceMetadataTags openimds.EndpointMode `ec2:"instanceMetadataTags"`
}

// Tag is a key and a value.
type Tag struct {
	Key   string `ec2:"key"`
	Value string `ec2:"value"`
}

// Group is a security group.
type Group struct {
	GroupID   string `ec2:"groupId"`
	GroupName string `ec2:"groupName"`
}

// Placement is where an instance is.
type Placement struct {
	AvailabilityZone   string `ec2:"availabilityZone"`
	AvailabilityZoneID string `ec2:"availabilityZoneId,omitzero"`
	GroupName          string `ec2:"groupName"`
	PartitionNumber    int    `ec2:"partitionNumber,omitzero"`
	HostID             string `ec2:"hostId,omitzero"`
	Tenancy            string `ec2:"tenancy"`
}

// Association is a public address.
type Association struct {
	IPOwnerID     string `ec2:"ipOwnerId"`
	PublicDNSName string `ec2:"publicDnsName"`
	PublicIP      string `ec2:"publicIp"`
}

// PrivateAddress is one of an interface's.
type PrivateAddress struct {
	Association      *Association `ec2:"association,omitzero"`
	Primary          bool         `ec2:"primary"`
	PrivateDNSName   string       `ec2:"privateDnsName"`
	PrivateIPAddress string       `ec2:"privateIpAddress"`
}

// IPv6Address is one of an interface's.
type IPv6Address struct {
	IPv6Address string `ec2:"ipv6Address"`
}

// NetworkAttachment is an interface's being part of an instance.
type NetworkAttachment struct {
	AttachTime  time.Time `ec2:"attachTime"`
	DeviceIndex int       `ec2:"deviceIndex"`
	Status      string    `ec2:"status"`
}

// NetworkInterface is one of an instance's.
type NetworkInterface struct {
	Association        *Association      `ec2:"association,omitzero"`
	Attachment         NetworkAttachment `ec2:"attachment"`
	GroupSet           []Group           `ec2:"groupSet"`
	IPv6Addresses      []IPv6Address     `ec2:"ipv6AddressesSet"`
	MACAddress         string            `ec2:"macAddress"`
	NetworkInterfaceID string            `ec2:"networkInterfaceId"`
	OwnerID            string            `ec2:"ownerId"`
	PrivateDNSName     string            `ec2:"privateDnsName"`
	PrivateIPAddress   string            `ec2:"privateIpAddress,omitzero"`
	PrivateIPAddresses []PrivateAddress  `ec2:"privateIpAddressesSet"`
	Status             string            `ec2:"status"`
	SubnetID           string            `ec2:"subnetId"`
	VPCID              string            `ec2:"vpcId"`
	InterfaceType      string            `ec2:"interfaceType"`
}

// StateReason is why an instance is in its state.
type StateReason struct {
	Code    string `ec2:"code"`
	Message string `ec2:"message"`
}

// MonitoringState is of detailed monitoring.
type MonitoringState struct {
	State string `ec2:"state"`
}

// ProfileOf is an instance's profile.
type ProfileOf struct {
	ARN string `ec2:"arn"`
	ID  string `ec2:"id"`
}

// CPUOptions are the cores of an instance.
type CPUOptions struct {
	CoreCount      int `ec2:"coreCount"`
	ThreadsPerCore int `ec2:"threadsPerCore"`
}

// Flag is a switch.
type Flag struct {
	Enabled bool `ec2:"enabled"`
}

// ConfiguredFlag is hibernation's.
type ConfiguredFlag struct {
	Configured bool `ec2:"configured"`
}

// Instance is an instance.
type Instance struct {
	InstanceID         string             `ec2:"instanceId"`
	ImageID            string             `ec2:"imageId"`
	InstanceState      InstanceState      `ec2:"instanceState"`
	PrivateDNSName     string             `ec2:"privateDnsName"`
	DNSName            string             `ec2:"dnsName"`
	Reason             string             `ec2:"reason"`
	KeyName            string             `ec2:"keyName,omitzero"`
	AMILaunchIndex     int                `ec2:"amiLaunchIndex"`
	InstanceType       string             `ec2:"instanceType"`
	LaunchTime         time.Time          `ec2:"launchTime"`
	Placement          Placement          `ec2:"placement"`
	KernelID           string             `ec2:"kernelId,omitzero"`
	RamdiskID          string             `ec2:"ramdiskId,omitzero"`
	Platform           string             `ec2:"platform,omitzero"`
	Monitoring         MonitoringState    `ec2:"monitoring"`
	SubnetID           string             `ec2:"subnetId,omitzero"`
	VPCID              string             `ec2:"vpcId,omitzero"`
	PrivateIPAddress   string             `ec2:"privateIpAddress,omitzero"`
	IPAddress          string             `ec2:"ipAddress,omitzero"`
	IPv6Address        string             `ec2:"ipv6Address,omitzero"`
	GroupSet           []Group            `ec2:"groupSet"`
	StateReason        *StateReason       `ec2:"stateReason,omitzero"`
	Architecture       string             `ec2:"architecture"`
	RootDeviceType     string             `ec2:"rootDeviceType"`
	RootDeviceName     string             `ec2:"rootDeviceName,omitzero"`
	BlockDevices       []struct{}         `ec2:"blockDeviceMapping"`
	VirtualizationType string             `ec2:"virtualizationType"`
	InstanceLifecycle  string             `ec2:"instanceLifecycle,omitzero"`
	TagSet             []Tag              `ec2:"tagSet,omitzero"`
	Hypervisor         string             `ec2:"hypervisor"`
	NetworkInterfaces  []NetworkInterface `ec2:"networkInterfaceSet"`
	IAMInstanceProfile *ProfileOf         `ec2:"iamInstanceProfile,omitzero"`
	Hibernation        ConfiguredFlag     `ec2:"hibernationOptions"`
	MetadataOptions    MetadataOptions    `ec2:"metadataOptions"`
}

// Reservation is the instances of one launch.
type Reservation struct {
	ReservationID string     `ec2:"reservationId"`
	OwnerID       string     `ec2:"ownerId"`
	GroupSet      []Group    `ec2:"groupSet"`
	Instances     []Instance `ec2:"instancesSet"`
}
