package openimds

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"
	"time"
)

// TokenKeySize is the length of [Instance.TokenKey] in bytes.
const TokenKeySize = 32

// LightsailOwnerID is the account that owns the EC2 side of Lightsail's instances, as guests see it.
const LightsailOwnerID = "437521954154"

// Launch is what a new instance is made of. Zero members get the defaults of Lightsail.
type Launch struct {
	Name        string
	Region      string
	Zone        string // default: Region + "a"
	BlueprintID string // default: DefaultBlueprint
	BundleID    string // default: DefaultBundle, "nano_3_0" in most regions
	// InstanceType and ImageID default to what bundle and blueprint stand on.
	InstanceType  string
	ImageID       string
	RootDevice    string // default: the blueprint's
	ReservationID string // default: a new one
	LaunchIndex   int
	UserData      []byte
	Tags          []Tag
	PublicKeys    []PublicKey
	AddressType   string // default "dualstack"
	Username      string // default: the blueprint's
	KeyPairName   string
	OwnerID       string        // default: LightsailOwnerID
	RoleName      *string       // default: Lightsail's; empty: no role
	Options       OptionsUpdate // default: the blueprint's
}

// complete sets what was left out.
func (l *Launch) complete() {
	if l.Zone == "" {
		l.Zone = l.Region + "a"
	}
	l.BlueprintID = cmp.Or(l.BlueprintID, DefaultBlueprint)
	// Ids that the catalogue does not have are the caller's own affair.
	blueprint, known := FindBlueprint(l.BlueprintID)
	if !known {
		blueprint.Platform = PlatformLinux
	}
	bundle, _ := FindBundle(l.Region, l.BundleID)
	if l.BundleID == "" {
		bundle, _ = DefaultBundle(l.Region, blueprint, l.AddressType)
		l.BundleID = bundle.ID
	}
	l.InstanceType = cmp.Or(l.InstanceType, bundle.EC2Type, "t3.nano")
	l.ImageID = cmp.Or(l.ImageID, ImageID(l.BlueprintID, l.Region))
	l.RootDevice = cmp.Or(l.RootDevice, blueprint.RootDevice, "/dev/xvda")
	l.Username = cmp.Or(l.Username, blueprint.Username)
	l.AddressType = cmp.Or(l.AddressType, AddressDual)
	if l.ReservationID == "" {
		l.ReservationID = NewID("r-")
	}
}

// ImageID is the id that the image of a blueprint has in a region, as guests and EC2's API see it.
func ImageID(blueprint, region string) string { return "ami-" + stableID(blueprint, region) }

// NewInstance makes a running instance with ids, addresses and a token key of its own.
//
// Addresses are made up: private ones in Lightsail's 172.26.0.0/16, public ones in the ranges that
// RFC 2544 (198.18.0.0/15) and RFC 3849 (2001:db8::/32) set aside, so that they lead nowhere.
func NewInstance(l Launch, now time.Time) *Instance {
	now = now.UTC().Truncate(time.Second)
	l.complete()
	blueprint, _ := FindBlueprint(l.BlueprintID)
	in := &Instance{
		Name:          l.Name,
		ID:            NewID("i-"),
		UUID:          NewUUID(),
		State:         StateRunning,
		CreatedAt:     now,
		LaunchedAt:    now,
		ModifiedAt:    now,
		Options:       l.Options.Apply(blueprint.DefaultOptions()),
		TokenKey:      NewTokenKey(),
		Region:        l.Region,
		Zone:          l.Zone,
		ZoneID:        ZoneID(l.Region, l.Zone),
		OwnerID:       cmp.Or(l.OwnerID, LightsailOwnerID),
		BlueprintID:   l.BlueprintID,
		BundleID:      l.BundleID,
		ImageID:       l.ImageID,
		InstanceType:  l.InstanceType,
		Architecture:  "x86_64",
		System:        "nitro",
		LifeCycle:     "on-demand",
		ReservationID: l.ReservationID,
		LaunchIndex:   l.LaunchIndex,
		UserData:      l.UserData,
		Tags:          l.Tags,
		PublicKeys:    l.PublicKeys,
		AddressType:   l.AddressType,
		Username:      l.Username,
		KeyPairName:   l.KeyPairName,
		Ports:         blueprint.Ports(l.AddressType),
		BlockDevices: []BlockDevice{
			{Name: "ami", Device: l.RootDevice},
			{Name: "root", Device: l.RootDevice},
		},
	}
	// Amazon Linux names the device of the image without /dev (protocol fact of block-device-mapping).
	if l.RootDevice == "/dev/xvda" {
		in.BlockDevices[0].Device = "xvda"
	}
	role := "AmazonLightsailInstanceRole"
	if l.RoleName != nil {
		role = *l.RoleName
	}
	in.Role = NewRole(role, in)
	in.NICs = []NIC{newNIC(in, l.AddressType)}
	return in
}

