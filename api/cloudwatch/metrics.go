package cloudwatch

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/cloudwatch/wire"
)

// ec2 is the namespace of what is counted here, and byInstance the dimension that tells whose it is.
const (
	ec2        = "AWS/EC2"
	byInstance = "InstanceId"
)

// counted are the metrics of EC2 that there are here. A status check is shown as long as it is known.
var counted = []string{
	openimds.MetricNoToken, openimds.MetricNoTokenRejected,
	openimds.MetricCheck, openimds.MetricInstanceCheck, openimds.MetricSystemCheck,
}

// series is one metric of one instance, if the request names one that there may be.
func series(namespace, metric string, dimensions []wire.Dimension) (instance string, there bool) {
	if namespace != ec2 || !slices.Contains(counted, metric) || len(dimensions) != 1 || dimensions[0].Name != byInstance {
		return "", false
	}
	return string(dimensions[0].Value), true
}

// reader is what of the service reads points: as many as each operation gives.
type reader func(ctx context.Context, name, metric, unit string, start, end time.Time, period time.Duration) ([]openimds.MetricPoint, error)

// points returns those of a metric. Of one that there is not there are none, as at AWS: that is not known, not zero. known
// is false then.
func (a *protocol) points(ctx context.Context, read reader, m wire.Metric, unit wire.StandardUnit, start, end time.Time, period wire.Period) (found []openimds.MetricPoint, known bool, err error) {
	instance, there := series(string(m.Namespace), string(m.MetricName), m.Dimensions)
	if !there {
		return nil, false, nil
	}
	metric, _ := openimds.FindMetric(string(m.MetricName))
	if unit == "" {
		unit = wire.StandardUnit(metric.Unit)
	}
	one, err := a.instance(ctx, instance)
	if err != nil || one == nil {
		return nil, false, err
	}
	found, err = read(ctx, one.Name, metric.Name, string(unit), start, end, time.Duration(period)*time.Second)
	if err != nil && openimds.KindOf(err) == openimds.NotFound { // it went meanwhile
		return nil, false, nil
	}
	return found, err == nil, err
}

func (a *protocol) getMetricStatistics(ctx context.Context, in *wire.GetMetricStatisticsRequest) (wire.GetMetricStatisticsResult, error) {
	result := wire.GetMetricStatisticsResult{Label: string(in.MetricName), Datapoints: []wire.Datapoint{}}
	switch {
	case len(in.Statistics) == 0 && len(in.ExtendedStatistics) == 0:
		return result, invalidCombination("One of Statistics and ExtendedStatistics must be given")
	case len(in.ExtendedStatistics) > 0:
		return result, invalidValue("ExtendedStatistics must not be set: openimds keeps sums, minima and maxima, and no percentiles")
	}
	if err := checkTimes(in.StartTime.Time, in.EndTime.Time, *in.Period); err != nil {
		return result, err
	}
	metric := wire.Metric{Namespace: in.Namespace, MetricName: in.MetricName, Dimensions: in.Dimensions}
	points, _, err := a.points(ctx, a.service.MetricData, metric, in.Unit, in.StartTime.Time, in.EndTime.Time, *in.Period)
	told, _ := openimds.ToldPoints(points)
	for _, p := range told {
		shown := wire.Datapoint{Timestamp: awsjson.Epoch{Time: p.Start}, Unit: "Count"}
		for _, s := range in.Statistics {
			value := new(awsjson.Double(statistic(string(s), p)))
			switch s {
			case "Average":
				shown.Average = value
			case "Maximum":
				shown.Maximum = value
			case "Minimum":
				shown.Minimum = value
			case "SampleCount":
				shown.SampleCount = value
			case "Sum":
				shown.Sum = value
			}
		}
		result.Datapoints = append(result.Datapoints, shown)
	}
	return result, err
}

// checkTimes refuses what is wrong for every metric, there or not.
func checkTimes(start, end time.Time, period wire.Period) error {
	switch {
	case period%60 != 0:
		return invalidValue("The parameter Period must be a multiple of 60")
	case !start.Before(end):
		return invalidValue("The parameter StartTime must be less than the parameter EndTime")
	}
	return nil
}

// statistic is one of a point.
func statistic(name string, p openimds.MetricPoint) float64 {
	switch name {
	case "Average":
		return p.Sum / float64(p.Samples)
	case "Maximum":
		return p.Max
	case "Minimum":
		return p.Min
	case "SampleCount":
		return float64(p.Samples)
	}
	return p.Sum
}

