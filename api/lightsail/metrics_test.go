package lightsail_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// history has one sample a period: as many requests as the period's number since an hour that is
// whole, for the metric without tokens, ten times as many for the refused ones.
type history struct{ noon time.Time }

func (h history) Points(_ context.Context, _ string, metrics []string, start, end time.Time, period time.Duration) ([][]openimds.MetricPoint, error) {
	all := make([][]openimds.MetricPoint, len(metrics))
	for i, metric := range metrics {
		all[i] = h.points(metric, start, end, period)
	}
	return all, nil
}

func (h history) points(metric string, start, end time.Time, period time.Duration) []openimds.MetricPoint {
	factor := map[string]float64{openimds.MetricNoToken: 1, openimds.MetricNoTokenRejected: 10}[metric]
	var points []openimds.MetricPoint
	for i := range 12 {
		at := h.noon.Add(time.Duration(i) * openimds.MetricPeriod)
		if at.Before(start) || !at.Before(end) {
			continue
		}
		bucket := start.Add(at.Sub(start).Truncate(period))
		value := factor * float64(i)
		if n := len(points); n > 0 && points[n-1].Start.Equal(bucket) {
			p := &points[n-1]
			p.Sum, p.Max, p.Min, p.Samples = p.Sum+value, max(p.Max, value), min(p.Min, value), p.Samples+1
			continue
		}
		points = append(points, openimds.MetricPoint{Start: bucket, Sum: value, Min: value, Max: value, Samples: 1})
	}
	return points
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func withHistory(c *control.Config) { c.History = history{noon} }

func TestMetricData(t *testing.T) {
	s := newServer(t, withHistory)
	start, end := noon.Unix(), noon.Add(time.Hour).Unix()
	ask := func(more string) string {
		return fmt.Sprintf(`{"instanceName":"demo","startTime":%d,"endTime":%d.0,%s}`, start, end, more)
	}
	const all = `"statistics":["Minimum","Maximum","Sum","Average","SampleCount"]`
	s.steps([]step{
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoToken","unit":"Count","period":1800,` + all),
			want: fmt.Sprintf(`{"metricName":"MetadataNoToken","metricData":[
				{"timestamp":%d,"unit":"Count","sum":15,"minimum":0,"maximum":5,"average":2.5,"sampleCount":6},
				{"timestamp":%d,"unit":"Count","sum":51,"minimum":6,"maximum":11,"average":8.5,"sampleCount":6}]}`, start, start+1800)},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoToken","unit":"Count","period":3600,"statistics":["Sum"]`),
			want: `{"metricData":[{"sum":66,"minimum":"!","maximum":"!","average":"!","sampleCount":"!"}]}`},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoToken","unit":"Bytes","period":3600,"statistics":["Sum"]`), want: `{"metricData":[]}`},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"CPUUtilization","unit":"Percent","period":3600,"statistics":["Sum"]`), exception: failure, message: "The metric CPUUtilization is not measured here"},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"DiskReadOps","unit":"Count","period":3600,"statistics":["Sum"]`), exception: failure, message: "The metric DiskReadOps is not measured here"},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoTokenRejected","unit":"Count","period":3600,"statistics":["Sum"]`), exception: invalid, message: "1 validation error detected: Value 'MetadataNoTokenRejected' at 'metricName'"},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoToken","unit":"Count","period":59,"statistics":["Sum"]`), exception: invalid, message: "1 validation error detected: Value '59' at 'period' failed to satisfy constraint: Member must have value greater than or equal to 60"},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoToken","unit":"Count","period":90,"statistics":["Sum"]`), exception: invalid, message: "The period must be a multiple of 60"},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoToken","unit":"Count","period":2700000,"statistics":["Sum"]`), want: fmt.Sprintf(`{"metricData":[{"timestamp":%d,"sum":66}]}`, start)},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoToken","unit":"Count","period":60,"statistics":["Median"]`), exception: invalid, message: "1 validation error detected: Value 'Median' at 'statistics.1.member'"},
		{target: "GetInstanceMetricData", body: `{"instanceName":"demo"}`, exception: invalid, message: "6 validation errors detected"},
		{target: "GetInstanceMetricData", body: `{"instanceName":"demo","metricName":"MetadataNoToken","unit":"Count","period":60,"statistics":["Sum"],"startTime":-62135596800,"endTime":253402300799}`, exception: invalid, message: "You have requested up to"},
		{target: "GetInstanceMetricData", body: `{"instanceName":"demo","metricName":"MetadataNoToken","unit":"Count","period":60,"statistics":["Sum"],"startTime":2,"endTime":1}`, exception: invalid, message: "The start time must be before the end time"},
		{target: "GetInstanceMetricData", body: `{"startTime":1e300}`, exception: malformed, message: "a timestamp is out of range"},
		{target: "GetInstanceMetricData", body: `{"startTime":"2026-11-22T12:00:00Z"}`, exception: malformed, message: "STRING_VALUE can not be converted to a Timestamp"},
		{target: "GetInstanceMetricData", body: `{"startTime":{"Time":1}}`, exception: malformed, message: "Start of structure or map found where not expected."},
		{target: "GetInstanceMetricData", body: ask(`"metricName":"MetadataNoToken","unit":"Count","period":3.6e3,"statistics":["Sum"]`), want: `{"metricData":[{"sum":66}]}`},

		{target: "OpenIMDS_20261122.GetMetricData", body: ask(`"metricName":"MetadataNoTokenRejected","period":3600,"statistics":["Sum"]`), want: `{"metricName":"MetadataNoTokenRejected","metricData":[{"sum":660}],"known":{"instanceName":"demo","since":"!","until":"!","missingSeconds":0,"complete":false}}`},
		{target: "OpenIMDS_20261122.GetMetricData", body: ask(`"metricName":"CPUUtilization","period":3600,"statistics":["Sum"]`), exception: invalid},

		{target: "OpenIMDS_20261122.GetMetadataCounts", body: ask(`"ignored":1`), want: fmt.Sprintf(`{"startTime":%d,"endTime":%d,"nextPageToken":"!","counts":[{"instanceName":"demo","instanceId":"*",
			"counts":{"MetadataNoToken":66,"MetadataNoTokenRejected":660,"MetadataTokenRequests":0,"MetadataWithToken":0,"MetadataTokenUndelivered":0},"known":{"instanceName":"demo","complete":false}}]}`, start, end)},
		{target: "OpenIMDS_20261122.GetMetadataCounts", body: fmt.Sprintf(`{"startTime":%d,"endTime":%d}`, start+299, start+301), want: fmt.Sprintf(`{"startTime":%d,"endTime":%d,"counts":[{"counts":{"MetadataNoToken":1}}]}`, start, start+600)},
		{target: "OpenIMDS_20261122.GetMetadataCounts", body: fmt.Sprintf(`{"startTime":%d,"endTime":%d.5}`, start+299, start+300), want: fmt.Sprintf(`{"startTime":%d,"endTime":%d,"counts":[{"counts":{"MetadataNoToken":1}}]}`, start, start+600)},
		{target: "OpenIMDS_20261122.GetMetadataCounts", body: fmt.Sprintf(`{"startTime":%d,"endTime":%d}`, start-400*86400, end), want: `{"counts":[{"counts":{"MetadataNoToken":66}}]}`},
		{target: "OpenIMDS_20261122.GetMetadataCounts", body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
		{target: "OpenIMDS_20261122.GetMetadataCounts", body: `{"startTime":2000,"endTime":1000}`, exception: invalid},
		{target: "OpenIMDS_20261122.GetMetadataCounts", body: `{"startTime":-62135596800,"endTime":253402300799}`, want: `{"counts":[{}]}`},
	})
	if a := s.call("GetInstanceMetricData", ask(`"metricName":"MetadataNoToken","unit":"Count","period":3600,"statistics":["Sum"]`)); !strings.Contains(a.body, `"sum":66.0,`) {
		t.Errorf("a whole double has no fraction: %s", a.body)
	}
}

