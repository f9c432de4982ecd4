package cloudwatch_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// alarmOf is a request of an alarm for an instance.
func alarmOf(name, id string) map[string]any {
	return map[string]any{"AlarmName": name, "Namespace": "AWS/EC2", "MetricName": "MetadataNoToken", "Dimensions": dims(id), "Statistic": "Sum", "Period": 300,
		"EvaluationPeriods": 2, "DatapointsToAlarm": 1, "Threshold": 0.5, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching"}
}

// with is a request with a few members otherwise; nil takes one out.
func with(args map[string]any, more ...any) map[string]any {
	args = maps.Clone(args)
	for i := 0; i < len(more); i += 2 {
		if args[more[i].(string)] = more[i+1]; more[i+1] == nil {
			delete(args, more[i].(string))
		}
	}
	return args
}

// TestAlarms: an alarm lives through all its operations in each form, and is the one that Lightsail's API shows.
func TestAlarms(t *testing.T) {
	s := newServer(t)
	other := s.create("other")
	for i, form := range forms {
		name := "v1-" + form
		id := []string{s.demo, other, other}[i]
		s.must(form, "PutMetricAlarm", with(alarmOf(name, id), "AlarmDescription", "who <still> calls & asks", "Tags", []any{map[string]any{"Key": "team", "Value": ""}}))
		shown := s.must(form, "DescribeAlarms", map[string]any{"AlarmNames": []any{name}})["MetricAlarms"].([]any)[0].(map[string]any)
		if d := fmt.Sprint(shown["Dimensions"]); d != fmt.Sprint(dims(id)) || fmt.Sprint(shown["Threshold"]) != "0.5" || fmt.Sprint(shown["Period"]) != "300" ||
			shown["StateValue"] != "INSUFFICIENT_DATA" || shown["AlarmDescription"] != "who <still> calls & asks" || shown["AlarmArn"] != "arn:aws:cloudwatch:us-east-1:123456789012:alarm:"+name ||
			fmt.Sprint(shown["ActionsEnabled"]) != "true" || shown["ComparisonOperator"] != "GreaterThanThreshold" || shown["TreatMissingData"] != "notBreaching" {
			t.Errorf("%s: %v", form, shown)
		}
		arn := map[string]any{"ResourceARN": shown["AlarmArn"]}
		s.must(form, "TagResource", with(arn, "Tags", []any{map[string]any{"Key": "a", "Value": "b"}}))
		s.must(form, "UntagResource", with(arn, "TagKeys", []any{"team"}))
		if tags := fmt.Sprint(s.must(form, "ListTagsForResource", arn)["Tags"]); tags != "[map[Key:a Value:b]]" {
			t.Errorf("%s: %s", form, tags)
		}
		s.must(form, "SetAlarmState", map[string]any{"AlarmName": name, "StateValue": "ALARM", "StateReason": "a drill", "StateReasonData": `{"drill":true}`})
		shown = s.must(form, "DescribeAlarms", map[string]any{"StateValue": "ALARM", "AlarmNamePrefix": name})["MetricAlarms"].([]any)[0].(map[string]any)
		if shown["StateReason"] != "a drill" || shown["StateReasonData"] != `{"drill":true}` {
			t.Errorf("%s: %v", form, shown)
		}
		body := []byte(`{"alarmName":"` + name + `"}`)
		var theirs struct{ Alarms []map[string]any }
		a := s.sign(s.raw("/", "application/x-amz-json-1.1", "Lightsail_20161128.GetAlarms", body), body, full, "lightsail")
		if err := json.Unmarshal(a.body, &theirs); err != nil || len(theirs.Alarms) != 1 || theirs.Alarms[0]["state"] != "ALARM" || theirs.Alarms[0]["threshold"] != 0.5 {
			t.Errorf("%s: Lightsail has %s", form, a.body)
		}
		s.must(form, "PutMetricAlarm", with(alarmOf(name, id), "ActionsEnabled", false, "DatapointsToAlarm", nil))
		shown = s.must(form, "DescribeAlarms", map[string]any{"AlarmNames": []any{name}})["MetricAlarms"].([]any)[0].(map[string]any)
		if shown["AlarmDescription"] != nil || fmt.Sprint(shown["ActionsEnabled"]) != "false" || fmt.Sprint(shown["DatapointsToAlarm"]) != "2" || shown["StateValue"] != "ALARM" {
			t.Errorf("%s: %v", form, shown)
		}
		if _, err := s.call(form, "DeleteAlarms", map[string]any{"AlarmNames": []any{"absent", "none of ours", name}}); code(err) != "ResourceNotFound" || !strings.Contains(err.Error(), ": absent, none of ours") {
			t.Errorf("%s: %v", form, err)
		}
		if left := s.must(form, "DescribeAlarms", map[string]any{"AlarmNamePrefix": name})["MetricAlarms"].([]any); len(left) != 0 {
			t.Errorf("%s: what is there goes also if another is not: %v", form, left)
		}
	}
}

// TestDescription: what is said of an alarm through one API another one does not wipe out.
func TestDescription(t *testing.T) {
	s := newServer(t)
	s.must("json", "PutMetricAlarm", with(alarmOf("v1", s.demo), "AlarmDescription", "ours"))
	body := []byte(`{"alarmName":"v1","metricName":"MetadataNoToken","monitoredResourceName":"demo","comparisonOperator":"LessThanThreshold","threshold":3,"evaluationPeriods":1}`)
	if a := s.sign(s.raw("/", "application/x-amz-json-1.1", "Lightsail_20161128.PutAlarm", body), body, full, "lightsail"); a.status != http.StatusOK {
		t.Fatal(string(a.body))
	}
	shown := fmt.Sprint(s.must("json", "DescribeAlarms", nil)["MetricAlarms"])
	if !strings.Contains(shown, "AlarmDescription:ours") || !strings.Contains(shown, "LessThanThreshold") {
		t.Error(shown)
	}
}

// TestAlarmPages: whatever is left out and however long a page is, each alarm is on one.
func TestAlarmPages(t *testing.T) {
	s := newServer(t)
	for i := range 60 {
		name := fmt.Sprintf("vm-%02d", i)
		s.create(name)
		config := openimds.AlarmConfig{Metric: openimds.MetricNoToken, Instance: name, Comparison: openimds.Above, Periods: 1}
		if _, err := s.service.PutAlarm(t.Context(), fmt.Sprintf("alarm-%02d", i), config, nil); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if _, err := s.service.TestAlarm(t.Context(), fmt.Sprintf("alarm-%02d", i), openimds.AlarmOK); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		args map[string]any
		want int
	}{
		{map[string]any{}, 60}, {map[string]any{"StateValue": "OK"}, 20}, {map[string]any{"AlarmNamePrefix": "alarm-1"}, 10},
		{map[string]any{"AlarmNames": []any{"alarm-03", "alarm-59", "absent"}}, 2},
		{map[string]any{"AlarmTypes": []any{"CompositeAlarm"}}, 0}, {map[string]any{"AlarmTypes": []any{"MetricAlarm"}}, 60}, {map[string]any{"ActionPrefix": "arn:"}, 0},
	} {
		for _, size := range []int{0, 1, 7, 60, 100} {
			args := maps.Clone(c.args)
			if size > 0 {
				args["MaxRecords"] = size
			}
			seen, last := 0, ""
			for {
				page := s.must("cbor", "DescribeAlarms", args)
				found := page["MetricAlarms"].([]any)
				for _, a := range found {
					if name := a.(map[string]any)["AlarmName"].(string); name > last {
						seen, last = seen+1, name
					} else {
						t.Fatalf("%s behind %s", name, last)
					}
				}
				if args["NextToken"], _ = page["NextToken"].(string); args["NextToken"] == "" {
					break
				}
				if len(found) != size && size > 0 {
					t.Fatalf("a page of %d has %d", size, len(found))
				}
			}
			if seen != c.want {
				t.Errorf("%v by %d: %d, not %d", c.args, size, seen, c.want)
			}
		}
	}
}

// TestAlarmWriters: writers of both APIs at once lose nothing, and each answer tells what became of its own change.
func TestAlarmWriters(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const rounds = 10
	var wg sync.WaitGroup
	for writer := range 8 {
		name := fmt.Sprintf("alarm-%d", writer)
		vm := fmt.Sprintf("vm-%d", writer)
		id := s.create(vm)
		wg.Go(func() {
			for round := range rounds {
				threshold := float64(round) + 0.5
				if writer%2 == 0 {
					s.must(forms[round%3], "PutMetricAlarm", with(alarmOf(name, id), "Threshold", threshold))
				} else {
					body := fmt.Appendf(nil, `{"alarmName":%q,"metricName":"MetadataNoToken","monitoredResourceName":%q,"comparisonOperator":"GreaterThanThreshold","threshold":%g,"evaluationPeriods":1}`, name, vm, threshold)
					if a := s.sign(s.raw("/", "application/x-amz-json-1.1", "Lightsail_20161128.PutAlarm", body), body, full, "lightsail"); a.status != http.StatusOK {
						t.Errorf("%s", a.body)
					}
				}
				// One that all of them write: it is always somebody's, whole.
				s.must(forms[writer%3], "SetAlarmState", map[string]any{"AlarmName": name, "StateValue": "ALARM", "StateReason": fmt.Sprint(round)})
				if _, err := s.service.PutAlarm(t.Context(), "shared", openimds.AlarmConfig{Metric: openimds.MetricNoTokenRejected, Instance: "demo", Comparison: openimds.Above, Periods: writer + 1, Threshold: float64(writer)}, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for writer := range 8 {
		one, err := s.service.Alarm(t.Context(), fmt.Sprintf("alarm-%d", writer))
		if err != nil || one.Threshold != rounds-0.5 || one.StateReason.Words != fmt.Sprint(rounds-1) {
			t.Errorf("%+v, %v", one, err)
		}
	}
	shared, err := s.service.Alarm(t.Context(), "shared")
	if err != nil || float64(shared.Periods) != shared.Threshold+1 {
		t.Errorf("%+v, %v", shared, err)
	}
}

// TestEvaluated: what was said by hand of a state goes with the state.
func TestEvaluated(t *testing.T) {
	now := time.Now()
	s := newServerAt(t, func() time.Time { return now })
	s.must("cbor", "PutMetricAlarm", alarmOf("v1", s.demo))
	s.must("cbor", "SetAlarmState", map[string]any{"AlarmName": "v1", "StateValue": "INSUFFICIENT_DATA", "StateReason": "by hand"})
	s.history.Add(s.demo, now.Add(-openimds.AlarmPeriod), openimds.MetricNoToken, 3)
	if _, err := s.service.EvaluateAlarms(t.Context()); err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprint(s.must("cbor", "DescribeAlarms", nil)["MetricAlarms"])
	if !strings.Contains(shown, "StateValue:ALARM") || strings.Contains(shown, "by hand") {
		t.Error(shown)
	}
}