const (
	maxQueries    = 500
	maxDatapoints = 100800 // of a page
)

func (a *protocol) getMetricData(ctx context.Context, in *wire.GetMetricDataRequest) (wire.GetMetricDataResult, error) {
	result := wire.GetMetricDataResult{MetricDataResults: []wire.MetricDataResult{}}
	room := maxDatapoints
	if in.MaxDatapoints != nil {
		if room = *in.MaxDatapoints; room < 1 || room > maxDatapoints {
			return result, validation("The value %d for parameter MaxDatapoints must be 1 to %d", room, maxDatapoints)
		}
	}
	if err := checkQueries(in); err != nil {
		return result, err
	}
	list, err := a.dataList(in)
	if err != nil {
		return result, err
	}
	first, skip, err := dataPlace(list, in.NextToken, len(in.MetricDataQueries))
	if err != nil {
		return result, err
	}
	for i := first; i < len(in.MetricDataQueries); i++ {
		q := &in.MetricDataQueries[i]
		if q.ReturnData != nil && !*q.ReturnData {
			continue
		}
		if room == 0 {
			result.NextToken = api.PageToken(list, place(i, 0))
			break
		}
		one, left, err := a.query(ctx, in, q, skip, room)
		if err != nil {
			return result, err
		}
		result.MetricDataResults = append(result.MetricDataResults, one)
		room -= len(one.Values)
		if left {
			result.NextToken = api.PageToken(list, place(i, skip+len(one.Values)))
			break
		}
		skip = 0
	}
	return result, nil
}

// query is the result of one, from its skipped points on; left: there was no room for all.
func (a *protocol) query(ctx context.Context, in *wire.GetMetricDataRequest, q *wire.MetricDataQuery, skip, room int) (one wire.MetricDataResult, left bool, err error) {
	one = wire.MetricDataResult{ID: string(q.ID), Label: q.Label, StatusCode: "Complete", Timestamps: []awsjson.Epoch{}, Values: []awsjson.Double{}}
	if one.Label == "" {
		one.Label = string(q.MetricStat.Metric.MetricName)
	}
	points, known, err := a.points(ctx, a.service.MetricSeries, *q.MetricStat.Metric, q.MetricStat.Unit, in.StartTime.Time, in.EndTime.Time, *q.MetricStat.Period)
	if err != nil {
		return one, false, err
	}
	if !known { // what is not there reads like what nothing is known of: it is said
		one.Messages = []wire.MessageData{{Code: "NoSuchMetric", Value: "There is no such metric here, or no such instance: that is not known to be zero"}}
	}
	points, whole := openimds.ToldPoints(points)
	if !whole {
		one.StatusCode = "PartialData"
		one.Messages = []wire.MessageData{{Code: "PartialData", Value: "A server that counted was killed, or a host cannot tell what it counted: of some periods not all calls are known. Where nothing was counted in one, it is left out"}}
	}
	if in.ScanBy != "TimestampAscending" {
		slices.Reverse(points)
	}
	points = points[min(skip, len(points)):]
	if len(points) > room {
		points, left, one.StatusCode = points[:room], true, "PartialData"
	}
	for _, p := range points {
		one.Timestamps = append(one.Timestamps, awsjson.Epoch{Time: p.Start})
		one.Values = append(one.Values, awsjson.Double(statistic(q.MetricStat.Stat, p)))
	}
	return one, left, nil
}

// checkQueries refuses what no query may say.
func checkQueries(in *wire.GetMetricDataRequest) error {
	if n := len(in.MetricDataQueries); n == 0 || n > maxQueries {
		return validation("MetricDataQueries must be 1 to %d, not %d", maxQueries, n)
	}
	seen := map[wire.Text255]bool{}
	for i := range in.MetricDataQueries {
		q := &in.MetricDataQueries[i]
		switch {
		case seen[q.ID]:
			return validation("The value '%.100s' for parameter MetricDataQueries.member.%d.Id is there twice", q.ID, i+1)
		case q.Expression != "" || q.Period != nil:
			return validation("Error in expression '%.100s': openimds calculates no expressions; ask for the metrics", q.ID)
		case q.MetricStat == nil:
			return validation("The parameter MetricDataQueries.member.%d.MetricStat is required", i+1)
		case !slices.Contains(wire.Statistic("").Values(), q.MetricStat.Stat):
			return validation("The value '%.100s' for parameter MetricDataQueries.member.%d.MetricStat.Stat is none of %s", q.MetricStat.Stat, i+1, strings.Join(wire.Statistic("").Values(), ", "))
		case strings.Contains(q.Label, "${"):
			return validation("The label of '%.100s' has ${…}: openimds puts no values into labels", q.ID)
		}
		seen[q.ID] = true
		if err := checkTimes(in.StartTime.Time, in.EndTime.Time, *q.MetricStat.Period); err != nil {
			return err
		}
	}
	return nil
}

