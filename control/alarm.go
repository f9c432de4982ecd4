package control

import (
	"context"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

const (
	maxAlarmPeriods    = 288 // a day
	maxAlarmsPerMetric = 2
	// In characters, as CloudWatch limits them.
	maxAlarmDescription = 1024
	maxStateReason      = 1023
	maxStateData        = 4000
)

// checkAlarmConfig refuses what Lightsail refuses, and fills in the defaults.
func checkAlarmConfig(c *openimds.AlarmConfig) error {
	switch m, ok := openimds.FindMetric(c.Metric); {
	case !ok || !m.Alarms:
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The metric %.100s is not one that an instance's alarm can watch", c.Metric)
	case !m.Counted && !m.Checked:
		return notMeasured(c.Metric)
	}
	if c.Periods < 1 || c.Periods > maxAlarmPeriods {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "%s must be 1 to %d, not %d", openimds.FieldPeriods, maxAlarmPeriods, c.Periods)
	}
	if c.Datapoints == 0 {
		c.Datapoints = c.Periods
	}
	if c.Datapoints < 1 || c.Datapoints > c.Periods {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "%s must be 1 to %s, not %d", openimds.FieldDatapoints, openimds.FieldPeriods, c.Datapoints)
	}
	if c.MissingData == "" {
		c.MissingData = openimds.MissingMissing
	}
	if math.IsNaN(c.Threshold) || math.IsInf(c.Threshold, 0) {
		return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%s must be a number, not %v", openimds.FieldThreshold, c.Threshold)
	}
	if !slices.Contains([]openimds.Comparison{openimds.AtLeast, openimds.Above, openimds.Below, openimds.AtMost}, c.Comparison) {
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "%s is unknown: %.50q", openimds.FieldComparison, c.Comparison)
	}
	if !slices.Contains([]openimds.MissingData{openimds.MissingBreaching, openimds.MissingNotBreaching, openimds.MissingIgnore, openimds.MissingMissing}, c.MissingData) {
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "%s is unknown: %.50q", openimds.FieldMissingData, c.MissingData)
	}
	if c.Description != nil && utf8.RuneCountInString(*c.Description) > maxAlarmDescription {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "%s has at most %d characters", openimds.FieldDescription, maxAlarmDescription)
	}
	if len(c.NotifyOn) == 0 {
		c.NotifyOn = []openimds.AlarmState{openimds.AlarmAlarm}
	}
	if !slices.Contains(c.NotifyOn, openimds.AlarmAlarm) {
		return openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "%s must have ALARM among them", openimds.FieldNotifyOn)
	}
	for _, state := range c.NotifyOn {
		if err := checkAlarmState(state); err != nil {
			return err
		}
	}
	return nil
}

func checkAlarmState(s openimds.AlarmState) error {
	if s != openimds.AlarmOK && s != openimds.AlarmAlarm && s != openimds.AlarmInsufficient {
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "An alarm is OK, ALARM or INSUFFICIENT_DATA, never %.50q", s)
	}
	return nil
}

