package cloudwatch

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/cloudwatch/wire"
)

func (a *protocol) putMetricAlarm(ctx context.Context, in *wire.PutMetricAlarmRequest) (wire.Nothing, error) {
	metric, config, err := alarmConfig(in)
	if err != nil {
		return wire.Nothing{}, err
	}
	instance, there := series(string(in.Namespace), metric.Name, in.Dimensions)
	if !there || !metric.Counted || !metric.Alarms {
		return wire.Nothing{}, invalidValue("openimds watches %s and %s of %s, by the one dimension %s: it would never know of another metric",
			openimds.MetricNoToken, openimds.MetricNoTokenRejected, ec2, byInstance)
	}
	one, err := a.instance(ctx, instance)
	if err != nil {
		return wire.Nothing{}, err
	}
	if one == nil {
		return wire.Nothing{}, invalidValue("The instance %.100s of the alarm's dimension does not exist", instance)
	}
	config.Instance = one.Name
	tags := make([]openimds.Tag, len(in.Tags))
	for i, t := range in.Tags {
		tags[i] = openimds.Tag{Key: string(t.Key), Value: t.Value}
	}
	_, err = a.service.PutAlarm(ctx, string(in.AlarmName), config, tags)
	if err != nil && openimds.CodeOf(err) == openimds.TooMany {
		return wire.Nothing{}, limitExceeded("%s", asFailure(formQuery, err).message)
	}
	return wire.Nothing{}, err
}

// alarmConfig reads what a request says of an alarm, but for whose it is.
func alarmConfig(in *wire.PutMetricAlarmRequest) (metric openimds.Metric, config openimds.AlarmConfig, err error) {
	for _, m := range []struct {
		name    string
		missing bool
	}{
		{"MetricName", in.MetricName == ""}, {"Namespace", in.Namespace == ""}, {"Statistic", in.Statistic == ""}, {"Period", in.Period == nil},
		{"EvaluationPeriods", in.EvaluationPeriods == nil}, {"Threshold", in.Threshold == nil}, {"ComparisonOperator", in.ComparisonOperator == ""},
	} {
		if m.missing { // AWS has them optional for alarms over expressions
			return metric, config, missingParameter("The parameter %s is required.", m.name)
		}
	}
	metric, _ = openimds.FindMetric(string(in.MetricName))
	metric.Name = string(in.MetricName)
	const period = wire.Period(openimds.AlarmPeriod / time.Second)
	switch {
	case *in.Period != period:
		return metric, config, invalidValue("Period must be %d: openimds looks at alarms' metrics in no other periods", period)
	case metric.Statistic != "" && string(in.Statistic) != metric.Statistic:
		return metric, config, invalidValue("Statistic must be %s: openimds holds nothing else of %s against a threshold", metric.Statistic, metric.Name)
	case metric.Unit != "" && in.Unit != "" && string(in.Unit) != metric.Unit:
		return metric, config, invalidValue("Unit must be %s: %s has no other, and the alarm would never have data", metric.Unit, metric.Name)
	}
	config = openimds.AlarmConfig{
		Metric: metric.Name, Comparison: openimds.Comparison(in.ComparisonOperator), Threshold: float64(*in.Threshold),
		Periods: int(*in.EvaluationPeriods), MissingData: openimds.MissingData(in.TreatMissingData),
		Notify: in.ActionsEnabled == nil || *in.ActionsEnabled, Description: in.AlarmDescription,
	}
	if config.Description == nil { // all of an alarm is put
		config.Description = new(string)
	}
	if in.DatapointsToAlarm != nil {
		config.Datapoints = int(*in.DatapointsToAlarm)
	}
	return metric, config, nil
}

// alarmsPage is how many alarms are on a page, unless fewer are asked for.
const alarmsPage = 50

