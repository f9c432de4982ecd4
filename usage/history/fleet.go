package history

import (
	"context"
	"fmt"
	"math/bits"
	"time"

	"github.com/openimds/openimds"
)

// dayOfFleet is what all instances counted on a day, or in a part of it, by their ids.
type dayOfFleet map[string]*daySum

// daySum is what one instance did.
type daySum struct {
	sum     counts
	slots   slots
	damaged bool
}

// slots are the samples of a day that there are, a bit each: of two hosts that both counted in one, it is one.
type slots [(samplesPerDay + 63) / 64]uint64

func (s *slots) add(at int) { s[at/64] |= 1 << (at % 64) }

func (s *slots) has(at int) bool { return s[at/64]&(1<<(at%64)) != 0 }

func (s *slots) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// ends are the first and the last there is; there is one.
func (s *slots) ends() (first, last int) {
	first = -1
	for i, word := range s {
		if word == 0 {
			continue
		}
		if first < 0 {
			first = i*64 + bits.TrailingZeros64(word)
		}
		last = i*64 + bits.Len64(word) - 1
	}
	return first, last
}

// Sums implements [openimds.FleetHistory].
func (h *History) Sums(ctx context.Context, metric string, start, end time.Time) (map[string]openimds.MetricSum, error) {
	sums, m := map[string]openimds.MetricSum{}, metricOf(metric)
	if m == noMetric {
		return sums, nil
	}
	from, until := h.fleetSpan(start, end)
	for number := floorDiv(from, samplesPerDay); number*samplesPerDay < until; number++ {
		day, err := h.fleetDay(ctx, number, from, until)
		if err != nil {
			return nil, err
		}
		begin := number * samplesPerDay
		for id, d := range day {
			s := sums[id]
			s.Sum += int64(d.sum[m])
			s.Damaged = s.Damaged || d.damaged
			if n := d.slots.count(); n > 0 {
				first, last := d.slots.ends()
				if s.Samples == 0 {
					s.First = timeOf(begin + int64(first))
				}
				s.Samples, s.Until = s.Samples+n, timeOf(begin+int64(last)+1)
			}
			sums[id] = s
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
		day, err := h.seriesOf(ctx, number, m, one)
		if err != nil {
			return nil, err
		}
		for at, s := range day {
			n := number*samplesPerDay + int64(at)
			if s.samples == 0 || n < from || n >= until {
				continue
			}
			begin := time.Unix(origin+floorTo(n*sampleSeconds-origin, seconds), 0).UTC()
			if last := len(points) - 1; last < 0 || !points[last].Start.Equal(begin) {
				points = append(points, openimds.FleetPoint{Start: begin})
			}
			p := &points[len(points)-1]
			p.Sum, p.Samples = p.Sum+int64(s.sum), p.Samples+s.samples
		}
	}
	return points, nil
}

// series are the samples of a day, of many instances together.
type series [samplesPerDay]struct {
	sum     uint64
	samples int
}

func (h *History) seriesOf(ctx context.Context, number int64, metric int, one func(instanceID string) bool) (*series, error) {
	day, parts := &series{}, map[string]*slots{}
	err := h.eachRunOfDay(ctx, number, func(id string, part bool, c *cell, n int) {
		if !one(id) {
			return
		}
		there := parts[id]
		if part && there == nil {
			there = &slots{}
			parts[id] = there
		}
		for at := c.at; at < c.at+n; at++ {
			day[at].sum += c.sum[metric]
			if part {
				there.add(at)
			} else {
				day[at].samples++
			}
		}
	}, func(string) {})
	for _, there := range parts {
		for at := range day {
			if there.has(at) {
				day[at].samples++
			}
		}
	}
	return day, err
}

func timeOf(sample int64) time.Time { return time.Unix(sample*sampleSeconds, 0).UTC() }

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

// fleetDay is what all instances counted on a day, as far as it is within the span. Whole days that are past are kept.
func (h *History) fleetDay(ctx context.Context, number, from, until int64) (dayOfFleet, error) {
	begin := number * samplesPerDay
	first, end := max(from-begin, 0), min(until-begin, samplesPerDay)
	now := h.cfg.Now()
	past := first == 0 && end == samplesPerDay && number < dayOf(now)
	if past {
		if day := h.past.find(number, now); day != nil {
			return day, nil
		}
	}
	seen := 0
	if past {
		seen = h.past.look(number)
	}
	day, last, lastID := dayOfFleet{}, (*daySum)(nil), ""
	of := func(id string) *daySum {
		if last != nil && id == lastID { // a record has many runs
			return last
		}
		d := day[id]
		if d == nil {
			d = &daySum{}
			day[id] = d
		}
		last, lastID = d, id
		return d
	}
	err := h.eachRunOfDay(ctx, number, func(id string, _ bool, c *cell, n int) {
		d := of(id)
		for at := max(int64(c.at), first); at < min(int64(c.at+n), end); at++ {
			d.sum.add(c.sum)
			d.slots.add(int(at))
		}
	}, func(id string) { of(id).damaged = true })
	if err == nil && past {
		h.past.keep(number, now, day, seen)
	}
	return day, err
}
