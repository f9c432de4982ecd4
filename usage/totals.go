package usage

import (
	"time"

	"github.com/openimds/openimds"
)

// Totals are what the guests of this process were answered since it started, those that are gone
// included: none of the numbers ever falls.
type Totals struct {
	// Answers by protocol ([Call.Version]) and status, where there are any.
	Answers []AnswerTotal
	// Took says how many of all the Answered took at most so long; Time is what all took together.
	Took     []DurationTotal
	Answered uint64
	Time     time.Duration
	// TokensIssued, Throttled and Faulted are the answers to calls of these kinds; Refused are the
	// connections that were reset on purpose, and Dropped those that were left without a word.
	TokensIssued, Throttled, Faulted, Refused, Dropped uint64
	// Refusals are all that there are, be it never.
	Refusals []RefusalTotal
	// FlushFailures are the flushes that failed.
	FlushFailures int64

	// Running is how many instances run now.
	Running int
	// Guests are the instances that there is something to be said of.
	Guests []GuestTotals
}

// AnswerTotal is how many answers of one protocol had one status, as [StatusText] has it.
type AnswerTotal struct {
	Version, Status string
	Count           uint64
}

// DurationTotal is how many answers took at most so long, those that took less included.
type DurationTotal struct {
	AtMost time.Duration
	Count  uint64
}

// GuestTotals are the numbers of one instance.
type GuestTotals struct {
	ID, Name string
	// NoToken requests succeeded without a token, NoTokenRejected ones were refused for the lack of one;
	// Undelivered tokens were not acknowledged.
	NoToken, NoTokenRejected, Undelivered uint64
	// WouldBeRefused requests were served without a token during a rehearsal.
	WouldBeRefused uint64
	// Faulty guests meet faults on purpose now.
	Faulty bool
	// Rehearsing is the mode of the rehearsal that is under way; empty: none.
	Rehearsing openimds.RehearsalMode
}

// Totals sums up what was answered.
func (r *Meter) Totals() Totals {
	// Held to the end: a guest that departs is counted once, as itself or among the departed.
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := r.cfg.Now()
	sum := &answers{}
	r.departed.addTo(sum)
	t := Totals{FlushFailures: r.failures}
	for _, g := range r.guests {
		g.answers.addTo(sum)
		g.mu.Lock()
		running, faulty, rehearsing := g.running, g.faulty && g.leaving == 0, openimds.RehearsalMode("")
		if g.running && g.leaving == 0 && g.rehearsal.UnderWay(now) {
			rehearsing = g.rehearsal.Mode
		}
		g.mu.Unlock()
		if running {
			t.Running++
		}
		one := GuestTotals{ID: g.id, Name: g.name, NoToken: g.answers.of(NoToken), NoTokenRejected: g.answers.of(NoTokenRejected), Undelivered: g.undelivered.Load(),
			WouldBeRefused: g.wouldBeRefused.Load(), Faulty: faulty, Rehearsing: rehearsing}
		if one.NoToken > 0 || one.NoTokenRejected > 0 || one.Undelivered > 0 || one.WouldBeRefused > 0 || one.Faulty || rehearsing != "" {
			t.Guests = append(t.Guests, one)
		}
	}
	sum.total(&t)
	return t
}

func (a *answers) total(t *Totals) {
	versions := map[string]*[otherStatus + 1]uint64{"v1": {}, "v2": {}, "none": {}}
	for place := range otherStatus + 1 {
		v1, v2 := a.versions[0][place].Load(), a.versions[1][place].Load()
		versions["v1"][place], versions["v2"][place], versions["none"][place] = v1, v2, -(v1 + v2) // the calls make up for it
	}
	for call := range outcomeCount {
		version := call.Version()
		for place := range versions[version] {
			versions[version][place] += a.calls[call][place].Load()
		}
	}
	for version, byStatus := range versions {
		for place, n := range byStatus {
			if n > 0 {
				t.Answers = append(t.Answers, AnswerTotal{version, placeText(place), n})
			}
		}
	}
	var n uint64
	for i, d := range durations {
		n += a.took[i].Load()
		t.Took = append(t.Took, DurationTotal{d, n})
	}
	t.Answered = n + a.took[len(durations)].Load()
	t.Time = time.Duration(a.time.Load())
	t.TokensIssued, t.Throttled, t.Faulted = a.of(TokenIssued), a.of(Throttled), a.of(Faulted)
	t.Refusals = a.refusalTotals()
	t.Refused, t.Dropped = a.refused.Load(), a.dropped.Load()
}
