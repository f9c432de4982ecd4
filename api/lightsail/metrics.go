package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
)

type getInstanceMetricDataRequest struct {
	InstanceName string             `json:"instanceName" check:"required"`
	MetricName   instanceMetricName `json:"metricName" check:"required"`
	Period       *metricPeriod      `json:"period" check:"required"` // seconds
	StartTime    *epoch             `json:"startTime" check:"required"`
	EndTime      *epoch             `json:"endTime" check:"required"`
	Unit         metricUnit         `json:"unit" check:"required"`
	Statistics   []metricStatistic  `json:"statistics" check:"required"`
}

// datapoint has the statistics that were asked for.
type datapoint struct {
	Average     *double `json:"average,omitempty"`
	Maximum     *double `json:"maximum,omitempty"`
	Minimum     *double `json:"minimum,omitempty"`
	SampleCount *double `json:"sampleCount,omitempty"`
	Sum         *double `json:"sum,omitempty"`
	Timestamp   epoch   `json:"timestamp"`
	Unit        string  `json:"unit"`
}

type metricDataResult struct {
	MetricName string      `json:"metricName"`
	MetricData []datapoint `json:"metricData"`
}

func (a *api) getInstanceMetricData(ctx context.Context, in *getInstanceMetricDataRequest) (metricDataResult, error) {
	return a.metricData(ctx, in.InstanceName, string(in.MetricName), string(in.Unit), in.StartTime, in.EndTime, *in.Period, in.Statistics)
}

func (a *api) metricData(ctx context.Context, instance, metric, unit string, start, end *epoch, period metricPeriod, statistics []metricStatistic) (metricDataResult, error) {
	points, err := a.service.MetricData(ctx, instance, metric, unit, start.Time, end.Time, time.Duration(period)*time.Second)
	result := metricDataResult{metric, []datapoint{}}
	for _, p := range points {
		result.MetricData = append(result.MetricData, showPoint(p, unit, statistics))
	}
	return result, err
}

func showPoint(p openimds.MetricPoint, unit string, statistics []metricStatistic) datapoint {
	shown := datapoint{Timestamp: epoch{p.Start}, Unit: unit}
	for _, statistic := range statistics {
		switch statistic {
		case "Average":
			shown.Average = new(double(p.Sum / float64(p.Samples)))
		case "Maximum":
			shown.Maximum = new(double(p.Max))
		case "Minimum":
			shown.Minimum = new(double(p.Min))
		case "SampleCount":
			shown.SampleCount = new(double(p.Samples))
		case "Sum":
			shown.Sum = new(double(p.Sum))
		}
	}
	return shown
}

// getMetricDataRequest is GetInstanceMetricData for the metrics that the guest side counts, those
// among them that Lightsail does not have.
type getMetricDataRequest struct {
	InstanceName string            `json:"instanceName" check:"required"`
	MetricName   countedMetricName `json:"metricName" check:"required"`
	Period       *metricPeriod     `json:"period" check:"required"` // seconds
	StartTime    *epoch            `json:"startTime" check:"required"`
	EndTime      *epoch            `json:"endTime" check:"required"`
	Statistics   []metricStatistic `json:"statistics" check:"required"`
}

func (a *api) getMetricData(ctx context.Context, in *getMetricDataRequest) (metricDataResult, error) {
	return a.metricData(ctx, in.InstanceName, string(in.MetricName), "Count", in.StartTime, in.EndTime, *in.Period, in.Statistics)
}

// getMetadataCountsRequest asks what was counted in a time: of one instance, or without a name of
// all, page by page. Without times it is the last day.
type getMetadataCountsRequest struct {
	InstanceName string `json:"instanceName"`
	StartTime    *epoch `json:"startTime"`
	EndTime      *epoch `json:"endTime"`
	PageToken    string `json:"pageToken"`
}

// getMetadataCountsResult has the times that the counts are of: those asked for, widened to whole
// periods of the history.
type getMetadataCountsResult struct {
	StartTime     epoch            `json:"startTime"`
	EndTime       epoch            `json:"endTime"`
	Counts        []metadataCounts `json:"counts"`
	NextPageToken string           `json:"nextPageToken,omitempty"`
}

type metadataCounts struct {
	InstanceName string `json:"instanceName"`
	InstanceID   string `json:"instanceId"`
	// Counts has every counted metric by its name.
	Counts map[string]int64 `json:"counts"`
}

