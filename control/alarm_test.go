package control_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

func alarmOf(instance string) openimds.AlarmConfig {
	return openimds.AlarmConfig{Metric: openimds.MetricNoToken, Instance: instance, Comparison: openimds.AtLeast, Threshold: 1, Periods: 1}
}

// history is what a test says was counted: by the start of each period; a period that is not there
// has no samples.
type history struct {
	samples map[time.Time]float64
	err     error
	asked   []string
}

func (h *history) Points(_ context.Context, id string, metrics []string, start, end time.Time, period time.Duration) ([][]openimds.MetricPoint, error) {
	h.asked = append(h.asked, fmt.Sprint(id, " ", strings.Join(metrics, ","), " ", end.Sub(start), " ", period))
	if h.err != nil {
		return nil, h.err
	}
	var points []openimds.MetricPoint
	for at := start; at.Before(end); at = at.Add(period) {
		if v, ok := h.samples[at]; ok {
			points = append(points, openimds.MetricPoint{Start: at, Sum: v, Min: v, Max: v, Samples: 1})
		}
	}
	return slices.Repeat([][]openimds.MetricPoint{points}, len(metrics)), nil
}

func withHistory(h *history) func(*control.Config, *store.Store) {
	return func(c *control.Config, _ *store.Store) { c.History = h }
}

func TestPutAlarm(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web", "db")
	ops, err := f.PutAlarm(ctx, "alarm", alarmOf("web"), tags("a", "b"))
	done(t, ops, err, "PutAlarm alarm")
	first, err := f.Alarm(ctx, "alarm")
	if err != nil || first.State != openimds.AlarmInsufficient || first.Datapoints != 1 || first.MissingData != openimds.MissingMissing ||
		!slices.Equal(first.NotifyOn, []openimds.AlarmState{openimds.AlarmAlarm}) || first.InstanceUUID != f.get("web").UUID || len(first.Tags) != 1 {
		t.Fatalf("a new alarm is %+v, %v", first, err)
	}
	ops, err = f.TestAlarm(ctx, "alarm", openimds.AlarmAlarm)
	done(t, ops, err, "TestAlarm alarm")
	changed := alarmOf("db")
	changed.Periods, changed.Datapoints, changed.Threshold, changed.Notify = 288, 3, -2.5, true
	if _, err := f.PutAlarm(ctx, "alarm", changed, nil); err != nil {
		t.Fatal(err)
	}
	again, err := f.Alarm(ctx, "alarm")
	if err != nil || again.UUID != first.UUID || again.State != openimds.AlarmAlarm || again.Instance != "db" || again.InstanceUUID != f.get("db").UUID ||
		again.Threshold != -2.5 || again.Datapoints != 3 || len(again.Tags) != 1 || !again.CreatedAt.Equal(first.CreatedAt) || !again.Notifies() {
		t.Errorf("a changed alarm is %+v, %v", again, err)
	}
	ops, err = f.DeleteAlarm(ctx, "alarm")
	done(t, ops, err, "DeleteAlarm alarm")
	for _, do := range []func() error{
		func() error { _, err := f.DeleteAlarm(ctx, "alarm"); return err },
		func() error { _, err := f.Alarm(ctx, "alarm"); return err },
		func() error { _, err := f.TestAlarm(ctx, "alarm", openimds.AlarmOK); return err },
	} {
		refused(t, do(), openimds.NotFound, openimds.DoesNotExist, "The alarm alarm does not exist")
	}
}

