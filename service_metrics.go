package openimds

import (
	"context"
	"slices"
	"time"
)

// Metric is a metric's name with what Lightsail says of it.
type Metric struct {
	Name      string
	Unit      string
	Statistic string // of its alarms
	// Counted metrics have data here. Lightsail's others are known by name and have none.
	Counted bool
	// Alarms says whether alarms may watch it. Lightsail's cannot watch MetadataNoToken.
	Alarms bool
}

// FindMetric returns the metric of that name.
func FindMetric(name string) (Metric, bool) {
	return search([]Metric{
		{Name: MetricNoToken, Unit: "Count", Statistic: "Sum", Counted: true, Alarms: true},
		{Name: MetricNoTokenRejected, Unit: "Count", Statistic: "Sum", Counted: true},
		{Name: MetricTokenRequests, Unit: "Count", Statistic: "Sum", Counted: true},
		{Name: MetricWithToken, Unit: "Count", Statistic: "Sum", Counted: true},
		{Name: MetricTokenUndelivered, Unit: "Count", Statistic: "Sum", Counted: true},
		{Name: "CPUUtilization", Unit: "Percent", Statistic: "Average", Alarms: true},
		{Name: "NetworkIn", Unit: "Bytes", Statistic: "Sum", Alarms: true},
		{Name: "NetworkOut", Unit: "Bytes", Statistic: "Sum", Alarms: true},
		{Name: "StatusCheckFailed", Unit: "Count", Statistic: "Sum", Alarms: true},
		{Name: "StatusCheckFailed_Instance", Unit: "Count", Statistic: "Sum", Alarms: true},
		{Name: "StatusCheckFailed_System", Unit: "Count", Statistic: "Sum", Alarms: true},
		{Name: "BurstCapacityTime", Unit: "Seconds", Statistic: "Average", Alarms: true},
		{Name: "BurstCapacityPercentage", Unit: "Percent", Statistic: "Average", Alarms: true},
	}, func(m Metric) bool { return m.Name == name })
}

// maxPoints is the most periods that one question spans, as CloudWatch limits it.
const maxPoints = 1440

// MetricData returns the points of a metric of an instance whose start is not before start and is
// before end. A metric that is not counted here, and a unit that the metric does not have, yield
// none.
func (s *Service) MetricData(ctx context.Context, name, metric, unit string, start, end time.Time, period time.Duration) ([]MetricPoint, error) {
	m, ok := FindMetric(metric)
	if !ok {
		return nil, Errorf(InvalidInput, "", "The metric %.100s does not exist", metric)
	}
	if period < time.Minute || period%time.Minute != 0 {
		return nil, Errorf(InvalidInput, "", "The period must be a multiple of 60 seconds, not %d", int64(period/time.Second))
	}
	if !start.Before(end) {
		return nil, Errorf(InvalidInput, "", "The start time must be before the end time")
	}
	if wanted := (end.Sub(start)-1)/period + 1; wanted > maxPoints {
		return nil, Errorf(InvalidInput, "", "You have requested up to %d datapoints, which exceeds the limit of %d. You may reduce the datapoints requested by increasing Period, or decreasing the time range.", wanted, maxPoints)
	}
	in, _, err := s.instance(ctx, name)
	if err != nil {
		return nil, err
	}
	if !m.Counted || unit != m.Unit {
		return nil, nil
	}
	return s.points(ctx, in, metric, start, end, period)
}

func (s *Service) points(ctx context.Context, in *Instance, metric string, start, end time.Time, period time.Duration) ([]MetricPoint, error) {
	if s.cfg.History == nil || !slices.Contains(Metrics(), metric) {
		return nil, nil
	}
	points, err := s.cfg.History.Points(ctx, in.ID, metric, start, end, period)
	if err != nil {
		return nil, &Error{Kind: Unavailable, Message: "The history of the metrics cannot be read; try again", Err: err}
	}
	return points, nil
}

// CallersOf returns who called an instance's metadata service at or after since, the latest first.
func (s *Service) CallersOf(ctx context.Context, name string, since time.Time) ([]Caller, error) {
	in, _, err := s.instance(ctx, name)
	if err != nil || s.cfg.Callers == nil {
		return nil, err
	}
	callers, err := s.cfg.Callers.Callers(ctx, in.ID, since)
	if err != nil {
		return nil, &Error{Kind: Unavailable, Message: "The list of callers cannot be read; try again", Err: err}
	}
	return callers, nil
}
