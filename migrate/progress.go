package migrate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Roster is who the waves of a plan had when it began, with their options then: what is created or changed
// later is not the plan's. It stands in the record of [Began].
type Roster []RosterWave

// RosterWave is one of the waves.
type RosterWave struct {
	Wave    string         `json:"wave"`
	Members []RosterMember `json:"members"`
}

// RosterMember is one of the instances.
type RosterMember struct {
	Ref
	Options Options `json:"options"`
}

// Progress is how far an instance is, as its journal tells.
type Progress struct {
	mu sync.Mutex
	// changing is held by whoever decides on a change and makes it, so that none overtakes another; never while it is
	// waited for the change to be obeyed.
	changing sync.Mutex
	Ref
	Wave string
	// At is the last that was written of it; empty: nothing.
	At Kind
	// Before and After are its options before and after tokens were required of it; InForce says that they
	// have not been taken back. Gone says that it was not there any more by then.
	Before, After Options
	InForce, Gone bool
	Since         time.Time
	Refusals      []Refusal
	Reason        string
	// Exempt is the exception by which it was left, and Written when that was written which At says.
	Exempt  *Exempt
	Written time.Time
}

// State is what a journal tells, to its end.
type State struct {
	// Plan is the latest that began; nil: none did.
	Plan   *Plan
	Roster Roster
	// Account and Regions are where that is; empty: the journal does not tell.
	Account string
	Regions []string
	// Undo says that the journal is taking back, or has.
	Undo, Force bool
	// Ended is how it ended; empty: it has not.
	Ended  Kind
	Reason string
	// Waves are those that have begun, by name.
	Waves map[string]WaveTimes
	// ID, By and Begun are of the record with which the latest plan began: its sum, who wrote it and when.
	ID, By string
	Begun  time.Time
	// Last is the time of the last record.
	Last time.Time

	instances map[Ref]*Progress
	order     []Ref
}

// WaveTimes are when a wave began, and when it had been watched to the end; zero: it was not.
type WaveTimes struct{ Began, Held time.Time }

// Replay reads the state out of records.
func Replay(records []Record) (*State, error) {
	s := &State{instances: map[Ref]*Progress{}, Waves: map[string]WaveTimes{}}
	for _, r := range records {
		if err := s.take(r); err != nil {
			return nil, fmt.Errorf("line %d of the journal: %w", r.Number, err)
		}
	}
	return s, nil
}

// Of is how far an instance is.
func (s *State) Of(ref Ref) *Progress {
	p := s.instances[ref]
	if p == nil {
		p = &Progress{Ref: ref}
		s.instances[ref] = p
		s.order = append(s.order, ref)
	}
	return p
}

// All are the instances of which something is written, in the order in which it was first.
func (s *State) All() []*Progress {
	all := make([]*Progress, len(s.order))
	for i, ref := range s.order {
		all[i] = s.instances[ref]
	}
	return all
}

func (s *State) take(r Record) error {
	s.Last = r.Time
	switch r.Kind {
	case Began:
		plan, err := ParsePlan([]byte(r.Plan))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(r.Details, &s.Roster); err != nil {
			return err
		}
		s.Plan, s.Ended, s.Undo, s.Reason, s.Waves = plan, "", false, "", map[string]WaveTimes{}
		s.ID, s.By, s.Begun = r.Sum, r.By, r.Time
		s.Account, s.Regions = cmp.Or(r.Account, s.Roster.account()), r.Regions
		for _, p := range s.instances {
			p.begin()
		}
	case Resumed:
		s.Ended, s.Reason = "", ""
	case UndoBegan:
		s.Undo, s.Force, s.Ended, s.Reason = true, r.Reason == forced, "", ""
	case WaveBegan:
		s.Waves[r.Wave] = WaveTimes{Began: r.Time}
	case WaveHeld:
		s.Waves[r.Wave] = WaveTimes{s.Waves[r.Wave].Began, r.Time}
	case Stopped, Finished, UndoFinished:
		s.Ended, s.Reason = r.Kind, r.Reason
	}
	if r.Instance != nil {
		s.Of(*r.Instance).take(r)
	}
	return nil
}

// how is what was written of it last, and whether it is in force.
func (p *Progress) how() (at Kind, inForce bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.At, p.InForce
}

// undone notes that a change which was written down as about to be was not made.
func (p *Progress) undone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.InForce = false
}

// forced is the reason of an undo that takes back what somebody else has changed since.
const forced = "forced"

// begin has a new plan look at the instance anew, unless an earlier one's tokens are still required of it.
func (p *Progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.InForce {
		p.At = ""
	}
}

func (p *Progress) take(r Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.Kind {
	case Requiring:
		p.Before, p.After, p.Since, p.Wave, p.InForce, p.Gone = *r.Before, *r.After, r.Since, r.Wave, true, false
	case Returning:
		p.Refusals = r.Refusals
	case Returned, Undone:
		p.InForce, p.Gone = false, false
	case Skipped:
		if p.At == Requiring { // which was not done; what an earlier plan has required stays so
			p.InForce = false
		}
		p.Wave = r.Wave
	case Kept:
		p.InForce = p.InForce && (r.After == nil || r.After.Tokens == required)
	case Gone:
		p.InForce, p.Gone = false, true
	case Required, Undoing:
	default:
		return // of no consequence for what is done next
	}
	p.At, p.Reason, p.Exempt, p.Written = r.Kind, r.Reason, r.Exempt, r.Time
}

// Unfinished says that something was begun and neither finished nor stopped: a process has ended in the middle.
func (s *State) Unfinished() bool { return (s.Plan != nil || s.Undo) && s.Ended == "" }

// Errors of a journal that does not fit what is asked for.
var (
	ErrUnfinished = errors.New("what this journal began is not finished; go on with 'openimds migrate resume', or take it back with 'openimds migrate undo'")
	ErrNothing    = errors.New("this journal has nothing that could be gone on with")
	ErrNotInForce = errors.New("nothing that this journal has required is in force: there is nothing to take back")
)
