package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	GetInstanceMetricData = looks[GetInstanceMetricDataRequest, MetricDataResult](lightsail + "GetInstanceMetricData")
	GetMetricData         = looks[GetMetricDataRequest, GetMetricDataResult](openIMDS + "GetMetricData")
	GetMetadataCounts     = looks[GetMetadataCountsRequest, GetMetadataCountsResult](openIMDS + "GetMetadataCounts")
	GetCallers            = looks[GetCallersRequest, GetCallersResult](openIMDS + "GetCallers")
	WaitForRefusals       = looks[WaitForRefusalsRequest, WaitForRefusalsResult](openIMDS + "WaitForRefusals")
)

// GetInstanceMetricDataRequest asks for a metric's points, by periods.
type GetInstanceMetricDataRequest struct {
	InstanceName string             `json:"instanceName" check:"required"`
	MetricName   InstanceMetricName `json:"metricName" check:"required"`
	Period       *MetricPeriod      `json:"period" check:"required"` // seconds
	StartTime    *awsjson.Epoch     `json:"startTime" check:"required"`
	EndTime      *awsjson.Epoch     `json:"endTime" check:"required"`
	Unit         MetricUnit         `json:"unit" check:"required"`
	Statistics   []MetricStatistic  `json:"statistics" check:"required"`
}

// Datapoint has the statistics that were asked for.
type Datapoint struct {
	Average     *awsjson.Double `json:"average,omitempty"`
	Maximum     *awsjson.Double `json:"maximum,omitempty"`
	Minimum     *awsjson.Double `json:"minimum,omitempty"`
	SampleCount *awsjson.Double `json:"sampleCount,omitempty"`
	Sum         *awsjson.Double `json:"sum,omitempty"`
	Timestamp   awsjson.Epoch   `json:"timestamp"`
	Unit        string          `json:"unit"`
}

// MetricDataResult has the points in the order of time.
type MetricDataResult struct {
	MetricName string      `json:"metricName"`
	MetricData []Datapoint `json:"metricData"`
}

// GetMetricDataRequest is GetInstanceMetricData for the metrics that the guest side counts, those
// among them that Lightsail does not have.
type GetMetricDataRequest struct {
	InstanceName string            `json:"instanceName" check:"required"`
	MetricName   CountedMetricName `json:"metricName" check:"required"`
	Period       *MetricPeriod     `json:"period" check:"required"` // seconds
	StartTime    *awsjson.Epoch    `json:"startTime" check:"required"`
	EndTime      *awsjson.Epoch    `json:"endTime" check:"required"`
	Statistics   []MetricStatistic `json:"statistics" check:"required"`
}

// GetMetricDataResult has the points in the order of time, and how far they are known.
type GetMetricDataResult struct {
	MetricName string      `json:"metricName"`
	MetricData []Datapoint `json:"metricData"`
	Known      Known       `json:"known"`
}

// Known is how far it is known what an instance's guest called in the time that was asked for. What is
// not known need not be nothing.
type Known struct {
	InstanceName string `json:"instanceName"`
	// Since and Until are when what is known begins and ends; absent: nothing is.
	Since *awsjson.Epoch `json:"since,omitempty"`
	Until *awsjson.Epoch `json:"until,omitempty"`
	// MissingSeconds are how much in between is not known: the instance was stopped, or its host was away.
	MissingSeconds int `json:"missingSeconds"`
	// Complete says that all of the time is known, as far as it has come and the instance was there.
	Complete bool `json:"complete"`
}

// GetMetadataCountsRequest asks what was counted in a time: of one instance, or without a name of
// all, page by page. Without times it is the last day.
type GetMetadataCountsRequest struct {
	InstanceName string         `json:"instanceName,omitzero"`
	StartTime    *awsjson.Epoch `json:"startTime,omitzero"`
	EndTime      *awsjson.Epoch `json:"endTime,omitzero"`
	PageToken    string         `json:"pageToken,omitzero"`
}

// GetMetadataCountsResult has the times that the counts are of: those asked for, widened to whole
// periods of the history.
type GetMetadataCountsResult struct {
	StartTime     awsjson.Epoch    `json:"startTime"`
	EndTime       awsjson.Epoch    `json:"endTime"`
	Counts        []MetadataCounts `json:"counts"`
	NextPageToken string           `json:"nextPageToken,omitempty"`
}

// MetadataCounts is what was counted of one instance.
type MetadataCounts struct {
	InstanceName string `json:"instanceName"`
	InstanceID   string `json:"instanceId"`
	// Counts has every counted metric by its name.
	Counts map[string]int64 `json:"counts"`
	Known  Known            `json:"known"`
}