func (a *api) getMetadataCounts(ctx context.Context, in *getMetadataCountsRequest) (getMetadataCountsResult, error) {
	end := a.cfg.Now()
	if in.EndTime != nil {
		end = in.EndTime.Time
	}
	start := end.Add(-24 * time.Hour)
	if in.StartTime != nil {
		start = in.StartTime.Time
	}
	start, end, period := wholePeriods(start, end)
	result := getMetadataCountsResult{StartTime: epoch{start}, EndTime: epoch{end}, Counts: []metadataCounts{}}
	instances, next, err := a.selected(ctx, "GetMetadataCounts", in.InstanceName, in.PageToken)
	if err != nil {
		return result, err
	}
	result.NextPageToken = next
	for _, one := range instances {
		counts := metadataCounts{one.Name, one.ID, map[string]int64{}}
		for _, metric := range openimds.Metrics() {
			points, err := a.service.MetricData(ctx, one.Name, metric, "Count", start, end, period)
			if err != nil && !gone(in.InstanceName, err) {
				return result, err
			}
			sum := 0.0
			for _, p := range points {
				sum += p.Sum
			}
			counts.Counts[metric] = int64(sum)
		}
		result.Counts = append(result.Counts, counts)
	}
	return result, nil
}

// maxCountPoints keeps a question for counts within the number of points that one may ask for.
const maxCountPoints = 1000

// wholePeriods widens a time to whole periods, and tells how long they are.
func wholePeriods(start, end time.Time) (time.Time, time.Time, time.Duration) {
	step := int64(openimds.MetricPeriod / time.Second)
	if span := end.Unix() - start.Unix(); span > 0 {
		step *= 1 + span/(step*maxCountPoints)
	}
	from := start.Unix() - ((start.Unix()%step)+step)%step
	to := end.Unix() + (step-((end.Unix()%step)+step)%step)%step
	return time.Unix(from, 0).UTC(), time.Unix(to, 0).UTC(), time.Duration(step) * time.Second
}

// selected returns the instance of that name, or without a name a page of all.
func (a *api) selected(ctx context.Context, list, name, token string) ([]*openimds.Instance, string, error) {
	if name != "" {
		one, err := a.service.Instance(ctx, name)
		return []*openimds.Instance{one}, "", err
	}
	after, err := pagePlace(list, token)
	if err != nil {
		return nil, "", err
	}
	page, next, err := a.service.Instances(ctx, after, pageSize)
	return page, pageToken(list, next), err
}

// gone says that an instance of a list was deleted while the list was worked through; one that was
// asked for by its name has to be there.
func gone(asked string, err error) bool {
	return asked == "" && openimds.KindOf(err) == openimds.NotFound
}

// getCallersRequest asks who called since a time, or at all: one instance, or without a name each of
// a page of instances.
type getCallersRequest struct {
	InstanceName string `json:"instanceName"`
	Since        *epoch `json:"since"`
	PageToken    string `json:"pageToken"`
}

type getCallersResult struct {
	Callers []metadataCaller `json:"callers"`
	// Faults are those on purpose of the instances that were asked for: what their callers did may
	// be due to them.
	Faults        []instanceFaults `json:"faults,omitempty"`
	NextPageToken string           `json:"nextPageToken,omitempty"`
}

// metadataCaller is who used an instance's metadata, as far as its requests tell.
type metadataCaller struct {
	InstanceName string           `json:"instanceName"`
	Source       string           `json:"source"`
	UserAgent    string           `json:"userAgent"`
	PathGroup    string           `json:"pathGroup"`
	Counts       map[string]int64 `json:"counts"`
	FirstSeen    epoch            `json:"firstSeen"`
	LastSeen     epoch            `json:"lastSeen"`
	// TokenUndelivered is the latest answer with a token that did not arrive; absent: none.
	TokenUndelivered *undeliveredToken `json:"tokenUndelivered,omitempty"`
}

type undeliveredToken struct {
	Time epoch `json:"time"`
	// HopLimit is what the answer left with, NeededHopLimit the least that reaches the caller (absent:
	// not known), CurrentHopLimit that of the instance now.
	HopLimit        int `json:"hopLimit"`
	NeededHopLimit  int `json:"neededHopLimit,omitempty"`
	CurrentHopLimit int `json:"currentHopLimit"`
}

func (a *api) getCallers(ctx context.Context, in *getCallersRequest) (getCallersResult, error) {
	result := getCallersResult{Callers: []metadataCaller{}}
	since := time.Time{}
	if in.Since != nil {
		since = in.Since.Time
	}
	instances, next, err := a.selected(ctx, "GetCallers", in.InstanceName, in.PageToken)
	if err != nil {
		return result, err
	}
	result.NextPageToken = next
	for _, one := range instances {
		if one.Faults != nil {
			result.Faults = append(result.Faults, instanceFaults{one.Name, one.Faults})
		}
		callers, err := a.service.CallersOf(ctx, one.Name, since)
		if err != nil && !gone(in.InstanceName, err) {
			return result, err
		}
		for _, c := range callers {
			shown := metadataCaller{
				one.Name, c.Source, c.UserAgent, c.PathGroup, c.Counts, epoch{c.FirstSeen}, epoch{c.LastSeen}, nil,
			}
			if u := c.Undelivered; u != nil {
				shown.TokenUndelivered = &undeliveredToken{epoch{u.Time}, u.HopLimit, u.NeededHopLimit, one.Options.HopLimit}
			}
			result.Callers = append(result.Callers, shown)
		}
	}
	return result, nil
}
