package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/api/awsjson"
)

// The operations. They look at all instances of the region at once.
var (
	SearchInstances = looks[SearchInstancesRequest, SearchInstancesResult](openIMDS + "SearchInstances")
	GetFleet        = looks[GetFleetRequest, GetFleetResult](openIMDS + "GetFleet")

	GetFleetMetricData = looks[GetFleetMetricDataRequest, GetFleetMetricDataResult](openIMDS + "GetFleetMetricData")
	GetFleetCallers    = looks[GetFleetCallersRequest, GetFleetCallersResult](openIMDS + "GetFleetCallers")
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

// GetFleetMetricDataRequest asks for a metric of all instances together.
type GetFleetMetricDataRequest struct {
	MetricName CountedMetricName `json:"metricName" check:"required"`
	Period     *MetricPeriod     `json:"period" check:"required"`    // seconds
	StartTime  *awsjson.Epoch    `json:"startTime" check:"required"` // at most 62 days ago
	EndTime    *awsjson.Epoch    `json:"endTime" check:"required"`
	// Worst is of how many instances, those that counted most, the points are told too: 0 to 50; 10.
	Worst *int `json:"worst,omitzero"`
}

// GetFleetMetricDataResult has the sums of the instances that there are now, in the order of time. A period in which
// nothing is known has no datapoint.
type GetFleetMetricDataResult struct {
	MetricName string           `json:"metricName"`
	Datapoints []FleetDatapoint `json:"datapoints"`
	// Worst are the instances that counted most, the most first; none that counted nothing.
	Worst []WorstInstance `json:"worst"`
	// Incomplete says why there may have been more; empty: all is known.
	Incomplete []string `json:"incomplete"`
}

// FleetDatapoint is a period.
type FleetDatapoint struct {
	Timestamp awsjson.Epoch `json:"timestamp"`
	Sum       int64         `json:"sum"`
	// SampleCount is how many samples of five minutes it is the sum of, each instance's counted.
	SampleCount int `json:"sampleCount"`
}

// WorstInstance is one of the instances that counted most.
type WorstInstance struct {
	InstanceName string           `json:"instanceName"`
	Sum          int64            `json:"sum"`
	Datapoints   []FleetDatapoint `json:"datapoints"`
}

// GetFleetCallersRequest asks who calls without a session token, of all instances.
type GetFleetCallersRequest struct {
	// Since is when the time begins, up to now: a day ago unless it is said, at most 62 days.
	Since *awsjson.Epoch `json:"since,omitzero"`
	Limit *int           `json:"limit,omitzero"` // 1 to 200; 20
}

// GetFleetCallersResult has those who called most, the most first.
type GetFleetCallersResult struct {
	Callers []FleetCaller `json:"callers"`
	// Total is how many there are in all.
	Total int `json:"total"`
	// Incomplete says why there may be more; empty: all is known.
	Incomplete []string `json:"incomplete"`
}

// FleetCaller is one software on any number of instances: the same user agent, of the same program where that is known.
type FleetCaller struct {
	UserAgent string                  `json:"userAgent"`
	Process   *openimds.CallerProcess `json:"process,omitempty"`
	Agent     *CallerAgent            `json:"agent,omitempty"`
	// Others says that it is all those whom an instance had no room to tell apart.
	Others bool `json:"others,omitempty"`
	// NoToken is how many calls without a session token it made since, whatever became of them.
	NoToken int64 `json:"noToken"`
	// Counts are of its calls as in GetCallers.
	Counts map[string]int64 `json:"counts"`
	// Instances is how many instances it was on, InstanceNames some of them, those first where it called most.
	Instances        int           `json:"instances"`
	InstanceNames    []string      `json:"instanceNames"`
	PathGroups       []string      `json:"pathGroups"`
	LastWithoutToken awsjson.Epoch `json:"lastWithoutToken"`
	// Advice is what there is to do until it needs IMDSv1 no more, the first thing first; absent: nothing is known.
	Advice []advice.Advice `json:"advice,omitempty"`
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
