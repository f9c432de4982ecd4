package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) getInstanceMetricData(ctx context.Context, in *wire.GetInstanceMetricDataRequest) (wire.MetricDataResult, error) {
	return a.metricData(ctx, in.InstanceName, string(in.MetricName), string(in.Unit), in.StartTime, in.EndTime, *in.Period, in.Statistics)
}

func (a *protocol) metricData(ctx context.Context, instance, metric, unit string, start, end *awsjson.Epoch, period wire.MetricPeriod, statistics []wire.MetricStatistic) (wire.MetricDataResult, error) {
	points, err := a.service.MetricData(ctx, instance, metric, unit, start.Time, end.Time, time.Duration(period)*time.Second)
	result := wire.MetricDataResult{MetricName: metric, MetricData: []wire.Datapoint{}}
	told, _ := openimds.ToldPoints(points)
	for _, p := range told {
		result.MetricData = append(result.MetricData, showPoint(p, unit, statistics))
	}
	return result, err
}

func showPoint(p openimds.MetricPoint, unit string, statistics []wire.MetricStatistic) wire.Datapoint {
	shown := wire.Datapoint{Timestamp: awsjson.Epoch{Time: p.Start}, Unit: unit}
	for _, statistic := range statistics {
		switch statistic {
		case "Average":
			shown.Average = new(awsjson.Double(p.Sum / float64(p.Samples)))
		case "Maximum":
			shown.Maximum = new(awsjson.Double(p.Max))
		case "Minimum":
			shown.Minimum = new(awsjson.Double(p.Min))
		case "SampleCount":
			shown.SampleCount = new(awsjson.Double(p.Samples))
		case "Sum":
			shown.Sum = new(awsjson.Double(p.Sum))
		}
	}
	return shown
}

func (a *protocol) getMetricData(ctx context.Context, in *wire.GetMetricDataRequest) (wire.GetMetricDataResult, error) {
	data, err := a.metricData(ctx, in.InstanceName, string(in.MetricName), "Count", in.StartTime, in.EndTime, *in.Period, in.Statistics)
	result := wire.GetMetricDataResult{MetricName: data.MetricName, MetricData: data.MetricData}
	if err == nil {
		result.Known, err = a.known(ctx, in.InstanceName, in.StartTime.Time, in.EndTime.Time)
	}
	return result, err
}

// known tells how far the calls of an instance in a time are known.
func (a *protocol) known(ctx context.Context, instance string, start, end time.Time) (wire.Known, error) {
	k, err := a.service.Known(ctx, instance, start, end)
	return wire.Known{
		InstanceName: instance, Since: unlessZero(k.Since), Until: unlessZero(k.Until),
		MissingSeconds: int((k.Missing + time.Second - 1) / time.Second), Complete: k.Complete,
	}, err
}

func (a *protocol) getMetadataCounts(ctx context.Context, in *wire.GetMetadataCountsRequest) (wire.GetMetadataCountsResult, error) {
	end := a.cfg.Now()
	if in.EndTime != nil {
		end = in.EndTime.Time
	}
	start := end.Add(-24 * time.Hour)
	if in.StartTime != nil {
		start = in.StartTime.Time
	}
	start, end, period := wholePeriods(start, end)
	result := wire.GetMetadataCountsResult{StartTime: awsjson.Epoch{Time: start}, EndTime: awsjson.Epoch{Time: end}, Counts: []wire.MetadataCounts{}}
	instances, next, err := a.selected(ctx, a.list("GetMetadataCounts", in.InstanceName, in.StartTime.OrZero(), in.EndTime.OrZero()), in.InstanceName, in.PageToken)
	if err != nil {
		return result, err
	}
	result.NextPageToken = next
	for _, one := range instances {
		counts, err := a.service.MetricCounts(ctx, one.Name, start, end, period)
		var known wire.Known
		if err == nil {
			known, err = a.known(ctx, one.Name, start, end)
		}
		switch {
		case gone(in.InstanceName, err):
			continue
		case err != nil:
			return result, err
		}
		result.Counts = append(result.Counts, wire.MetadataCounts{InstanceName: one.Name, InstanceID: one.ID, Counts: counts, Known: known})
	}
	return result, nil
}

// maxCountPoints keeps a question for counts within the number of points that one may ask for.
const maxCountPoints = 1000

// wholePeriods widens a time to whole samples, so that nothing that was counted in it is left out, and
// tells by which periods to ask for it.
func wholePeriods(start, end time.Time) (time.Time, time.Time, time.Duration) {
	sample := int64(openimds.MetricPeriod / time.Second)
	last := end.Unix()
	if end.Nanosecond() > 0 {
		last++ // else the sample that has just begun would be left out
	}
	from, to := floorTo(start.Unix(), sample), -floorTo(-last, sample)
	period := sample
	if span := to - from; span > 0 {
		period *= 1 + span/(sample*maxCountPoints)
	}
	return time.Unix(from, 0).UTC(), time.Unix(to, 0).UTC(), time.Duration(period) * time.Second
}

// floorTo is the last multiple of unit that is not after n.
func floorTo(n, unit int64) int64 { return n - (n%unit+unit)%unit }

// list is [api.List] of the request's region.
func (a *protocol) list(operation string, question ...any) string {
	return api.List(operation, a.service.Region(), question...)
}

// selected returns the instance of that name, or without a name a page of all.
func (a *protocol) selected(ctx context.Context, list, name, token string) ([]*openimds.Instance, string, error) {
	after, err := api.PagePlace(list, token)
	if err != nil {
		return nil, "", err
	}
	if name != "" {
		one, err := a.service.Instance(ctx, name)
		return []*openimds.Instance{one}, "", err
	}
	page, next, err := a.service.Instances(ctx, after, pageSize)
	return page, api.PageToken(list, next), err
}

// gone says that an instance of a list was deleted while the list was worked through; one that was
// asked for by its name has to be there.
func gone(asked string, err error) bool {
	return asked == "" && openimds.KindOf(err) == openimds.NotFound
}

// unlessZero leaves out a time that there was not.
func unlessZero(t time.Time) *awsjson.Epoch {
	if t.IsZero() {
		return nil
	}
	return awsjson.At(t)
}
