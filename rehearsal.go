package openimds

import (
	"fmt"
	"slices"
	"time"
)

// Rehearsal tries out on an instance what it would be to require session tokens, without requiring them:
// its options stay what they are, and at its end the guest meets just them again. It never lets anything
// pass that the options would refuse.
type Rehearsal struct {
	Mode RehearsalMode `json:"mode"`
	// Share is the part of the calls without a token that a brown-out refuses, above 0 up to 1; of a
	// shadow it is 0.
	Share float64 `json:"share,omitempty"`
	// Since and Until are its time. The end is a moment and no duration, so that whoever learns of the
	// rehearsal late, after a restart for instance, ends it when it was meant to end.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Ended is when it was stopped, or was found to be over; zero: neither so far.
	Ended time.Time `json:"ended,omitzero"`
}

// RehearsalMode says what a rehearsal does to calls that requiring session tokens would refuse.
type RehearsalMode string

// The modes of a rehearsal.
const (
	RehearseShadow   RehearsalMode = "shadow"    // answers them, and counts them
	RehearseBrownOut RehearsalMode = "brown-out" // refuses a share of them as if tokens were required, and counts the others
)

// The most that rehearsals may last. A shadow sees no caller that comes less often than callers are
// remembered; a brown-out that lasts longer than a day is no rehearsal.
const (
	MaxShadow   = CallersKept
	MaxBrownOut = 24 * time.Hour
)

// Validate refuses a rehearsal that no serving side could carry out.
func (r *Rehearsal) Validate() error {
	modes := []RehearsalMode{RehearseShadow, RehearseBrownOut}
	most := MaxShadow
	if r.Mode == RehearseBrownOut {
		most = MaxBrownOut
	}
	switch lasts := r.Until.Sub(r.Since); {
	case !slices.Contains(modes, r.Mode):
		return Errorf(InvalidInput, UnknownValue, "The mode of a rehearsal must be one of %v, not %.60q", modes, r.Mode)
	case r.Mode == RehearseShadow && r.Share != 0:
		return Errorf(InvalidInput, Conflicting, "A share is of a brown-out; a shadow refuses nothing")
	case r.Mode == RehearseBrownOut && !(r.Share > 0 && r.Share <= 1): // a NaN is neither
		return Errorf(InvalidInput, OutOfRange, "The share of a brown-out must be above 0 and at most 1, not %v", r.Share)
	case lasts < time.Second || lasts > most:
		return Errorf(InvalidInput, OutOfRange, "A %s can last from a second to %s, not %v", r.Mode, days(most), Brief(lasts))
	}
	return nil
}

// UnderWay says whether the rehearsal has an effect at that time; without one, it never has, nor where the clock was turned
// back behind its beginning.
func (r *Rehearsal) UnderWay(now time.Time) bool {
	return r != nil && r.Ended.IsZero() && within(now, r.Since, r.Until)
}

// String says in words what it does.
func (r *Rehearsal) String() string {
	if r == nil {
		return "none"
	}
	what := string(r.Mode)
	if r.Mode == RehearseBrownOut {
		what = fmt.Sprintf("%s of %.4g%%", r.Mode, 100*r.Share)
	}
	if !r.Ended.IsZero() {
		return fmt.Sprintf("%s, from %s to %s", what, r.Since.UTC().Format(time.DateTime), r.Ended.UTC().Format(time.DateTime))
	}
	return fmt.Sprintf("%s until %s", what, r.Until.UTC().Format(time.DateTime))
}

// days is a time of whole days in words.
func days(d time.Duration) string {
	if d == 24*time.Hour {
		return "a day"
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}
