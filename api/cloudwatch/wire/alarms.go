package wire

import "github.com/openimds/openimds/api/awsjson"

// PutMetricAlarmRequest makes an alarm, or changes all of the one that has the name.
type PutMetricAlarmRequest struct {
	AlarmName          Text255            `json:"AlarmName" check:"required"`
	AlarmDescription   *string            `json:"AlarmDescription,omitzero"`
	ActionsEnabled     *bool              `json:"ActionsEnabled,omitzero"`
	Namespace          Namespace          `json:"Namespace,omitzero"`
	MetricName         Text255            `json:"MetricName,omitzero"`
	Dimensions         []Dimension        `json:"Dimensions,omitzero"`
	Statistic          Statistic          `json:"Statistic,omitzero"`
	Period             *Period            `json:"Period,omitzero"` // seconds
	Unit               StandardUnit       `json:"Unit,omitzero"`
	EvaluationPeriods  *Period            `json:"EvaluationPeriods,omitzero"`
	DatapointsToAlarm  *Period            `json:"DatapointsToAlarm,omitzero"`
	Threshold          *awsjson.Double    `json:"Threshold,omitzero"`
	ComparisonOperator ComparisonOperator `json:"ComparisonOperator,omitzero"`
	TreatMissingData   Text255            `json:"TreatMissingData,omitzero"`
	Tags               []Tag              `json:"Tags,omitzero"`

	// What is to be done by others when the state changes; nobody here does.
	OKActions               awsjson.Unbuilt `json:"OKActions,omitzero"`
	AlarmActions            awsjson.Unbuilt `json:"AlarmActions,omitzero"`
	InsufficientDataActions awsjson.Unbuilt `json:"InsufficientDataActions,omitzero"`
	// What is not watched: percentiles, expressions, other accounts' metrics.
	ExtendedStatistic                awsjson.Unbuilt `json:"ExtendedStatistic,omitzero"`
	EvaluateLowSampleCountPercentile awsjson.Unbuilt `json:"EvaluateLowSampleCountPercentile,omitzero"`
	Metrics                          awsjson.Unbuilt `json:"Metrics,omitzero"`
	ThresholdMetricID                awsjson.Unbuilt `json:"ThresholdMetricId,omitzero"`
	EvaluationCriteria               awsjson.Unbuilt `json:"EvaluationCriteria,omitzero"`
	EvaluationInterval               awsjson.Unbuilt `json:"EvaluationInterval,omitzero"`
}

// MetricAlarm is how the API shows an alarm.
type MetricAlarm struct {
	AlarmName               string         `json:"AlarmName"`
	AlarmARN                string         `json:"AlarmArn"`
	AlarmDescription        string         `json:"AlarmDescription,omitempty"`
	ActionsEnabled          bool           `json:"ActionsEnabled"`
	OKActions               []string       `json:"OKActions"`
	AlarmActions            []string       `json:"AlarmActions"`
	InsufficientDataActions []string       `json:"InsufficientDataActions"`
	StateValue              string         `json:"StateValue"`
	StateReason             string         `json:"StateReason,omitempty"`
	StateReasonData         string         `json:"StateReasonData,omitempty"`
	StateUpdatedTimestamp   awsjson.Epoch  `json:"StateUpdatedTimestamp"`
	MetricName              string         `json:"MetricName"`
	Namespace               string         `json:"Namespace"`
	Statistic               string         `json:"Statistic"`
	Dimensions              []Dimension    `json:"Dimensions"`
	Period                  int            `json:"Period"`
	Unit                    string         `json:"Unit"`
	EvaluationPeriods       int            `json:"EvaluationPeriods"`
	DatapointsToAlarm       int            `json:"DatapointsToAlarm"`
	Threshold               awsjson.Double `json:"Threshold"`
	ComparisonOperator      string         `json:"ComparisonOperator"`
	TreatMissingData        string         `json:"TreatMissingData"`
	StateTransitioned       awsjson.Epoch  `json:"StateTransitionedTimestamp"`
}

// DescribeAlarmsRequest asks for alarms by name, by the beginning of their names, by their state, or for all.
type DescribeAlarmsRequest struct {
	AlarmNames          []Text255       `json:"AlarmNames,omitzero"`
	AlarmNamePrefix     Text255         `json:"AlarmNamePrefix,omitzero"`
	AlarmTypes          []AlarmType     `json:"AlarmTypes,omitzero"`
	ChildrenOfAlarmName awsjson.Unbuilt `json:"ChildrenOfAlarmName,omitzero"` // of composite alarms
	ParentsOfAlarmName  awsjson.Unbuilt `json:"ParentsOfAlarmName,omitzero"`
	StateValue          StateValue      `json:"StateValue,omitzero"`
	ActionPrefix        string          `json:"ActionPrefix,omitzero"`
	MaxRecords          *MaxRecords     `json:"MaxRecords,omitzero"`
	NextToken           string          `json:"NextToken,omitzero"`
}

// DescribeAlarmsResult is a page of alarms, by name.
type DescribeAlarmsResult struct {
	MetricAlarms []MetricAlarm `json:"MetricAlarms"`
	NextToken    string        `json:"NextToken,omitempty"`
}

// DeleteAlarmsRequest names the alarms to forget.
type DeleteAlarmsRequest struct {
	AlarmNames []Text255 `json:"AlarmNames" check:"required"`
}

// SetAlarmStateRequest puts an alarm into a state until it is evaluated again.
type SetAlarmStateRequest struct {
	AlarmName       Text255    `json:"AlarmName" check:"required"`
	StateValue      StateValue `json:"StateValue" check:"required"`
	StateReason     *string    `json:"StateReason" check:"required"`
	StateReasonData string     `json:"StateReasonData,omitzero"`
}
