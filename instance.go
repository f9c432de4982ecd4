package openimds

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// InstanceState is where an instance stands in its life, by the names of the EC2 API.
type InstanceState string

// The states of an instance.
const (
	StatePending      InstanceState = "pending"
	StateRunning      InstanceState = "running"
	StateShuttingDown InstanceState = "shutting-down"
	StateTerminated   InstanceState = "terminated"
	StateStopping     InstanceState = "stopping"
	StateStopped      InstanceState = "stopped"
)

// Answers says whether there is a guest to be answered: one that is stopping may ask to its end, as the scripts do that
// run at a shutdown.
func (s InstanceState) Answers() bool { return s == StateRunning || s == StateStopping }

// Instance is everything that is known of one virtual machine or container: what its guest may
// read, and what governs how it may read it. A value that is served is never changed; a change
// makes a new one.
type Instance struct {
	Name string `json:"name"`
	// ID is the EC2-side id, "i-" and 17 hexadecimal digits: what the guest sees.
	ID string `json:"id"`
	// UUID is the last part of the instance's ARN.
	UUID      string        `json:"uuid"`
	State     InstanceState `json:"state"`
	CreatedAt time.Time     `json:"createdAt"`
	// LaunchedAt is the time of the latest start: pendingTime of the identity document.
	LaunchedAt time.Time `json:"launchedAt"`
	// ModifiedAt is the time of the latest change of anything here: Last-Modified of the answers.
	ModifiedAt time.Time `json:"modifiedAt"`

	Options MetadataOptions `json:"options"`
	// OptionsOperation is the id of the operation that made the options pending, to be completed
	// when they are applied; empty otherwise.
	OptionsOperation string `json:"optionsOperation,omitempty"`
	// TokenKey seals the session tokens of this life of the instance: made at creation and anew at
	// each start from stopped, so that a token never outlives the life that it was given to.
	TokenKey Secret `json:"tokenKey"`
	// Bound is what the guest of this life is known by, if it was ever attached: another one begins
	// another life.
	Bound *Face `json:"bound,omitempty"`

	Region string `json:"region"`
	Zone   string `json:"zone"`
	ZoneID string `json:"zoneId,omitempty"`
	// OwnerID is the account that the guest sees (owner-id, accountId): 12 digits, kept as text for
	// the sake of leading zeros. On Lightsail it is an account of AWS's, not the customer's.
	OwnerID string `json:"ownerId"`

	BlueprintID string `json:"blueprintId,omitempty"`
	BundleID    string `json:"bundleId,omitempty"`
	// FormerBundleID is the generation of the bundle that the instance ran on before it was moved to this one.
	FormerBundleID string `json:"formerBundleId,omitempty"`
	ImageID        string `json:"imageId"`
	InstanceType   string `json:"instanceType"`
	Architecture   string `json:"architecture"` // "x86_64" or "arm64"
	// System names the hypervisor family of the "system" category; "nitro" unless set otherwise.
	System        string `json:"system"`
	LifeCycle     string `json:"lifeCycle"` // "on-demand", "spot", "scheduled"
	ReservationID string `json:"reservationId"`
	LaunchIndex   int    `json:"launchIndex"`
	// Optional items of old instances and of the marketplace; absent when empty.
	AncestorAMIIDs []string `json:"ancestorAmiIds,omitempty"`
	KernelID       string   `json:"kernelId,omitempty"`
	RamdiskID      string   `json:"ramdiskId,omitempty"`
	ProductCodes   []string `json:"productCodes,omitempty"`
	// Placement details that exist only where they apply.
	PlacementGroup  string `json:"placementGroup,omitempty"`
	PartitionNumber int    `json:"partitionNumber,omitempty"`
	HostID          string `json:"hostId,omitempty"`
	// DetailedMonitoring is what fws/instance-monitoring says.
	DetailedMonitoring bool `json:"detailedMonitoring,omitempty"`
	Hibernation        bool `json:"hibernation,omitempty"` // hibernation/configured

	// NICs are the network interfaces; the first is the primary one (device 0).
	NICs []NIC `json:"nics"`
	// Links are the interfaces that the guest really has, as its attachment says, the primary one first; empty:
	// nothing is known of them. See [Instance.Told].
	Links        []GuestLink   `json:"links,omitempty"`
	BlockDevices []BlockDevice `json:"blockDevices"`
	PublicKeys   []PublicKey   `json:"publicKeys,omitempty"`
	// ManagedKeys are keys that somebody pushed for a moment: managed-ssh-keys/active-keys/USER.
	ManagedKeys []ManagedKey `json:"managedKeys,omitempty"`
	// UserData is served as it is, byte for byte; at most MaxUserData bytes.
	UserData []byte `json:"userData,omitempty"`
	Tags     []Tag  `json:"tags,omitempty"`
	// Role is the instance profile; nil: iam/ does not exist.
	Role *Role `json:"role,omitempty"`
	// ExtendedCredentials shows the role's credentials with their account, too, below
	// iam/security-credentials-extended, which current SDKs ask for first. Where it is off, that is absent, as at AWS.
	ExtendedCredentials bool `json:"extendedCredentials,omitempty"`

	Events Events `json:"events,omitzero"`
	// Faults are what the guest meets on purpose; nil: nothing.
	Faults *Faults `json:"faults,omitempty"`
	// Rehearsal is the latest rehearsal of required session tokens; nil: there was none.
	Rehearsal *Rehearsal `json:"rehearsal,omitempty"`
	// Overlay lies over the table of categories: a path below the version ("meta-data/ami-id",
	// "user-data", "dynamic/x") mapped to its value, or to nil for "does not exist".
	Overlay map[string]*string `json:"overlay,omitempty"`
	// Recorded tells of the recording that the guest is answered in place of the table; nil: it is
	// answered the table. What is announced, the user data and the overlay lie over a recording.
	Recorded *RecordingSummary `json:"recorded,omitempty"`
	// Recording is what Recorded tells of, where [records.LoadRecording] has read it; it has a record of its own.
	Recording *Recording `json:"recording,omitempty"`

	// What only the control side shows.
	AddressType  string `json:"addressType,omitempty"` // "dualstack", "ipv4", "ipv6"
	StaticIPName string `json:"staticIpName,omitempty"`
	KeyPairName  string `json:"keyPairName,omitempty"`
	Username     string `json:"username,omitempty"`
	Ports        []Port `json:"ports,omitempty"`
}

