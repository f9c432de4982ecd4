package cloudwatch_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// dims are the dimensions of an instance's metrics.
func dims(id string) []any { return []any{map[string]any{"Name": "InstanceId", "Value": id}} }

// statistics is a request for all of a metric's.
func statistics(id, metric string, start, end time.Time, period int) map[string]any {
	return map[string]any{"Namespace": "AWS/EC2", "MetricName": metric, "Dimensions": dims(id), "StartTime": start, "EndTime": end, "Period": period,
		"Statistics": []any{"Sum", "Average", "Minimum", "Maximum", "SampleCount"}}
}

// query is one of GetMetricData's.
func query(id, instance, metric, stat string, period int) map[string]any {
	return map[string]any{"Id": id, "MetricStat": map[string]any{"Stat": stat, "Period": period,
		"Metric": map[string]any{"Namespace": "AWS/EC2", "MetricName": metric, "Dimensions": dims(instance)}}}
}

// TestNumbers: whatever was counted, all forms and both operations of this API have the numbers that Lightsail's has.
func TestNumbers(t *testing.T) {
	began := time.Now()
	s := newServerAt(t, func() time.Time { return began })
	now := began.Truncate(openimds.MetricPeriod)
	seed := uint64(now.UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for i := range 200 {
		at := now.Add(-time.Duration(i) * openimds.MetricPeriod)
		switch random.IntN(3) {
		case 0: // nothing is known of this time
		case 1:
			s.history.Begin(s.demo, at)
		default:
			s.history.Begin(s.demo, at)
			s.history.Add(s.demo, at, openimds.MetricNoToken, random.Uint64N(1000))
		}
	}
	names := map[string]string{"sum": "Sum", "average": "Average", "minimum": "Minimum", "maximum": "Maximum", "sampleCount": "SampleCount", "timestamp": "Timestamp", "unit": "Unit"}
	for range 12 {
		start := now.Add(-time.Duration(random.IntN(60000)) * time.Second)
		end := start.Add(time.Duration(1+random.IntN(60000)) * time.Second)
		period := 60 * (1 + random.IntN(90))
		var want []any
		for _, p := range s.lightsail(start, end, period) {
			named := map[string]any{}
			for name, value := range p.(map[string]any) {
				named[names[name]] = value
			}
			want = append(want, named)
		}
		for _, form := range forms {
			got := s.must(form, "GetMetricStatistics", statistics(s.demo, openimds.MetricNoToken, start, end, period))
			if points, _ := got["Datapoints"].([]any); fmt.Sprint(flat(points)) != fmt.Sprint(flat(want)) {
				t.Fatalf("%s, %s to %s by %d: %v, not %v", form, start, end, period, points, want)
			}
			s.compare(form, want, start, end, period)
		}
	}
}

// compare holds GetMetricData against points.
func (s *server) compare(form string, want []any, start, end time.Time, period int) {
	s.t.Helper()
	data := s.must(form, "GetMetricData", map[string]any{"StartTime": start, "EndTime": end, "ScanBy": "TimestampAscending",
		"MetricDataQueries": []any{query("a", s.demo, openimds.MetricNoToken, "Sum", period), query("b", s.demo, openimds.MetricNoToken, "Average", period)}})
	for i, stat := range []string{"Sum", "Average"} {
		result := data["MetricDataResults"].([]any)[i].(map[string]any)
		times, values := []any{}, []any{}
		for _, p := range want {
			times = append(times, p.(map[string]any)["Timestamp"])
			values = append(values, p.(map[string]any)[stat])
		}
		expected := flat(map[string]any{"Timestamps": times, "Values": values}).(map[string]any)
		got := result
		if form != "query" {
			got = flat(result).(map[string]any)
		}
		if !reflect.DeepEqual(got["Timestamps"], expected["Timestamps"]) || !reflect.DeepEqual(got["Values"], expected["Values"]) || got["StatusCode"] != "Complete" {
			s.t.Fatalf("%s: %v, not %v", form, got, expected)
		}
	}
}

// lightsail are the points that Lightsail's API has.
func (s *server) lightsail(start, end time.Time, period int) []any {
	s.t.Helper()
	body := fmt.Appendf(nil, `{"instanceName":"demo","metricName":"MetadataNoToken","unit":"Count","period":%d,"startTime":%.3f,"endTime":%.3f,"statistics":["Sum","Average","Minimum","Maximum","SampleCount"]}`,
		period, float64(start.UnixMilli())/1000, float64(end.UnixMilli())/1000)
	a := s.sign(s.raw("/", "application/x-amz-json-1.1", "Lightsail_20161128.GetInstanceMetricData", body), body, full, "lightsail")
	var result struct {
		MetricData []any `json:"metricData"`
	}
	if err := json.Unmarshal(a.body, &result); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return result.MetricData
}

// TestUnknown: what nothing is known of has no points, in no form a zero, and GetMetricData says so.
func TestUnknown(t *testing.T) {
	s := newServer(t)
	now := time.Now()
	other := query("a", s.demo, "MetadataNoToken", "Sum", 300)
	other["MetricStat"].(map[string]any)["Metric"].(map[string]any)["Namespace"] = "AWS/RDS"
	twice := query("a", s.demo, "MetadataNoToken", "Sum", 300)
	twice["MetricStat"].(map[string]any)["Metric"].(map[string]any)["Dimensions"] = append(dims(s.demo), dims(s.demo)...)
	for _, form := range forms {
		for _, q := range []map[string]any{query("a", "i-0123456789abcdef0", "MetadataNoToken", "Sum", 300), query("a", "demo", "MetadataNoToken", "Sum", 300),
			query("a", s.demo, "CPUUtilization", "Sum", 300), query("a", s.demo, "MetadataWithToken", "Sum", 300), other, twice} {
			got := s.must(form, "GetMetricData", map[string]any{"StartTime": now.Add(-time.Hour), "EndTime": now, "MetricDataQueries": []any{q}})
			one := got["MetricDataResults"].([]any)[0].(map[string]any)
			if values := one["Values"].([]any); len(values) != 0 || !strings.Contains(fmt.Sprint(one["Messages"]), "not known to be zero") {
				t.Errorf("%s, %v: %v", form, q, one)
			}
		}
		got := s.must(form, "GetMetricStatistics", statistics("i-0123456789abcdef0", "MetadataNoToken", now.Add(-time.Hour), now, 300))
		if got["Label"] != "MetadataNoToken" || len(got["Datapoints"].([]any)) != 0 {
			t.Errorf("%s: %v", form, got)
		}
	}
}

// TestStatusChecks: what is known of them now is shown; what is not kept any more is refused rather than shown empty.
func TestStatusChecks(t *testing.T) {
	s := newServer(t)
	now := time.Now()
	for _, form := range forms {
		_, err := s.call(form, "GetMetricStatistics", statistics(s.demo, "StatusCheckFailed", now.Add(-49*time.Hour), now.Add(-48*time.Hour), 300))
		if code(err) != "InvalidParameterValue" || !strings.Contains(err.Error(), "is not kept") {
			t.Errorf("%s: %v", form, err)
		}
		s.must(form, "GetMetricStatistics", statistics(s.demo, "StatusCheckFailed", now.Add(-time.Hour), now.Add(time.Minute), 300))
	}
}

// TestDataPages: page by page it is the same as at once, in either order, whatever a page holds.
func TestDataPages(t *testing.T) {
	s := newServer(t)
	other := s.create("other")
	now := time.Now().Truncate(openimds.MetricPeriod)
	for i := range 30 {
		at := now.Add(-time.Duration(i) * openimds.MetricPeriod)
		s.history.Add(s.demo, at, openimds.MetricNoToken, uint64(i))
		if i%2 == 0 {
			s.history.Add(other, at, openimds.MetricNoTokenRejected, uint64(i))
		}
	}
	hidden := query("hidden", s.demo, "MetadataNoToken", "Sum", 300)
	hidden["ReturnData"] = false
	args := map[string]any{"StartTime": now.Add(-3 * time.Hour), "EndTime": now.Add(time.Minute), "MetricDataQueries": []any{
		query("a", s.demo, "MetadataNoToken", "Sum", 300), hidden, query("b", other, "MetadataNoTokenRejected", "Maximum", 300), query("c", s.demo, "MetadataNoToken", "SampleCount", 3600)}}
	for _, form := range forms {
		delete(args, "MaxDatapoints")
		want := s.pages(form, args)
		if len(want["a"]) != 30 || len(want["b"]) != 15 || want["hidden"] != nil || want["a"][0] != "0" {
			t.Fatalf("%s: %v", form, want)
		}
		for _, size := range []int{1, 7, 15, 30, 45, 46} {
			args["MaxDatapoints"] = size
			if got := s.pages(form, args); !reflect.DeepEqual(got, want) {
				t.Errorf("%s, by %d: %v, not %v", form, size, got, want)
			}
		}
	}
}

// pages reads all, and joins the values of each query.
func (s *server) pages(form string, args map[string]any) map[string][]string {
	s.t.Helper()
	all := map[string][]string{}
	delete(args, "NextToken")
	for {
		page := s.must(form, "GetMetricData", args)
		for _, r := range page["MetricDataResults"].([]any) {
			one := r.(map[string]any)
			for _, v := range one["Values"].([]any) {
				all[one["Id"].(string)] = append(all[one["Id"].(string)], fmt.Sprint(v))
			}
		}
		token, _ := page["NextToken"].(string)
		if token == "" {
			delete(args, "NextToken")
			return all
		}
		args["NextToken"] = token
	}
}

// TestListMetrics: each instance has its metrics, once, over all pages; filters leave what they ask for.
func TestListMetrics(t *testing.T) {
	s := newServer(t)
	for i := range 120 {
		s.create(fmt.Sprintf("vm-%03d", i))
	}
	s.history.Begin(s.demo, time.Now())
	list := func(form string, args map[string]any) (found []string) {
		t.Helper()
		for {
			page := s.must(form, "ListMetrics", args)
			for _, m := range page["Metrics"].([]any) {
				metric := m.(map[string]any)
				d := metric["Dimensions"].([]any)[0].(map[string]any)
				found = append(found, metric["Namespace"].(string)+" "+metric["MetricName"].(string)+" "+d["Name"].(string)+"="+d["Value"].(string))
			}
			if args["NextToken"], _ = page["NextToken"].(string); args["NextToken"] == "" {
				return found
			}
		}
	}
	for _, form := range forms {
		if all := list(form, map[string]any{"MetricName": "MetadataNoTokenRejected"}); len(all) != 121 {
			t.Errorf("%s: %d metrics", form, len(all))
		}
		if all := list(form, map[string]any{"Namespace": "AWS/EC2", "Dimensions": dims(s.demo)}); len(all) != 5 || all[0] != "AWS/EC2 MetadataNoToken InstanceId="+s.demo {
			t.Errorf("%s: %v", form, all)
		}
		if recent := list(form, map[string]any{"RecentlyActive": "PT3H", "MetricName": "MetadataNoToken"}); len(recent) != 1 {
			t.Errorf("%s: %v are recently active", form, recent)
		}
		for _, none := range []map[string]any{{"Namespace": "AWS/RDS"}, {"MetricName": "Dance"}, {"Dimensions": dims("i-0123456789abcdef0")}, {"Dimensions": []any{map[string]any{"Name": "ImageId"}}}} {
			if found := list(form, none); len(found) != 0 {
				t.Errorf("%s, %v: %v", form, none, found)
			}
		}
	}
}

// TestTokensBelongToAQuestion: a token of GetMetricData leads nowhere with another question, whatever the size of a page.
func TestTokensBelongToAQuestion(t *testing.T) {
	s := newServer(t)
	now := time.Now().Truncate(openimds.MetricPeriod)
	for i := range 4 {
		s.history.Begin(s.demo, now.Add(-time.Duration(i)*openimds.MetricPeriod))
	}
	ask := func(stat, order string, size int, token any) map[string]any {
		args := map[string]any{"StartTime": now.Add(-time.Hour), "EndTime": now.Add(time.Minute), "MetricDataQueries": []any{query("a", s.demo, "MetadataNoToken", stat, 300)}, "ScanBy": order, "MaxDatapoints": size}
		if token != nil {
			args["NextToken"] = token
		}
		return args
	}
	for _, form := range forms {
		token := s.must(form, "GetMetricData", ask("Sum", "TimestampAscending", 1, nil))["NextToken"]
		s.must(form, "GetMetricData", ask("Sum", "TimestampAscending", 2, token))
		for _, other := range []map[string]any{ask("Maximum", "TimestampAscending", 1, token), ask("Sum", "TimestampDescending", 1, token)} {
			if _, err := s.call(form, "GetMetricData", other); err == nil || !strings.Contains(err.Error(), "InvalidNextToken") {
				t.Errorf("%s: %v", form, err)
			}
		}
	}
}
