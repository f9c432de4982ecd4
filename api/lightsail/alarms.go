package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
)

// alarm is how the API shows an alarm.
type alarm struct {
	Name                  string                `json:"name"`
	ARN                   string                `json:"arn"`
	CreatedAt             epoch                 `json:"createdAt"`
	Location              location              `json:"location"`
	ResourceType          string                `json:"resourceType"`
	MonitoredResourceInfo monitoredResource     `json:"monitoredResourceInfo"`
	ComparisonOperator    openimds.Comparison   `json:"comparisonOperator"`
	EvaluationPeriods     int                   `json:"evaluationPeriods"`
	Period                int                   `json:"period"`
	Threshold             double                `json:"threshold"`
	DatapointsToAlarm     int                   `json:"datapointsToAlarm"`
	TreatMissingData      openimds.MissingData  `json:"treatMissingData"`
	Statistic             string                `json:"statistic"`
	MetricName            string                `json:"metricName"`
	State                 openimds.AlarmState   `json:"state"`
	Unit                  string                `json:"unit"`
	ContactProtocols      []string              `json:"contactProtocols"`
	NotificationTriggers  []openimds.AlarmState `json:"notificationTriggers"`
	NotificationEnabled   bool                  `json:"notificationEnabled"`
	Tags                  []tag                 `json:"tags"`
}

type monitoredResource struct {
	ARN          string `json:"arn"`
	Name         string `json:"name"`
	ResourceType string `json:"resourceType"`
}

func (a *api) alarm(one *openimds.Alarm) alarm {
	metric, _ := openimds.FindMetric(one.Metric)
	return alarm{
		Name: one.Name, ARN: a.service.ARN(openimds.TypeAlarm, one.UUID), CreatedAt: epoch{one.CreatedAt},
		Location: a.everywhere(), ResourceType: string(openimds.TypeAlarm),
		MonitoredResourceInfo: monitoredResource{a.service.ARN(openimds.TypeInstance, one.InstanceUUID), one.Instance, string(openimds.TypeInstance)},
		ComparisonOperator:    one.Comparison, EvaluationPeriods: one.Periods, Period: int(openimds.AlarmPeriod / time.Second),
		Threshold: double(one.Threshold), DatapointsToAlarm: one.Datapoints, TreatMissingData: one.MissingData,
		Statistic: metric.Statistic, MetricName: one.Metric, State: one.State, Unit: metric.Unit,
		ContactProtocols: []string{}, NotificationTriggers: append([]openimds.AlarmState{}, one.NotifyOn...),
		NotificationEnabled: one.Notify, Tags: showTags(one.Tags),
	}
}

type putAlarmRequest struct {
	AlarmName             string          `json:"alarmName" check:"required"`
	MetricName            alarmMetricName `json:"metricName" check:"required"`
	MonitoredResourceName string          `json:"monitoredResourceName" check:"required"`
	ComparisonOperator    comparison      `json:"comparisonOperator" check:"required"`
	Threshold             *double         `json:"threshold" check:"required"`
	EvaluationPeriods     *int            `json:"evaluationPeriods" check:"required"`
	DatapointsToAlarm     *int            `json:"datapointsToAlarm"`
	TreatMissingData      missingData     `json:"treatMissingData"`
	// ContactProtocols are ways to reach people that this service does not have.
	ContactProtocols     unbuilt      `json:"contactProtocols"`
	NotificationTriggers []alarmState `json:"notificationTriggers"`
	NotificationEnabled  *bool        `json:"notificationEnabled"`
	Tags                 []tag        `json:"tags"`
}

func (a *api) putAlarm(ctx context.Context, in *putAlarmRequest) (operationsResult, error) {
	config := openimds.AlarmConfig{
		Metric: string(in.MetricName), Instance: in.MonitoredResourceName,
		Comparison: openimds.Comparison(in.ComparisonOperator), Threshold: float64(*in.Threshold),
		Periods: *in.EvaluationPeriods, MissingData: openimds.MissingData(in.TreatMissingData), Notify: true,
	}
	if in.DatapointsToAlarm != nil {
		if config.Datapoints = *in.DatapointsToAlarm; config.Datapoints == 0 { // the service takes 0 for "all"
			config.Datapoints = -1
		}
	}
	if in.NotificationEnabled != nil {
		config.Notify = *in.NotificationEnabled
	}
	for _, state := range in.NotificationTriggers {
		config.NotifyOn = append(config.NotifyOn, openimds.AlarmState(state))
	}
	return a.many(a.service.PutAlarm(ctx, in.AlarmName, config, readTags(in.Tags)))
}

type getAlarmsRequest struct {
	AlarmName             string `json:"alarmName"`
	PageToken             string `json:"pageToken"`
	MonitoredResourceName string `json:"monitoredResourceName"`
}

type getAlarmsResult struct {
	Alarms        []alarm `json:"alarms"`
	NextPageToken string  `json:"nextPageToken,omitempty"`
}

func (a *api) getAlarms(ctx context.Context, in *getAlarmsRequest) (getAlarmsResult, error) {
	if in.AlarmName != "" {
		one, err := a.service.Alarm(ctx, in.AlarmName)
		if err != nil {
			return getAlarmsResult{}, err
		}
		result := getAlarmsResult{Alarms: []alarm{}}
		if in.MonitoredResourceName == "" || in.MonitoredResourceName == one.Instance {
			result.Alarms = append(result.Alarms, a.alarm(one))
		}
		return result, nil
	}
	list := "GetAlarms/" + in.MonitoredResourceName
	after, err := pagePlace(list, in.PageToken)
	if err != nil {
		return getAlarmsResult{}, err
	}
	found, next, err := a.service.Alarms(ctx, in.MonitoredResourceName, after, pageSize)
	result := getAlarmsResult{Alarms: []alarm{}, NextPageToken: pageToken(list, next)}
	for _, one := range found {
		result.Alarms = append(result.Alarms, a.alarm(one))
	}
	return result, err
}

type alarmRequest struct {
	AlarmName string `json:"alarmName" check:"required"`
}

func (a *api) deleteAlarm(ctx context.Context, in *alarmRequest) (operationsResult, error) {
	return a.many(a.service.DeleteAlarm(ctx, in.AlarmName))
}

type testAlarmRequest struct {
	AlarmName string     `json:"alarmName" check:"required"`
	State     alarmState `json:"state" check:"required"`
}

func (a *api) testAlarm(ctx context.Context, in *testAlarmRequest) (operationsResult, error) {
	return a.many(a.service.TestAlarm(ctx, in.AlarmName, openimds.AlarmState(in.State)))
}
