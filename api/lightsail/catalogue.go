package lightsail

import (
	"context"
	"slices"
	"strings"

	"github.com/openimds/openimds"
)

type catalogueRequest struct {
	IncludeInactive bool   `json:"includeInactive"`
	PageToken       string `json:"pageToken"`
	// AppCategory selects what is made for research; the catalogue has nothing of that.
	AppCategory appCategory `json:"appCategory"`
}

type blueprint struct {
	BlueprintID string `json:"blueprintId"`
	Name        string `json:"name"`
	Group       string `json:"group"`
	Type        string `json:"type"`
	IsActive    bool   `json:"isActive"`
	MinPower    int    `json:"minPower"`
	Version     string `json:"version,omitempty"`
	VersionCode string `json:"versionCode"`
	ProductURL  string `json:"productUrl,omitempty"`
	Platform    string `json:"platform"`
}

type getBlueprintsResult struct {
	Blueprints    []blueprint `json:"blueprints"`
	NextPageToken string      `json:"nextPageToken,omitempty"`
}

func (a *api) getBlueprints(_ context.Context, in *catalogueRequest) (getBlueprintsResult, error) {
	offered := slices.DeleteFunc(openimds.Blueprints(), func(b openimds.Blueprint) bool {
		return in.AppCategory != "" || !b.Active && !in.IncludeInactive
	})
	page, next, err := cut("GetBlueprints", in, offered, func(b openimds.Blueprint) string { return b.ID })
	result := getBlueprintsResult{Blueprints: []blueprint{}, NextPageToken: next}
	for _, b := range page {
		result.Blueprints = append(result.Blueprints, blueprint{
			BlueprintID: b.ID, Name: b.Name, Group: b.Group, Type: b.Type, IsActive: b.Active, MinPower: b.MinPower,
			Version: b.Version, VersionCode: "1", ProductURL: b.ProductURL, Platform: b.Platform,
		})
	}
	return result, err
}

type bundle struct {
	Price                  double   `json:"price"`
	CPUCount               int      `json:"cpuCount"`
	DiskSizeInGB           int      `json:"diskSizeInGb"`
	BundleID               string   `json:"bundleId"`
	InstanceType           string   `json:"instanceType"`
	IsActive               bool     `json:"isActive"`
	Name                   string   `json:"name"`
	Power                  int      `json:"power"`
	RAMSizeInGB            double   `json:"ramSizeInGb"`
	TransferPerMonthInGB   int      `json:"transferPerMonthInGb"`
	SupportedPlatforms     []string `json:"supportedPlatforms"`
	PublicIPv4AddressCount int      `json:"publicIpv4AddressCount"`
}

type getBundlesResult struct {
	Bundles       []bundle `json:"bundles"`
	NextPageToken string   `json:"nextPageToken,omitempty"`
}

func (a *api) getBundles(_ context.Context, in *catalogueRequest) (getBundlesResult, error) {
	offered := slices.DeleteFunc(openimds.Bundles(a.service.Region()), func(b openimds.Bundle) bool {
		return in.AppCategory != "" || !b.Active && !in.IncludeInactive
	})
	page, next, err := cut("GetBundles", in, offered, func(b openimds.Bundle) string { return b.ID })
	result := getBundlesResult{Bundles: []bundle{}, NextPageToken: next}
	for _, b := range page {
		shown := bundle{
			Price: double(b.Price), CPUCount: b.CPUs, DiskSizeInGB: b.DiskGB, BundleID: b.ID, InstanceType: b.Size, IsActive: b.Active,
			Name: b.Name, Power: b.Power, RAMSizeInGB: double(b.RAM), TransferPerMonthInGB: b.TransferGB,
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
func cut[T any](list string, in *catalogueRequest, all []T, id func(T) string) ([]T, string, error) {
	after, err := pagePlace(list, in.PageToken)
	if err != nil {
		return nil, "", err
	}
	if after != "" {
		all = all[1+slices.IndexFunc(all, func(item T) bool { return id(item) == after }):]
	}
	if len(all) <= pageSize {
		return all, "", nil
	}
	return all[:pageSize], pageToken(list, id(all[pageSize-1])), nil
}

type getRegionsRequest struct {
	IncludeAvailabilityZones bool `json:"includeAvailabilityZones"`
	// IncludeRelationalDatabaseAvailabilityZones asks for zones of databases, which do not exist here.
	IncludeRelationalDatabaseAvailabilityZones bool `json:"includeRelationalDatabaseAvailabilityZones"`
}

type region struct {
	ContinentCode                       string             `json:"continentCode"`
	Description                         string             `json:"description"`
	DisplayName                         string             `json:"displayName"`
	Name                                string             `json:"name"`
	AvailabilityZones                   []availabilityZone `json:"availabilityZones"`
	RelationalDatabaseAvailabilityZones []availabilityZone `json:"relationalDatabaseAvailabilityZones"`
}

type availabilityZone struct {
	ZoneName string `json:"zoneName"`
	State    string `json:"state"`
}

type getRegionsResult struct {
	Regions []region `json:"regions"`
}

// getRegions shows Lightsail's regions, and this installation's own if it is none of them.
func (a *api) getRegions(_ context.Context, in *getRegionsRequest) (getRegionsResult, error) {
	regions := openimds.Regions()
	own := a.service.Region()
	if !slices.ContainsFunc(regions, func(r openimds.Region) bool { return r.Name == own }) {
		regions = append(regions, openimds.Region{Name: own, DisplayName: own, Continent: strings.ToUpper(own[:2]), Users: "this installation"})
	}
	result := getRegionsResult{Regions: []region{}}
	for _, r := range regions {
		shown := region{
			ContinentCode: r.Continent, Description: "This region is recommended to serve users in " + r.Users, DisplayName: r.DisplayName, Name: r.Name,
			AvailabilityZones: []availabilityZone{}, RelationalDatabaseAvailabilityZones: []availabilityZone{},
		}
		if in.IncludeAvailabilityZones {
			for _, zone := range openimds.Zones(r.Name) {
				shown.AvailabilityZones = append(shown.AvailabilityZones, availabilityZone{zone, "available"})
			}
		}
		result.Regions = append(result.Regions, shown)
	}
	return result, nil
}

type isVPCPeeredResult struct {
	IsPeered bool `json:"isPeered"`
}

func (a *api) isVPCPeered(context.Context, *nothing) (isVPCPeeredResult, error) {
	return isVPCPeeredResult{}, nil
}
