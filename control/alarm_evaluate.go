package control

import (
	"context"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TestAlarm puts an alarm into a state until it is evaluated next, so that everything that hangs on
// its change can be seen to work.
//
// Errors: InvalidInput/UnknownValue for a state that there is not; NotFound/DoesNotExist.
func (s *Service) TestAlarm(ctx context.Context, name string, state openimds.AlarmState) ([]openimds.Operation, error) {
	return s.SetAlarmState(ctx, name, state, openimds.StateReason{})
}

// SetAlarmState is [Service.TestAlarm] with a reason, which is shown as long as the alarm is in that state.
//
// Errors: InvalidInput/UnknownValue for a state that there is not, InvalidInput/TooLarge and InvalidInput/Malformed for
// the reason; NotFound/DoesNotExist.
func (s *Service) SetAlarmState(ctx context.Context, name string, state openimds.AlarmState, why openimds.StateReason) ([]openimds.Operation, error) {
	if err := checkAlarmState(state); err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(why.Words) > maxStateReason {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "%s has at most %d characters", openimds.FieldReason, maxStateReason)
	}
	if utf8.RuneCountInString(why.Data) > maxStateData {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "%s has at most %d characters", openimds.FieldReasonData, maxStateData)
	}
	if why.Data != "" && !json.Valid([]byte(why.Data)) {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%s must be JSON", openimds.FieldReasonData)
	}
	return operationsOf(s.commit(ctx, "TestAlarm", func(d *draft) error {
		alarm, was, err := s.alarm(ctx, name)
		if err != nil {
			return err
		}
		if alarm.State != state {
			alarm.StateChangedAt = d.now
		}
		if alarm.State != state || alarm.StateReason != why {
			alarm.State, alarm.StateReason = state, why
			d.put(was, alarm)
		}
		d.operation(alarmOperation("TestAlarm", alarm))
		return nil
	}))
}

// EvaluateAlarms gives each alarm the state that its metric's latest whole periods say, and returns
// those whose state has changed. It is meant to be called once an [openimds.AlarmPeriod]. An alarm that cannot
// be evaluated keeps its state and does not hinder the others. Where another host has the office meanwhile, nothing is
// changed any more: a state that was judged long ago is not written over what that host has seen since.
//
// Errors: Unavailable/HistoryAway, joined with those of other alarms.
func (s *Service) EvaluateAlarms(ctx context.Context) ([]*openimds.Alarm, error) {
	alarms, _, err := list[*openimds.Alarm](ctx, s.store, openimds.TypeAlarm, "", 0)
	if err != nil {
		return nil, err
	}
	var changed []*openimds.Alarm
	var failures []error
	for _, a := range alarms {
		next, err := s.evaluate(ctx, a.Name)
		switch {
		case errors.Is(err, errNotInOffice):
			return changed, errors.Join(failures...)
		case err != nil: // what may not have been stored is not told; the next evaluation sees it again
			failures = append(failures, err)
		case next != nil:
			changed = append(changed, next)
		}
	}
	return changed, errors.Join(failures...)
}

// errNotInOffice says that another host does what one of all has to do.
var errNotInOffice = errors.New("another host has the office")

// office is the condition that this host has the office, or nobody has.
func (s *Service) office(ctx context.Context) (store.Change, error) {
	held, err := s.store.Get(ctx, records.OfficeKey)
	switch {
	case errors.Is(err, store.ErrNoRecord):
	case err != nil:
		return store.Change{}, storeFailed(err)
	case string(held.Value) != s.cfg.Host:
		return store.Change{}, errNotInOffice
	}
	return store.Change{Verb: store.Check, Key: records.OfficeKey, If: held.Revision}, nil
}

// evaluate returns the alarm if its state changed.
func (s *Service) evaluate(ctx context.Context, name string) (*openimds.Alarm, error) {
	var changed *openimds.Alarm
	_, err := s.commit(ctx, "EvaluateAlarms", func(d *draft) error {
		changed = nil
		office, err := s.office(ctx)
		if err != nil {
			return err
		}
		alarm, was, err := s.alarm(ctx, name)
		if err != nil {
			return ignoreNotFound(err) // deleted meanwhile
		}
		in, _, err := s.instance(ctx, alarm.Instance)
		if err != nil {
			return ignoreNotFound(err)
		}
		end := d.now.Truncate(openimds.AlarmPeriod)
		points, err := s.points(ctx, in, end.Add(-time.Duration(alarm.Periods)*openimds.AlarmPeriod), end, openimds.AlarmPeriod, alarm.Metric)
		if err != nil {
			return err
		}
		told, _ := openimds.ToldPoints(points[0]) // what is not known is missing
		if state := judge(alarm, told); state != alarm.State {
			alarm.State, alarm.StateChangedAt, alarm.StateReason = state, d.now, openimds.StateReason{}
			d.put(was, alarm)
			d.changes = append(d.changes, office)
			changed = alarm
		}
		return nil
	})
	return changed, err
}

func ignoreNotFound(err error) error {
	if openimds.KindOf(err) == openimds.NotFound {
		return nil
	}
	return err
}

// judge tells the state that the points say, at most one for each of the alarm's periods, after the
// CloudWatch user guide ("How CloudWatch alarms treat missing data").
func judge(a *openimds.Alarm, points []openimds.MetricPoint) openimds.AlarmState {
	breaching := 0
	for _, p := range points {
		if breaches(a, p.Sum) {
			breaching++
		}
	}
	missing := a.Periods - len(points)
	switch a.MissingData {
	case openimds.MissingBreaching:
		breaching += missing
	case openimds.MissingNotBreaching:
	case openimds.MissingIgnore:
		// The state stays unless what is there decides whatever the missing points might have been.
		if breaching < a.Datapoints && breaching+missing >= a.Datapoints {
			return a.State
		}
	default:
		if len(points) == 0 {
			return openimds.AlarmInsufficient
		}
	}
	if breaching >= a.Datapoints {
		return openimds.AlarmAlarm
	}
	return openimds.AlarmOK
}

func breaches(a *openimds.Alarm, value float64) bool {
	switch a.Comparison {
	case openimds.AtLeast:
		return value >= a.Threshold
	case openimds.Above:
		return value > a.Threshold
	case openimds.Below:
		return value < a.Threshold
	default:
		return value <= a.Threshold
	}
}
