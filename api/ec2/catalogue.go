package ec2

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
)

// named selects, of what is offered, what a request names; it may be of all, and what is not offered is refused by code
// and text.
func named[T any](all []T, names []string, name func(T) string, code, text string) ([]T, error) {
	if len(names) == 0 {
		return all, nil
	}
	var found []T
	for _, wanted := range names {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == wanted })
		if i < 0 {
			return nil, invalid(code, text, wanted)
		}
		found = append(found, all[i])
	}
	return found, nil
}

// selected are those of what is offered that filters match.
func selected[T any](ctx context.Context, all []T, asked []wire.Filter, of attributes[*T]) ([]T, error) {
	filters, err := readFilters(asked, of)
	if err != nil {
		return nil, err
	}
	found := []T{}
	for i := range all {
		matches, err := filters.match(ctx, &all[i])
		if err != nil {
			return nil, err
		}
		if matches {
			found = append(found, all[i])
		}
	}
	return found, nil
}

// fields tells what a thing has of a filter, by what a function says of each.
func fields[T any](tell map[string]func(*T) string) attributes[*T] {
	return func(of *T, filter string) ([]string, bool) {
		say, known := tell[filter]
		if !known || of == nil {
			return nil, known
		}
		return one(say(of)), true
	}
}

// describeRegions shows the regions of this installation, of which none has to be opted into.
func (c *call) describeRegions(ctx context.Context, in *wire.DescribeRegionsRequest) (wire.DescribeRegionsResult, error) {
	var all []wire.Region
	for _, name := range c.regions {
		all = append(all, wire.Region{RegionName: name, RegionEndpoint: "ec2." + name + ".amazonaws.com", OptInStatus: "opt-in-not-required"})
	}
	all, err := named(all, in.RegionNames, func(r wire.Region) string { return r.RegionName }, "InvalidParameterValue", "Invalid region name: '%.100s'")
	if err != nil {
		return wire.DescribeRegionsResult{}, err
	}
	all, err = selected(ctx, all, in.Filters, fields(map[string]func(*wire.Region) string{
		"region-name":   func(r *wire.Region) string { return r.RegionName },
		"endpoint":      func(r *wire.Region) string { return r.RegionEndpoint },
		"opt-in-status": func(r *wire.Region) string { return r.OptInStatus },
	}))
	return wire.DescribeRegionsResult{Regions: all}, err
}

func (c *call) describeAvailabilityZones(ctx context.Context, in *wire.DescribeAvailabilityZonesRequest) (wire.DescribeAvailabilityZonesResult, error) {
	var all []wire.AvailabilityZone
	region := c.service.Region()
	for _, zone := range openimds.Zones(region) {
		all = append(all, wire.AvailabilityZone{
			ZoneName: zone, ZoneState: "available", RegionName: region, ZoneID: openimds.ZoneID(region, zone), ZoneType: "availability-zone",
			GroupName: region, NetworkBorderGroup: region, OptInStatus: "opt-in-not-required",
		})
	}
	const text = "Invalid availability zone: [%.100s]"
	all, err := named(all, in.ZoneNames, func(z wire.AvailabilityZone) string { return z.ZoneName }, "InvalidParameterValue", text)
	if err == nil {
		all, err = named(all, in.ZoneIDs, func(z wire.AvailabilityZone) string { return z.ZoneID }, "InvalidParameterValue", text)
	}
	if err != nil {
		return wire.DescribeAvailabilityZonesResult{}, err
	}
	all, err = selected(ctx, all, in.Filters, fields(map[string]func(*wire.AvailabilityZone) string{
		"zone-name":            func(z *wire.AvailabilityZone) string { return z.ZoneName },
		"zone-id":              func(z *wire.AvailabilityZone) string { return z.ZoneID },
		"zone-type":            func(z *wire.AvailabilityZone) string { return z.ZoneType },
		"state":                func(z *wire.AvailabilityZone) string { return z.ZoneState },
		"region-name":          func(z *wire.AvailabilityZone) string { return z.RegionName },
		"group-name":           func(z *wire.AvailabilityZone) string { return z.GroupName },
		"network-border-group": func(z *wire.AvailabilityZone) string { return z.NetworkBorderGroup },
		"opt-in-status":        func(z *wire.AvailabilityZone) string { return z.OptInStatus },
	}))
	return wire.DescribeAvailabilityZonesResult{Zones: all}, err
}