func TestAlarmRefused(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	for _, name := range []string{"a1", "a2"} {
		if _, err := f.PutAlarm(ctx, name, alarmOf("web"), nil); err != nil {
			t.Fatal(err)
		}
	}
	before := f.revision()
	for _, tt := range []struct {
		change  func(*openimds.AlarmConfig)
		code    openimds.Code
		message string
	}{
		{func(c *openimds.AlarmConfig) { c.Metric = "Tokens" }, openimds.UnknownValue, "The metric Tokens is not one that an instance's alarm can watch"},
		{func(c *openimds.AlarmConfig) { c.Metric = openimds.MetricWithToken }, openimds.UnknownValue, "The metric MetadataWithToken is not one that an instance's alarm can watch"},
		{func(c *openimds.AlarmConfig) { c.Periods = 0 }, openimds.OutOfRange, "The number of periods must be 1 to 288, not 0"},
		{func(c *openimds.AlarmConfig) { c.Periods = 289 }, openimds.OutOfRange, "The number of periods must be 1 to 288, not 289"},
		{func(c *openimds.AlarmConfig) { c.Datapoints = 2 }, openimds.OutOfRange, "The number of breaching periods must be 1 to the number of periods, not 2"},
		{func(c *openimds.AlarmConfig) { c.Datapoints = -1 }, openimds.OutOfRange, "The number of breaching periods must be 1 to the number of periods, not -1"},
		{func(c *openimds.AlarmConfig) { c.Comparison = "Equal" }, openimds.UnknownValue, `The comparison is unknown: "Equal"`},
		{func(c *openimds.AlarmConfig) { c.Threshold = math.NaN() }, openimds.Malformed, "The threshold must be a number, not NaN"},
		{func(c *openimds.AlarmConfig) { c.Threshold = math.Inf(-1) }, openimds.Malformed, "The threshold must be a number, not -Inf"},
		{func(c *openimds.AlarmConfig) { c.MissingData = "whatever" }, openimds.UnknownValue, `The treatment of missing data is unknown: "whatever"`},
		{func(c *openimds.AlarmConfig) { c.NotifyOn = []openimds.AlarmState{"OK"} }, openimds.Incomplete, "The list of states to tell of must have ALARM among them"},
		{func(c *openimds.AlarmConfig) { c.NotifyOn = []openimds.AlarmState{"ALARM", "FINE"} }, openimds.UnknownValue, `An alarm is OK, ALARM or INSUFFICIENT_DATA, never "FINE"`},
		{func(*openimds.AlarmConfig) {}, openimds.TooMany, "The metric MetadataNoToken of web has 2 alarms already, which is the most"},
	} {
		c := alarmOf("web")
		tt.change(&c)
		_, err := f.PutAlarm(ctx, "new-one", c, nil)
		refused(t, err, openimds.InvalidInput, tt.code, tt.message)
	}
	_, err := f.PutAlarm(ctx, "web", openimds.AlarmConfig{Metric: openimds.MetricCheck, Instance: "web", Comparison: openimds.Below, Periods: 1}, nil)
	refused(t, err, openimds.InvalidInput, openimds.NameTaken, "These names are taken: web")
	unmeasured := alarmOf("web")
	unmeasured.Metric = "CPUUtilization" // nothing here would ever raise it
	_, err = f.PutAlarm(ctx, "new-one", unmeasured, nil)
	refused(t, err, openimds.OperationFailure, openimds.NotEnforced, "The metric CPUUtilization is not measured here: openimds sees what guests ask the metadata service, and nothing else of them")
	_, err = f.PutAlarm(ctx, "new-one", alarmOf("nobody"), nil)
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The instance nobody does not exist")
	_, err = f.TestAlarm(ctx, "a1", "FINE")
	refused(t, err, openimds.InvalidInput, openimds.UnknownValue, `An alarm is OK, ALARM or INSUFFICIENT_DATA, never "FINE"`)
	if f.revision() != before {
		t.Error("refused alarms left something behind")
	}
	// The limit is of one metric of one instance, and does not hinder a change.
	other := alarmOf("web")
	other.Metric = openimds.MetricNoTokenRejected
	for _, put := range []struct {
		name string
		c    openimds.AlarmConfig
	}{{"a2", alarmOf("web")}, {"a3", other}} {
		if _, err := f.PutAlarm(ctx, put.name, put.c, nil); err != nil {
			t.Errorf("%s: %v", put.name, err)
		}
	}
}