func (a *protocol) describeAlarms(ctx context.Context, in *wire.DescribeAlarmsRequest) (wire.DescribeAlarmsResult, error) {
	result := wire.DescribeAlarmsResult{MetricAlarms: []wire.MetricAlarm{}}
	if len(in.AlarmNames) > 0 && in.AlarmNamePrefix != "" {
		return result, invalidCombination("AlarmNamePrefix and AlarmNames cannot be given together")
	}
	if len(in.AlarmNames) > maxAlarmNames {
		return result, validation("AlarmNames has at most %d names, not %d", maxAlarmNames, len(in.AlarmNames))
	}
	most := alarmsPage
	if in.MaxRecords != nil {
		most = int(*in.MaxRecords)
	}
	list := a.list("DescribeAlarms", in.AlarmNames, in.AlarmNamePrefix, in.StateValue)
	after, err := api.PagePlace(list, in.NextToken)
	if err != nil {
		return result, errToken
	}
	if len(in.AlarmTypes) > 0 && !slices.Contains(in.AlarmTypes, "MetricAlarm") || in.ActionPrefix != "" { // no alarm has actions
		return result, nil
	}
	for {
		found, next, err := a.service.Alarms(ctx, "", after, alarmsPage)
		if err != nil {
			return result, err
		}
		for _, one := range found {
			if !asked(in, one) {
				continue
			}
			if len(result.MetricAlarms) == most {
				result.NextToken = api.PageToken(list, after)
				return result, nil
			}
			shown, err := a.alarm(ctx, one)
			if err != nil {
				return result, err
			}
			result.MetricAlarms = append(result.MetricAlarms, shown)
			after = one.Name
		}
		if after = next; next == "" {
			return result, nil
		}
	}
}

func asked(in *wire.DescribeAlarmsRequest, one *openimds.Alarm) bool {
	return (len(in.AlarmNames) == 0 || slices.Contains(in.AlarmNames, wire.Text255(one.Name))) &&
		strings.HasPrefix(one.Name, string(in.AlarmNamePrefix)) &&
		(in.StateValue == "" || string(in.StateValue) == string(one.State))
}

// lightsail is the namespace of metrics that only Lightsail has.
const lightsail = "AWS/Lightsail"

func (a *protocol) alarm(ctx context.Context, one *openimds.Alarm) (wire.MetricAlarm, error) {
	metric, _ := openimds.FindMetric(one.Metric)
	shown := wire.MetricAlarm{
		AlarmName: one.Name, AlarmARN: a.alarmARN(one.Name), ActionsEnabled: one.Notify,
		OKActions: []string{}, AlarmActions: []string{}, InsufficientDataActions: []string{},
		StateValue: string(one.State), StateReason: one.StateReason.Words, StateReasonData: one.StateReason.Data,
		StateUpdatedTimestamp: awsjson.Epoch{Time: one.StateChangedAt}, StateTransitioned: awsjson.Epoch{Time: one.StateChangedAt},
		MetricName: one.Metric, Namespace: ec2, Statistic: metric.Statistic, Period: int(openimds.AlarmPeriod / time.Second), Unit: metric.Unit,
		EvaluationPeriods: one.Periods, DatapointsToAlarm: one.Datapoints, Threshold: awsjson.Double(one.Threshold),
		ComparisonOperator: string(one.Comparison), TreatMissingData: string(one.MissingData), Dimensions: []wire.Dimension{},
	}
	if one.Description != nil {
		shown.AlarmDescription = *one.Description
	}
	if strings.HasPrefix(one.Metric, "Burst") {
		shown.Namespace = lightsail
	}
	in, err := a.service.Instance(ctx, one.Instance)
	if err != nil && openimds.KindOf(err) == openimds.NotFound { // it has gone, and the alarm goes with it
		return shown, nil
	}
	if err == nil {
		shown.Dimensions = append(shown.Dimensions, wire.Dimension{Name: byInstance, Value: wire.DimensionValue(in.ID)})
	}
	return shown, err
}

// maxAlarmNames is how many alarms a request may name.
const maxAlarmNames = 100

