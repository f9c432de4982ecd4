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
	said  map[string]bool // what was told once
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
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
	return news
}

// look returns that, and a channel that is closed by the next one.
func (s *sightings) look() (until time.Time, next <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
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

// lookOut brings instances back whose callers are refused, until watching ends. What it has begun by then it
// ends within ctx.
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
		var working sync.WaitGroup
		failures := make(chan error, len(of)+1)
		for ref, some := range of {
			working.Go(func() { failures <- r.answer(ctx, r.progress(ref), some) })
		}
		working.Wait()
		close(failures)
		for failed := range failures {
			err = errors.Join(err, failed)
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
func (r *Run) answer(ctx context.Context, p *Progress, refused []Refusal) error {
	in, err := r.provider.Instance(ctx, p.Ref)
	if errors.Is(err, ErrGone) {
		r.watch.Remove(p.Ref)
		return nil
	}
	if err != nil {
		in.Ref = p.Ref // its tags are not known; its name is enough for most exceptions
	}
	var harmed []Refusal
	for _, one := range refused {
		e := r.state.Plan.puts(in, one, r.now())
		if e == nil {
			harmed = append(harmed, one)
			continue
		}
		if r.seen.once(p.ID + e.String() + one.Who()) {
			if err := r.write(Record{Kind: Tolerated, Instance: &p.Ref, Refusals: []Refusal{one}, Reason: e.String()}); err != nil {
				return err
			}
		}
	}
	if len(harmed) == 0 {
		return nil
	}
	return r.bringBack(ctx, p, harmed)
}

// bringBack gives an instance the tokens option that it had. It goes on until it has succeeded or the context
// ends; then the journal tells that it is still to be done.
func (r *Run) bringBack(ctx context.Context, p *Progress, refused []Refusal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.InForce || p.At != Requiring && p.At != Required && p.At != Returning {
		return nil
	}
	r.end(fmt.Errorf("%s was refused on %s", refused[0].Who(), p.Ref))
	if p.At != Returning {
		if err := r.write(Record{Kind: Returning, Wave: p.Wave, Instance: &p.Ref, Before: &p.Before, Refusals: refused, Reason: refused[0].Who() + " was refused"}); err != nil {
			return err
		}
	}
	var reason string
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := r.tokensBack(ctx, p)
		if errors.Is(err, ErrGone) {
			reason = err.Error()
			break
		}
		if err == nil {
			break
		}
		if r.seen.once(p.ID + " cannot be brought back") {
			r.Warn(fmt.Sprintf("%s cannot be brought back yet: %v; trying again", p.Ref, err))
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	r.watch.Remove(p.Ref)
	return r.write(Record{Kind: Returned, Wave: p.Wave, Instance: &p.Ref, Reason: reason})
}

// tokensBack sets the tokens option to what it was, and waits until that is obeyed. What else somebody has
// changed meanwhile stays.
func (r *Run) tokensBack(ctx context.Context, p *Progress) error {
	in, err := r.provider.Instance(ctx, p.Ref)
	if err != nil {
		return err
	}
	if want := in.Options.With(p.Before.Tokens); in.Options != want {
		if err := r.provider.SetOptions(ctx, p.Ref, want); err != nil {
			return err
		}
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
// begins anew. A wave of which nobody was required needs none.
func (r *Run) holdWave(ctx context.Context, wave Wave) error {
	hold := r.state.Plan.hold(wave)
	end := time.Now().Add(hold)
	for {
		if err := r.journal.Err(); err != nil {
			return err
		}
		until, next, err := r.seen.look()
		if err == nil && !until.Before(end) || !r.toWatch(wave) || hold == 0 {
			return nil
		}
		if time.Since(end) > overdue {
			r.end(fmt.Errorf("nothing tells whether calls were refused since %s", stamp(until)))
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
		case <-time.After(time.Minute):
		}
	}
}

// toWatch says whether an instance of a wave is in force or, once nothing more is required, any instance.
func (r *Run) toWatch(wave Wave) bool {
	any := r.ended() != nil
	for _, p := range r.all() {
		p.mu.Lock()
		is := p.InForce && (any || p.Wave == wave.Name)
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
