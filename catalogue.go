package openimds

import (
	"slices"
	"strings"
)

// The platforms of blueprints and bundles.
const (
	PlatformLinux   = "LINUX_UNIX"
	PlatformWindows = "WINDOWS"
)

// Blueprint is what an instance is made from: an operating system, with or without an application.
type Blueprint struct {
	ID, Name, Group string
	// Type is "os" or "app".
	Type     string
	Platform string
	Active   bool
	// MinPower is the least [Bundle.Power] that it runs on.
	MinPower int
	// Version may be empty where none is known.
	Version    string
	ProductURL string
	// Username is the account that the key pair opens.
	Username string
	// RootDevice is the root device of the image, as the guest's block-device-mapping names it.
	RootDevice string
	// Options are what a new instance has otherwise than [DefaultOptions].
	Options OptionsUpdate
	// CallsV1 says that software that comes with the blueprint is taken to call the metadata service
	// without a token. See the table for how that is judged.
	CallsV1 bool
}

// DefaultOptions are the metadata options of a new instance of the blueprint.
func (b Blueprint) DefaultOptions() MetadataOptions { return b.Options.Apply(DefaultOptions()) }

// RequiresTokens says whether new instances of the blueprint require session tokens unless told otherwise, as those of
// images with EC2's ImdsSupport v2.0.
func (b Blueprint) RequiresTokens() bool { return b.DefaultOptions().Tokens == TokensRequired }

// Ports are the firewall rules of a new instance of the blueprint.
func (b Blueprint) Ports(addressType string) []Port {
	numbers := []int{80, 22}
	if b.Platform == PlatformWindows {
		numbers = []int{80, 3389}
	}
	if b.Type == "app" {
		numbers = append(numbers, 443)
	}
	ports := make([]Port, 0, len(numbers))
	for _, n := range numbers {
		p := Port{From: n, To: n, Protocol: "tcp"}
		if addressType != AddressIPv6 {
			p.CIDRs = []string{"0.0.0.0/0"}
		}
		if addressType != AddressIPv4 {
			p.IPv6CIDRs = []string{"::/0"}
		}
		ports = append(ports, p)
	}
	return ports
}

// Bundle is what an instance runs on.
type Bundle struct {
	ID, Name string
	// Size is what Lightsail calls the instance type ("nano").
	Size string
	// EC2Type is the instance type that the guest sees ("t3.nano").
	EC2Type    string
	Price      float64 // US dollars a month
	CPUs       int
	RAM        float64 // GB
	DiskGB     int
	TransferGB int // a month
	// Power compares bundles; see [Blueprint.MinPower].
	Power    int
	Platform string
	// IPv6Only bundles have no public IPv4 address.
	IPv6Only bool
	Active   bool
}

// Region is a place as GetRegions shows it.
type Region struct {
	Name, DisplayName, Continent, Users string
	// ZoneLetters are the last letters of the availability zones.
	ZoneLetters string
}

// FindBlueprint returns the blueprint of that id.
func FindBlueprint(id string) (Blueprint, bool) {
	return search(Blueprints(), func(b Blueprint) bool { return b.ID == id })
}

// FindBundle returns the bundle of that id in a region.
func FindBundle(region, id string) (Bundle, bool) {
	return search(Bundles(region), func(b Bundle) bool { return b.ID == id })
}

// Zones returns the availability zones of a region; one that AWS does not have has three.
func Zones(region string) []string {
	letters := "abc"
	if r, ok := search(Regions(), func(r Region) bool { return r.Name == region }); ok {
		letters = r.ZoneLetters
	}
	zones := make([]string, 0, len(letters))
	for _, letter := range letters {
		zones = append(zones, region+string(letter))
	}
	return zones
}

func search[T any](all []T, is func(T) bool) (T, bool) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	var none T
	return none, false
}

// CounterpartBundle returns the bundle of the same size with public IPv4 for one without, and vice versa.
func CounterpartBundle(region, id string) (Bundle, bool) {
	if other := strings.Replace(id, "_ipv6_", "_", 1); other != id {
		return FindBundle(region, other)
	}
	size, generation, ok := strings.Cut(id, "_win_")
	if ok {
		return FindBundle(region, size+"_win_ipv6_"+generation)
	}
	size, generation, _ = strings.Cut(id, "_")
	return FindBundle(region, size+"_ipv6_"+generation)
}

// LatestBundle returns the bundle of the latest generation that has the size, the platform and the addresses of the
// bundle of that id; false: there is none.
func LatestBundle(region, id string) (Bundle, bool) {
	of, ok := FindBundle(region, id)
	if !ok {
		return Bundle{}, false
	}
	return search(Bundles(region), func(b Bundle) bool {
		return b.Active && b.Size == of.Size && b.Platform == of.Platform && b.IPv6Only == of.IPv6Only
	})
}

// DefaultBlueprint is the id of what an instance is made from unless something else is asked for: one
// whose instances take calls with and without a token, so that whatever reads metadata can be tried.
const DefaultBlueprint = "ubuntu_24_04"

// DefaultBundle returns the smallest bundle of a region that the blueprint runs on and that has the type
// of addresses; false: there is none.
func DefaultBundle(region string, blueprint Blueprint, addressType string) (Bundle, bool) {
	return search(Bundles(region), func(b Bundle) bool {
		return b.Active && b.Platform == blueprint.Platform && b.Power >= blueprint.MinPower && b.IPv6Only == (addressType == AddressIPv6)
	})
}

// generation is the end of the ids of a region's bundles.
func generation(region string) string {
	switch region {
	case "ap-south-1", "ap-east-1":
		return "_3_1"
	case "ap-southeast-2":
		return "_3_2"
	default:
		return "_3_0"
	}
}
