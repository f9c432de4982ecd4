package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// sightings say up to when all refusals are known.
type sightings struct {
	mu    sync.Mutex
	until time.Time
	err   error // why it goes no further now; nil: it does
	next  chan struct{}
	// opened are how many instances there are of whose refusals it is not yet known whether somebody was harmed.
	opened int
	said   map[string]bool // what was told once
}

// see notes what a look has brought.
func (s *sightings) see(until time.Time, err error) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && until.After(s.until) {
		s.until = until
	}
	news = err != nil && s.err == nil
	s.err = err
	s.wake()
	return news
}

// wake has those look again who wait; under mu.
func (s *sightings) wake() {
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

// open notes instances of whose refusals it is to be found out whether somebody was harmed, before see says that they
// are known.
func (s *sightings) open(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened += n
}

// judged notes that it was found out of one.
func (s *sightings) judged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened--
	s.wake()
}

// news has those look again who wait.
func (s *sightings) news() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake()
}

// look returns that, and a channel that is closed by the next one.
func (s *sightings) look() (until time.Time, next <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	if s.opened > 0 {
		return time.Time{}, s.next, s.err
	}
	return s.until, s.next, s.err
}

// once says whether something is said for the first time.
func (s *sightings) once(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said == nil {
		s.said = map[string]bool{}
	}
	known := s.said[what]
	s.said[what] = true
	return !known
}

// lookOut has instances brought back whose callers are refused, until watching ends. One that takes long to bring back
// delays neither the next look nor another one. What has begun by then goes on within ctx.
func (r *Run) lookOut(ctx, watching context.Context) {
	for watching.Err() == nil {
		refused, until, err := r.watch.Next(watching)
		if watching.Err() != nil && len(refused) == 0 {
			return
		}
		of := map[Ref][]Refusal{}
		for _, one := range refused {
			of[one.Instance] = append(of[one.Instance], one)
		}
		r.seen.open(len(of))
		for ref, some := range of {
			r.returns.Go(func() { r.answer(ctx, r.progress(ref), some) })
		}
		if r.seen.see(until, err) {
			r.Warn("refused calls cannot be looked for: " + oneLine(err))
		}
	}
}

// oneLine is the first of errors that were joined.
func oneLine(err error) string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 0 {
		return oneLine(joined.Unwrap()[0])
	}
	return err.Error()
}

// answer brings an instance back, unless exceptions put up with all who were refused.
func (r *Run) answer(ctx context.Context, p *Progress, refused []Refusal) {
	harmed, err := r.harmed(ctx, p, refused)
	if err == nil && len(harmed) > 0 {
		err = r.beginReturn(p, harmed)
	}
	r.seen.judged()
	if err != nil {
		r.Warn(fmt.Sprintf("%s: %s was refused, and that is not answered: %v", p.Ref, refused[0].Who(), err))
		return
	}
	if len(harmed) > 0 {
		r.bringBack(ctx, p)
	}
}

// harmed are those who were refused and whom no exception puts up with.
func (r *Run) harmed(ctx context.Context, p *Progress, refused []Refusal) (harmed []Refusal, err error) {
	in, err := r.provider.Instance(ctx, p.Ref)
	if errors.Is(err, ErrGone) {
		r.watch.Remove(p.Ref)
		return nil, nil
	}
	if err != nil {
		in.Ref = p.Ref // its tags are not known; its name is enough for most exceptions
	}
	for _, one := range refused {
		e := r.state.Plan.puts(in, one, r.now())
		if e == nil {
			harmed = append(harmed, one)
			continue
		}
		if r.seen.once(p.ID + e.String() + one.Who()) {
			if err := r.write(Record{Kind: Tolerated, Instance: &p.Ref, Refusals: []Refusal{one}, Reason: e.String()}); err != nil {
				return nil, err
			}
		}
	}
	return harmed, nil
}

