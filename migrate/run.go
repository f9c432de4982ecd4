package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Run carries plans out, one journal's at a time.
type Run struct {
	provider Provider
	journal  *Journal
	state    *State
	// Warn is told what people should know and no record has; nil: nobody is.
	Warn func(string)

	watch Watch
	seen  sightings
	// ends says since when nothing more is required; under mu.
	mu   sync.Mutex
	ends error
}

// NewRun makes a run on a journal.
func NewRun(p Provider, j *Journal) (*Run, error) {
	state, err := Replay(j.Records())
	if err != nil {
		return nil, err
	}
	r := &Run{provider: p, journal: j, state: state, Warn: func(string) {}}
	return r, nil
}

// State is what the journal told when the run was made.
func (r *Run) State() *State { return r.state }

// now is this machine's clock, but never before the journal's last record: no exception begins to hold
// again because a clock was set back.
func (r *Run) now() time.Time {
	now := time.Now()
	if records := r.journal.Records(); len(records) > 0 {
		if last := records[len(records)-1].Time; last.After(now) {
			return last
		}
	}
	return now
}

// checkClock tells of a clock that was set back.
func (r *Run) checkClock() {
	if back := time.Until(r.state.Last); back > time.Second {
		r.Warn(fmt.Sprintf("this machine's clock is %s behind the journal's last record of %s; dates of exceptions are judged by that record", back.Round(time.Second), stamp(r.state.Last)))
	}
}

// ErrStopped means that a plan goes no further because of what was found; the journal has it.
var ErrStopped = errors.New("the plan goes no further")

// Apply begins a plan, wave by wave.
//
// Errors: [ErrUnfinished]; [ErrStopped], after what was required has been watched to the end; any other leaves
// the journal unfinished, and [Run.Resume] goes on.
func (r *Run) Apply(ctx context.Context, plan *Plan) error {
	if r.state.Unfinished() {
		return ErrUnfinished
	}
	if ended := plan.Ended(r.now()); len(ended) > 0 {
		return errors.New(ended[0])
	}
	r.checkClock()
	all, err := r.provider.Instances(ctx)
	if err != nil {
		return err
	}
	crews, err := plan.Crews(all)
	if err != nil {
		return err
	}
	details, err := json.Marshal(rosterOf(crews))
	if err != nil {
		return err
	}
	if err := r.write(Record{Kind: Began, Provider: r.provider.Name(), Plan: plan.Text, Details: details}); err != nil {
		return err
	}
	return r.watched(ctx, r.waves)
}

func rosterOf(crews []Crew) Roster {
	roster := Roster{}
	for _, c := range crews {
		wave := RosterWave{Wave: c.Name, Members: []RosterMember{}}
		for _, in := range c.Members {
			wave.Members = append(wave.Members, RosterMember{in.Ref, in.Options})
		}
		roster = append(roster, wave)
	}
	return roster
}

// write adds a record to the journal, and to the state.
func (r *Run) write(record Record) error {
	if err := r.journal.Add(record); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.take(record)
}

// Resume goes on with what the journal began: with a plan after a process has ended, or after it was stopped,
// without those that were brought back; or with an undo.
//
// Errors: those of [Run.Apply]; [ErrNothing].
func (r *Run) Resume(ctx context.Context) error {
	switch {
	case r.state.Plan == nil, r.state.Ended == Finished, r.state.Ended == UndoFinished:
		return ErrNothing
	case r.state.Undo:
		return r.undo(ctx)
	}
	r.checkClock()
	for _, ended := range r.state.Plan.Ended(r.now()) {
		r.Warn("of the plan that goes on, " + ended)
	}
	if err := r.write(Record{Kind: Resumed}); err != nil {
		return err
	}
	return r.watched(ctx, func(ctx context.Context) error {
		if err := r.recover(ctx); err != nil {
			return err
		}
		return r.waves(ctx)
	})
}

// watched works while refusals are looked for, and writes how it ended when nobody is brought back any more.
func (r *Run) watched(ctx context.Context, work func(context.Context) error) error {
	r.watch = r.provider.Watch()
	watching, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { r.lookOut(ctx, watching) })
	err := work(ctx)
	stop()
	running.Wait()
	if err != nil {
		return err
	}
	if end := r.ended(); end != nil {
		if err := r.write(Record{Kind: Stopped, Reason: end.Error()}); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w", ErrStopped, end)
	}
	return r.write(Record{Kind: Finished})
}

// recover finds out what became of the steps that a process ended in, and has all that is required watched again.
func (r *Run) recover(ctx context.Context) error {
	for _, p := range r.state.All() {
		at, inForce := p.how()
		var err error
		switch {
		case !inForce:
			continue
		case at == Requiring:
			err = r.recoverRequiring(ctx, p)
		case at == Returning:
			err = r.bringBack(ctx, p, p.Refusals)
		}
		if err != nil {
			return err
		}
		if _, inForce := p.how(); !inForce {
			continue
		}
		if _, err := r.watch.Add(ctx, p.Ref, p.Since); err != nil && !errors.Is(err, ErrGone) && !r.mayBeUnseen(err) {
			return fmt.Errorf("%s cannot be watched: %w", p.Ref, err)
		}
	}
	return nil
}

func (r *Run) mayBeUnseen(err error) bool { return r.state.Plan.Unseen && errors.Is(err, errUnseen) }

// recoverRequiring finds out whether a change was made that was written down as about to be.
func (r *Run) recoverRequiring(ctx context.Context, p *Progress) error {
	in, err := r.provider.Instance(ctx, p.Ref)
	switch {
	case errors.Is(err, ErrGone):
		return r.skip(p, p.Wave, err.Error())
	case err != nil:
		return fmt.Errorf("%s: %w", p.Ref, err)
	case in.Options != p.After:
		p.InForce = false
		return nil // it was not, and is looked at anew with its wave
	}
	if err := r.awaitApplied(ctx, p); err != nil {
		return err
	}
	return r.write(Record{Kind: Required, Instance: &p.Ref, Wave: p.Wave})
}

// waves carries out the waves that were not held yet.
func (r *Run) waves(ctx context.Context) error {
	for i, wave := range r.state.Plan.Waves {
		if r.state.Held[wave.Name] {
			continue
		}
		if err := r.write(Record{Kind: WaveBegan, Wave: wave.Name}); err != nil {
			return err
		}
		for _, m := range r.state.Roster[i].Members {
			if r.ended() != nil {
				break
			}
			if err := r.require(ctx, wave, m); err != nil {
				return err
			}
		}
		if err := r.holdWave(ctx, wave); err != nil {
			return err
		}
		if r.ended() != nil {
			return nil
		}
		if err := r.write(Record{Kind: WaveHeld, Wave: wave.Name}); err != nil {
			return err
		}
	}
	return nil
}

// ended is why nothing more is required; nil: it goes on.
func (r *Run) ended() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ends
}

// end has nothing more required from now on.
func (r *Run) end(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ends == nil {
		r.ends = why
	}
}
