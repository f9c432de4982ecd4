package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	GetBlueprints = looks[CatalogueRequest, GetBlueprintsResult](lightsail + "GetBlueprints")
	GetBundles    = looks[CatalogueRequest, GetBundlesResult](lightsail + "GetBundles")
	GetProfile    = looks[Nothing, GetProfileResult](lightsail + "GetProfile")
	GetRegions    = looks[GetRegionsRequest, GetRegionsResult](lightsail + "GetRegions")
	IsVPCPeered   = looks[Nothing, IsVPCPeeredResult](lightsail + "IsVpcPeered")
)

// CatalogueRequest asks for a page of the catalogue.
type CatalogueRequest struct {
	IncludeInactive bool   `json:"includeInactive,omitzero"`
	PageToken       string `json:"pageToken,omitzero"`
	// AppCategory selects what is made for research; the catalogue has nothing of that.
	AppCategory AppCategory `json:"appCategory,omitzero"`
}

// Blueprint is what an instance can be made from.
type Blueprint struct {
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

// GetBlueprintsResult is a page of blueprints.
type GetBlueprintsResult struct {
	Blueprints    []Blueprint `json:"blueprints"`
	NextPageToken string      `json:"nextPageToken,omitempty"`
}

// Bundle is a size that an instance can have. Price is in US dollars a month.
type Bundle struct {
	Price                  awsjson.Double `json:"price"`
	CPUCount               int            `json:"cpuCount"`
	DiskSizeInGB           int            `json:"diskSizeInGb"`
	BundleID               string         `json:"bundleId"`
	InstanceType           string         `json:"instanceType"`
	IsActive               bool           `json:"isActive"`
	Name                   string         `json:"name"`
	Power                  int            `json:"power"`
	RAMSizeInGB            awsjson.Double `json:"ramSizeInGb"`
	TransferPerMonthInGB   int            `json:"transferPerMonthInGb"`
	SupportedPlatforms     []string       `json:"supportedPlatforms"`
	PublicIPv4AddressCount int            `json:"publicIpv4AddressCount"`
}

// GetBundlesResult is a page of bundles.
type GetBundlesResult struct {
	Bundles       []Bundle `json:"bundles"`
	NextPageToken string   `json:"nextPageToken,omitempty"`
}

// GetRegionsRequest says which zones are shown with the regions.
type GetRegionsRequest struct {
	IncludeAvailabilityZones bool `json:"includeAvailabilityZones,omitzero"`
	// IncludeRelationalDatabaseAvailabilityZones asks for zones of databases, which do not exist here.
	IncludeRelationalDatabaseAvailabilityZones bool `json:"includeRelationalDatabaseAvailabilityZones,omitzero"`
}

// Region is a part of the world that instances can be in.
type Region struct {
	ContinentCode                       string             `json:"continentCode"`
	Description                         string             `json:"description"`
	DisplayName                         string             `json:"displayName"`
	Name                                string             `json:"name"`
	AvailabilityZones                   []AvailabilityZone `json:"availabilityZones"`
	RelationalDatabaseAvailabilityZones []AvailabilityZone `json:"relationalDatabaseAvailabilityZones"`
}

// AvailabilityZone is a part of a region.
type AvailabilityZone struct {
	ZoneName string `json:"zoneName"`
	State    string `json:"state"`
}

// GetRegionsResult has every region.
type GetRegionsResult struct {
	Regions []Region `json:"regions"`
}

// IsVPCPeeredResult says whether Lightsail's network is joined to one of EC2's. Here it never is.
type IsVPCPeeredResult struct {
	IsPeered bool `json:"isPeered"`
}

// GetProfileResult says what kind of customer the account is: never a partner of Lightsail's.
type GetProfileResult struct {
	ProfileType string `json:"profileType"`
}
