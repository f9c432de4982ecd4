package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/openimds/openimds"
)

// Run carries plans out, one journal's at a time.
type Run struct {
	provider Provider
	journal  *Journal
	state    *State
	// Warn is told what people should know and no record has; nil: nobody is.
	Warn func(string)
	// Name is what people call the plan: its file's name.
	Name string
	// NoWayBack says that tokens may be required although nobody could be brought back.
	NoWayBack bool

	watch Watch
	seen  sightings
	// returns are those who bring instances back, beside the look-out.
	returns sync.WaitGroup
	tellers tellers
	// ends says since when nothing more is required, and holds until when waves are watched; under mu.
	mu    sync.Mutex
	ends  error
	holds map[string]time.Time
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
		r.Warn(fmt.Sprintf("this machine's clock is %s behind the journal's last record of %s; dates of exceptions are judged by that record", openimds.Brief(back.Round(time.Second)), stamp(r.state.Last)))
	}
}

// ErrStopped means that a plan goes no further because of what was found; the journal has it.
var ErrStopped = errors.New("the plan goes no further")

// Apply begins a plan, wave by wave.
//
// Errors: [ErrUnfinished]; [ErrNoWayBack], when nothing was required yet; [ErrStopped], after what was required has been
// watched to the end; any other leaves the journal unfinished, and [Run.Resume] goes on.
func (r *Run) Apply(ctx context.Context, plan *Plan) error {
	if r.state.Unfinished() {
		return ErrUnfinished
	}
	if ended := plan.Ended(r.now()); len(ended) > 0 {
		return errors.New(ended[0])
	}
	r.checkClock()
	if err := r.wayBack(ctx); err != nil {
		return err
	}
	all, err := r.provider.Instances(ctx)
	if err != nil {
		return err
	}
	crews, err := plan.Crews(all)
	if err != nil {
		return err
	}
	roster := rosterOf(crews)
	details, err := json.Marshal(roster)
	if err != nil {
		return err
	}
	if err := r.write(Record{Kind: Began, Provider: r.provider.Name(), Account: roster.account(), Regions: r.provider.Regions(), Plan: plan.Text, Details: details}); err != nil {
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
	record, err := r.journal.Add(record)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tellers.news()
	return r.state.take(record)
}

// Resume goes on with what the journal began: with a plan after a process has ended, or after it was stopped,
// without those that were brought back; or with an undo. Instances of another account, region or server than the
// journal's are refused.
//
// Errors: those of [Run.Apply]; [ErrNothing].
func (r *Run) Resume(ctx context.Context) error {
	switch {
	case r.state.Plan == nil, r.state.Ended == Finished, r.state.Ended == UndoFinished:
		return ErrNothing
	}
	if err := r.atHome(ctx); err != nil {
		return err
	}
	if r.state.Undo {
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
			return r.failed(ctx, Wave{}, err)
		}
		return r.waves(ctx)
	})
}

// watched works while refusals are looked for, and writes how it ended when nobody is brought back any more.
func (r *Run) watched(ctx context.Context, work func(context.Context) error) (err error) {
	defer r.tell(ctx)(&err)
	r.watch = r.provider.Watch()
	returning, giveUp := context.WithCancel(ctx)
	defer giveUp()
	watching, stop := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() { r.lookOut(returning, watching) })
	err = work(returning)
	stop()
	looking.Wait()
	last := time.AfterFunc(applyTime, giveUp)
	r.returns.Wait()
	last.Stop()
	if err = cmp.Or(err, r.journal.Err(), r.notBack()); err == nil {
		err = r.finish()
	}
	if err != nil && !errors.Is(err, ErrStopped) {
		r.tellUnwatched()
	}
	return err
}

// finish writes how a plan has ended of which nothing is left to be done.
func (r *Run) finish() error {
	if end := r.ended(); end != nil {
		if err := r.write(Record{Kind: Stopped, Reason: end.Error()}); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w", ErrStopped, end)
	}
	members, inForce := 0, 0
	for _, wave := range r.state.Roster {
		for _, m := range wave.Members {
			members++
			if r.progress(m.Ref).InForce {
				inForce++
			}
		}
	}
	if inForce == 0 {
		r.Warn(fmt.Sprintf("the plan has required tokens of no instance: it left all %d, for the reasons above and in the journal", members))
	}
	return r.write(Record{Kind: Finished})
}