// list is [api.List] of the request's region.
func (a *protocol) list(operation string, question ...any) string {
	return api.List(operation, a.service.Region(), question...)
}

// dataList is what page tokens of GetMetricData belong to: all of the question but how large a page is.
func (a *protocol) dataList(in *wire.GetMetricDataRequest) (string, error) {
	question := *in
	question.NextToken, question.MaxDatapoints = "", nil
	text, err := awsjson.Marshal(question)
	return a.list("GetMetricData", string(text)), err
}

// place is where a page goes on: at a query, behind so many of its points.
func place(query, points int) string { return fmt.Sprintf("%d/%d", query, points) }

func dataPlace(list, token string, queries int) (query, points int, err error) {
	at, err := api.PagePlace(list, token)
	if err != nil {
		return 0, 0, errToken
	}
	if at == "" {
		return 0, 0, nil
	}
	first, second, _ := strings.Cut(at, "/")
	query, err = strconv.Atoi(first)
	points, err2 := strconv.Atoi(second)
	if err != nil || err2 != nil || query < 0 || query >= queries || points < 0 {
		return 0, 0, errToken
	}
	return query, points, nil
}

var errToken = invalidNextToken("The token is not one that was given out for this list")

// metricsPage is how many instances a page of ListMetrics looks at; each has a few metrics, and AWS has 500 on a page.
const metricsPage = 100

func (a *protocol) listMetrics(ctx context.Context, in *wire.ListMetricsRequest) (wire.ListMetricsResult, error) {
	result := wire.ListMetricsResult{Metrics: []wire.Metric{}}
	list := a.list("ListMetrics", in.Namespace, in.MetricName, in.RecentlyActive, in.Dimensions)
	after, err := api.PagePlace(list, in.NextToken)
	if err != nil {
		return result, invalidValue("The token is not one that was given out for this list")
	}
	wanted, none := wantedInstance(in.Dimensions)
	if none || in.Namespace != "" && in.Namespace != ec2 {
		return result, nil
	}
	var found []*openimds.Instance
	if wanted == "" {
		found, after, err = a.service.Instances(ctx, after, metricsPage)
		result.NextToken = api.PageToken(list, after)
	} else {
		var one *openimds.Instance
		if one, err = a.instance(ctx, wanted); one != nil {
			found = []*openimds.Instance{one}
		}
	}
	if err != nil {
		return result, err
	}
	for _, one := range found {
		if in.RecentlyActive != "" {
			recent, err := a.recent(ctx, one.Name)
			if err != nil {
				return result, err
			}
			if !recent {
				continue
			}
		}
		for _, name := range counted {
			if in.MetricName == "" || string(in.MetricName) == name {
				result.Metrics = append(result.Metrics, wire.Metric{
					Namespace: ec2, MetricName: wire.Text255(name),
					Dimensions: []wire.Dimension{{Name: byInstance, Value: wire.DimensionValue(one.ID)}},
				})
			}
		}
	}
	return result, nil
}

// wantedInstance is the one that filters ask for; empty: any. none: no metric has such dimensions.
func wantedInstance(filters []wire.DimensionFilter) (instance string, none bool) {
	for _, f := range filters {
		if f.Name != byInstance || instance != "" && f.Value != "" && instance != string(f.Value) {
			return "", true
		}
		if f.Value != "" {
			instance = string(f.Value)
		}
	}
	return instance, false
}

// recent says whether an instance has been counted in the last three hours.
func (a *protocol) recent(ctx context.Context, name string) (bool, error) {
	now := a.now()
	known, err := a.service.Known(ctx, name, now.Add(-3*time.Hour), now)
	if openimds.KindOf(err) == openimds.NotFound {
		return false, nil
	}
	return err == nil && !known.Since.IsZero(), err
}
