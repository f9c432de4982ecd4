package openimds

import (
	"context"
	"math"
	"slices"
	"time"
)

// AlarmState is what an alarm says of its metric, by the names of the Lightsail API.
type AlarmState string

// The states of an alarm.
const (
	AlarmOK           AlarmState = "OK"
	AlarmAlarm        AlarmState = "ALARM"
	AlarmInsufficient AlarmState = "INSUFFICIENT_DATA"
)

// Comparison says when a value breaches the threshold.
type Comparison string

// The comparisons of a value with the threshold.
const (
	AtLeast Comparison = "GreaterThanOrEqualToThreshold"
	Above   Comparison = "GreaterThanThreshold"
	Below   Comparison = "LessThanThreshold"
	AtMost  Comparison = "LessThanOrEqualToThreshold"
)

// MissingData says what an alarm makes of a period without samples.
type MissingData string

// The treatments of missing data.
const (
	MissingBreaching    MissingData = "breaching"
	MissingNotBreaching MissingData = "notBreaching"
	MissingIgnore       MissingData = "ignore"
	MissingMissing      MissingData = "missing"
)

// AlarmConfig is what a client says of an alarm.
type AlarmConfig struct {
	Metric   string `json:"metric"`
	Instance string `json:"instance"`

	Comparison Comparison `json:"comparison"`
	Threshold  float64    `json:"threshold"`
	// Periods are the latest ones that are looked at, and Datapoints how many of them must breach
	// the threshold; 0: all.
	Periods    int `json:"periods"`
	Datapoints int `json:"datapoints"`
	// MissingData defaults to MissingMissing.
	MissingData MissingData `json:"missingData"`
	// NotifyOn are the states whose beginning is told; always with ALARM, which is the default.
	NotifyOn []AlarmState `json:"notifyOn"`
	// Notify says whether anything is told at all.
	Notify bool `json:"notify"`
}

// AlarmPeriod is the length of an alarm's periods; Lightsail has no other.
const AlarmPeriod = MetricPeriod

// Alarm watches one metric of an instance.
type Alarm struct {
	Name      string    `json:"name"`
	UUID      string    `json:"uuid"`
	CreatedAt time.Time `json:"createdAt"`
	AlarmConfig
	State          AlarmState `json:"state"`
	StateChangedAt time.Time  `json:"stateChangedAt"`
	Tags           []Tag      `json:"tags,omitempty"`
	// InstanceUUID is of the instance's ARN.
	InstanceUUID string `json:"instanceUuid"`
}

// Notifies says whether the beginning of the alarm's present state is to be told.
func (a *Alarm) Notifies() bool { return a.Notify && slices.Contains(a.NotifyOn, a.State) }

const (
	maxAlarmPeriods    = 288 // a day
	maxAlarmsPerMetric = 2
)

// check refuses what Lightsail refuses, and fills in the defaults.
func (c *AlarmConfig) check() error {
	if m, ok := FindMetric(c.Metric); !ok || !m.Alarms {
		return Errorf(InvalidInput, "", "The metric %.100s is not one that an instance's alarm can watch", c.Metric)
	}
	if c.Periods < 1 || c.Periods > maxAlarmPeriods {
		return Errorf(InvalidInput, "", "evaluationPeriods must be 1 to %d, not %d", maxAlarmPeriods, c.Periods)
	}
	if c.Datapoints == 0 {
		c.Datapoints = c.Periods
	}
	if c.Datapoints < 1 || c.Datapoints > c.Periods {
		return Errorf(InvalidInput, "", "datapointsToAlarm must be 1 to evaluationPeriods, not %d", c.Datapoints)
	}
	if c.MissingData == "" {
		c.MissingData = MissingMissing
	}
	if math.IsNaN(c.Threshold) || math.IsInf(c.Threshold, 0) {
		return Errorf(InvalidInput, "", "threshold must be a number, not %v", c.Threshold)
	}
	if !slices.Contains([]Comparison{AtLeast, Above, Below, AtMost}, c.Comparison) {
		return Errorf(InvalidInput, "", "comparisonOperator is unknown: %.50q", c.Comparison)
	}
	if !slices.Contains([]MissingData{MissingBreaching, MissingNotBreaching, MissingIgnore, MissingMissing}, c.MissingData) {
		return Errorf(InvalidInput, "", "treatMissingData is unknown: %.50q", c.MissingData)
	}
	if len(c.NotifyOn) == 0 {
		c.NotifyOn = []AlarmState{AlarmAlarm}
	}
	if !slices.Contains(c.NotifyOn, AlarmAlarm) {
		return Errorf(InvalidInput, "", "notificationTriggers must have ALARM among them")
	}
	for _, state := range c.NotifyOn {
		if err := checkAlarmState(state); err != nil {
			return err
		}
	}
	return nil
}

