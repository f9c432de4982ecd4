package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) alarm(one *openimds.Alarm) wire.Alarm {
	metric, _ := openimds.FindMetric(one.Metric)
	return wire.Alarm{
		Name: one.Name, ARN: a.service.ARN(openimds.TypeAlarm, one.UUID), CreatedAt: awsjson.Epoch{Time: one.CreatedAt},
		Location: a.everywhere(), ResourceType: string(openimds.TypeAlarm),
		MonitoredResourceInfo: wire.MonitoredResource{ARN: a.service.ARN(openimds.TypeInstance, one.InstanceUUID), Name: one.Instance, ResourceType: string(openimds.TypeInstance)},
		ComparisonOperator:    one.Comparison, EvaluationPeriods: one.Periods, Period: int(openimds.AlarmPeriod / time.Second),
		Threshold: awsjson.Double(one.Threshold), DatapointsToAlarm: one.Datapoints, TreatMissingData: one.MissingData,
		Statistic: metric.Statistic, MetricName: one.Metric, State: one.State, Unit: metric.Unit,
		ContactProtocols: []string{}, NotificationTriggers: append([]openimds.AlarmState{}, one.NotifyOn...),
		NotificationEnabled: one.Notify, Tags: showTags(one.Tags),
	}
}

func (a *protocol) putAlarm(ctx context.Context, in *wire.PutAlarmRequest) (wire.OperationsResult, error) {
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

func (a *protocol) getAlarms(ctx context.Context, in *wire.GetAlarmsRequest) (wire.GetAlarmsResult, error) {
	list := a.list("GetAlarms", in.AlarmName, in.MonitoredResourceName)
	after, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return wire.GetAlarmsResult{}, err
	}
	if in.AlarmName != "" {
		one, err := a.service.Alarm(ctx, in.AlarmName)
		if err != nil {
			return wire.GetAlarmsResult{}, err
		}
		result := wire.GetAlarmsResult{Alarms: []wire.Alarm{}}
		if in.MonitoredResourceName == "" || in.MonitoredResourceName == one.Instance {
			result.Alarms = append(result.Alarms, a.alarm(one))
		}
		return result, nil
	}
	found, next, err := a.service.Alarms(ctx, in.MonitoredResourceName, after, pageSize)
	result := wire.GetAlarmsResult{Alarms: []wire.Alarm{}, NextPageToken: api.PageToken(list, next)}
	for _, one := range found {
		result.Alarms = append(result.Alarms, a.alarm(one))
	}
	return result, err
}

func (a *protocol) deleteAlarm(ctx context.Context, in *wire.AlarmRequest) (wire.OperationsResult, error) {
	return a.many(a.service.DeleteAlarm(ctx, in.AlarmName))
}

func (a *protocol) testAlarm(ctx context.Context, in *wire.TestAlarmRequest) (wire.OperationsResult, error) {
	return a.many(a.service.TestAlarm(ctx, in.AlarmName, openimds.AlarmState(in.State)))
}