// notBack tells of instances that could not be brought back.
func (r *Run) notBack() error {
	var failed error
	for _, p := range r.all() {
		if at, inForce := p.how(); inForce && at == Returning {
			failed = also(failed, fmt.Errorf("%s could not be brought back, its calls may still be refused: 'openimds migrate resume' goes on with that", p.Ref))
		}
	}
	return failed
}

// also joins errors in one line.
func also(failed, next error) error {
	if failed == nil {
		return next
	}
	return fmt.Errorf("%w; %w", failed, next)
}

// tellUnwatched says what is in force when a process ends before its time.
func (r *Run) tellUnwatched() {
	n := 0
	for _, p := range r.all() {
		if _, inForce := p.how(); inForce {
			n++
		}
	}
	if n > 0 {
		r.Warn(fmt.Sprintf("tokens are required of %d of this journal's instances, and nobody watches any more whether their callers are refused: 'openimds migrate resume' watches and goes on, 'openimds migrate undo' takes it back", n))
	}
}

// recover has all that is required watched again, and finds out what became of the steps that a process ended in. One
// of which that fails keeps no other from it; nothing more is required then.
func (r *Run) recover(ctx context.Context) error {
	var failed error
	for _, p := range r.all() {
		at, inForce := p.how()
		switch {
		case !inForce:
		case at == Returning:
			r.end(fmt.Errorf("%s was refused on %s", p.Refusals[0].Who(), p.Ref))
			r.returns.Go(func() { r.bringBack(ctx, p) })
		default:
			if _, err := r.watch.Add(ctx, p.Ref, p.Since); err != nil && !errors.Is(err, ErrGone) && !r.mayBeUnseen(err) {
				failed = also(failed, fmt.Errorf("%s cannot be watched: %w", p.Ref, err))
			}
		}
	}
	for _, p := range r.all() {
		if at, inForce := p.how(); inForce && at == Requiring {
			if err := r.recoverRequiring(ctx, p); err != nil {
				failed = also(failed, err)
			}
		}
	}
	return failed
}

func (r *Run) mayBeUnseen(err error) bool { return r.state.Plan.Unseen && errors.Is(err, errUnseen) }

// recoverRequiring finds out whether a change was made that was written down as about to be. Tokens that are required
// are ours, whatever else somebody has changed since.
func (r *Run) recoverRequiring(ctx context.Context, p *Progress) error {
	in, err := r.provider.Instance(ctx, p.Ref)
	switch {
	case errors.Is(err, ErrGone):
		return r.gone(p, err)
	case err != nil:
		return fmt.Errorf("%s: %w", p.Ref, err)
	case in.Options.Tokens != required:
		r.watch.Remove(p.Ref)
		p.undone()
		return nil // it was not, and is looked at anew with its wave
	}
	return r.required(ctx, p)
}

// waves carries out the waves that were not held yet.
func (r *Run) waves(ctx context.Context) error {
	for i, wave := range r.state.Plan.Waves {
		if !r.state.Waves[wave.Name].Held.IsZero() {
			continue
		}
		if err := r.wayBack(ctx); err != nil { // somebody may have shut it since
			return r.failed(ctx, wave, err)
		}
		if err := r.write(Record{Kind: WaveBegan, Wave: wave.Name}); err != nil {
			return err
		}
		for _, m := range r.state.Roster[i].Members {
			if r.ended() != nil {
				break
			}
			if err := r.require(ctx, wave, m); err != nil {
				return r.failed(ctx, wave, err)
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

// failed ends a plan in which a step has failed, but not before what is required was watched as long as a wave is.
func (r *Run) failed(ctx context.Context, wave Wave, why error) error {
	if ctx.Err() != nil || r.journal.Err() != nil {
		return why
	}
	r.end(why)
	r.Warn(fmt.Sprintf("%v; nothing more is required, and what is required is watched for %s", why, inDays(r.state.Plan.hold(wave))))
	if err := r.holdWave(ctx, wave); err != nil && ctx.Err() == nil {
		return also(why, err)
	}
	return why
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
