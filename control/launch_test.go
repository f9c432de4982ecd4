package control_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

func TestBlueprints(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range openimds.Blueprints() {
		found, ok := openimds.FindBlueprint(b.ID)
		if !ok || !reflect.DeepEqual(found, b) || seen[b.ID] {
			t.Errorf("%s is not the blueprint of its id", b.ID)
		}
		seen[b.ID] = true
		if !regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(b.ID) || b.Name == "" || b.Group == "" || b.Username == "" || !strings.HasPrefix(b.ProductURL, "https://") {
			t.Errorf("%s is incomplete: %+v", b.ID, b)
		}
		if b.Type != "os" && b.Type != "app" || b.Platform != openimds.PlatformLinux && b.Platform != openimds.PlatformWindows || !strings.HasPrefix(b.RootDevice, "/dev/") {
			t.Errorf("%s has an unknown type, platform or device: %+v", b.ID, b)
		}
		if (b.Username == "Administrator") != (b.Platform == openimds.PlatformWindows) {
			t.Errorf("%s has the user %s on %s", b.ID, b.Username, b.Platform)
		}
		if err := b.DefaultOptions().Validate(); err != nil || b.DefaultOptions().State != openimds.OptionsApplied {
			t.Errorf("%s begins with %+v: %v", b.ID, b.DefaultOptions(), err)
		}
		login := 22
		if b.Platform == openimds.PlatformWindows {
			login = 3389
		}
		for addressType, want := range map[string][2]bool{"dualstack": {true, true}, "ipv4": {true, false}, "ipv6": {false, true}} {
			var numbers []int
			for _, p := range b.Ports(addressType) {
				numbers = append(numbers, p.From)
				if p.From != p.To || p.Protocol != "tcp" || len(p.CIDRs) == 1 != want[0] || len(p.IPv6CIDRs) == 1 != want[1] {
					t.Errorf("%s as %s has the rule %+v", b.ID, addressType, p)
				}
			}
			if !slices.Contains(numbers, login) || !slices.Contains(numbers, 80) || slices.Contains(numbers, 443) != (b.Type == "app") {
				t.Errorf("%s has the ports %v", b.ID, numbers)
			}
		}
	}
	if _, ok := openimds.FindBlueprint(""); ok {
		t.Error("the empty id has a blueprint")
	}
}

func TestBundles(t *testing.T) {
	for _, region := range openimds.Regions() {
		seen := map[string]openimds.Bundle{}
		for _, b := range openimds.Bundles(region.Name) {
			if found, ok := openimds.FindBundle(region.Name, b.ID); !ok || found != b || seen[b.ID].ID != "" {
				t.Errorf("%s: %s is not the bundle of its id", region.Name, b.ID)
			}
			seen[b.ID] = b
			if b.Name == "" || b.Price <= 0 || b.CPUs < 1 || b.RAM <= 0 || b.DiskGB < 20 || b.TransferGB < 512 || b.Power <= 0 ||
				!strings.HasPrefix(b.ID, b.Size+"_") || !strings.HasSuffix(b.EC2Type, "."+b.Size) {
				t.Errorf("%s: %s is incomplete: %+v", region.Name, b.ID, b)
			}
			if strings.Contains(b.ID, "_win_") != (b.Platform == openimds.PlatformWindows) || strings.Contains(b.ID, "_ipv6_") != b.IPv6Only {
				t.Errorf("%s: %s does not have what its id says: %+v", region.Name, b.ID, b)
			}
			if b.Active == strings.HasSuffix(b.ID, "_2_0") {
				t.Errorf("%s: %s is of the wrong generation", region.Name, b.ID)
			}
		}
		// A public IPv4 address costs more than none, and Windows more than Linux.
		for id, b := range seen {
			if other, ok := seen[strings.Replace(id, "_ipv6_", "_", 1)]; b.IPv6Only && (!ok || other.Price <= b.Price || other.EC2Type != b.EC2Type || other.IPv6Only) {
				t.Errorf("%s: %s has the counterpart %+v", region.Name, id, other)
			}
			if other, ok := seen[strings.Replace(id, "_win_", "_", 1)]; b.Platform == openimds.PlatformWindows && (!ok || other.Price >= b.Price) {
				t.Errorf("%s: %s has the counterpart %+v", region.Name, id, other)
			}
		}
		if _, ok := openimds.FindBundle(region.Name, openimds.NewInstance(openimds.Launch{Name: "x", Region: region.Name}, start).BundleID); !ok {
			t.Errorf("%s: the default bundle does not exist", region.Name)
		}
	}
}

