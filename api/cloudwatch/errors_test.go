package cloudwatch_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
)

// TestErrors: each bad value of each member is refused, in each form, by the code that AWS documents for its cause, and
// changes nothing.
func TestErrors(t *testing.T) {
	s := newServer(t)
	now := time.Now().Truncate(time.Minute)
	stats := statistics(s.demo, "MetadataNoToken", now.Add(-time.Hour), now, 300)
	data := map[string]any{"StartTime": now.Add(-time.Hour), "EndTime": now, "MetricDataQueries": []any{query("a", s.demo, "MetadataNoToken", "Sum", 300)}}
	queries := func(all ...any) map[string]any { return with(data, "MetricDataQueries", all) }
	alarm := alarmOf("v1", s.demo)
	s.must("json", "PutMetricAlarm", alarmOf("full-1", s.demo))
	s.must("json", "PutMetricAlarm", alarmOf("full-2", s.demo))
	rejected := with(alarm, "MetricName", "MetadataNoTokenRejected")
	state := map[string]any{"AlarmName": "full-1", "StateValue": "OK", "StateReason": ""}
	long := strings.Repeat("x", 256)
	cases := []struct {
		operation string
		args      map[string]any
		code      string
		text      string
	}{
		{"GetMetricStatistics", with(stats, "Namespace", nil), "MissingParameter", "The parameter Namespace is required."},
		{"GetMetricStatistics", with(stats, "MetricName", nil), "MissingParameter", "The parameter MetricName is required."},
		{"GetMetricStatistics", with(stats, "StartTime", nil), "MissingParameter", "The parameter StartTime is required."},
		{"GetMetricStatistics", with(stats, "EndTime", nil), "MissingParameter", "The parameter EndTime is required."},
		{"GetMetricStatistics", with(stats, "Period", nil), "MissingParameter", "The parameter Period is required."},
		{"GetMetricStatistics", with(stats, "Statistics", nil), "InvalidParameterCombination", "One of Statistics and ExtendedStatistics"},
		{"GetMetricStatistics", with(stats, "Statistics", []any{}), "InvalidParameterCombination", "One of Statistics and ExtendedStatistics"},
		{"GetMetricStatistics", with(stats, "ExtendedStatistics", []any{"p99"}), "InvalidParameterValue", "no percentiles"},
		{"GetMetricStatistics", with(stats, "Statistics", []any{"Median"}), "ValidationError", "Value 'Median' at 'Statistics.1.member'"},
		{"GetMetricStatistics", with(stats, "Period", 0), "ValidationError", "greater than or equal to 1"},
		{"GetMetricStatistics", with(stats, "Period", 90), "InvalidParameterValue", "multiple of 60"},
		{"GetMetricStatistics", with(stats, "Unit", "Dozens"), "ValidationError", "'Unit'"},
		{"GetMetricStatistics", with(stats, "Namespace", ":x"), "ValidationError", "'Namespace'"},
		{"GetMetricStatistics", with(stats, "MetricName", long), "ValidationError", "'MetricName'"},
		{"GetMetricStatistics", with(stats, "Dimensions", []any{map[string]any{"Name": "InstanceId"}}), "ValidationError", "'Dimensions.1.member.Value'"},
		{"GetMetricStatistics", with(stats, "EndTime", now.Add(-time.Hour)), "InvalidParameterValue", "StartTime must be less than the parameter EndTime"},
		{"GetMetricStatistics", with(stats, "StartTime", now.Add(-200*time.Hour), "Period", 60), "InvalidParameterCombination", "exceeds the limit of 1440"},
		{"GetMetricStatistics", with(stats, "Period", "often"), "MalformedInput", ""},
		{"GetMetricStatistics", with(stats, "StartTime", "yesterday"), "MalformedInput", ""},
		{"GetMetricStatistics", with(stats, "Statistics", "Sum"), "MalformedInput", ""},
		{"GetMetricStatistics", with(stats, "Dimensions", map[string]any{"Name": "a"}), "MalformedInput", ""},
		{"GetMetricStatistics", with(stats, "period", 300), "MalformedInput", "The member 'period' is spelled 'Period'"},

		{"GetMetricData", with(data, "MetricDataQueries", nil), "MissingParameter", "MetricDataQueries"},
		{"GetMetricData", with(data, "NextToken", "bad"), "InvalidNextToken", ""},
		{"GetMetricData", with(data, "MaxDatapoints", 0), "ValidationError", "MaxDatapoints"},
		{"GetMetricData", with(data, "MaxDatapoints", 100801), "ValidationError", "MaxDatapoints"},
		{"GetMetricData", with(data, "ScanBy", "Random"), "ValidationError", "'ScanBy'"},
		{"GetMetricData", with(data, "StartTime", now), "InvalidParameterValue", "StartTime"},
		{"GetMetricData", with(data, "StartTime", now.Add(-3000*time.Hour), "MetricDataQueries", []any{query("a", s.demo, "MetadataNoToken", "Sum", 60)}), "InvalidParameterCombination", "exceeds the limit of 100800"},
		{"GetMetricData", queries(map[string]any{"Id": "e", "Expression": "m1*2"}), "ValidationError", "Error in expression 'e'"},
		{"GetMetricData", queries(map[string]any{"Id": "e"}), "ValidationError", "MetricStat is required"},
		{"GetMetricData", queries(query("a", s.demo, "MetadataNoToken", "p99", 300)), "ValidationError", "'p99'"},
		{"GetMetricData", queries(query("a", s.demo, "MetadataNoToken", "Sum", 300), query("a", s.demo, "MetadataNoToken", "Sum", 300)), "ValidationError", "twice"},
		{"GetMetricData", queries(with(query("a", s.demo, "MetadataNoToken", "Sum", 300), "Label", "${AVG}")), "ValidationError", "${"},
		{"GetMetricData", queries(with(query("a", s.demo, "MetadataNoToken", "Sum", 300), "AccountId", "1")), "ValidationError", "'MetricDataQueries.1.member.AccountId'"},

		{"ListMetrics", map[string]any{"NextToken": "bad"}, "InvalidParameterValue", ""},
		{"ListMetrics", map[string]any{"RecentlyActive": "PT4H"}, "ValidationError", "'RecentlyActive'"},
		{"ListMetrics", map[string]any{"OwningAccount": "1"}, "ValidationError", "'OwningAccount'"},

		{"PutMetricAlarm", with(alarm, "AlarmName", nil), "MissingParameter", "AlarmName"},
		{"PutMetricAlarm", with(alarm, "EvaluationPeriods", nil), "MissingParameter", "EvaluationPeriods"},
		{"PutMetricAlarm", with(alarm, "Threshold", nil), "MissingParameter", "Threshold"},
		{"PutMetricAlarm", with(alarm, "ComparisonOperator", nil), "MissingParameter", "ComparisonOperator"},
		{"PutMetricAlarm", with(alarm, "Statistic", nil), "MissingParameter", "Statistic"},
		{"PutMetricAlarm", with(alarm, "MetricName", nil), "MissingParameter", "MetricName"},
		{"PutMetricAlarm", with(alarm, "Statistic", "Average"), "InvalidParameterValue", "Statistic must be Sum"},
		{"PutMetricAlarm", with(alarm, "Period", 60), "InvalidParameterValue", "Period must be 300"},
		{"PutMetricAlarm", with(alarm, "Unit", "Bytes"), "InvalidParameterValue", "Unit must be Count"},
		{"PutMetricAlarm", with(alarm, "MetricName", "CPUUtilization", "Statistic", "Average"), "InvalidParameterValue", "openimds watches"},
		{"PutMetricAlarm", with(alarm, "MetricName", "StatusCheckFailed"), "InvalidParameterValue", "openimds watches"},
		{"PutMetricAlarm", with(alarm, "Namespace", "Mine"), "InvalidParameterValue", "openimds watches"},
		{"PutMetricAlarm", with(alarm, "Dimensions", nil), "InvalidParameterValue", "openimds watches"},
		{"PutMetricAlarm", with(alarm, "Dimensions", dims("i-0123456789abcdef0")), "InvalidParameterValue", "does not exist"},
		{"PutMetricAlarm", with(rejected, "EvaluationPeriods", 289), "InvalidParameterValue", "EvaluationPeriods must be 1 to 288"},
		{"PutMetricAlarm", with(rejected, "DatapointsToAlarm", 3), "InvalidParameterValue", "DatapointsToAlarm must be 1 to EvaluationPeriods"},
		{"PutMetricAlarm", with(rejected, "ComparisonOperator", "LessThanLowerThreshold"), "InvalidParameterValue", "ComparisonOperator is unknown"},
		{"PutMetricAlarm", with(rejected, "ComparisonOperator", "Near"), "ValidationError", "'ComparisonOperator'"},
		{"PutMetricAlarm", with(rejected, "TreatMissingData", "fine"), "InvalidParameterValue", "TreatMissingData is unknown"},
		{"PutMetricAlarm", with(rejected, "AlarmActions", []any{"arn:aws:sns:us-east-1:123456789012:x"}), "ValidationError", "'AlarmActions'"},
		{"PutMetricAlarm", with(rejected, "Metrics", []any{query("a", s.demo, "MetadataNoToken", "Sum", 300)}), "ValidationError", "'Metrics'"},
		{"PutMetricAlarm", with(rejected, "AlarmDescription", strings.Repeat("x", 1025)), "InvalidParameterValue", "AlarmDescription has at most 1024"},
		{"PutMetricAlarm", with(rejected, "AlarmName", "demo"), "InvalidParameterValue", "demo"},
		{"PutMetricAlarm", with(rejected, "Tags", []any{map[string]any{"Key": strings.Repeat("k", 129), "Value": ""}}), "ValidationError", "'Tags.1.member.Key'"},
		{"PutMetricAlarm", alarm, "LimitExceeded", "has 2 alarms already"},

		{"DescribeAlarms", map[string]any{"AlarmNames": []any{"a"}, "AlarmNamePrefix": "a"}, "InvalidParameterCombination", ""},
		{"DescribeAlarms", map[string]any{"NextToken": "bad"}, "InvalidNextToken", ""},
		{"DescribeAlarms", map[string]any{"MaxRecords": 0}, "ValidationError", "'MaxRecords'"},
		{"DescribeAlarms", map[string]any{"MaxRecords": 101}, "ValidationError", "'MaxRecords'"},
		{"DescribeAlarms", map[string]any{"StateValue": "FINE"}, "ValidationError", "'StateValue'"},
		{"DescribeAlarms", map[string]any{"AlarmTypes": []any{"Fire"}}, "ValidationError", "'AlarmTypes.1.member'"},
		{"DescribeAlarms", map[string]any{"ChildrenOfAlarmName": "x"}, "ValidationError", "'ChildrenOfAlarmName'"},
		{"DeleteAlarms", nil, "MissingParameter", "AlarmNames"},
		{"DeleteAlarms", map[string]any{"AlarmNames": []any{"absent"}}, "ResourceNotFound", "absent"},
		{"SetAlarmState", with(state, "AlarmName", "absent"), "ResourceNotFound", "absent"},
		{"SetAlarmState", with(state, "AlarmName", "none of ours"), "ResourceNotFound", "none of ours"},
		{"SetAlarmState", with(state, "StateValue", "FINE"), "ValidationError", "'StateValue'"},
		{"SetAlarmState", with(state, "StateReason", nil), "MissingParameter", "StateReason"},
		{"SetAlarmState", with(state, "StateReason", strings.Repeat("x", 1024)), "InvalidParameterValue", "StateReason has at most 1023"},
		{"SetAlarmState", with(state, "StateReasonData", "{"), "InvalidFormat", "StateReasonData must be JSON"},
		{"TagResource", map[string]any{"ResourceARN": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:absent", "Tags": []any{map[string]any{"Key": "a", "Value": "b"}}}, "ResourceNotFoundException", ""},
		{"ListTagsForResource", map[string]any{"ResourceARN": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:absent"}, "ResourceNotFoundException", ""},
		{"ListTagsForResource", map[string]any{"ResourceARN": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:none of ours"}, "ResourceNotFoundException", ""},
		{"PutDashboard", nil, "InvalidAction", "PutDashboard"},
	}
	before := fmt.Sprint(s.must("json", "DescribeAlarms", nil))
	for _, c := range cases {
		for _, form := range forms {
			_, err := s.call(form, c.operation, c.args)
			if code(err) != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s, %s %v: %v, not %s %s", form, c.operation, c.args, err, c.code, c.text)
			}
			if e, ok := err.(*refusedError); ok && (e.message == "" || strings.Contains(e.message, "\n") || len(e.message) > 2000) {
				t.Errorf("%s, %s: the text %q", form, c.operation, e.message)
			}
		}
	}
	if after := fmt.Sprint(s.must("json", "DescribeAlarms", nil)); after != before {
		t.Errorf("a request that was refused changed something: %s, before %s", after, before)
	}
}

// TestHeads: what is no request of this API is refused in the form that it seems to have, whoever signs it.
func TestHeads(t *testing.T) {
	s := newServer(t)
	const rpc, target = "/service/GraniteServiceVersion20100801/operation/", "GraniteServiceVersion20100801."
	for _, c := range []struct{ path, media, target, body, want string }{
		{rpc + "DescribeAlarms", "application/cbor", "", "", "200"},
		{rpc + "DescribeAlarms", "application/cbor", "", "\xbf\xff", "200"},
		{rpc + "DescribeAlarms", "application/cbor", "", "\xa0\x00", "400 MalformedInput"},
		{rpc + "DescribeAlarms", "application/cbor", "", "\x80", "400 MalformedInput"},
		{rpc + "DescribeAlarms", "application/cbor", "", strings.Repeat("\xa1aa", 100000), "400 MalformedInput"},
		{rpc + "DescribeAlarms", "application/json", "", "{}", "404 InvalidAction"},
		{rpc + "DescribeAlarms", "application/cbor", target + "DeleteAlarms", "\xa0", "404 InvalidAction"},
		{rpc + "DescribeAlarms?a=b", "application/cbor", "", "\xa0", "404 InvalidAction"},
		{rpc + "Dance", "application/cbor", "", "\xa0", "400 InvalidAction"},
		{rpc, "application/cbor", "", "\xa0", "400 InvalidAction"},
		{"/service/Other/operation/DescribeAlarms", "application/cbor", "", "\xa0", "404 InvalidAction"},
		{"/", "application/x-amz-json-1.0", target + "DescribeAlarms", "{}", "200"},
		{"/", "application/x-amz-json-1.1", target + "DescribeAlarms", "{}", "404 InvalidAction"},
		{"/", "application/x-amz-json-1.0", "Other.DescribeAlarms", "{}", "400 InvalidAction"},
		{"/", "application/x-amz-json-1.0", target + "DescribeAlarms", "[]", "400 MalformedInput"},
		{"/", "application/x-amz-json-1.0", target + "DescribeAlarms", `{"MaxRecords":1,"MaxRecords":2}`, "400 MalformedInput"},
		{"/x", "application/x-amz-json-1.0", target + "DescribeAlarms", "{}", "404 InvalidAction"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01", "200"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-02", "400 InvalidAction"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms", "400 InvalidAction"},
		{"/", "application/x-www-form-urlencoded", "", "Version=2010-08-01", "400 MissingAction"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&MaxRecords=1&MaxRecords=2", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Action=DeleteAlarms&Version=2010-08-01", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&AlarmNames.member.1=a&AlarmNames.member.3=b", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&AlarmNames.1=a", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&AlarmNames=a", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&MaxRecords=1&MaxRecords.a=2", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&a" + strings.Repeat(".a", 50) + "=1", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&maxRecords=1", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&MaxRecords=01", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&AlarmNamePrefix=%ff", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=DescribeAlarms&Version=2010-08-01&%zz", "400 MalformedInput"},
		{"/", "application/x-www-form-urlencoded", "", "Action=Dance&Version=2010-08-01", "400 InvalidAction"},
		{"/", "text/plain", "", "Action=DescribeAlarms&Version=2010-08-01", "404 InvalidAction"},
	} {
		a := s.sign(s.raw(c.path, c.media, c.target, []byte(c.body)), []byte(c.body), full, "monitoring")
		got := fmt.Sprint(a.status)
		if code, _, _ := strings.Cut(a.header.Get("x-amzn-query-error"), ";"); code != "" {
			got += " " + code
		} else if _, rest, found := strings.Cut(string(a.body), "<Code>"); found {
			code, _, _ := strings.Cut(rest, "</Code>")
			got += " " + code
		}
		if got != c.want {
			t.Errorf("%s %s %s %.80q: %s, not %s: %.200q", c.path, c.media, c.target, c.body, got, c.want, a.body)
		}
	}
}

// TestScope: what is signed for one API opens no other, and a key that only looks changes nothing in any form.
func TestScope(t *testing.T) {
	s := newServer(t)
	for _, form := range forms {
		for _, c := range []struct {
			key       accesskeys.Key
			service   string
			operation string
			args      map[string]any
			want      string
		}{
			{looks, "monitoring", "DescribeAlarms", nil, ""},
			{looks, "monitoring", "PutMetricAlarm", alarmOf("v1", s.demo), "AccessDenied"},
			{looks, "monitoring", "DeleteAlarms", map[string]any{"AlarmNames": []any{"v1"}}, "AccessDenied"},
			{looks, "monitoring", "SetAlarmState", map[string]any{"AlarmName": "v1", "StateValue": "OK", "StateReason": ""}, "AccessDenied"},
			{looks, "monitoring", "TagResource", nil, "AccessDenied"},
			{looks, "monitoring", "UntagResource", nil, "AccessDenied"},
			{accesskeys.Key{ID: "AKIANOBODY", Secret: "x"}, "monitoring", "DescribeAlarms", nil, map[string]string{"query": "InvalidClientTokenId"}[form] + map[string]string{"cbor": "UnrecognizedClientException", "json": "UnrecognizedClientException"}[form]},
			{accesskeys.Key{ID: full.ID, Secret: "wrong"}, "monitoring", "DescribeAlarms", nil, map[string]string{"query": "SignatureDoesNotMatch"}[form] + map[string]string{"cbor": "InvalidSignatureException", "json": "InvalidSignatureException"}[form]},
		} {
			r, body := s.request(form, c.operation, c.args)
			_, err := s.read(form, c.operation, s.sign(r, body, c.key, c.service))
			if err == nil && c.want != "" || err != nil && code(err) != c.want {
				t.Errorf("%s, %s by %s: %v, not %q", form, c.operation, c.key.ID, err, c.want)
			}
		}
		for _, service := range []string{"lightsail", "ec2", "cloudwatch", ""} {
			r, body := s.request(form, "DescribeAlarms", nil)
			key := full
			if service == "" {
				key = accesskeys.Key{}
			}
			if a := s.sign(r, body, key, service); a.status < http.StatusBadRequest || strings.Contains(string(a.body), "MetricAlarms") {
				t.Errorf("%s, signed for %q: %d %s", form, service, a.status, a.body)
			}
		}
	}
	body := []byte(`{}`)
	a := s.sign(s.raw("/", "application/x-amz-json-1.1", "Lightsail_20161128.GetInstances", body), body, full, "monitoring")
	if a.status < http.StatusBadRequest || strings.Contains(string(a.body), "instances") {
		t.Errorf("Lightsail by a signature for monitoring: %d %s", a.status, a.body)
	}
	var refused map[string]any
	if err := json.Unmarshal(a.body, &refused); err != nil || refused["__type"] != "com.amazonaws.cloudwatch#UnknownOperationException" {
		t.Errorf("%s: %v", a.body, err)
	}
}