// describeInstanceTypes shows the types that bundles stand on.
func (c *call) describeInstanceTypes(ctx context.Context, in *wire.DescribeInstanceTypesRequest) (wire.DescribeInstanceTypesResult, error) {
	var all []wire.InstanceType
	for _, b := range openimds.Bundles(c.service.Region()) {
		if !b.Active || slices.ContainsFunc(all, func(t wire.InstanceType) bool { return t.InstanceType == b.EC2Type }) {
			continue
		}
		all = append(all, wire.InstanceType{
			InstanceType: b.EC2Type, CurrentGeneration: true, SupportedUsage: []string{"on-demand"}, Hypervisor: "nitro",
			ProcessorInfo: wire.ProcessorInfo{SupportedArchitectures: []string{"x86_64"}},
			VCPUInfo:      wire.VCPUInfo{DefaultVCPUs: b.CPUs}, MemoryInfo: wire.MemoryInfo{SizeInMiB: int64(b.RAM * 1024)},
		})
	}
	var result wire.DescribeInstanceTypesResult
	all, err := named(all, in.InstanceTypes, func(t wire.InstanceType) string { return t.InstanceType }, "InvalidInstanceType", "The following supplied instance types do not exist: [%.100s]")
	if err != nil {
		return result, err
	}
	all, err = selected(ctx, all, in.Filters, fields(map[string]func(*wire.InstanceType) string{
		"instance-type":                         func(t *wire.InstanceType) string { return t.InstanceType },
		"current-generation":                    func(t *wire.InstanceType) string { return strconv.FormatBool(t.CurrentGeneration) },
		"bare-metal":                            func(t *wire.InstanceType) string { return strconv.FormatBool(t.BareMetal) },
		"hypervisor":                            func(t *wire.InstanceType) string { return t.Hypervisor },
		"vcpu-info.default-vcpus":               func(t *wire.InstanceType) string { return strconv.Itoa(t.VCPUInfo.DefaultVCPUs) },
		"memory-info.size-in-mib":               func(t *wire.InstanceType) string { return strconv.FormatInt(t.MemoryInfo.SizeInMiB, 10) },
		"processor-info.supported-architecture": func(*wire.InstanceType) string { return "x86_64" },
		"supported-usage-class":                 func(*wire.InstanceType) string { return "on-demand" },
	}))
	if err != nil {
		return result, err
	}
	p, err := readPage(c.list("DescribeInstanceTypes", in.InstanceTypes, in.Filters), in.MaxResults, in.NextToken)
	if err == nil {
		result.InstanceTypes, result.NextToken = cut(p, all, func(t wire.InstanceType) string { return t.InstanceType })
	}
	return result, err
}

// describeImages shows the blueprints as images of Amazon's.
func (c *call) describeImages(ctx context.Context, in *wire.DescribeImagesRequest) (wire.DescribeImagesResult, error) {
	var all []wire.Image
	for _, b := range openimds.Blueprints() {
		if b.Active {
			all = append(all, showImage(b, c.service.Region()))
		}
	}
	result := wire.DescribeImagesResult{Images: []wire.Image{}}
	for _, id := range in.ImageIDs {
		if !imageIDForm.MatchString(id) {
			return result, invalid("InvalidAMIID.Malformed", `Invalid id: "%.100s" (expecting "ami-...")`, id)
		}
	}
	all, err := named(all, in.ImageIDs, func(i wire.Image) string { return i.ImageID }, "InvalidAMIID.NotFound", "The image id '[%.100s]' does not exist")
	if err != nil {
		return result, err
	}
	mine := func(owner string) bool { return owner == "amazon" || owner == openimds.LightsailOwnerID }
	if len(in.Owners) > 0 && !slices.ContainsFunc(in.Owners, mine) || len(in.ExecutableBy) > 0 && !slices.Contains(in.ExecutableBy, "all") {
		all = nil
	}
	all, err = selected(ctx, all, in.Filters, fields(map[string]func(*wire.Image) string{
		"image-id":            func(i *wire.Image) string { return i.ImageID },
		"name":                func(i *wire.Image) string { return i.Name },
		"description":         func(i *wire.Image) string { return i.Description },
		"state":               func(i *wire.Image) string { return i.ImageState },
		"architecture":        func(i *wire.Image) string { return i.Architecture },
		"platform":            func(i *wire.Image) string { return strings.ToLower(i.Platform) },
		"owner-id":            func(i *wire.Image) string { return i.ImageOwnerID },
		"owner-alias":         func(i *wire.Image) string { return i.ImageOwnerAlias },
		"image-type":          func(i *wire.Image) string { return i.ImageType },
		"is-public":           func(i *wire.Image) string { return strconv.FormatBool(i.IsPublic) },
		"root-device-type":    func(i *wire.Image) string { return i.RootDeviceType },
		"root-device-name":    func(i *wire.Image) string { return i.RootDeviceName },
		"virtualization-type": func(i *wire.Image) string { return i.VirtualizationType },
		"hypervisor":          func(i *wire.Image) string { return i.Hypervisor },
	}))
	if err != nil {
		return result, err
	}
	p, err := readPage(c.list("DescribeImages", in.ImageIDs, in.Owners, in.ExecutableBy, in.Filters), in.MaxResults, in.NextToken)
	if err == nil {
		result.Images, result.NextToken = cut(p, all, func(i wire.Image) string { return i.ImageID })
	}
	return result, err
}

func showImage(b openimds.Blueprint, region string) wire.Image {
	shown := wire.Image{
		ImageID: openimds.ImageID(b.ID, region), ImageLocation: "amazon/" + b.ID, ImageState: "available", ImageOwnerID: openimds.LightsailOwnerID, ImageOwnerAlias: "amazon",
		IsPublic: true, Architecture: "x86_64", ImageType: "machine", PlatformDetails: "Linux/UNIX", Name: b.ID, Description: b.Name,
		RootDeviceType: "ebs", RootDeviceName: b.RootDevice, VirtualizationType: "hvm", Hypervisor: "xen",
	}
	if b.Platform == openimds.PlatformWindows {
		shown.Platform, shown.PlatformDetails = "Windows", "Windows"
	}
	if b.RequiresTokens() {
		shown.IMDSSupport = "v2.0"
	}
	return shown
}