// TestEveryLaunch launches each blueprint on each bundle that is offered; what the catalogue shows
// as fitting can be had, and anything else cannot.
func TestEveryLaunch(t *testing.T) {
	f := newFixture(t, nil)
	f.create("first")
	for _, blueprint := range openimds.Blueprints() {
		for _, bundle := range openimds.Bundles("us-east-1") {
			l := control.InstancesLaunch{Names: []string{"a-launch"}, Zone: "us-east-1f", BlueprintID: blueprint.ID, BundleID: bundle.ID}
			_, err := f.CreateInstances(t.Context(), l)
			fits := blueprint.Active && bundle.Active && blueprint.Platform == bundle.Platform && bundle.Power >= blueprint.MinPower
			if (err == nil) != fits {
				t.Errorf("%s on %s: %v", blueprint.ID, bundle.ID, err)
			}
			if err != nil {
				continue
			}
			in := f.get("a-launch")
			if (in.AddressType == openimds.AddressIPv6) != bundle.IPv6Only || in.InstanceType != bundle.EC2Type || in.Username != blueprint.Username || in.BlockDevices[1].Device != blueprint.RootDevice {
				t.Errorf("%s on %s became %+v", blueprint.ID, bundle.ID, in)
			}
			if _, err := f.DeleteInstance(t.Context(), "a-launch"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLaunchDefaults: what a launch leaves out is there in every region, for every blueprint and type of
// addresses, and alike for an instance that is made without the service.
func TestLaunchDefaults(t *testing.T) {
	for _, region := range openimds.Regions() {
		f := newFixture(t, func(c *control.Config, _ *store.Store) { c.Region = region.Name })
		check := func(l control.InstancesLaunch, wantBundle string) {
			t.Helper()
			l.Names = []string{"web"}
			if _, err := f.CreateInstances(t.Context(), l); err != nil {
				t.Errorf("%s: %+v: %v", region.Name, l, err)
				return
			}
			in := f.get("web")
			made := openimds.NewInstance(openimds.Launch{Region: region.Name, BlueprintID: l.BlueprintID, AddressType: l.AddressType}, start)
			for _, in := range []*openimds.Instance{in, made} {
				bundle, ok := openimds.FindBundle(region.Name, in.BundleID)
				if !ok || !bundle.Active || !strings.HasPrefix(bundle.ID, wantBundle) || in.InstanceType != bundle.EC2Type ||
					in.Zone != region.Name+"a" || in.BlueprintID != made.BlueprintID {
					t.Errorf("%s: %+v became %s on %s in %s", region.Name, l, in.BlueprintID, in.BundleID, in.Zone)
				}
			}
			if _, err := f.DeleteInstance(t.Context(), "web"); err != nil {
				t.Fatal(err)
			}
		}
		check(control.InstancesLaunch{}, "nano_3_")
		check(control.InstancesLaunch{AddressType: openimds.AddressIPv6}, "nano_ipv6_3_")
		check(control.InstancesLaunch{BlueprintID: "wordpress", AddressType: openimds.AddressIPv4}, "nano_3_")
		check(control.InstancesLaunch{BlueprintID: "windows_server_2022"}, "nano_win_3_")
		check(control.InstancesLaunch{BlueprintID: "windows_server_2022", AddressType: openimds.AddressIPv6}, "nano_win_ipv6_3_")
	}
}

func TestRegions(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range openimds.Regions() {
		if err := (control.Config{Region: r.Name, AccountID: "123456789012"}).Validate(); err != nil || seen[r.Name] {
			t.Errorf("%s: %v", r.Name, err)
		}
		seen[r.Name] = true
		if !slices.Contains([]string{"NA", "SA", "EU", "AP"}, r.Continent) || r.DisplayName == "" || r.Users == "" {
			t.Errorf("%s is incomplete: %+v", r.Name, r)
		}
		zones := openimds.Zones(r.Name)
		if len(zones) != len(r.ZoneLetters) || len(zones) < 2 || !slices.IsSorted(zones) {
			t.Errorf("%s has the zones %v", r.Name, zones)
		}
		for _, zone := range zones {
			in := openimds.NewInstance(openimds.Launch{Name: "x", Region: r.Name, Zone: zone}, start)
			if !strings.HasPrefix(zone, r.Name) || !regexp.MustCompile(`^[a-z]{2}[a-z]{1,2}[0-9]-az[1-6]$`).MatchString(in.ZoneID) {
				t.Errorf("the zone %s has the id %q", zone, in.ZoneID)
			}
		}
	}
	if got := openimds.Zones("xx-moon-1"); !slices.Equal(got, []string{"xx-moon-1a", "xx-moon-1b", "xx-moon-1c"}) {
		t.Errorf("a region of one's own has the zones %v", got)
	}
	for region, account := range map[string]string{"": "123456789012", "us-east": "123456789012", "us-east-1\n": "123456789012", "us-east-1": "12345678901", "eu-west-1": "12345678901x"} {
		if err := (control.Config{Region: region, AccountID: account}).Validate(); err == nil {
			t.Errorf("region %q and account %q are accepted", region, account)
		}
	}
}
