package usage

import (
	"strconv"
	"sync/atomic"
	"time"
)

// statuses are those that the guest side sends, by their place in what is counted; behind them is the place of
// any other, which only guests that meet faults on purpose see.
var statuses = [...]int{200, 400, 401, 403, 404, 405, 417, 431, 500, 501, 503, 505}

const otherStatus = len(statuses)

// places has the place of each status of HTTP.
var places = func() (places [600]uint8) {
	for status := range places {
		places[status] = uint8(otherStatus)
	}
	for place, status := range statuses {
		places[status] = uint8(place)
	}
	return places
}()

func statusPlace(status int) int {
	if status < 0 || status >= len(places) {
		return otherStatus
	}
	return int(places[status])
}

// StatusText is how an answer's status is counted: as its number, or as "other".
func StatusText(status int) string { return placeText(statusPlace(status)) }

func placeText(place int) string {
	if place == otherStatus {
		return "other"
	}
	return strconv.Itoa(statuses[place])
}

// durations are the upper ends of the histogram's buckets. An answer takes microseconds.
var durations = [...]time.Duration{
	2500 * time.Nanosecond, 5 * time.Microsecond, 10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

// answers counts what was answered, since the start of the process.
type answers struct {
	calls [outcomeCount][otherStatus + 1]atomic.Uint64
	// versions are, of the calls whose outcome does not tell their protocol, those that had one: IMDSv1, IMDSv2.
	versions [2][otherStatus + 1]atomic.Uint64
	took     [len(durations) + 1]atomic.Uint64
	time     atomic.Int64 // nanoseconds
	// refused are the connections that were reset on purpose, dropped those that were left without a word: no
	// answers, but numbers of the same kind.
	refused, dropped atomic.Uint64
	refusals         [refusalCount]atomic.Uint64
}

// Answered counts an answer and the time from the complete request to the answer's bytes.
func (g *Tally) Answered(call Call, status int, took time.Duration) {
	if g == nil {
		return
	}
	a := &g.answers
	outcome, place := call.outcome(), statusPlace(status)
	a.calls[outcome][place].Add(1)
	if outcome != call { // after the call: whoever reads them in turn finds no fewer calls than versions
		a.versions[versionPlace(call)][place].Add(1)
	}
	bucket := 0
	for bucket < len(durations) && took > durations[bucket] {
		bucket++
	}
	a.took[bucket].Add(1)
	a.time.Add(int64(took))
}

func versionPlace(call Call) int {
	if call.Version() == "v1" {
		return 0
	}
	return 1
}

// Refused counts a request whose connection was reset on purpose.
func (g *Tally) Refused() {
	if g != nil {
		g.answers.refused.Add(1)
	}
}

// Dropped counts a request whose connection was left without a word on purpose.
func (g *Tally) Dropped() {
	if g != nil {
		g.answers.dropped.Add(1)
	}
}

// addTo adds these to the sum of several.
func (a *answers) addTo(sum *answers) {
	for version := range a.versions {
		for status := range a.versions[version] {
			if n := a.versions[version][status].Load(); n > 0 {
				sum.versions[version][status].Add(n)
			}
		}
	}
	for call := range a.calls {
		for status := range a.calls[call] {
			if n := a.calls[call][status].Load(); n > 0 {
				sum.calls[call][status].Add(n)
			}
		}
	}
	for bucket := range a.took {
		sum.took[bucket].Add(a.took[bucket].Load())
	}
	sum.time.Add(a.time.Load())
	sum.refused.Add(a.refused.Load())
	sum.dropped.Add(a.dropped.Load())
	for why := range a.refusals {
		sum.refusals[why].Add(a.refusals[why].Load())
	}
}

// of is how often a call was answered, whatever the status.
func (a *answers) of(call Call) (n uint64) {
	for status := range a.calls[call] {
		n += a.calls[call][status].Load()
	}
	return n
}
