package history

import (
	"context"
	"fmt"
	"time"

	"github.com/openimds/openimds"
)

// Sums implements [openimds.FleetHistory].
func (h *History) Sums(ctx context.Context, metric string, start, end time.Time) (map[string]openimds.MetricSum, error) {
	m := metricOf(metric)
	if m == noMetric {
		return map[string]openimds.MetricSum{}, nil
	}
	type one struct {
		id  string
		sum openimds.MetricSum
	}
	var all []one
	places := map[string]int{}
	from, until := h.fleetSpan(start, end)
	for number := floorDiv(from-1, samplesPerDay); number*samplesPerDay < until; number++ {
		span := spanOf(number, from, until)
		day, err := h.fleetDay(ctx, span)
		if err != nil {
			return nil, err
		}
		next := 0 // instances are in the same order on every day, and mostly the same ones
		for i := range day.list {
			d := &day.list[i]
			if next >= len(all) || all[next].id != d.id {
				place, known := places[d.id]
				if !known {
					place = len(all)
					places[d.id] = place
					all = append(all, one{id: d.id})
				}
				next = place
			}
			s := &all[next].sum
			next++
			s.Sum += int64(d.sum[m])
			s.Damaged, s.Partial = s.Damaged || d.damaged, s.Partial || d.partial
			d.slots.each(max(span.first-1, 0), span.end, func(first, end int) {
				s.Samples.Add(openimds.SampleRun{From: number*samplesPerDay + int64(first), Until: number*samplesPerDay + int64(end)})
			})
		}
	}
	sums := make(map[string]openimds.MetricSum, len(all))
	for _, one := range all {
		if one.sum.Samples.Runs > 0 || one.sum.Damaged || one.sum.Partial { // else it was there at another time of these days
			sums[one.id] = one.sum
		}
	}
	return sums, nil
}

// FleetPoints implements [openimds.FleetHistory].
func (h *History) FleetPoints(ctx context.Context, one func(instanceID string) bool, metric string, start, end time.Time, period time.Duration) ([]openimds.FleetPoint, error) {
	if period < time.Minute || period%time.Minute != 0 {
		return nil, fmt.Errorf("the period must be a multiple of a minute, not %s", period)
	}
	var points []openimds.FleetPoint
	m := metricOf(metric)
	if m == noMetric {
		return nil, nil
	}
	origin, seconds := floorTo(start.Unix(), minuteSeconds), int64(period/time.Second)
	from, until := h.fleetSpan(start, end)
	for number := floorDiv(from, samplesPerDay); number*samplesPerDay < until; number++ {
		day, err := h.fleetSeries(ctx, number, one)
		if err != nil {
			return nil, err
		}
		for at := range day {
			s := &day[at]
			n := number*samplesPerDay + int64(at)
			if s.samples == 0 || n < from || n >= until {
				continue
			}
			begin := time.Unix(origin+floorTo(n*sampleSeconds-origin, seconds), 0).UTC()
			if last := len(points) - 1; last < 0 || !points[last].Start.Equal(begin) {
				points = append(points, openimds.FleetPoint{Start: begin})
			}
			p := &points[len(points)-1]
			p.Sum, p.Samples = p.Sum+int64(s.sum[m]), p.Samples+s.samples
		}
	}
	return points, nil
}

// fleetSpan are the numbers of the samples from the first that begins at or after start to the last that begins before
// end, as far as the history has single samples.
func (h *History) fleetSpan(start, end time.Time) (from, until int64) {
	up := func(seconds int64) int64 { return -floorDiv(-seconds, sampleSeconds) }
	last := end.Unix()
	if end.Nanosecond() > 0 {
		last++
	}
	today := dayOf(h.cfg.Now())
	from = max(up(floorTo(start.Unix(), minuteSeconds)), (today-sampleDays+1)*samplesPerDay)
	return from, min(up(last), (today+2)*samplesPerDay)
}
