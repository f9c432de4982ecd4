// Package wire has the shapes of Amazon CloudWatch's API, as far as it has to do with what is counted of instances and
// with alarms: what is asked, what is answered, and which of both belong to an operation. Server and client share them.
//
// The names of members, and what a type demands of its values, are those of AWS's model (botocore 1.43.11, cloudwatch
// 2010-08-01); the server's tests compare them. They are the same in each of the forms in which a request may be
// written: CBOR, JSON, and a query whose answer is XML.
package wire

// Target is an operation, with the types of request and answer.
type Target[Q, R any] struct {
	// Name is the operation's, without any prefix.
	Name string
	// Changes says that the operation may change something: keys that only look may not ask for it, and nobody may
	// send it twice unasked.
	Changes bool
}

// Service is the name of the API in targets and paths.
const Service = "GraniteServiceVersion20100801"

// Version is the API's, which queries name.
const Version = "2010-08-01"

// The operations.
var (
	DeleteAlarms        = Target[DeleteAlarmsRequest, Nothing]{"DeleteAlarms", true}
	DescribeAlarms      = Target[DescribeAlarmsRequest, DescribeAlarmsResult]{"DescribeAlarms", false}
	GetMetricData       = Target[GetMetricDataRequest, GetMetricDataResult]{"GetMetricData", false}
	GetMetricStatistics = Target[GetMetricStatisticsRequest, GetMetricStatisticsResult]{"GetMetricStatistics", false}
	ListMetrics         = Target[ListMetricsRequest, ListMetricsResult]{"ListMetrics", false}
	ListTagsForResource = Target[ListTagsForResourceRequest, ListTagsForResourceResult]{"ListTagsForResource", false}
	PutMetricAlarm      = Target[PutMetricAlarmRequest, Nothing]{"PutMetricAlarm", true}
	SetAlarmState       = Target[SetAlarmStateRequest, Nothing]{"SetAlarmState", true}
	TagResource         = Target[TagResourceRequest, Nothing]{"TagResource", true}
	UntagResource       = Target[UntagResourceRequest, Nothing]{"UntagResource", true}
)

// Nothing is the answer of what has none.
type Nothing struct{}

// Tag of an alarm.
type Tag struct {
	Key   TagKey `json:"Key" check:"required"`
	Value string `json:"Value"`
}

// ListTagsForResourceRequest asks for an alarm's tags.
type ListTagsForResourceRequest struct {
	ResourceARN string `json:"ResourceARN" check:"required"`
}

// ListTagsForResourceResult has them.
type ListTagsForResourceResult struct {
	Tags []Tag `json:"Tags"`
}

// TagResourceRequest gives an alarm tags, in the place of those of the same keys.
type TagResourceRequest struct {
	ResourceARN string `json:"ResourceARN" check:"required"`
	Tags        []Tag  `json:"Tags" check:"required"`
}

// UntagResourceRequest takes tags off an alarm.
type UntagResourceRequest struct {
	ResourceARN string   `json:"ResourceARN" check:"required"`
	TagKeys     []TagKey `json:"TagKeys" check:"required"`
}