// beginReturn has nothing more required, and writes that the instance is to be brought back.
func (r *Run) beginReturn(p *Progress, refused []Refusal) error {
	why := refused[0].Who() + " was refused"
	if _, inForce := p.how(); inForce {
		r.end(fmt.Errorf("%s on %s", why, p.Ref)) // before it is waited for a change that is going on
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	if at, inForce := p.how(); !inForce || at != Requiring && at != Required {
		return nil
	}
	return r.write(Record{Kind: Returning, Wave: p.Wave, Instance: &p.Ref, Before: &p.Before, Refusals: refused, Reason: why})
}

// slow is after how long it is told that an instance is not back yet.
const slow = 15 * time.Second

// bringBack gives an instance the tokens option that it had, if it is to be brought back and nobody is at that. It goes
// on until it has succeeded or the context ends; then the journal tells that it is still to be done.
func (r *Run) bringBack(ctx context.Context, p *Progress) {
	if at, inForce := p.how(); !inForce || at != Returning || !r.seen.once(p.ID+" is brought back") {
		return
	}
	telling := time.AfterFunc(slow, func() {
		r.Warn(fmt.Sprintf("%s is not back after %s: its calls may still be refused; it is gone on with", p.Ref, slow))
	})
	defer telling.Stop()
	kind, reason := Returned, ""
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := r.tokensBack(ctx, p)
		if errors.Is(err, ErrGone) {
			kind, reason = Gone, err.Error()
			break
		}
		if err == nil {
			break
		}
		if ctx.Err() == nil && r.seen.once(p.ID+" cannot be brought back") {
			r.Warn(fmt.Sprintf("%s cannot be brought back yet: %v; trying again", p.Ref, err))
		}
		if pause(ctx, wait) != nil {
			return
		}
	}
	r.watch.Remove(p.Ref)
	p.changing.Lock()
	defer p.changing.Unlock()
	if err := r.write(Record{Kind: kind, Wave: p.Wave, Instance: &p.Ref, Reason: reason}); err != nil {
		r.Warn(err.Error())
	}
	r.seen.news()
}

// tokensBack sets the tokens option to what it was, and waits until that is obeyed. What else somebody has
// changed meanwhile stays.
func (r *Run) tokensBack(ctx context.Context, p *Progress) error {
	p.changing.Lock()
	err := r.provider.SetOptions(ctx, p.Ref, Options{Tokens: p.Before.Tokens})
	p.changing.Unlock()
	if err != nil {
		return err
	}
	for wait := applyFirst; ; wait = min(2*wait, applyLast) {
		in, err := r.provider.Instance(ctx, p.Ref)
		if err != nil || !in.Pending {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// overdue is for how long a wave is watched beyond its time if nothing tells of refusals.
const overdue = 30 * time.Minute

// holdWave watches until all refusals of the plan's time are known. Each time that a process goes on, the time
// begins anew. A wave of which nobody was required needs none. Both clocks have to be there: what tells of refusals goes by
// one that can be turned on.
func (r *Run) holdWave(ctx context.Context, wave Wave) error {
	hold := r.state.Plan.hold(wave)
	end := time.Now().Add(hold)
	r.holding(wave, end)
	for {
		if err := r.journal.Err(); err != nil {
			return err
		}
		until, next, err := r.seen.look()
		left, wait := time.Until(end), time.Minute
		if left > 0 {
			wait = min(wait, left)
		}
		if err == nil && !until.Before(end) && left <= 0 || !r.toWatch(wave) || hold == 0 {
			return nil
		}
		if left < -overdue {
			r.end(fmt.Errorf("nothing tells whether calls were refused since %s", stamp(until)))
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
		case <-time.After(wait):
		}
	}
}

// toWatch says whether an instance of a wave is in force or, once nothing more is required, any instance.
func (r *Run) toWatch(wave Wave) bool {
	any := r.ended() != nil
	for _, p := range r.all() {
		p.mu.Lock()
		is := p.InForce && p.At != Returning && (any || p.Wave == wave.Name)
		p.mu.Unlock()
		if is {
			return true
		}
	}
	return false
}

func (r *Run) all() []*Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.All()
}