// madeUp is where private addresses are made up: Lightsail's private range.
var madeUp = netip.MustParsePrefix("172.26.0.0/16")

// newNIC makes the primary interface of an instance.
func newNIC(in *Instance, addressType string) NIC {
	subnet := netip.MustParsePrefix("172.26.0.0/20")
	nic := NIC{
		ID:               NewID("eni-"),
		MAC:              newMAC(),
		SubnetID:         "subnet-" + stableID("subnet", in.Zone),
		SubnetIPv4CIDR:   subnet,
		VPCID:            "vpc-" + stableID("vpc", in.Region),
		VPCIPv4CIDRs:     []netip.Prefix{madeUp},
		SecurityGroups:   []string{"default"},
		SecurityGroupIDs: []string{"sg-" + stableID("sg", in.Region)},
	}
	nic.LocalHostname = PrivateHostname(nic.newPrivateIPv4(), in.Region)
	if addressType != AddressIPv6 {
		nic.GiveIPv4(in.Region, true)
	}
	if addressType != AddressIPv4 {
		nic.GiveIPv6()
	}
	return nic
}

// newPrivateIPv4 makes up an address of the interface's subnet.
func (nic *NIC) newPrivateIPv4() netip.Addr {
	host := randomUint32()%(1<<12-8) + 4 // AWS keeps the first four and the last address of a subnet
	return netip.AddrFrom4([4]byte{172, 26, byte(host >> 8), byte(host)})
}

// GiveIPv4 gives the interface a private address with its name and, if wanted, a public one.
func (nic *NIC) GiveIPv4(region string, public bool) {
	nic.PrivateIPv4 = []netip.Addr{nic.newPrivateIPv4()}
	nic.LocalHostname = PrivateHostname(nic.PrivateIPv4[0], region)
	if public {
		SetPublicIPv4(nic, NewPublicIPv4(), region)
	}
}

// ClearIPv4 takes the addresses; the private name stays, as it does on AWS's IPv6-only instances.
func (nic *NIC) ClearIPv4() {
	nic.PrivateIPv4, nic.IPv4Prefixes, nic.Associations, nic.PublicHostname = nil, nil, nil, ""
}

// GiveIPv6 gives the interface an address and its subnet's and network's blocks.
func (nic *NIC) GiveIPv6() {
	nic.SubnetIPv6CIDRs = []netip.Prefix{netip.MustParsePrefix("2001:db8:1a:2600::/64")}
	nic.VPCIPv6CIDRs = []netip.Prefix{netip.MustParsePrefix("2001:db8:1a:2600::/56")}
	nic.IPv6 = []netip.Addr{NewIPv6(nic.SubnetIPv6CIDRs[0])}
}

func (nic *NIC) ClearIPv6() {
	nic.IPv6, nic.IPv6Prefixes, nic.SubnetIPv6CIDRs, nic.VPCIPv6CIDRs = nil, nil, nil, nil
}

