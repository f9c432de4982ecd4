package migrate

import (
	"fmt"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// Verdict says whether tokens may be required.
type Verdict string

// The verdicts. Whatever is not known for certain is Unknown.
const (
	// Done: tokens are required already.
	Done Verdict = "done"
	// Ready: nobody called without a token, answered or refused, in all of the time that the criteria ask for.
	Ready Verdict = "ready"
	// NotYet: somebody did, or was not watched for long enough.
	NotYet Verdict = "not yet"
	// Unknown: nobody can tell.
	Unknown Verdict = "unknown"
)

// Criteria say what makes an instance ready.
type Criteria struct {
	// Window is how far back nobody may have called without a token.
	Window time.Duration `json:"window"`
	// Calls is how many calls without a token are put up with, whether they were answered or failed. One that was refused,
	// by a brown-out or while tokens were required, is not: it would be again.
	Calls int64 `json:"calls"`
	// Gaps is how much of the window may be unknown, at its ends and in between together, for instances that are
	// stopped at night.
	Gaps time.Duration `json:"gaps"`
	// Reboots and MonthEnds are how many of these the window has to have.
	Reboots   int `json:"reboots"`
	MonthEnds int `json:"monthEnds"`
}

// DefaultWindow is two weeks, as long as Lightsail keeps metrics.
const DefaultWindow = 14 * 24 * time.Hour

// DefaultCriteria are those of a plan that says nothing else.
func DefaultCriteria() Criteria { return Criteria{Window: DefaultWindow} }

// lateness is how old the latest data may be: a sample of five minutes that is told five minutes late, twice.
const lateness = 20 * time.Minute

// Cycles are what a window has seen without a gap: a zero proves nothing of a job that had no occasion to run.
type Cycles struct {
	// All are -1 if they are not known. A reboot from inside the instance is not seen.
	Boots     int `json:"boots"`
	Days      int `json:"days"`
	Weeks     int `json:"weeks"`
	MonthEnds int `json:"monthEnds"`
}

// Assessment is what is known of an instance, and the verdict.
type Assessment struct {
	Instance
	At    time.Time `json:"at"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Missing is how much in between is not known, in nanoseconds.
	Missing  time.Duration `json:"missing,omitempty"`
	NoToken  *int64        `json:"noToken,omitempty"`  // nil: not known
	Rejected *int64        `json:"rejected,omitempty"` // the same
	// ShutUntil is until when calls without a token may have been refused without anybody counting that.
	ShutUntil time.Time `json:"shutUntil,omitzero"`
	Cycles    Cycles    `json:"cycles"`
	// V1 are the callers without a token, and Victims those whom their tokens did not reach for the hop
	// limit: they need another limit, not another version.
	V1      []Caller `json:"v1,omitempty"`
	Victims []Caller `json:"victims,omitempty"`
	// Due are callers without a token that did not come in that time and are to come again.
	Due []Caller `json:"due,omitempty"`
	// Unheard says why nobody answers the instance's guest now; empty: somebody does, or the provider does not tell.
	Unheard string `json:"unheard,omitempty"`
	// CallersKnown says whether the provider names callers at all.
	CallersKnown bool `json:"callersKnown"`
	// BlueprintCallsV1 says that software of the blueprint is taken to call without a token.
	BlueprintCallsV1 bool    `json:"blueprintCallsV1,omitempty"`
	Verdict          Verdict `json:"verdict"`
	// Reason says why, in one line.
	Reason string `json:"reason"`
}

// Judge is the verdict on an instance of which that is known, or nothing but an error.
func (c Criteria) Judge(in Instance, calls Calls, err error, now time.Time) Assessment {
	blueprint, _ := openimds.FindBlueprint(in.Blueprint)
	a := Assessment{
		Instance: in, At: now, Since: calls.Since, Until: calls.Until, Missing: calls.Missing, Rejected: calls.Rejected, Due: calls.Due, ShutUntil: calls.ShutUntil,
		CallersKnown: calls.Callers != nil, BlueprintCallsV1: blueprint.CallsV1,
		Cycles: cyclesIn(calls), Verdict: Unknown,
	}
	a.V1, a.Victims = tellApart(calls.Callers, in.Options.HopLimit)
	if err == nil && !calls.Since.IsZero() {
		a.NoToken = &calls.NoToken
	}
	a.Verdict, a.Reason = c.verdict(&a, err)
	return a
}

func (c Criteria) verdict(a *Assessment, err error) (Verdict, string) {
	unknown := c.unknownIn(a)
	_, refused := a.refused()
	switch {
	case a.Options.Tokens == required:
		return Done, "tokens are required"
	case err != nil:
		return Unknown, "what it called cannot be found out: " + err.Error()
	case a.NoToken == nil:
		return Unknown, fmt.Sprintf("nothing was counted in the last %s", inDays(c.Window))
	case a.unheard() > c.Calls || refused > 0: // more of them do no harm: whatever is missing, these are there
		return NotYet, a.whoCalls()
	case unknown > c.Gaps:
		return Unknown, c.whatIsUnknown(a, unknown)
	case a.CreatedAt.After(a.At.Add(openimds.MetricPeriod - c.Window)):
		return NotYet, fmt.Sprintf("it has been watched for %s of %s", inDays(a.At.Sub(a.Since)), inDays(c.Window))
	case len(a.Due) > 0 && c.Calls == 0:
		due := latest(a.Due)
		return NotYet, fmt.Sprintf("%s comes %s, came without a token on %s, and is due again", due, due.Period, stamp(due.LastNoToken))
	case a.Cycles.Boots < 0 && c.Reboots > 0:
		return Unknown, "its reboots are not known"
	case c.Reboots > 0 && a.Cycles.Boots < c.Reboots:
		return NotYet, fmt.Sprintf("%d of %d reboots were seen", a.Cycles.Boots, c.Reboots)
	case a.Cycles.MonthEnds < c.MonthEnds:
		return NotYet, fmt.Sprintf("%d of %d month ends were seen", a.Cycles.MonthEnds, c.MonthEnds)
	case a.unheard() > 0:
		return Ready, a.whoCalls() + ", which the plan puts up with"
	}
	return Ready, fmt.Sprintf("no call without a token since %s", stamp(a.Since))
}

// unproven is how much is not known at the window's beginning and at its end. What had no time to be told yet is
// not missing.
func (c Criteria) unproven(a *Assessment) (begin, end time.Duration) {
	from, since := a.At.Add(-c.Window), a.Since
	if a.CreatedAt.After(from) {
		from = a.CreatedAt
	}
	if a.ShutUntil.After(since) {
		since = a.ShutUntil
	}
	if begin = since.Sub(from); begin <= 2*openimds.MetricPeriod { // its first sample may not be known as a whole
		begin = 0
	}
	return begin, max(a.At.Add(-lateness).Sub(a.Until), 0)
}

// unknownIn is how much of the window is not known in all.
func (c Criteria) unknownIn(a *Assessment) time.Duration {
	begin, end := c.unproven(a)
	return begin + a.Missing + end
}

// whatIsUnknown says which part of the window keeps anybody from telling.
func (c Criteria) whatIsUnknown(a *Assessment, all time.Duration) string {
	begin, end := c.unproven(a)
	switch {
	case begin > c.Gaps && a.ShutUntil.After(a.Since):
		return fmt.Sprintf("calls without a token may have been refused until %s, and nobody counted that", stamp(a.ShutUntil))
	case begin > c.Gaps:
		return fmt.Sprintf("nothing was counted before %s", stamp(a.Since))
	case a.Missing > c.Gaps:
		return fmt.Sprintf("nothing was counted for %s since %s", openimds.Brief(a.Missing), stamp(a.Since))
	case end > c.Gaps:
		return fmt.Sprintf("nothing was counted since %s", stamp(a.Until))
	}
	return fmt.Sprintf("nothing was counted for %s of the window, at its ends and in between", openimds.Brief(all.Round(time.Second)))
}

// unheard is how many calls without a token there were, answered, refused or failed, by the metrics or by the
// callers: only these have what failed for another reason, and they need not be all.
func (a *Assessment) unheard() int64 {
	counted := *a.NoToken
	if a.Rejected != nil {
		counted += *a.Rejected
	}
	named, failed := int64(0), int64(0)
	for _, c := range slices.Concat(a.V1, a.Victims) {
		named += c.NoToken + c.Rejected - c.Failed
		failed += c.Failed
	}
	return max(named, counted) + failed
}

// refused is how many of them were, and surely how many of these were so in just that time: metrics tell of whole samples.
func (a *Assessment) refused() (all, surely int64) {
	for _, c := range slices.Concat(a.V1, a.Victims) {
		all += c.Rejected
	}
	surely = all
	if a.Rejected != nil {
		all = max(all, *a.Rejected)
	}
	if !a.CallersKnown {
		surely = all
	}
	return all, surely
}

// whoCalls says who keeps an instance from being ready.
func (a *Assessment) whoCalls() string {
	text := fmt.Sprintf("%d calls without a token since %s", a.unheard(), stamp(a.Since))
	if a.unheard() == 1 {
		text = "1 call without a token since " + stamp(a.Since)
	}
	if refused, _ := a.refused(); refused > 0 {
		text += fmt.Sprintf(" (%d refused)", refused)
	}
	switch {
	case len(a.V1) > 0:
		return fmt.Sprintf("%s, the last by %s", text, latest(a.V1))
	case len(a.Victims) > 0:
		c := latest(a.Victims)
		return fmt.Sprintf("%s by %s, whom the token does not reach: %s", text, c, c.hopAdvice())
	}
	return text
}

func latest(callers []Caller) Caller {
	return slices.MaxFunc(callers, func(a, b Caller) int { return a.LastNoToken.Compare(b.LastNoToken) })
}

// who is what a caller is told apart by, whatever it asks for.
type who struct{ source, userAgent, process string }

func (c Caller) who() who { return who{c.Source, c.UserAgent, c.Process} }

// tellApart parts callers without a token from those whom their token does not reach. Such a caller asks for the
// token in one part of the tree, or by one command line, and then without it in others: all of that is one victim.
func tellApart(callers []Caller, hopLimit int) (v1, victims []Caller) {
	victims = lostTokens(callers, hopLimit)
	of := func(c Caller) int {
		at := slices.IndexFunc(victims, func(v Caller) bool { return v.who() == c.who() })
		switch {
		case c.ForHop == nil || c.NoToken+c.Rejected == 0:
			return at
		case !*c.ForHop:
			return -1 // or nobody knows
		case at < 0:
			return slices.IndexFunc(victims, func(v Caller) bool { return v.Source == c.Source && v.UserAgent == c.UserAgent })
		}
		return at
	}
	for _, c := range callers {
		if at := of(c); at >= 0 {
			victims[at].NoToken += c.NoToken
			victims[at].Rejected += c.Rejected
			victims[at].Failed += c.Failed
			if c.LastNoToken.After(victims[at].LastNoToken) {
				victims[at].LastNoToken = c.LastNoToken
			}
		} else if c.NoToken+c.Rejected > 0 {
			v1 = append(v1, c)
		}
	}
	return v1, victims
}

// lostTokens are the callers whom their tokens do not reach, one for each that is told apart, without counts.
func lostTokens(callers []Caller, hopLimit int) (victims []Caller) {
	lost := map[who]int{}
	reached := map[who]bool{}
	for _, c := range callers {
		if c.WithToken > 0 {
			reached[c.who()] = true
		}
	}
	for _, c := range callers {
		if c.Lost == 0 && reached[c.who()] {
			continue // its token was lost before that time, and reaches it now
		}
		at, known := lost[c.who()]
		if !c.victim(hopLimit) || known && victims[at].NeededHopLimit >= c.NeededHopLimit {
			continue
		}
		if !known {
			lost[c.who()] = len(victims)
			victims = append(victims, c)
			continue
		}
		victims[at] = c
	}
	for i := range victims {
		victims[i].PathGroup, victims[i].NoToken, victims[i].Rejected, victims[i].Failed = "", 0, 0, 0
	}
	return victims
}

// victim says that the caller asked for tokens which the hop limit, still in force, kept from it.
func (c Caller) victim(hopLimit int) bool {
	switch {
	case c.Lost == 0 && c.LostLast.IsZero():
		return false
	case c.NeededHopLimit > 0:
		return c.NeededHopLimit > hopLimit
	}
	return c.LostAt >= hopLimit
}

func (c Caller) hopAdvice() string {
	if c.NeededHopLimit == 0 {
		return fmt.Sprintf("hop limit %d may be too small", c.LostAt)
	}
	return fmt.Sprintf("it needs hop limit %d", c.NeededHopLimit)
}

// cyclesIn are those that what is known has covered.
func cyclesIn(calls Calls) Cycles {
	c := Cycles{Boots: -1}
	if calls.Since.IsZero() {
		return Cycles{-1, -1, -1, -1}
	}
	if calls.Boots != nil {
		c.Boots = 0
		for _, at := range calls.Boots {
			if at.After(calls.Since) {
				c.Boots++
			}
		}
	}
	for _, k := range calls.known() {
		k.add(&c)
	}
	return c
}

// known are the times without a gap.
func (c Calls) known() []Span {
	since := c.Since
	if c.Missing > 0 && len(c.Gaps) == 0 {
		return nil // it may be any
	}
	var known []Span
	for _, gap := range c.Gaps {
		known = append(known, Span{since, gap.Since})
		since = gap.Until
	}
	return append(known, Span{since, c.Until})
}

// add counts what the time has.
func (k Span) add(c *Cycles) {
	const day = 24 * time.Hour
	known := k.Until.Sub(k.Since)
	c.Days += int(known / day)
	c.Weeks += int(known / (7 * day))
	since, until := k.Since.UTC(), k.Until.UTC()
	// A month's end is seen if the day before and the day after it are.
	for month := time.Date(since.Year(), since.Month()+1, 1, 0, 0, 0, 0, time.UTC); !month.AddDate(0, 0, 1).After(until); month = month.AddDate(0, 1, 0) {
		if !month.AddDate(0, 0, -1).Before(since) {
			c.MonthEnds++
		}
	}
}

// stamp is a time as people read it here.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// inDays is a duration in the largest unit that tells enough of it.
func inDays(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day && d%day < time.Hour:
		return fmt.Sprintf("%dd", d/day)
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
	return d.Round(time.Second).String()
}
