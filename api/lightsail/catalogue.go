package lightsail

import (
	"context"
	"slices"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) getBlueprints(_ context.Context, in *wire.CatalogueRequest) (wire.GetBlueprintsResult, error) {
	offered := slices.DeleteFunc(openimds.Blueprints(), func(b openimds.Blueprint) bool {
		return in.AppCategory != "" || !b.Active && !in.IncludeInactive
	})
	page, next, err := cut(a.list("GetBlueprints", in.AppCategory, in.IncludeInactive), in, offered, func(b openimds.Blueprint) string { return b.ID })
	result := wire.GetBlueprintsResult{Blueprints: []wire.Blueprint{}, NextPageToken: next}
	for _, b := range page {
		result.Blueprints = append(result.Blueprints, wire.Blueprint{
			BlueprintID: b.ID, Name: b.Name, Group: b.Group, Type: b.Type, IsActive: b.Active, MinPower: b.MinPower,
			Version: b.Version, VersionCode: "1", ProductURL: b.ProductURL, Platform: b.Platform,
		})
	}
	return result, err
}

func (a *protocol) getBundles(_ context.Context, in *wire.CatalogueRequest) (wire.GetBundlesResult, error) {
	offered := slices.DeleteFunc(openimds.Bundles(a.service.Region()), func(b openimds.Bundle) bool {
		return in.AppCategory != "" || !b.Active && !in.IncludeInactive
	})
	page, next, err := cut(a.list("GetBundles", in.AppCategory, in.IncludeInactive), in, offered, func(b openimds.Bundle) string { return b.ID })
	result := wire.GetBundlesResult{Bundles: []wire.Bundle{}, NextPageToken: next}
	for _, b := range page {
		shown := wire.Bundle{
			Price: awsjson.Double(b.Price), CPUCount: b.CPUs, DiskSizeInGB: b.DiskGB, BundleID: b.ID, InstanceType: b.Size, IsActive: b.Active,
			Name: b.Name, Power: b.Power, RAMSizeInGB: awsjson.Double(b.RAM), TransferPerMonthInGB: b.TransferGB,
			SupportedPlatforms: []string{b.Platform}, PublicIPv4AddressCount: 1,
		}
		if b.IPv6Only {
			shown.PublicIPv4AddressCount = 0
		}
		result.Bundles = append(result.Bundles, shown)
	}
	return result, err
}

// cut takes one page of a catalogue, and makes the token of the next one.
func cut[T any](list string, in *wire.CatalogueRequest, all []T, id func(T) string) ([]T, string, error) {
	after, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return nil, "", err
	}
	if after != "" {
		all = all[1+slices.IndexFunc(all, func(item T) bool { return id(item) == after }):]
	}
	if len(all) <= pageSize {
		return all, "", nil
	}
	return all[:pageSize], api.PageToken(list, id(all[pageSize-1])), nil
}

// getRegions shows the regions of this installation: what is signed for another one is refused, so that tools
// which go through all regions find each that they are shown.
func (a *protocol) getRegions(_ context.Context, in *wire.GetRegionsRequest) (wire.GetRegionsResult, error) {
	result := wire.GetRegionsResult{Regions: []wire.Region{}}
	for _, name := range a.cfg.Regions {
		result.Regions = append(result.Regions, showRegion(name, in.IncludeAvailabilityZones))
	}
	return result, nil
}

// showRegion shows a region, whether Lightsail has it or not.
func showRegion(name string, zones bool) wire.Region {
	known := openimds.Region{Name: name, DisplayName: name, Continent: strings.ToUpper(name[:2]), Users: "this installation"}
	for _, r := range openimds.Regions() {
		if r.Name == name {
			known = r
		}
	}
	shown := wire.Region{
		ContinentCode: known.Continent, Description: "This region is recommended to serve users in " + known.Users, DisplayName: known.DisplayName, Name: name,
		AvailabilityZones: []wire.AvailabilityZone{}, RelationalDatabaseAvailabilityZones: []wire.AvailabilityZone{},
	}
	if zones {
		for _, zone := range openimds.Zones(name) {
			shown.AvailabilityZones = append(shown.AvailabilityZones, wire.AvailabilityZone{ZoneName: zone, State: "available"})
		}
	}
	return shown
}

func (a *protocol) isVPCPeered(context.Context, *wire.Nothing) (wire.IsVPCPeeredResult, error) {
	return wire.IsVPCPeeredResult{}, nil
}

func (a *protocol) getProfile(context.Context, *wire.Nothing) (wire.GetProfileResult, error) {
	return wire.GetProfileResult{ProfileType: "Lightsailor"}, nil
}
