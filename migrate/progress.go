package migrate

import (
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
	Ref
	Wave string
	// At is the last that was written of it; empty: nothing.
	At Kind
	// Before and After are its options before and after tokens were required of it; InForce says that they
	// have not been taken back.
	Before, After Options
	InForce       bool
	Since         time.Time
	Refusals      []Refusal
	Reason        string
}

// State is what a journal tells, to its end.
type State struct {
	// Plan is the latest that began; nil: none did.
	Plan   *Plan
	Roster Roster
	// Undo says that the journal is taking back, or has.
	Undo, Force bool
	// Ended is how it ended; empty: it has not.
	Ended  Kind
	Reason string
	// Held are the waves that were watched to the end.
	Held map[string]bool
	// Last is the time of the last record.
	Last time.Time

	instances map[Ref]*Progress
	order     []Ref
}

// Replay reads the state out of records.
func Replay(records []Record) (*State, error) {
	s := &State{instances: map[Ref]*Progress{}, Held: map[string]bool{}}
	for _, r := range records {
		if err := s.take(r); err != nil {
			return nil, fmt.Errorf("line %d of the journal: %w", r.Number, err)
		}
		s.Last = r.Time
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
	switch r.Kind {
	case Began:
		plan, err := ParsePlan([]byte(r.Plan))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(r.Details, &s.Roster); err != nil {
			return err
		}
		s.Plan, s.Ended, s.Undo, s.Reason, s.Held = plan, "", false, "", map[string]bool{}
		for _, p := range s.instances {
			if !p.InForce {
				p.At = "" // a new plan looks at it anew
			}
		}
	case Resumed:
		s.Ended, s.Reason = "", ""
	case UndoBegan:
		s.Undo, s.Force, s.Ended, s.Reason = true, r.Reason == forced, "", ""
	case WaveHeld:
		s.Held[r.Wave] = true
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

// forced is the reason of an undo that takes back what somebody else has changed since.
const forced = "forced"

func (p *Progress) take(r Record) {
	switch r.Kind {
	case Requiring:
		p.Before, p.After, p.Since, p.Wave, p.InForce = *r.Before, *r.After, r.Since, r.Wave, true
	case Returning:
		p.Refusals = r.Refusals
	case Returned, Undone:
		p.InForce = false
	case Skipped:
		p.InForce, p.Wave = false, r.Wave
	case Required, Undoing, Kept:
	default:
		return // of no consequence for what is done next
	}
	p.At, p.Reason = r.Kind, r.Reason
}

// Unfinished says that something was begun and neither finished nor stopped: a process has ended in the middle.
func (s *State) Unfinished() bool { return (s.Plan != nil || s.Undo) && s.Ended == "" }

// Errors of a journal that does not fit what is asked for.
var (
	ErrUnfinished = errors.New("what this journal began is not finished; go on with 'openimds migrate resume', or take it back with 'openimds migrate undo'")
	ErrNothing    = errors.New("this journal has nothing that could be gone on with")
)