// TestEvaluateAlarms gives an alarm every short history and each treatment of what is missing. The
// expected states are those of the CloudWatch user guide's rules, worked out by hand.
func TestEvaluateAlarms(t *testing.T) {
	const no = -1 // no sample
	const ok, alarm, insufficient = openimds.AlarmOK, openimds.AlarmAlarm, openimds.AlarmInsufficient
	for _, tt := range []struct {
		samples []float64 // the latest last
		points  int       // datapoints to alarm
		want    map[openimds.MissingData]openimds.AlarmState
	}{
		{[]float64{9, 9, 9}, 3, map[openimds.MissingData]openimds.AlarmState{"missing": alarm, "ignore": alarm, "breaching": alarm, "notBreaching": alarm}},
		{[]float64{0, 9, 9}, 3, map[openimds.MissingData]openimds.AlarmState{"missing": ok, "ignore": ok, "breaching": ok, "notBreaching": ok}},
		{[]float64{0, 9, 9}, 2, map[openimds.MissingData]openimds.AlarmState{"missing": alarm, "ignore": alarm, "breaching": alarm, "notBreaching": alarm}},
		{[]float64{no, no, no}, 1, map[openimds.MissingData]openimds.AlarmState{"missing": insufficient, "ignore": "kept", "breaching": alarm, "notBreaching": ok}},
		{[]float64{no, 9, no}, 1, map[openimds.MissingData]openimds.AlarmState{"missing": alarm, "ignore": alarm, "breaching": alarm, "notBreaching": alarm}},
		{[]float64{no, 0, no}, 1, map[openimds.MissingData]openimds.AlarmState{"missing": ok, "ignore": "kept", "breaching": alarm, "notBreaching": ok}},
		{[]float64{0, 0, no}, 2, map[openimds.MissingData]openimds.AlarmState{"missing": ok, "ignore": ok, "breaching": ok, "notBreaching": ok}},
		{[]float64{9, no, no}, 2, map[openimds.MissingData]openimds.AlarmState{"missing": ok, "ignore": "kept", "breaching": alarm, "notBreaching": ok}},
	} {
		for treatment, want := range tt.want {
			for _, before := range []openimds.AlarmState{ok, alarm, insufficient} {
				h := &history{samples: map[time.Time]float64{}}
				f := newFixture(t, withHistory(h))
				f.create("web")
				now := start.Truncate(openimds.AlarmPeriod)
				for i, v := range tt.samples {
					if v != no {
						h.samples[now.Add(time.Duration(i-len(tt.samples))*openimds.AlarmPeriod)] = v
					}
				}
				h.samples[now] = 1e6 // the period under way is nobody's business
				c := alarmOf("web")
				c.Periods, c.Datapoints, c.MissingData, c.Threshold = len(tt.samples), tt.points, treatment, 5
				if _, err := f.PutAlarm(t.Context(), "alarm", c, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := f.TestAlarm(t.Context(), "alarm", before); err != nil {
					t.Fatal(err)
				}
				want := want
				if want == "kept" {
					want = before
				}
				changed, err := f.EvaluateAlarms(t.Context())
				got, err2 := f.Alarm(t.Context(), "alarm")
				if err != nil || err2 != nil || got.State != want || len(changed) == 1 != (want != before) {
					t.Errorf("%v, %d to alarm, missing is %s, was %s: now %s, told %d, %v; want %s",
						tt.samples, tt.points, treatment, before, got.State, len(changed), errors.Join(err, err2), want)
				}
				if want := fmt.Sprint(f.get("web").ID, " MetadataNoToken 15m0s 5m0s"); !slices.Equal(h.asked, []string{want}) {
					t.Errorf("asked for %q, want %q", h.asked, want)
				}
			}
		}
	}
}

func TestComparisons(t *testing.T) {
	for comparison, want := range map[openimds.Comparison][3]bool{ // of 4, 5 and 6 with 5
		openimds.AtLeast: {false, true, true}, openimds.Above: {false, false, true},
		openimds.AtMost: {true, true, false}, openimds.Below: {true, false, false},
	} {
		for i, breach := range want {
			h := &history{samples: map[time.Time]float64{start.Truncate(openimds.AlarmPeriod).Add(-openimds.AlarmPeriod): float64(4 + i)}}
			f := newFixture(t, withHistory(h))
			f.create("web")
			c := alarmOf("web")
			c.Comparison, c.Threshold = comparison, 5
			if _, err := f.PutAlarm(t.Context(), "alarm", c, nil); err != nil {
				t.Fatal(err)
			}
			changed, err := f.EvaluateAlarms(t.Context())
			if err != nil || len(changed) != 1 || (changed[0].State == openimds.AlarmAlarm) != breach {
				t.Errorf("%d %s 5: %v, %v", 4+i, comparison, changed, err)
			}
		}
	}
}

// TestEvaluationFails: what cannot be read or kept changes no alarm, and is not told as a change.
func TestEvaluationFails(t *testing.T) {
	h := &history{err: errors.New("disk on fire")}
	var faults *faultyStore
	f := newFixture(t, func(c *control.Config, s *store.Store) {
		c.History = h
		faults = &faultyStore{Store: *s}
		*s = faults
	})
	f.create("web")
	c := alarmOf("web")
	c.MissingData = openimds.MissingBreaching
	if _, err := f.PutAlarm(t.Context(), "alarm", c, nil); err != nil {
		t.Fatal(err)
	}
	state := func() openimds.AlarmState {
		alarm, err := f.Alarm(t.Context(), "alarm")
		if err != nil {
			t.Fatal(err)
		}
		return alarm.State
	}
	changed, err := f.EvaluateAlarms(t.Context())
	if err == nil || len(changed) != 0 || state() != openimds.AlarmInsufficient {
		t.Errorf("without a history: %v, %v, %s", changed, err, state())
	}
	h.err = nil
	faults.set(fault{commit: errStore})
	changed, err = f.EvaluateAlarms(t.Context())
	if !errors.Is(err, errStore) || len(changed) != 0 {
		t.Errorf("with a store that cannot write: %v, %v", changed, err)
	}
	faults.set(fault{})
	changed, err = f.EvaluateAlarms(t.Context())
	if err != nil || len(changed) != 1 || state() != openimds.AlarmAlarm {
		t.Errorf("at last: %v, %v, %s", changed, err, state())
	}
}

func TestMetricData(t *testing.T) {
	h := &history{samples: map[time.Time]float64{}}
	f := newFixture(t, withHistory(h))
	ctx := t.Context()
	f.create("web")
	from := start.Truncate(time.Hour)
	h.samples[from] = 12
	get := func(metric, unit string, start, end time.Time, period time.Duration) ([]openimds.MetricPoint, error) {
		return f.MetricData(ctx, "web", metric, unit, start, end, period)
	}
	if points, err := get("MetadataNoToken", "Count", from, from.Add(time.Hour), openimds.MetricPeriod); err != nil || len(points) != 1 || points[0].Sum != 12 {
		t.Errorf("points %v, %v", points, err)
	}
	if points, err := get("MetadataNoToken", "Seconds", from, from.Add(time.Hour), openimds.MetricPeriod); err != nil || len(points) != 0 {
		t.Errorf("of another unit: %v, %v", points, err)
	}
	for _, metric := range []string{"CPUUtilization", "DiskReadOps"} {
		_, err := get(metric, "Percent", from, from.Add(time.Hour), openimds.MetricPeriod)
		refused(t, err, openimds.OperationFailure, openimds.NotEnforced, "The metric "+metric+" is not measured here: openimds sees what guests ask the metadata service, and nothing else of them")
	}
	// All metrics are read at once: each reading goes through the days of an instance.
	before := len(h.asked)
	counts, err := f.MetricCounts(ctx, "web", from, from.Add(time.Hour), openimds.MetricPeriod)
	if err != nil || len(counts) != len(openimds.Metrics()) || counts["MetadataNoToken"] != 12 || len(h.asked) != before+1 {
		t.Errorf("counts %v, %v, asked %q", counts, err, h.asked[before:])
	}
	ages := func(n int) time.Time { return time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC) }
	const limit = "You have requested up to %d datapoints, which exceeds the limit of 1440. You may reduce the datapoints requested by increasing the period, or decreasing the time range."
	asked := len(h.asked)
	for _, tt := range []struct {
		metric     string
		start, end time.Time
		period     time.Duration
		code       openimds.Code
		message    string
	}{
		{"Tokens", from, from.Add(1), time.Minute, openimds.UnknownValue, "The metric Tokens does not exist"},
		{"MetadataNoToken", from, from.Add(1), time.Second, openimds.OutOfRange, "The period must be a multiple of 60 seconds, not 1"},
		{"MetadataNoToken", from, from.Add(1), 90 * time.Second, openimds.OutOfRange, "The period must be a multiple of 60 seconds, not 90"},
		{"MetadataNoToken", from, from, time.Minute, openimds.Conflicting, "The start time must be before the end time"},
		{"MetadataNoToken", from, from.Add(-1), time.Minute, openimds.Conflicting, "The start time must be before the end time"},
		{"MetadataNoToken", from, from.Add(1440*time.Minute + 1), time.Minute, openimds.TooMany, fmt.Sprintf(limit, 1441)},
		{"MetadataNoToken", ages(1), ages(9999), 24 * time.Hour, openimds.TooMany, fmt.Sprintf(limit, 106752)},
		{"MetadataNoToken", ages(1), ages(9999), time.Minute, openimds.TooMany, fmt.Sprintf(limit, 153722868)},
	} {
		_, err := get(tt.metric, "Count", tt.start, tt.end, tt.period)
		refused(t, err, openimds.InvalidInput, tt.code, tt.message)
		if tt.code != openimds.UnknownValue {
			_, err := f.MetricCounts(ctx, "web", tt.start, tt.end, tt.period)
			refused(t, err, openimds.InvalidInput, tt.code, tt.message)
		}
	}
	if len(h.asked) != asked {
		t.Error("the history was asked what was refused")
	}
	if _, err := get("MetadataNoToken", "Count", from, from.Add(1440*time.Minute), time.Minute); err != nil {
		t.Errorf("1440 periods: %v", err)
	}
	h.err = errors.New("disk on fire")
	_, err = get("MetadataNoToken", "Count", from, from.Add(1), time.Minute)
	refused(t, err, openimds.Unavailable, openimds.HistoryAway, "The history of the metrics cannot be read; try again")
}