// MaxUserData is the most user data of an instance, in bytes before any encoding (EC2 user guide,
// "Run commands when you launch an EC2 instance").
const MaxUserData = 16 << 10

// MaxInstanceRecord is the most bytes of an instance's record. It is written whole at each change of the
// instance, and kept for those who watch, so that everything in it has to be bounded together; what is
// larger, a recording, has a record of its own.
const MaxInstanceRecord = 256 << 10

// NIC is one network interface. The guest sees it below network/interfaces/macs/MAC/.
type NIC struct {
	ID           string `json:"id"`  // "eni-" and 17 hexadecimal digits
	MAC          string `json:"mac"` // lower case, with colons
	DeviceNumber int    `json:"deviceNumber"`
	// NetworkCard is shown only on types with several cards; nil: absent.
	NetworkCard *int `json:"networkCard,omitempty"`

	LocalHostname  string `json:"localHostname"`
	PublicHostname string `json:"publicHostname,omitempty"`
	// PrivateIPv4 are the interface's own addresses, the primary one first; empty on IPv6-only ones.
	PrivateIPv4  []netip.Addr   `json:"privateIpv4,omitempty"`
	Associations []Association  `json:"associations,omitempty"`
	IPv6         []netip.Addr   `json:"ipv6,omitempty"`
	IPv4Prefixes []netip.Prefix `json:"ipv4Prefixes,omitempty"`
	IPv6Prefixes []netip.Prefix `json:"ipv6Prefixes,omitempty"`

	SubnetID         string         `json:"subnetId"`
	SubnetIPv4CIDR   netip.Prefix   `json:"subnetIpv4Cidr"`
	SubnetIPv6CIDRs  []netip.Prefix `json:"subnetIpv6Cidrs,omitempty"`
	VPCID            string         `json:"vpcId"`
	VPCIPv4CIDRs     []netip.Prefix `json:"vpcIpv4Cidrs"`
	VPCIPv6CIDRs     []netip.Prefix `json:"vpcIpv6Cidrs,omitempty"`
	SecurityGroups   []string       `json:"securityGroups"`
	SecurityGroupIDs []string       `json:"securityGroupIds"`
}

