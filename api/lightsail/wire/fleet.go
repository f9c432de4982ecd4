package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations. They look at all instances of the region at once.
var (
	SearchInstances = looks[SearchInstancesRequest, SearchInstancesResult](openIMDS + "SearchInstances")
	GetFleet        = looks[GetFleetRequest, GetFleetResult](openIMDS + "GetFleet")
)

// SearchInstancesRequest asks for a page of the instances that are looked for.
type SearchInstancesRequest struct {
	// Query has words, of which each is a part of an instance's name, id, private address, zone, blueprint or bundle, or
	// of a tag as key=value; capitals and small letters are alike.
	Query          string         `json:"query,omitzero"`
	MetadataFilter MetadataFilter `json:"metadataFilter,omitzero"` // all
	SortBy         SearchOrder    `json:"sortBy,omitzero"`         // name
	Descending     bool           `json:"descending,omitzero"`
	// Since is when the time begins of which noToken is told, up to now: a day ago unless it is said, at most 62 days.
	Since    *awsjson.Epoch `json:"since,omitzero"`
	PageSize *int           `json:"pageSize,omitzero"` // 1 to 200; 50
	// Page counts from 1; PageToken, of the page before, stands for it.
	Page      *int   `json:"page,omitzero"`
	PageToken string `json:"pageToken,omitzero"`
}

// SearchInstancesResult is one page, and how many there are in all.
type SearchInstancesResult struct {
	Instances     []FoundInstance `json:"instances"`
	Total         int             `json:"total"`
	Pages         int             `json:"pages"`
	NextPageToken string          `json:"nextPageToken,omitempty"`
}

// FoundInstance is what a search tells of an instance.
type FoundInstance struct {
	Name             string          `json:"name"`
	State            string          `json:"state"`
	Zone             string          `json:"zone"`
	BlueprintID      string          `json:"blueprintId"`
	BundleID         string          `json:"bundleId"`
	CreatedAt        awsjson.Epoch   `json:"createdAt"`
	MetadataOptions  MetadataOptions `json:"metadataOptions"`
	PrivateIPAddress string          `json:"privateIp,omitempty"`
	Attached         bool            `json:"attached"`
	// NoToken is how many calls without a token were answered, or null where none are known of and not all of the time
	// is known. Where UnknownSeconds is not 0 there may have been more.
	NoToken        *int64 `json:"noToken"`
	UnknownSeconds int    `json:"unknownSeconds"`
	Tags           []Tag  `json:"tags"`
}

// GetFleetRequest asks for the numbers of all instances together.
type GetFleetRequest struct {
	// Since is when the time begins of which noToken is told, up to now: a day ago unless it is said, at most 62 days.
	Since *awsjson.Epoch `json:"since,omitzero"`
}

// GetFleetResult has the numbers. Optional, required and disabled together are all instances.
type GetFleetResult struct {
	Instances int `json:"instances"`
	// Optional are those that answer calls without a session token, Required those that ask for one, Disabled those
	// whose endpoint is disabled; Pending are those of them whose options are not obeyed yet.
	Optional int            `json:"optional"`
	Required int            `json:"required"`
	Disabled int            `json:"disabled"`
	Pending  int            `json:"pending"`
	States   map[string]int `json:"states"`
	// Attachments are by their states. Unheard are those whose guests are not answered, or not all of them: any but
	// the attached ones, and those of them with something amiss.
	Attachments map[string]int `json:"attachments"`
	Unheard     int            `json:"unheard"`
	NoToken     FleetNoToken   `json:"noToken"`
}

// FleetNoToken is how many calls without a token all instances answered.
type FleetNoToken struct {
	// Sum is null where none are known of and something is not known. Where UnknownInstances is not 0 there may have
	// been more.
	Sum *int64 `json:"sum"`
	// UnknownInstances are those of which not all of the time is known.
	UnknownInstances int `json:"unknownInstances"`
}

// MetadataFilter says which instances are looked for: those that take both versions, the second only, none, or whose
// options are pending.
type MetadataFilter string

// Values is [awsjson.Enumerated].
func (MetadataFilter) Values() []string {
	return []string{"all", "v1AndV2", "v2Only", "disabled", "pending"}
}

// SearchOrder says by what instances are put in order.
type SearchOrder string

// Values is [awsjson.Enumerated].
func (SearchOrder) Values() []string {
	return []string{"name", "state", "tokens", "noToken", "created"}
}
