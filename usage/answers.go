package usage

import (
	"sync/atomic"
	"time"
)

// statuses are those that the guest side sends; the last stands for any other.
var statuses = [...]string{"200", "400", "401", "403", "404", "405", "417", "431", "500", "501", "503", "505", "other"}

func statusIndex(status int) int {
	switch status {
	case 200:
		return 0
	case 400:
		return 1
	case 401:
		return 2
	case 403:
		return 3
	case 404:
		return 4
	case 405:
		return 5
	case 417:
		return 6
	case 431:
		return 7
	case 500:
		return 8
	case 501:
		return 9
	case 503:
		return 10
	case 505:
		return 11
	}
	return len(statuses) - 1
}

// durations are the upper ends of the histogram's buckets. An answer takes microseconds.
var durations = [...]time.Duration{
	2500 * time.Nanosecond, 5 * time.Microsecond, 10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

// answers counts what was answered, since the start of the process.
type answers struct {
	calls [callCount][len(statuses)]atomic.Uint64
	took  [len(durations) + 1]atomic.Uint64
	time  atomic.Int64 // nanoseconds
	// refused are the connections that were reset on purpose: no answers, but a number of the same kind.
	refused atomic.Uint64
}

// Answered counts an answer and the time from the complete request to the answer's bytes.
func (g *Guest) Answered(call Call, status int, took time.Duration) {
	if g == nil {
		return
	}
	a := &g.answers
	a.calls[call][statusIndex(status)].Add(1)
	bucket := 0
	for bucket < len(durations) && took > durations[bucket] {
		bucket++
	}
	a.took[bucket].Add(1)
	a.time.Add(int64(took))
}

// Refused counts a request whose connection was reset on purpose.
func (g *Guest) Refused() {
	if g != nil {
		g.answers.refused.Add(1)
	}
}

// addTo adds these to the sum of several.
func (a *answers) addTo(sum *answers) {
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
}

// of is how often a call was answered, whatever the status.
func (a *answers) of(call Call) (n uint64) {
	for status := range a.calls[call] {
		n += a.calls[call][status].Load()
	}
	return n
}
