package wire

import "github.com/openimds/openimds/api/awsjson"

// Dimension is part of what tells metrics of one name apart.
type Dimension struct {
	Name  Text255        `json:"Name" check:"required"`
	Value DimensionValue `json:"Value" check:"required"`
}

// DimensionFilter asks for metrics that have a dimension, whatever its value is or with that one.
type DimensionFilter struct {
	Name  Text255        `json:"Name" check:"required"`
	Value DimensionValue `json:"Value,omitzero"`
}

// Metric names what is counted.
type Metric struct {
	Namespace  Namespace   `json:"Namespace,omitempty"`
	MetricName Text255     `json:"MetricName,omitempty"`
	Dimensions []Dimension `json:"Dimensions,omitempty"`
}

// GetMetricStatisticsRequest asks for a metric's points, by periods.
type GetMetricStatisticsRequest struct {
	Namespace          Namespace      `json:"Namespace" check:"required"`
	MetricName         Text255        `json:"MetricName" check:"required"`
	Dimensions         []Dimension    `json:"Dimensions,omitzero"`
	StartTime          *awsjson.Epoch `json:"StartTime" check:"required"`
	EndTime            *awsjson.Epoch `json:"EndTime" check:"required"`
	Period             *Period        `json:"Period" check:"required"` // seconds
	Statistics         []Statistic    `json:"Statistics,omitzero"`
	ExtendedStatistics []string       `json:"ExtendedStatistics,omitzero"`
	Unit               StandardUnit   `json:"Unit,omitzero"`
}

// Datapoint has the statistics that were asked for.
type Datapoint struct {
	Timestamp   awsjson.Epoch   `json:"Timestamp"`
	SampleCount *awsjson.Double `json:"SampleCount,omitempty"`
	Average     *awsjson.Double `json:"Average,omitempty"`
	Sum         *awsjson.Double `json:"Sum,omitempty"`
	Minimum     *awsjson.Double `json:"Minimum,omitempty"`
	Maximum     *awsjson.Double `json:"Maximum,omitempty"`
	Unit        string          `json:"Unit"`
}

// GetMetricStatisticsResult has the points in the order of time.
type GetMetricStatisticsResult struct {
	Label      string      `json:"Label"`
	Datapoints []Datapoint `json:"Datapoints"`
}

// MetricStat asks for one statistic of a metric.
type MetricStat struct {
	Metric *Metric      `json:"Metric" check:"required"`
	Period *Period      `json:"Period" check:"required"` // seconds
	Stat   string       `json:"Stat" check:"required"`
	Unit   StandardUnit `json:"Unit,omitzero"`
}

// MetricDataQuery asks for a metric, or for what an expression makes of others.
type MetricDataQuery struct {
	ID         Text255         `json:"Id" check:"required"`
	MetricStat *MetricStat     `json:"MetricStat,omitzero"`
	Expression MetricFormula   `json:"Expression,omitzero"`
	Label      string          `json:"Label,omitzero"`
	ReturnData *bool           `json:"ReturnData,omitzero"`
	Period     *Period         `json:"Period,omitzero"` // of an expression
	AccountID  awsjson.Unbuilt `json:"AccountId,omitzero"`
}

// GetMetricDataRequest asks for several metrics at once, page by page.
type GetMetricDataRequest struct {
	MetricDataQueries []MetricDataQuery `json:"MetricDataQueries" check:"required"`
	StartTime         *awsjson.Epoch    `json:"StartTime" check:"required"`
	EndTime           *awsjson.Epoch    `json:"EndTime" check:"required"`
	NextToken         string            `json:"NextToken,omitzero"`
	ScanBy            ScanBy            `json:"ScanBy,omitzero"`
	MaxDatapoints     *int              `json:"MaxDatapoints,omitzero"`
	LabelOptions      awsjson.Unbuilt   `json:"LabelOptions,omitzero"` // of times in labels, which are not built
}

// From is the request of the page that a token stands for.
func (q GetMetricDataRequest) From(token string) GetMetricDataRequest {
	q.NextToken = token
	return q
}

// MetricDataResult has the values of a query and their times, or as many as there is room for on the page.
type MetricDataResult struct {
	ID         string           `json:"Id"`
	Label      string           `json:"Label"`
	Timestamps []awsjson.Epoch  `json:"Timestamps"`
	Values     []awsjson.Double `json:"Values"`
	StatusCode string           `json:"StatusCode"`
	Messages   []MessageData    `json:"Messages,omitempty"`
}

// MessageData says what there is to know of a result.
type MessageData struct {
	Code  string `json:"Code"`
	Value string `json:"Value"`
}

// GetMetricDataResult is a page of results; one query's may be on several.
type GetMetricDataResult struct {
	MetricDataResults []MetricDataResult `json:"MetricDataResults"`
	NextToken         string             `json:"NextToken,omitempty"`
}

// Next is the token of the page behind this one; empty: it is the last.
func (r GetMetricDataResult) Next() string { return r.NextToken }

// ListMetricsRequest asks which metrics there are.
type ListMetricsRequest struct {
	Namespace             Namespace         `json:"Namespace,omitzero"`
	MetricName            Text255           `json:"MetricName,omitzero"`
	Dimensions            []DimensionFilter `json:"Dimensions,omitzero"`
	NextToken             string            `json:"NextToken,omitzero"`
	RecentlyActive        RecentlyActive    `json:"RecentlyActive,omitzero"`
	IncludeLinkedAccounts awsjson.Unbuilt   `json:"IncludeLinkedAccounts,omitzero"`
	OwningAccount         awsjson.Unbuilt   `json:"OwningAccount,omitzero"`
}

// ListMetricsResult is a page of metrics.
type ListMetricsResult struct {
	Metrics   []Metric `json:"Metrics"`
	NextToken string   `json:"NextToken,omitempty"`
}