func (a *protocol) deleteAlarms(ctx context.Context, in *wire.DeleteAlarmsRequest) (wire.Nothing, error) {
	if n := len(in.AlarmNames); n > maxAlarmNames {
		return wire.Nothing{}, validation("AlarmNames has at most %d names, not %d", maxAlarmNames, n)
	}
	// As AWS has it: what is there goes, also if something else is not.
	var absent []string
	for _, name := range in.AlarmNames {
		_, err := a.service.DeleteAlarm(ctx, string(name))
		switch {
		case err != nil && isAbsent(string(name), err):
			absent = append(absent, string(name))
		case err != nil:
			return wire.Nothing{}, err
		}
	}
	if absent != nil {
		return wire.Nothing{}, resourceNotFound("There are no alarms of these names: %.1000s", strings.Join(absent, ", "))
	}
	return wire.Nothing{}, nil
}

// isAbsent says whether an error comes of there being no such alarm: CloudWatch lets an alarm have any name, so one that
// none has here, as none could, is no bad input.
func isAbsent(name string, err error) bool {
	return openimds.KindOf(err) == openimds.NotFound || openimds.ValidateName(name) != nil
}

func (a *protocol) setAlarmState(ctx context.Context, in *wire.SetAlarmStateRequest) (wire.Nothing, error) {
	_, err := a.service.SetAlarmState(ctx, string(in.AlarmName), openimds.AlarmState(in.StateValue), openimds.StateReason{Words: *in.StateReason, Data: in.StateReasonData})
	switch {
	case err != nil && openimds.ValidateName(string(in.AlarmName)) != nil:
		return wire.Nothing{}, resourceNotFound("There is no alarm of this name: %.300s", in.AlarmName)
	case err != nil && openimds.CodeOf(err) == openimds.Malformed:
		return wire.Nothing{}, invalidFormat("%s", asFailure(formQuery, err).message)
	}
	return wire.Nothing{}, err
}

// alarmARN is how CloudWatch names an alarm to all the world.
func (a *protocol) alarmARN(name string) string { return a.alarmARNs() + name }

func (a *protocol) alarmARNs() string {
	return "arn:aws:cloudwatch:" + a.service.Region() + ":" + a.service.AccountID() + ":alarm:"
}

// ofARN is the alarm that an ARN names.
func (a *protocol) ofARN(ctx context.Context, arn string) (*openimds.Alarm, error) {
	name, ours := strings.CutPrefix(arn, a.alarmARNs())
	if !ours {
		return nil, resourceUnknown("There is no such resource: %.200s", arn)
	}
	one, err := a.service.Alarm(ctx, name)
	if err != nil && isAbsent(name, err) {
		return nil, resourceUnknown("There is no such resource: %.200s", arn)
	}
	return one, err
}

func (a *protocol) listTagsForResource(ctx context.Context, in *wire.ListTagsForResourceRequest) (wire.ListTagsForResourceResult, error) {
	result := wire.ListTagsForResourceResult{Tags: []wire.Tag{}}
	one, err := a.ofARN(ctx, in.ResourceARN)
	if err != nil {
		return result, err
	}
	for _, t := range one.Tags {
		result.Tags = append(result.Tags, wire.Tag{Key: wire.TagKey(t.Key), Value: t.Value})
	}
	return result, nil
}

func (a *protocol) tagResource(ctx context.Context, in *wire.TagResourceRequest) (wire.Nothing, error) {
	one, err := a.ofARN(ctx, in.ResourceARN)
	if err != nil {
		return wire.Nothing{}, err
	}
	tags := make([]openimds.Tag, len(in.Tags))
	for i, t := range in.Tags {
		tags[i] = openimds.Tag{Key: string(t.Key), Value: t.Value}
	}
	_, err = a.service.TagResource(ctx, one.Name, "", tags)
	return wire.Nothing{}, err
}

func (a *protocol) untagResource(ctx context.Context, in *wire.UntagResourceRequest) (wire.Nothing, error) {
	one, err := a.ofARN(ctx, in.ResourceARN)
	if err != nil {
		return wire.Nothing{}, err
	}
	keys := make([]string, len(in.TagKeys))
	for i, key := range in.TagKeys {
		keys[i] = string(key)
	}
	_, err = a.service.UntagResource(ctx, one.Name, "", keys)
	return wire.Nothing{}, err
}
