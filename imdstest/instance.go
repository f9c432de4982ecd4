package imdstest

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/metadata"
)

// Instance is the instance that the program under test is on.
type Instance struct {
	// What every instance has. Left out, the ids, the image and the addresses are made up.
	ID           string // "i-" and 8 to 17 hexadecimal digits
	ImageID      string // "ami-…"
	InstanceType string // "t3.nano"
	LifeCycle    string // "on-demand", "spot" or "scheduled"; left out, "on-demand"
	Region       string // left out, "us-east-1"
	Zone         string // left out, the region's first: "us-east-1a"
	AccountID    string // left out, "123456789012"
	MAC          string // of the one network interface
	PrivateIP    string
	Hostname     string // local-hostname; left out, AWS's name for PrivateIP

	// What only some instances have. Left out, it is absent.
	PublicIP  string
	KeyName   string // of PublicKey; left out, "key"
	PublicKey string // a line of authorized_keys
	UserData  string
	Tags      map[string]string // shown below tags/instance/
	// RoleName is the role that the instance's profile has. Without Credentials it gets some that look
	// real and open nothing.
	RoleName    string
	Credentials Credentials
	// ExtendedCredentials shows the role's credentials with the account, too, where current SDKs ask for them first.
	ExtendedCredentials bool

	// Values and Absent lie over all of that: paths below the version, like "meta-data/ami-launch-index".
	Values map[string]string
	Absent []string

	// Options are the metadata options; what is left out is as AWS's defaults are.
	Options Options
}

// Options are the options of the metadata service, in the words of AWS's API. The zero value of a
// field leaves the option as it is.
type Options struct {
	Tokens   openimds.TokensMode   // "optional" or "required"; at first "optional"
	Endpoint openimds.EndpointMode // "enabled" or "disabled"; at first "enabled"
	HopLimit int                   // 1 to 64; at first 1
}

func (o Options) update() openimds.OptionsUpdate {
	var u openimds.OptionsUpdate
	if o.Tokens != "" {
		u.Tokens = &o.Tokens
	}
	if o.Endpoint != "" {
		u.Endpoint = &o.Endpoint
	}
	if o.HopLimit != 0 {
		u.HopLimit = &o.HopLimit
	}
	return u
}

// instanceName is the name that the control side knows the instance by; no guest sees it.
const instanceName = "imdstest"

// record makes the instance as the service keeps it.
func (in *Instance) record(now time.Time) (*openimds.Instance, error) {
	region, account := cmp.Or(in.Region, "us-east-1"), cmp.Or(in.AccountID, "123456789012")
	if err := (control.Config{Region: region, AccountID: account}).Validate(); err != nil {
		return nil, err
	}
	launch := openimds.Launch{
		Name: instanceName, Region: region, Zone: in.Zone, OwnerID: account, RoleName: &in.RoleName,
		ImageID: in.ImageID, InstanceType: in.InstanceType, UserData: []byte(in.UserData),
		AddressType: openimds.AddressIPv4,
	}
	for _, key := range slices.Sorted(maps.Keys(in.Tags)) {
		launch.Tags = append(launch.Tags, openimds.Tag{Key: key, Value: in.Tags[key]})
	}
	if in.PublicKey != "" {
		launch.PublicKeys = []openimds.PublicKey{{Name: cmp.Or(in.KeyName, "key"), Key: strings.TrimSuffix(in.PublicKey, "\n")}}
	} else if in.KeyName != "" {
		return nil, fmt.Errorf("KeyName %q names no key: set PublicKey too", in.KeyName)
	}
	record := openimds.NewInstance(launch, now)
	record.ID = cmp.Or(in.ID, record.ID)
	record.LifeCycle = cmp.Or(in.LifeCycle, record.LifeCycle)
	if len(in.Tags) > 0 {
		record.Options.Tags = openimds.EndpointEnabled
	}
	record.ExtendedCredentials = in.ExtendedCredentials
	record.Options = in.Options.update().Apply(record.Options)
	if err := in.connect(&record.NICs[0], region); err != nil {
		return nil, err
	}
	overlay, err := in.overlay()
	record.Overlay = overlay
	return record, err
}

