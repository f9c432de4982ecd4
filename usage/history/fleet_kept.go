package history

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pastLasts is how long what a past day came to is believed, for another host may tell late of it; afterwards, and
// always for days that are not past, it is looked whether anything of it is another. keptDays is how many are kept at
// most: two weeks, and the parts of days that they begin and end with. A day of 10,000 instances takes 1.2 MB.
const (
	pastLasts = 10 * time.Minute
	keptDays  = 24
)

// fleetKept keeps what days came to.
type fleetKept struct {
	latest atomic.Int64 // no later past day was ever looked up
	mu     sync.Mutex
	days   map[daySpan]keptDay
	change int // how often something was forgotten
}

type keptDay struct {
	*fleetDay
	print    uint64
	at, used time.Time // when it was read or looked at, and asked for
	past     bool      // it was past by then, and told: nobody but hosts that are late has told of it since
}

func (d *keptDay) believed(now time.Time) bool {
	age := now.Sub(d.at)
	return d.past && age >= 0 && age < pastLasts
}

// find returns what a part of a day came to, if that is kept.
func (k *fleetKept) find(span daySpan, now time.Time) (d keptDay, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d, ok = k.days[span]; ok {
		d.used = now
		k.days[span] = d
	}
	return d, ok
}

// partOf returns the part of a day that was read last; all of it if there is none.
func (k *fleetKept) partOf(number int64) daySpan {
	k.mu.Lock()
	defer k.mu.Unlock()
	latest, at := daySpan{number, 0, int(samplesPerDay)}, time.Time{}
	for span, d := range k.days {
		if span.number == number && d.at.After(at) {
			latest, at = span, d.at
		}
	}
	return latest
}

// look is to be asked before a day is looked at that is to be kept.
func (k *fleetKept) look(number int64, past bool) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if past {
		k.latest.Store(max(k.latest.Load(), number))
	}
	return k.change
}

// keep keeps what a part of a day came to, unless something has changed since look, or there are enough of them.
func (k *fleetKept) keep(span daySpan, d keptDay, look int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.days, func(_ daySpan, other keptDay) bool { return d.used.Sub(other.used).Abs() >= pastLasts })
	if _, is := k.days[span]; k.change != look || len(k.days) >= keptDays && !is {
		return
	}
	if k.days == nil {
		k.days = map[daySpan]keptDay{}
	}
	k.days[span] = d
}

// changed is told of each change of a day. It costs nothing but for days that are past.
func (k *fleetKept) changed(number int64) {
	if number > k.latest.Load() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.days, func(span daySpan, _ keptDay) bool { return span.number == number })
	k.change++
}

// isPast says whether a day is past, and hosts have told of it that are not late: what is known of it then is at most as old
// as what the others are asked for.
func isPast(number int64, now time.Time) bool {
	return number < dayOf(now.Add(-settledAfter-othersLasts))
}

// fleetDay is what all instances counted in a part of a day.
func (h *History) fleetDay(ctx context.Context, span daySpan) (*fleetDay, error) {
	now := h.cfg.Now()
	kept, known := h.kept.find(span, now)
	if known && kept.believed(now) {
		return kept.fleetDay, nil
	}
	past := isPast(span.number, now)
	look := h.kept.look(span.number, past)
	there, err := h.lookAtDay(ctx, span.number)
	if err != nil {
		return nil, err
	}
	print := there.print()
	day := kept.fleetDay
	if !known || kept.print != print {
		without := map[string]bool{}
		if known {
			for _, id := range day.without {
				without[id] = true
			}
		}
		if day, err = h.readDay(ctx, span, there, func(id string) bool { return !without[id] }); err != nil {
			return nil, err
		}
	}
	h.kept.keep(span, keptDay{fleetDay: day, print: print, at: now, used: now, past: past && !there.open()}, look)
	return day, nil
}

// fewAnew, and one of someAnew of all, may have come or gone since a day's series was put together, before it is put
// together anew.
const (
	fewAnew  = 10
	someAnew = 50
)

// fleetSeries are the samples of a day, of the instances that one says yes to.
func (h *History) fleetSeries(ctx context.Context, number int64, one func(id string) bool) (*series, error) {
	span := h.kept.partOf(number)
	day, err := h.fleetDay(ctx, span)
	if err != nil {
		return nil, err
	}
	var without []string
	for i := range day.list {
		if id := day.list[i].id; !one(id) {
			without = append(without, id)
		}
	}
	if slices.Equal(without, day.without) {
		return day.series, nil
	}
	now := h.cfg.Now()
	past := isPast(number, now)
	look := h.kept.look(number, past)
	kept, known := h.kept.find(span, now)
	if known && kept.fleetDay == day {
		if series := h.otherSeries(ctx, span, day, without); series != nil {
			kept.fleetDay = &fleetDay{day.list, series, without}
			h.kept.keep(span, kept, look)
			return series, nil
		}
	}
	there, err := h.lookAtDay(ctx, number)
	if err != nil {
		return nil, err
	}
	if day, err = h.readDay(ctx, span, there, one); err != nil {
		return nil, err
	}
	h.kept.keep(span, keptDay{fleetDay: day, print: there.print(), at: now, used: now, past: past && !there.open()}, look)
	return day.series, nil
}

// otherSeries is a day's series without those instances, made of the one that there is; nil: it is to be put together
// anew, for too many have come or gone, or something of one is another than it was, not known as a whole or cannot be read.
func (h *History) otherSeries(ctx context.Context, span daySpan, day *fleetDay, without []string) *series {
	if h.cfg.Others != nil {
		return nil // a day's samples are asked of them as a whole
	}
	marks, err := h.untold(ctx, "")
	if err != nil {
		return nil
	}
	other, changes := *day.series, 0
	for i := range day.list {
		d := &day.list[i]
		_, was := slices.BinarySearch(day.without, d.id)
		_, is := slices.BinarySearch(without, d.id)
		if was == is {
			continue
		}
		if changes++; changes > fewAnew+len(day.list)/someAnew {
			return nil
		}
		memory, err := h.remembered(ctx, d.id)
		if err != nil {
			return nil
		}
		cells, err := h.samplesOf(ctx, h.cfg.Store, d.id, span.number, memory[span.number], marks)
		if err != nil {
			return nil
		}
		again := daySum{id: d.id}
		elsewhere := marks.elsewhere(d.id, span.number)
		for _, c := range cells {
			if c.sum[broken] > 0 || elsewhere.has(c.at) { // which of its hosts has seen nothing, what they have together does not tell
				return nil
			}
			again.add(span, &c, 1)
			s := &other[c.at]
			if is {
				s.sum.take(c.sum)
				s.samples--
			} else {
				s.sum.add(c.sum)
				s.samples++
			}
		}
		if again != *d {
			return nil
		}
	}
	return &other
}
