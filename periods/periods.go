// Package periods finds how often something comes, from a record of its times that stays small however often
// and however long it comes. Where the record does not tell enough, the answer is "unknown".
//
// Times are kept at two scales, because what comes daily mostly comes several times in a minute then: a visit
// begins a second after what was before, a sitting after half an hour.
package periods

import (
	"slices"
	"strconv"
	"time"
)

// When a visit and a sitting begin: so long after what was before.
const (
	VisitGap   = time.Second
	SittingGap = 30 * time.Minute
)

// resolution of what is kept, in milliseconds.
const resolution = 100

// Max is how many beginnings of visits, and how many of sittings, a record has at most: the latest.
const Max = 12

// Record has when something came. The zero Record is of what never came.
type Record struct {
	visits, sittings ring
}

// ring has the latest times, in the order in which they came.
type ring struct {
	times [Max]int64
	n     int
}

func (r *ring) add(at int64) {
	if r.n == Max {
		copy(r.times[:], r.times[1:])
		r.n--
	}
	r.times[r.n] = at
	r.n++
}

// Begins says whether what comes at a time, when the one before came at last, begins a visit: others need not be
// noted. Both are in nanoseconds since the Unix epoch. A clock that was set back begins one too.
func Begins(last, at int64) bool {
	return at-last >= int64(VisitGap) || last-at >= int64(VisitGap)
}

// Note takes down that something comes at a time, of which the one before came at last (zero: it is the first).
func (r *Record) Note(last, at time.Time) {
	gap, when := at.Sub(last).Abs(), at.UnixMilli()/resolution*resolution
	if r.visits.n == 0 || gap >= VisitGap {
		r.visits.add(when)
	}
	if r.sittings.n == 0 || gap >= SittingGap {
		r.sittings.add(when)
	}
}

// Visits and Sittings are their beginnings in the order in which they came, in milliseconds since the Unix epoch,
// multiples of a hundred.
func (r Record) Visits() []int64   { return slices.Clone(r.visits.times[:r.visits.n]) }
func (r Record) Sittings() []int64 { return slices.Clone(r.sittings.times[:r.sittings.n]) }

// Of makes a record of beginnings, as [Record.Visits] and [Record.Sittings] give them, in any order.
func Of(visits, sittings []int64) (r Record) {
	for _, list := range []struct {
		to   *ring
		from []int64
	}{{&r.visits, visits}, {&r.sittings, sittings}} {
		sorted := slices.Sorted(slices.Values(list.from))
		for _, at := range slices.Compact(sorted) {
			list.to.add(at)
		}
	}
	return r
}

// With is the record of what two have seen at different times or places.
func (r Record) With(other Record) Record {
	sittings := slices.Sorted(slices.Values(append(r.Sittings(), other.Sittings()...)))
	apart := sittings[:0]
	for _, at := range sittings { // what sat down here went on there
		if len(apart) == 0 || at-apart[len(apart)-1] >= SittingGap.Milliseconds() {
			apart = append(apart, at)
		}
	}
	return Of(append(r.Visits(), other.Visits()...), apart)
}

// Kind is what a period is.
type Kind string

// The kinds.
const (
	Unknown  Kind = "unknown"
	Boot     Kind = "boot"     // when the machine boots
	Constant Kind = "constant" // without a pause
	Every    Kind = "every"    // every so many seconds, which is none of the following
	Hourly   Kind = "hourly"
	Daily    Kind = "daily"
	Weekly   Kind = "weekly"
	Monthly  Kind = "monthly"
	Once     Kind = "once" // so far
)

// Period is how often something comes.
type Period struct {
	Kind Kind
	// Every is the time between two visits of what comes regularly, rounded as far as it is known; 0 of other kinds.
	Every time.Duration
}

// String is the period in a few words.
func (p Period) String() string {
	if p.Kind != Every {
		return string(p.Kind)
	}
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}} {
		if p.Every >= unit.of && p.Every%unit.of == 0 {
			return "every " + strconv.Itoa(int(p.Every/unit.of)) + " " + unit.name
		}
	}
	return "every " + strconv.Itoa(int(p.Every/time.Second)) + " s"
}

const (
	day = 24 * time.Hour
	// constantFor is how long something comes without a pause until that is its way.
	constantFor = 5 * time.Minute
	// onceAfter is how long what came once has stayed away.
	onceAfter = day
	// atBoot is how long after the beginning of a boot its software may come, and beforeBoot how much earlier
	// by another clock.
	atBoot, beforeBoot = 15 * time.Minute, time.Minute
)