// PutAlarm makes an alarm, or gives the one of that name another configuration. A new one begins
// with insufficient data; a changed one keeps its state until it is evaluated.
//
// Errors: InvalidInput/UnknownValue, InvalidInput/OutOfRange, InvalidInput/TooLarge and InvalidInput/Incomplete for what
// the configuration says, OperationFailure/NotEnforced for a metric that is not measured here, InvalidInput/TooMany for a
// third alarm of a metric; InvalidInput/OutOfRange,
// InvalidInput/TooLarge, InvalidInput/TooMany, InvalidInput/Duplicate and InvalidInput/Reserved for the tags;
// InvalidInput/NameTaken where something else has the name; NotFound/DoesNotExist without the instance.
func (s *Service) PutAlarm(ctx context.Context, name string, c openimds.AlarmConfig, tags []openimds.Tag) ([]openimds.Operation, error) {
	if err := openimds.ValidateName(name); err != nil {
		return nil, err
	}
	if err := checkAlarmConfig(&c); err != nil {
		return nil, err
	}
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	return operationsOf(s.commit(ctx, "PutAlarm", func(d *draft) error {
		in, inWas, err := s.instance(ctx, c.Instance)
		if err != nil {
			return err
		}
		alarm, was, err := s.alarm(ctx, name)
		if err != nil && openimds.KindOf(err) != openimds.NotFound {
			return err
		}
		isNew := err != nil
		if err := s.limitAlarms(ctx, name, c); err != nil {
			return err
		}
		if isNew {
			if err := s.refuseTaken(ctx, name); err != nil {
				if _, _, made := s.alarm(ctx, name); made == nil {
					return store.ErrConflict // somebody has made it since it was looked for
				}
				return err
			}
			alarm = &openimds.Alarm{Name: name, UUID: openimds.NewUUID(), CreatedAt: d.now, State: openimds.AlarmInsufficient, StateChangedAt: d.now, Tags: tags}
		}
		if c.Description == nil {
			c.Description = alarm.Description
		}
		alarm.AlarmConfig, alarm.InstanceUUID = c, in.UUID
		if isNew {
			d.create(openimds.TypeAlarm, name, alarm)
		} else {
			d.put(was, alarm)
		}
		// An alarm never outlives its instance, nor begins without it.
		d.changes = append(d.changes, store.Change{Verb: store.Check, Key: inWas.Key, If: inWas.Revision})
		d.operation(alarmOperation("PutAlarm", alarm))
		return nil
	}))
}

// limitAlarms refuses a further alarm of a metric that has enough. Two clients that add one at the
// same moment may both succeed: the limit spares readers, it protects nothing.
func (s *Service) limitAlarms(ctx context.Context, name string, c openimds.AlarmConfig) error {
	alarms, _, err := list[*openimds.Alarm](ctx, s.store, openimds.TypeAlarm, "", 0)
	if err != nil {
		return err
	}
	others := 0
	for _, a := range alarms {
		if a.Name != name && a.Instance == c.Instance && a.Metric == c.Metric {
			others++
		}
	}
	if others >= maxAlarmsPerMetric {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "The metric %s of %s has %d alarms already, which is the most", c.Metric, c.Instance, others)
	}
	return nil
}

// Alarm returns the alarm of that name.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) Alarm(ctx context.Context, name string) (*openimds.Alarm, error) {
	alarm, _, err := s.alarm(ctx, name)
	return alarm, err
}

// Alarms is to alarms what [Service.Instances] is to instances; with an instance's name, only the
// alarms of that instance are returned.
func (s *Service) Alarms(ctx context.Context, instance, after string, limit int) ([]*openimds.Alarm, string, error) {
	alarms, next, err := list[*openimds.Alarm](ctx, s.store, openimds.TypeAlarm, after, limit)
	if instance != "" {
		alarms = slices.DeleteFunc(alarms, func(a *openimds.Alarm) bool { return a.Instance != instance })
	}
	return alarms, next, err
}

func (s *Service) alarm(ctx context.Context, name string) (*openimds.Alarm, store.Record, error) {
	return find[*openimds.Alarm](ctx, s.store, openimds.TypeAlarm, name)
}

// DeleteAlarm forgets an alarm.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) DeleteAlarm(ctx context.Context, name string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "DeleteAlarm", func(d *draft) error {
		alarm, was, err := s.alarm(ctx, name)
		if err != nil {
			return err
		}
		d.destroy(openimds.TypeAlarm, was)
		d.operation(alarmOperation("DeleteAlarm", alarm))
		return nil
	}))
}

// removeAlarmsOf forgets the alarms of an instance that goes.
func (s *Service) removeAlarmsOf(ctx context.Context, d *draft, instance string) error {
	page, err := s.store.List(ctx, store.Range{Prefix: records.AlarmPrefix})
	if err != nil {
		return storeFailed(err)
	}
	for _, r := range page.Records {
		alarm, err := read[*openimds.Alarm](r)
		if err != nil {
			return err
		}
		if alarm.Instance == instance {
			d.destroy(openimds.TypeAlarm, r)
		}
	}
	return nil
}

func alarmOperation(what string, a *openimds.Alarm) openimds.Operation {
	return openimds.Operation{Type: what, Resource: a.Name, ResourceType: openimds.TypeAlarm}
}