// connect gives the network interface its addresses.
func (in *Instance) connect(nic *openimds.NIC, region string) error {
	nic.MAC = cmp.Or(in.MAC, nic.MAC)
	if in.PrivateIP != "" {
		addr, err := netip.ParseAddr(in.PrivateIP)
		if err != nil || !addr.Is4() {
			return fmt.Errorf("PrivateIP %q is not an IPv4 address", in.PrivateIP)
		}
		nic.PrivateIPv4 = []netip.Addr{addr}
		nic.LocalHostname = openimds.PrivateHostname(addr, region)
		nic.SubnetIPv4CIDR = netip.PrefixFrom(addr, 20).Masked()
		nic.VPCIPv4CIDRs = []netip.Prefix{netip.PrefixFrom(addr, 16).Masked()}
	}
	nic.LocalHostname = cmp.Or(in.Hostname, nic.LocalHostname)
	var public netip.Addr // none
	if in.PublicIP != "" {
		var err error
		if public, err = netip.ParseAddr(in.PublicIP); err != nil || !public.Is4() {
			return fmt.Errorf("PublicIP %q is not an IPv4 address", in.PublicIP)
		}
	}
	openimds.SetPublicIPv4(nic, public, region)
	return nil
}

func (in *Instance) overlay() (map[string]*string, error) {
	overlay := make(map[string]*string, len(in.Values)+len(in.Absent))
	for path, value := range in.Values {
		overlay[path] = &value
	}
	for _, path := range in.Absent {
		if _, ok := in.Values[path]; ok {
			return nil, fmt.Errorf("%q is in Values and in Absent", path)
		}
		overlay[path] = nil
	}
	for path := range overlay {
		if err := checkPath(path); err != nil {
			return nil, err
		}
	}
	return overlay, nil
}

// checkPath refuses a path that begins as in a request: it would lie below each version once more.
func checkPath(path string) error {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if slices.Contains(metadata.Versions(), first) {
		return fmt.Errorf("path %q begins with a version; write it as %q", path, rest)
	}
	if strings.HasPrefix(path, "/") {
		return fmt.Errorf(`path %q begins with a slash; write it below the version, like "meta-data/ami-id"`, path)
	}
	return nil
}

// instanceOf reads a record back; the credentials are not in it.
func instanceOf(record *openimds.Instance) Instance {
	nic := record.NICs[0]
	in := Instance{
		ID: record.ID, ImageID: record.ImageID, InstanceType: record.InstanceType, LifeCycle: record.LifeCycle,
		Region: record.Region, Zone: record.Zone, AccountID: record.OwnerID, MAC: nic.MAC, Hostname: nic.LocalHostname,
		UserData: string(record.UserData), ExtendedCredentials: record.ExtendedCredentials,
		Options: Options{Tokens: record.Options.Tokens, Endpoint: record.Options.Endpoint, HopLimit: record.Options.HopLimit},
	}
	if len(nic.PrivateIPv4) > 0 {
		in.PrivateIP = nic.PrivateIPv4[0].String()
	}
	if public, ok := record.PublicIPv4(); ok {
		in.PublicIP = public.String()
	}
	for _, key := range record.PublicKeys {
		in.KeyName, in.PublicKey = key.Name, key.Key
	}
	if record.Role != nil {
		in.RoleName = record.Role.Name
	}
	for _, tag := range record.Tags {
		if in.Tags == nil {
			in.Tags = map[string]string{}
		}
		in.Tags[tag.Key] = tag.Value
	}
	for _, path := range slices.Sorted(maps.Keys(record.Overlay)) {
		value := record.Overlay[path]
		if value == nil {
			in.Absent = append(in.Absent, path)
			continue
		}
		if in.Values == nil {
			in.Values = map[string]string{}
		}
		in.Values[path] = *value
	}
	return in
}