// SetPublicIPv4 gives the interface one public address in place of any that it had; the zero
// address takes it away.
func SetPublicIPv4(nic *NIC, public netip.Addr, region string) {
	nic.Associations, nic.PublicHostname = nil, ""
	if public.IsValid() && len(nic.PrivateIPv4) > 0 {
		nic.Associations = []Association{{Public: public, Private: nic.PrivateIPv4[:1]}}
		nic.PublicHostname = PublicHostname(public, region)
	}
}

// PrivateHostname is the name that AWS's DNS gives to a private address.
func PrivateHostname(addr netip.Addr, region string) string {
	name := "ip-" + strings.ReplaceAll(addr.String(), ".", "-")
	if region == "us-east-1" {
		return name + ".ec2.internal"
	}
	return name + "." + region + ".compute.internal"
}

// PublicHostname is the name that AWS's DNS gives to a public address.
func PublicHostname(addr netip.Addr, region string) string {
	name := "ec2-" + strings.ReplaceAll(addr.String(), ".", "-")
	if region == "us-east-1" {
		return name + ".compute-1.amazonaws.com"
	}
	return name + "." + region + ".compute.amazonaws.com"
}

// NewPublicIPv4 makes up a public address in 198.18.0.0/15.
func NewPublicIPv4() netip.Addr {
	n := randomUint32()
	return netip.AddrFrom4([4]byte{198, 18 + byte(n>>16)&1, byte(n >> 8), byte(n)})
}

// NewIPv6 makes up an address of the /64 subnet.
func NewIPv6(subnet netip.Prefix) netip.Addr {
	b := subnet.Addr().As16()
	fill(b[8:])
	return netip.AddrFrom16(b)
}

// NewID makes an EC2-style id: the prefix and 17 hexadecimal digits.
func NewID(prefix string) string {
	var b [9]byte
	fill(b[:])
	return prefix + hex.EncodeToString(b[:])[:17]
}

// NewUUID makes a random UUID (RFC 9562, version 4).
func NewUUID() string {
	var b [16]byte
	fill(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// NewTokenKey makes the key of one life of an instance.
func NewTokenKey() Secret {
	key := make(Secret, TokenKeySize)
	fill(key)
	return key
}

func newMAC() string {
	var b [6]byte
	fill(b[:])
	b[0] = 0x06 // locally administered, as EC2's are
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

// stableID makes 17 hexadecimal digits that are always the same for the same words: one image,
// subnet or group in a region, whoever asks.
func stableID(words ...string) string { return hex.EncodeToString(stableSum(words...))[:17] }

func stableSum(words ...string) []byte {
	h := fnv.New128a()
	for _, w := range words {
		_, _ = h.Write([]byte(w + "\x00")) // a hash never fails
	}
	return h.Sum(nil)
}

// ZoneID makes a zone id of AWS's form ("use1-az1") from region and zone.
func ZoneID(region, zone string) string {
	parts := strings.Split(region, "-")
	if len(parts) != 3 || len(zone) != len(region)+1 {
		return ""
	}
	direction := map[string]string{
		"north": "n", "south": "s", "east": "e", "west": "w", "central": "c",
		"northeast": "ne", "southeast": "se", "northwest": "nw", "southwest": "sw",
	}[parts[1]]
	letter := zone[len(region)]
	if direction == "" || letter < 'a' || letter > 'z' {
		return ""
	}
	return fmt.Sprintf("%s%s%s-az%d", parts[0], direction, parts[2], letter-'a'+1)
}

func randomUint32() uint32 {
	var b [4]byte
	fill(b[:])
	return binary.BigEndian.Uint32(b[:])
}

// fill never fails: since Go 1.24 crypto/rand ends the program rather than return weak bytes.
func fill(b []byte) { _, _ = rand.Read(b) }

// NewRole makes the role of that name with its profile; the empty name makes none.
func NewRole(name string, in *Instance) *Role {
	if name == "" {
		return nil
	}
	return &Role{
		Name:       name,
		ProfileARN: "arn:aws:iam::" + cmp.Or(in.OwnerID, LightsailOwnerID) + ":instance-profile/" + name,
		ProfileID:  "AIPA" + base32.StdEncoding.EncodeToString(stableSum(name, in.Region))[:17],
	}
}
