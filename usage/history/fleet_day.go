package history

import (
	"cmp"
	"math/bits"
	"slices"
	"unique"
)

// daySpan is a part of a day: the samples from first up to before end.
type daySpan struct {
	number     int64
	first, end int
}

func spanOf(number, from, until int64) daySpan {
	within := func(at int64) int { return int(min(max(at-number*samplesPerDay, 0), samplesPerDay)) }
	return daySpan{number, within(from), within(until)}
}

// fleetDay is what all instances counted on a day. Nobody changes it.
type fleetDay struct {
	list []daySum // by their ids, of a part of the day
	// series are the samples of all of the day, of all instances but those whose ids are in without, in order.
	series  *series
	without []string
}

// daySum is what one instance did.
type daySum struct {
	id      string
	sum     Counts // of the part
	slots   slots  // of all of the day that are known as a whole
	print   uint64 // of the counts of all of the day, however they are divided among hosts
	damaged bool
	partial bool // of a sample of the part not all is known
}

// series are the samples of a day, of many instances together.
type series [samplesPerDay]struct {
	sum     Counts
	samples int
}

// add adds a run of equal samples of an instance.
func (d *daySum) add(s daySpan, c *cell, n int) {
	if c.sum == (Counts{}) {
		d.slots.add(c.at, c.at+n)
		return
	}
	places := uint64(n*(2*c.at+n+1)) / 2 // the places of the run's samples from 1 on, added up
	within := uint64(max(min(c.at+n, s.end)-max(c.at, s.first), 0))
	if c.sum[broken] == 0 {
		d.slots.add(c.at, c.at+n)
	} else if within > 0 {
		d.partial = true
	}
	for m, sum := range c.sum {
		d.print += places * sum * uint64(2*m+1)
		d.sum[m] += within * sum
	}
}

// slots are the samples of a day that there are, a bit each: of two hosts that both counted in one, it is one.
type slots [(samplesPerDay + 63) / 64]uint64

// add adds those from first up to before end, if there are any.
func (s *slots) add(first, end int) {
	for first < end {
		word, bit := first/64, first%64
		n := min(64-bit, end-first)
		s[word] |= (1<<n - 1) << bit // of 64 bits, the shift leaves none, and all are set
		first += n
	}
}

// remove takes those away that there are of others.
func (s *slots) remove(of *slots) {
	for word := range s {
		s[word] &^= of[word]
	}
}

// has says whether one is there; in none, none is.
func (s *slots) has(at int) bool { return s != nil && s[at/64]>>(at%64)&1 == 1 }

// split passes on the parts of those from first up to before end of which all are there, or none.
func (s *slots) split(first, end int, pass func(first, end int, there bool)) {
	for first < end {
		there := s.has(first)
		next := min(s.next(first, !there), end)
		pass(first, next, there)
		first = next
	}
}

// next is the first at or after a place that there is, or that there is not; else the end of the day.
func (s *slots) next(at int, there bool) int {
	for at < int(samplesPerDay) {
		word := s[at/64]
		if !there {
			word = ^word
		}
		if word >>= at % 64; word != 0 {
			return min(at+bits.TrailingZeros64(word), int(samplesPerDay))
		}
		at += 64 - at%64
	}
	return int(samplesPerDay)
}

// each passes on those that follow each other, from first up to before end, as far as they are within such a time.
func (s *slots) each(begin, until int, pass func(first, end int)) {
	for first := s.next(begin, true); first < until; {
		end := s.next(first, false)
		pass(first, min(end, until))
		first = s.next(end, true)
	}
}

// dayBuilder puts a day together.
type dayBuilder struct {
	span   daySpan
	one    func(id string) bool // who is in the series
	day    *fleetDay
	places map[string]int         // in day.list
	parts  map[string]*slots      // of those in the series that more than one record tells of
	unsure map[string]*slots      // what some record does not know as a whole
	begun  [samplesPerDay + 1]int // how many more samples there are than of the one before
}

func newDayBuilder(span daySpan, one func(id string) bool, instances int) *dayBuilder {
	day := &fleetDay{list: make([]daySum, 0, instances), series: &series{}}
	return &dayBuilder{span: span, one: one, day: day, places: make(map[string]int, instances), parts: map[string]*slots{}, unsure: map[string]*slots{}}
}

// of returns what there is of an instance.
func (b *dayBuilder) of(id string) *daySum {
	place, known := b.places[id]
	if !known {
		id = unique.Make(id).Value() // it is on many days, and a part of a longer text
		place = len(b.day.list)
		b.places[id] = place
		b.day.list = append(b.day.list, daySum{id: id})
		if !b.one(id) {
			b.day.without = append(b.day.without, id)
		}
	}
	return &b.day.list[place]
}

// record adds the runs that one record has of an instance, of which those are not all that were counted elsewhere too; part says that there may be others with the same samples.
func (b *dayBuilder) record(id string, part bool, elsewhere *slots, runs func(pass func(c *cell, n int)) error) {
	d, counted := b.of(id), b.one(id)
	var there *slots
	if counted && part {
		if there = b.parts[id]; there == nil {
			there = &slots{}
			b.parts[id] = there
		}
	}
	add := func(c *cell, n int) {
		d.add(b.span, c, n)
		if c.sum[broken] > 0 {
			if b.unsure[id] == nil {
				b.unsure[id] = &slots{}
			}
			b.unsure[id].add(c.at, c.at+n)
		}
		if !counted || c.sum.nothing() { // that tells nobody of no calls
			return
		}
		if there != nil {
			there.add(c.at, c.at+n)
		} else {
			b.begun[c.at]++
			b.begun[c.at+n]--
		}
		b.day.series.add(c, n)
	}
	pass := add
	if elsewhere != nil {
		pass = func(c *cell, n int) {
			elsewhere.split(c.at, c.at+n, func(first, end int, there bool) {
				one := *c
				if one.at = first; there {
					one.doubt()
				}
				add(&one, end-first)
			})
		}
	}
	err := runs(pass)
	if err != nil {
		d.damaged = true
	}
}

// add adds the counts of a run, not its samples.
func (s *series) add(c *cell, n int) {
	if c.sum == (Counts{}) {
		return
	}
	for at := c.at; at < c.at+n; at++ {
		s[at].sum.add(c.sum)
	}
}

func (b *dayBuilder) done() *fleetDay {
	for id, unsure := range b.unsure { // whatever others know of it
		b.day.list[b.places[id]].slots.remove(unsure)
	}
	slices.SortFunc(b.day.list, func(x, y daySum) int { return cmp.Compare(x.id, y.id) })
	slices.Sort(b.day.without)
	samples := 0
	for at := range b.day.series {
		samples += b.begun[at]
		b.day.series[at].samples = samples
	}
	for _, there := range b.parts {
		there.each(0, int(samplesPerDay), func(first, end int) {
			for at := first; at < end; at++ {
				b.day.series[at].samples++
			}
		})
	}
	return b.day
}
