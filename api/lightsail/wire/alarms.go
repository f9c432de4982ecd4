package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	DeleteAlarm = changes[AlarmRequest, OperationsResult](lightsail + "DeleteAlarm")
	GetAlarms   = looks[GetAlarmsRequest, GetAlarmsResult](lightsail + "GetAlarms")
	PutAlarm    = changes[PutAlarmRequest, OperationsResult](lightsail + "PutAlarm")
	TestAlarm   = changes[TestAlarmRequest, OperationsResult](lightsail + "TestAlarm")
)

// Alarm is how the API shows an alarm.
type Alarm struct {
	Name                  string                `json:"name"`
	ARN                   string                `json:"arn"`
	CreatedAt             awsjson.Epoch         `json:"createdAt"`
	Location              Location              `json:"location"`
	ResourceType          string                `json:"resourceType"`
	MonitoredResourceInfo MonitoredResource     `json:"monitoredResourceInfo"`
	ComparisonOperator    openimds.Comparison   `json:"comparisonOperator"`
	EvaluationPeriods     int                   `json:"evaluationPeriods"`
	Period                int                   `json:"period"`
	Threshold             awsjson.Double        `json:"threshold"`
	DatapointsToAlarm     int                   `json:"datapointsToAlarm"`
	TreatMissingData      openimds.MissingData  `json:"treatMissingData"`
	Statistic             string                `json:"statistic"`
	MetricName            string                `json:"metricName"`
	State                 openimds.AlarmState   `json:"state"`
	Unit                  string                `json:"unit"`
	ContactProtocols      []string              `json:"contactProtocols"`
	NotificationTriggers  []openimds.AlarmState `json:"notificationTriggers"`
	NotificationEnabled   bool                  `json:"notificationEnabled"`
	Tags                  []Tag                 `json:"tags"`
}

// MonitoredResource is what an alarm watches.
type MonitoredResource struct {
	ARN          string `json:"arn"`
	Name         string `json:"name"`
	ResourceType string `json:"resourceType"`
}

// PutAlarmRequest makes an alarm, or changes all of the one that has the name.
type PutAlarmRequest struct {
	AlarmName             string          `json:"alarmName" check:"required"`
	MetricName            AlarmMetricName `json:"metricName" check:"required"`
	MonitoredResourceName string          `json:"monitoredResourceName" check:"required"`
	ComparisonOperator    Comparison      `json:"comparisonOperator" check:"required"`
	Threshold             *awsjson.Double `json:"threshold" check:"required"`
	EvaluationPeriods     *int            `json:"evaluationPeriods" check:"required"`
	DatapointsToAlarm     *int            `json:"datapointsToAlarm,omitzero"`
	TreatMissingData      MissingData     `json:"treatMissingData,omitzero"`
	// ContactProtocols are ways to reach people that this service does not have.
	ContactProtocols     awsjson.Unbuilt `json:"contactProtocols,omitzero"`
	NotificationTriggers []AlarmState    `json:"notificationTriggers,omitzero"`
	NotificationEnabled  *bool           `json:"notificationEnabled,omitzero"`
	Tags                 []Tag           `json:"tags,omitzero"`
}

// GetAlarmsRequest asks for one alarm by its name, for those of a resource, or for all.
type GetAlarmsRequest struct {
	AlarmName             string `json:"alarmName,omitzero"`
	PageToken             string `json:"pageToken,omitzero"`
	MonitoredResourceName string `json:"monitoredResourceName,omitzero"`
}

// GetAlarmsResult is a page of alarms, by name.
type GetAlarmsResult struct {
	Alarms        []Alarm `json:"alarms"`
	NextPageToken string  `json:"nextPageToken,omitempty"`
}

// AlarmRequest is the request of what needs nothing but an alarm's name.
type AlarmRequest struct {
	AlarmName string `json:"alarmName" check:"required"`
}

// TestAlarmRequest puts an alarm into a state until it is evaluated again.
type TestAlarmRequest struct {
	AlarmName string     `json:"alarmName" check:"required"`
	State     AlarmState `json:"state" check:"required"`
}