func checkAlarmState(s AlarmState) error {
	if s != AlarmOK && s != AlarmAlarm && s != AlarmInsufficient {
		return Errorf(InvalidInput, "", "An alarm is OK, ALARM or INSUFFICIENT_DATA, never %.50q", s)
	}
	return nil
}

// PutAlarm makes an alarm, or gives the one of that name another configuration. A new one begins
// with insufficient data; a changed one keeps its state until it is evaluated.
func (s *Service) PutAlarm(ctx context.Context, name string, c AlarmConfig, tags []Tag) ([]Operation, error) {
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
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
		if err != nil && KindOf(err) != NotFound {
			return err
		}
		isNew := err != nil
		if err := s.limitAlarms(ctx, name, c); err != nil {
			return err
		}
		if isNew {
			if err := s.refuseTaken(ctx, name); err != nil {
				return err
			}
			alarm = &Alarm{Name: name, UUID: NewUUID(), CreatedAt: d.now, State: AlarmInsufficient, StateChangedAt: d.now, Tags: tags}
		}
		alarm.AlarmConfig, alarm.InstanceUUID = c, in.UUID
		if isNew {
			d.create(TypeAlarm, name, alarm)
		} else {
			d.put(was, alarm)
		}
		// An alarm never outlives its instance, nor begins without it.
		d.changes = append(d.changes, Change{Verb: Check, Key: inWas.Key, If: inWas.Revision})
		d.operation(alarmOperation("PutAlarm", alarm))
		return nil
	}))
}

// limitAlarms refuses a further alarm of a metric that has enough. Two clients that add one at the
// same moment may both succeed: the limit spares readers, it protects nothing.
func (s *Service) limitAlarms(ctx context.Context, name string, c AlarmConfig) error {
	alarms, _, err := list[*Alarm](ctx, s.store, TypeAlarm, "", 0)
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
		return Errorf(InvalidInput, "", "The metric %s of %s has %d alarms already, which is the most", c.Metric, c.Instance, others)
	}
	return nil
}

// Alarm returns the alarm of that name.
func (s *Service) Alarm(ctx context.Context, name string) (*Alarm, error) {
	alarm, _, err := s.alarm(ctx, name)
	return alarm, err
}

// Alarms is to alarms what [Service.Instances] is to instances; with an instance's name, only the
// alarms of that instance are returned.
func (s *Service) Alarms(ctx context.Context, instance, after string, limit int) ([]*Alarm, string, error) {
	alarms, next, err := list[*Alarm](ctx, s.store, TypeAlarm, after, limit)
	if instance != "" {
		alarms = slices.DeleteFunc(alarms, func(a *Alarm) bool { return a.Instance != instance })
	}
	return alarms, next, err
}

func (s *Service) alarm(ctx context.Context, name string) (*Alarm, Record, error) {
	return find[*Alarm](ctx, s.store, TypeAlarm, name)
}

// DeleteAlarm forgets an alarm.
func (s *Service) DeleteAlarm(ctx context.Context, name string) ([]Operation, error) {
	return operationsOf(s.commit(ctx, "DeleteAlarm", func(d *draft) error {
		alarm, was, err := s.alarm(ctx, name)
		if err != nil {
			return err
		}
		d.remove(was)
		d.operation(alarmOperation("DeleteAlarm", alarm))
		return nil
	}))
}

// removeAlarmsOf forgets the alarms of an instance that goes.
func (s *Service) removeAlarmsOf(ctx context.Context, d *draft, instance string) error {
	page, err := s.store.List(ctx, Range{Prefix: AlarmPrefix})
	if err != nil {
		return storeFailed(err)
	}
	for _, r := range page.Records {
		alarm, err := read[*Alarm](r)
		if err != nil {
			return err
		}
		if alarm.Instance == instance {
			d.remove(r)
		}
	}
	return nil
}

func alarmOperation(what string, a *Alarm) Operation {
	return Operation{Type: what, Resource: a.Name, ResourceType: TypeAlarm}
}