// Find tells how often something came that came last at that time, of a machine that has booted then and then.
func (r Record) Find(boots []time.Time, last, now time.Time) Period {
	visits, sittings := r.Visits(), r.Sittings()
	if len(visits) == 0 || len(sittings) == 0 {
		return Period{Kind: Unknown}
	}
	slices.Sort(visits)
	slices.Sort(sittings)
	sat := last.UnixMilli() - sittings[len(sittings)-1] // how long the latest sitting is
	sits := now.Sub(last) < SittingGap
	switch p := slow(sittings); {
	case byBoots(sittings, boots):
		return Period{Kind: Boot}
	case p.Kind != Unknown:
		return p
	}
	if last.UnixMilli()-visits[len(visits)-1] >= constantFor.Milliseconds() {
		return Period{Kind: Constant}
	}
	if sits || sat >= SittingGap.Milliseconds() { // else it was a few together, and no habit
		if every, ok := regular(visits, 5, 0.15); ok && every < SittingGap {
			return named(every)
		}
	}
	if len(sittings) == 1 && sat < SittingGap.Milliseconds() && now.Sub(last) >= onceAfter {
		return Period{Kind: Once}
	}
	return Period{Kind: Unknown}
}

// byBoots says whether each sitting is one after a boot, and most boots since the first have one.
func byBoots(sittings []int64, boots []time.Time) bool {
	followed, since := map[int64]bool{}, 0
	for _, at := range sittings {
		found := false
		for _, b := range boots {
			if after := at - b.UnixMilli(); after >= -beforeBoot.Milliseconds() && after <= atBoot.Milliseconds() {
				followed[b.UnixMilli()], found = true, true
			}
		}
		if !found {
			return false
		}
	}
	for _, b := range boots {
		if b.UnixMilli() >= sittings[0]-atBoot.Milliseconds() {
			since++
		}
	}
	return len(followed) >= 2 && 3*len(followed) >= 2*since // a machine that is made may boot for the first time much later
}

// slow finds the period of sittings. The longer it is, the fewer tell it, and the more exact they have to be.
func slow(sittings []int64) Period {
	if every, ok := regular(sittings, 3, 0.08); ok {
		switch p := named(every); p.Kind {
		case Weekly, Monthly:
			return p
		}
	}
	if every, ok := regular(sittings, 4, 0.10); ok && every >= 20*time.Hour {
		return named(every)
	}
	if every, ok := regular(sittings, 5, 0.15); ok && every >= SittingGap {
		return named(every)
	}
	return Period{Kind: Unknown}
}

// regular finds the time between beginnings of which there are at least so many. Four of five may be apart by that
// time, or by twice or three times as much where one failed to come, give or take a share of it; the fifth is what
// came in between.
func regular(times []int64, least int, share float64) (time.Duration, bool) {
	if len(times) < least {
		return 0, false
	}
	var apart []float64
	for i := 1; i < len(times); i++ {
		apart = append(apart, float64(times[i]-times[i-1]))
	}
	sorted := slices.Sorted(slices.Values(apart))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	allowed := max(share*middle, 500)
	fit, sum, steps := 0, 0.0, 0.0
	for _, d := range apart {
		n := float64(int(d/middle + 0.5))
		if n < 1 || n > 3 || d-n*middle > allowed || n*middle-d > allowed {
			continue
		}
		fit++
		sum, steps = sum+d, steps+n
	}
	if middle < float64(VisitGap.Milliseconds()) || 5*fit < 4*len(apart) {
		return 0, false
	}
	return time.Duration(sum/steps) * time.Millisecond, true
}

// named is a period as people name it.
func named(every time.Duration) Period {
	for _, k := range []struct {
		kind     Kind
		from, to time.Duration
	}{{Hourly, 57 * time.Minute, 63 * time.Minute}, {Daily, 22 * time.Hour, 26 * time.Hour}, {Weekly, 161 * time.Hour, 175 * time.Hour}, {Monthly, 27 * day, 32 * day}} {
		if every >= k.from && every <= k.to {
			return Period{k.kind, every.Round(time.Minute)}
		}
	}
	for _, unit := range []time.Duration{day, time.Hour, time.Minute} {
		if whole := every.Round(unit); whole >= unit && (whole-every).Abs() <= whole/20 {
			return Period{Every, whole}
		}
	}
	return Period{Every, max(every.Round(time.Second), time.Second)}
}