// Association maps a public IPv4 address to the private ones that it stands for.
type Association struct {
	Public  netip.Addr   `json:"public"`
	Private []netip.Addr `json:"private"`
}

// PublicIPv4 returns the instance's public address: the first association of the primary interface.
func (in *Instance) PublicIPv4() (addr netip.Addr, ok bool) {
	if len(in.NICs) == 0 || len(in.NICs[0].Associations) == 0 {
		return netip.Addr{}, false
	}
	return in.NICs[0].Associations[0].Public, true
}

// BlockDevice is one row of block-device-mapping/: a virtual name ("ami", "root", "ebs1",
// "ephemeral0", "swap") and the device.
type BlockDevice struct {
	Name   string `json:"name"`
	Device string `json:"device"`
}

// PublicKey is one row of public-keys/: the key pair's name and the line for authorized_keys,
// without a final line feed.
type PublicKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// ManagedKey is what managed-ssh-keys/active-keys/USER holds until it expires, as EC2 Instance Connect
// leaves it there for a minute after a push. Lines are served as they are; those of several keys of a user one after
// the other.
type ManagedKey struct {
	User  string    `json:"user"`
	Lines string    `json:"lines"`
	Until time.Time `json:"until"`
}

// PushedKeyTime is how long a pushed SSH key is there, as with EC2 Instance Connect.
const PushedKeyTime = time.Minute

// Active says whether the guest finds the key: also where the clock was turned back, no earlier than it was pushed.
func (k *ManagedKey) Active(now time.Time) bool {
	return within(now, k.Until.Add(-PushedKeyTime), k.Until)
}

// PushedKey is an SSH key that is to be signed for a guest.
type PushedKey struct {
	InstanceID string
	Key        string    // one line of authorized_keys
	Until      time.Time // its end, in whole seconds
	Caller     string    // who pushed it, as an ARN; empty: nobody says
	Request    string    // id of the request
}

// Tag is a key and a value, in the order in which they were given.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Role is an IAM role that reaches the guest through an instance profile.
type Role struct {
	Name       string `json:"name"`
	ProfileARN string `json:"profileArn"`
	ProfileID  string `json:"profileId"` // "AIPA" and 17 characters of base32
}

// Port is a firewall rule of an instance, as Lightsail shows it.
type Port struct {
	From      int      `json:"from"`
	To        int      `json:"to"`
	Protocol  string   `json:"protocol"`
	CIDRs     []string `json:"cidrs,omitempty"`
	IPv6CIDRs []string `json:"ipv6Cidrs,omitempty"`
}

// Secret is key material. It is stored, but shows itself to no log and no formatter.
type Secret []byte

const redacted = "[secret]"

// Format hides the secret from fmt, whatever the verb: %d would print the bytes past String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// String hides the secret from whoever asks for a text.
func (Secret) String() string { return redacted }

// GoString hides the secret from whoever asks for Go syntax.
func (Secret) GoString() string { return redacted }

// LogValue hides the secret from log/slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// The kinds of addresses that an instance has.
const (
	AddressDual = "dualstack"
	AddressIPv4 = "ipv4"
	AddressIPv6 = "ipv6"
)
