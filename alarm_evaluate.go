package openimds

import (
	"context"
	"errors"
	"time"
)

// TestAlarm puts an alarm into a state until it is evaluated next, so that everything that hangs on
// its change can be seen to work.
func (s *Service) TestAlarm(ctx context.Context, name string, state AlarmState) ([]Operation, error) {
	if err := checkAlarmState(state); err != nil {
		return nil, err
	}
	return operationsOf(s.commit(ctx, "TestAlarm", func(d *draft) error {
		alarm, was, err := s.alarm(ctx, name)
		if err != nil {
			return err
		}
		if alarm.State != state {
			alarm.State, alarm.StateChangedAt = state, d.now
			d.put(was, alarm)
		}
		d.operation(alarmOperation("TestAlarm", alarm))
		return nil
	}))
}

// EvaluateAlarms gives each alarm the state that its metric's latest whole periods say, and returns
// those whose state has changed. It is meant to be called once an [AlarmPeriod]. An alarm that cannot
// be evaluated keeps its state and does not hinder the others.
func (s *Service) EvaluateAlarms(ctx context.Context) ([]*Alarm, error) {
	alarms, _, err := list[*Alarm](ctx, s.store, TypeAlarm, "", 0)
	if err != nil {
		return nil, err
	}
	var changed []*Alarm
	var failures []error
	for _, a := range alarms {
		next, err := s.evaluate(ctx, a.Name)
		switch {
		case err != nil: // what may not have been stored is not told; the next evaluation sees it again
			failures = append(failures, err)
		case next != nil:
			changed = append(changed, next)
		}
	}
	return changed, errors.Join(failures...)
}

// evaluate returns the alarm if its state changed.
func (s *Service) evaluate(ctx context.Context, name string) (*Alarm, error) {
	var changed *Alarm
	_, err := s.commit(ctx, "EvaluateAlarms", func(d *draft) error {
		changed = nil
		alarm, was, err := s.alarm(ctx, name)
		if err != nil {
			return ignoreNotFound(err) // deleted meanwhile
		}
		in, _, err := s.instance(ctx, alarm.Instance)
		if err != nil {
			return ignoreNotFound(err)
		}
		end := d.now.Truncate(AlarmPeriod)
		points, err := s.points(ctx, in, alarm.Metric, end.Add(-time.Duration(alarm.Periods)*AlarmPeriod), end, AlarmPeriod)
		if err != nil {
			return err
		}
		if state := alarm.judge(points); state != alarm.State {
			alarm.State, alarm.StateChangedAt = state, d.now
			d.put(was, alarm)
			changed = alarm
		}
		return nil
	})
	return changed, err
}

func ignoreNotFound(err error) error {
	if KindOf(err) == NotFound {
		return nil
	}
	return err
}

// judge tells the state that the points say, at most one for each of the alarm's periods, after the
// CloudWatch user guide ("How CloudWatch alarms treat missing data").
func (a *Alarm) judge(points []MetricPoint) AlarmState {
	breaching := 0
	for _, p := range points {
		if a.breaches(p.Sum) {
			breaching++
		}
	}
	missing := a.Periods - len(points)
	switch a.MissingData {
	case MissingBreaching:
		breaching += missing
	case MissingNotBreaching:
	case MissingIgnore:
		// The state stays unless what is there decides whatever the missing points might have been.
		if breaching < a.Datapoints && breaching+missing >= a.Datapoints {
			return a.State
		}
	default:
		if len(points) == 0 {
			return AlarmInsufficient
		}
	}
	if breaching >= a.Datapoints {
		return AlarmAlarm
	}
	return AlarmOK
}

func (a *Alarm) breaches(value float64) bool {
	switch a.Comparison {
	case AtLeast:
		return value >= a.Threshold
	case Above:
		return value > a.Threshold
	case Below:
		return value < a.Threshold
	default:
		return value <= a.Threshold
	}
}