// TestAlarmWords: a description stays until another one is given, and a reason as long as the state that it is of.
func TestAlarmWords(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	said := alarmOf("web")
	said.Description = new("who calls?")
	for _, c := range []openimds.AlarmConfig{said, alarmOf("web")} {
		if _, err := f.PutAlarm(ctx, "alarm", c, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Alarm(ctx, "alarm"); err != nil || got.Description == nil || *got.Description != "who calls?" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	said.Description = new(strings.Repeat("ü", 1025))
	_, err := f.PutAlarm(ctx, "alarm", said, nil)
	refused(t, err, openimds.InvalidInput, openimds.TooLarge, "The description has at most 1024 characters")
	why := openimds.StateReason{Words: "a drill", Data: `{"a":1}`}
	if _, err := f.SetAlarmState(ctx, "alarm", openimds.AlarmOK, why); err != nil {
		t.Fatal(err)
	}
	since, err := f.Alarm(ctx, "alarm")
	if err != nil || since.StateReason != why {
		t.Fatalf("%+v, %v", since, err)
	}
	_, err = f.SetAlarmState(ctx, "alarm", openimds.AlarmAlarm, openimds.StateReason{Words: strings.Repeat("x", 1024)})
	refused(t, err, openimds.InvalidInput, openimds.TooLarge, "The reason of the state has at most 1023 characters")
	_, err = f.SetAlarmState(ctx, "alarm", openimds.AlarmAlarm, openimds.StateReason{Data: "{"})
	refused(t, err, openimds.InvalidInput, openimds.Malformed, "The data of the reason must be JSON")
	_, err = f.SetAlarmState(ctx, "alarm", openimds.AlarmAlarm, openimds.StateReason{Data: `"` + strings.Repeat("x", 4000) + `"`})
	refused(t, err, openimds.InvalidInput, openimds.TooLarge, "The data of the reason has at most 4000 characters")
	if _, err := f.TestAlarm(ctx, "alarm", openimds.AlarmOK); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Alarm(ctx, "alarm"); err != nil || got.StateReason != (openimds.StateReason{}) || !got.StateChangedAt.Equal(since.StateChangedAt) {
		t.Errorf("%+v, %v", got, err)
	}
}
