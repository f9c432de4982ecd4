package history

import (
	"context"
	"fmt"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// Points implements [openimds.MetricHistory]. Of the days that are past [sampleDays] only hours are
// left: each begins at the hour, and counts as the samples that it was made of.
func (h *History) Points(ctx context.Context, instanceID string, metrics []string, start, end time.Time, period time.Duration) ([][]openimds.MetricPoint, error) {
	if period < time.Minute || period%time.Minute != 0 {
		return nil, fmt.Errorf("the period must be a multiple of a minute, not %s", period)
	}
	points := make([][]openimds.MetricPoint, len(metrics))
	if !start.Before(end) {
		return points, nil
	}
	today := dayOf(h.cfg.Now())
	from, origin := laid(start, period, today)
	until := end.Unix()
	if end.Nanosecond() > 0 {
		until++
	}
	windows := make([]window, len(metrics))
	for i, metric := range metrics {
		windows[i] = window{metric: metricOf(metric), origin: origin, period: int64(period / time.Second)}
	}
	// A day more than today: another host's clock may be ahead.
	first, last := max(floorDiv(from, daySeconds), today-hourDays-1), min(floorDiv(until-1, daySeconds), today+1)
	memory, err := h.remembered(ctx, instanceID)
	if err != nil {
		return nil, err
	}
	marks, err := h.untold(ctx, instanceID)
	if err != nil {
		return nil, err
	}
	others, err := h.others(ctx, instanceID, first, last)
	if err != nil {
		return nil, err
	}
	for number := first; number <= last; number++ {
		err := h.eachCell(ctx, instanceID, number, memory[number], marks, others, func(at int64, c cell) {
			if at < from || at >= until {
				return
			}
			for i := range windows {
				windows[i].add(at, c)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range windows {
		points[i] = windows[i].points
	}
	return points, nil
}

// laid tells, in Unix seconds, from when on samples belong to the points, and when the first of all
// periods begins.
//
// CloudWatch rounds a start down to what its samples are kept by: to the minute, and to the hour once
// only hours are left (GetMetricStatistics, "StartTime"). Where such an old start meets periods of more
// than a day, a recorded answer of Lightsail shows them laid from the day's beginning: asked for
// 1546304400 (01:00 UTC) on, by 2628000 seconds, it has stamps at 1546300800 + 3·2628000 and + 4·2628000.
func laid(start time.Time, period time.Duration, today int64) (from, origin int64) {
	begins := start.Unix()
	if !isOld(floorDiv(begins, daySeconds), today) {
		from = floorTo(begins, minuteSeconds)
		return from, from
	}
	from = floorTo(begins, hourSeconds)
	if period > 24*time.Hour {
		return from, floorTo(begins, daySeconds)
	}
	return from, from
}

// isOld says whether only hours are left of a day.
func isOld(number, today int64) bool { return number < today-sampleDays+1 }

// remembered returns, by their numbers, the days of an instance that memory knows better than the
// store does.
func (h *History) remembered(ctx context.Context, instanceID string) (map[int64][]cell, error) {
	known, ok := h.journals.Load(instanceID)
	if !ok {
		return nil, nil
	}
	j := known.(*journal)
	if err := h.know(ctx, j); err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	days := make(map[int64][]cell, len(j.days))
	for _, d := range j.days {
		cells, err := d.cells()
		if err != nil {
			return nil, err
		}
		days[d.number] = cells
	}
	return days, nil
}

// eachCell passes on what all hosts counted of an instance on a day, with the time in Unix seconds.
// mine is what this host has in memory of that day; nil: nothing that the store lacks.
func (h *History) eachCell(ctx context.Context, instanceID string, number int64, mine []cell, marks untold, others elsewhere, pass func(at int64, c cell)) error {
	samples, err := h.samplesOf(ctx, h.cfg.Store, instanceID, number, mine, marks)
	if err != nil {
		return err
	}
	if !isOld(number, dayOf(h.cfg.Now())) {
		for _, c := range others.all[number] { // of this history's own, the store has the latest
			samples = addSample(samples, c.at, c.sum)
		}
		elsewhere := marks.elsewhere(instanceID, number)
		for _, c := range samples {
			if elsewhere.has(c.at) {
				c.doubt()
			}
			pass(number*daySeconds+int64(c.at)*sampleSeconds, c)
		}
		return nil
	}
	cells, err := oldDay(ctx, h.cfg.Store, instanceID, number, samples)
	if err != nil {
		return err
	}
	cells = others.oldDay(number, cells)
	if h.cfg.Earlier != nil { // nobody else has what is there
		if marks, err = h.marks(ctx, h.cfg.Earlier, h.cfg.EarlierHost); err != nil {
			return err
		}
		if samples, err = h.samplesOf(ctx, h.cfg.Earlier, instanceID, number, nil, marks); err != nil {
			return err
		}
		earlier, err := oldDay(ctx, h.cfg.Earlier, instanceID, number, samples)
		if err != nil {
			return err
		}
		cells = addHours(earlier, cells)
	}
	for _, c := range cells {
		pass(number*daySeconds+int64(c.at)*hourSeconds, c)
	}
	return nil
}

// oldDay are the hours of an old day in a store, which may not be summed up yet. Its samples were read before, which go in
// the same commit in which the hours come: of a day that shows both, the hours are the whole.
func oldDay(ctx context.Context, s store.Store, instanceID string, number int64, samples []cell) ([]cell, error) {
	record, err := find(ctx, s, hourKey(number, instanceID))
	if err != nil {
		return nil, err
	}
	if record.Value == nil {
		return hours(samples), nil // so that an answer does not depend on whether they are summed up already
	}
	return decodeHours(record)
}

// samplesOf puts together the samples that the hosts have of a day in a store.
func (h *History) samplesOf(ctx context.Context, s store.Store, instanceID string, number int64, mine []cell, marks untold) ([]cell, error) {
	page, err := s.List(ctx, store.Range{Prefix: sampleKeys(number, instanceID)})
	if err != nil {
		return nil, err
	}
	samples := mine
	for _, record := range page.Records {
		if mine != nil && record.Key == sampleKey(number, instanceID, h.cfg.Host) {
			continue
		}
		if samples, err = addRecord(samples, record, marks); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// addRecord adds a record of samples to those of other hosts.
func addRecord(samples []cell, record store.Record, marks untold) ([]cell, error) {
	cells, err := marks.cells(record)
	if err != nil {
		return nil, err
	}
	if len(samples) == 0 {
		return cells, nil
	}
	for _, c := range cells {
		samples = addSample(samples, c.at, c.sum)
	}
	return samples, nil
}

// window collects the points of a metric.
type window struct {
	metric int   // noMetric: it has no points
	origin int64 // when the first period begins, in Unix seconds
	period int64 // in seconds
	points []openimds.MetricPoint
}

// add adds a cell that is not earlier than those that were added.
func (w *window) add(at int64, c cell) {
	if w.metric == noMetric {
		return
	}
	start := w.origin + floorTo(at-w.origin, w.period)
	sum, least, most := float64(c.sum[w.metric]), float64(c.min[w.metric]), float64(c.max[w.metric])
	last := len(w.points) - 1
	if last < 0 || w.points[last].Start.Unix() != start {
		w.points = append(w.points, openimds.MetricPoint{Start: time.Unix(start, 0).UTC(), Min: least, Max: most})
		last++
	}
	p := &w.points[last]
	p.Sum += sum
	p.Min, p.Max = min(p.Min, least), max(p.Max, most)
	p.Samples += c.samples
	p.Partial += min(c.samples, int(c.sum[broken]))
}