type callerList []openimds.Caller

func (l callerList) Callers(_ context.Context, _ string, since time.Time) ([]openimds.Caller, error) {
	if since.Equal(noon) {
		return nil, errors.New("the disk is gone")
	}
	return slices.DeleteFunc(slices.Clone(l), func(c openimds.Caller) bool { return c.LastSeen.Before(since) }), nil
}

func TestCallers(t *testing.T) {
	s := newServer(t, func(c *control.Config) {
		c.Callers = callerList{
			{Source: "127.0.0.1", UserAgent: "curl/8 <old>", PathGroup: "meta-data/iam", Counts: map[string]int64{"MetadataNoToken": 3}, CountedSince: noon.Add(-time.Minute), FirstV1: noon.Add(time.Second), LastV1: noon.Add(2 * time.Second), FirstSeen: noon, LastSeen: noon.Add(90 * time.Second)},
			{Source: "10.0.0.9", LastSeen: noon.Add(time.Second), Undelivered: &openimds.UndeliveredToken{Time: noon, HopLimit: 3, NeededHopLimit: 4}},
		}
	})
	s.steps([]step{
		{target: "OpenIMDS_20261122.GetCallers", body: `{}`, want: fmt.Sprintf(`{"callers":[{"instanceName":"demo","source":"127.0.0.1","userAgent":"curl/8 <old>","pathGroup":"meta-data/iam",
			"counts":{"MetadataNoToken":3},"countedSince":%d,"firstWithoutToken":%d,"lastWithoutToken":%d,"firstSeen":%d,"lastSeen":%d},{"source":"10.0.0.9","firstWithoutToken":"!","lastWithoutToken":"!",
			"tokenUndelivered":{"time":%d,"hopLimit":3,"neededHopLimit":4,"currentHopLimit":1}}],"known":[{"instanceName":"demo","since":"!","complete":false}],"nextPageToken":"!"}`, noon.Unix()-60, noon.Unix()+1, noon.Unix()+2, noon.Unix(), noon.Unix()+90, noon.Unix())},
		{target: "OpenIMDS_20261122.GetCallers", body: fmt.Sprintf(`{"instanceName":"demo","since":%d}`, noon.Unix()+60), want: `{"callers":[{"source":"127.0.0.1"}]}`},
		{target: "OpenIMDS_20261122.GetCallers", body: fmt.Sprintf(`{"since":%d}`, noon.Unix()), exception: "ServiceException", message: "The list of callers cannot be read; try again"},
		{target: "OpenIMDS_20261122.GetCallers", body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
	})
	if strings.Contains(s.call("OpenIMDS_20261122.GetCallers", fmt.Sprintf(`{"since":%d}`, noon.Unix())).body, "disk") {
		t.Error("the cause reached the client")
	}
	if !strings.Contains(s.log.String(), "the disk is gone") {
		t.Error("the cause did not reach the log")
	}
}
