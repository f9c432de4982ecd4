package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// require takes one instance to version 2, if it is there as it was when the plan began, ready, and watched.
func (r *Run) require(ctx context.Context, wave Wave, m RosterMember) error {
	p := r.progress(m.Ref)
	if at, inForce := p.how(); at == Skipped || at == Returned || inForce {
		return nil // by an earlier process, or an earlier plan of this journal
	}
	in, err := r.provider.Instance(ctx, m.Ref)
	if err != nil {
		return r.skipFor(ctx, p, wave.Name, err)
	}
	if e := r.state.Plan.excepted(in, r.now()); e != nil {
		return r.skip(p, wave.Name, e.String())
	}
	if in.Options != m.Options && in.Options.Tokens != required {
		return r.skip(p, wave.Name, fmt.Sprintf("somebody has changed it since the plan began, from %s to %s", m.Options, in.Options))
	}
	found := Assess(ctx, r.provider, in, r.state.Plan.Criteria, time.Now())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if found.Verdict != Ready {
		return r.skip(p, wave.Name, string(found.Verdict)+": "+found.Reason)
	}
	since, err := r.watch.Add(ctx, m.Ref, time.Time{})
	if err != nil {
		if !r.mayBeUnseen(err) {
			return r.skipFor(ctx, p, wave.Name, err)
		}
		since = time.Now()
	}
	if err := r.change(ctx, p, Record{
		Kind: Requiring, Wave: wave.Name, Instance: &p.Ref, Before: &in.Options, After: new(in.Options.With(required)), Since: since, Assessment: &found,
	}); err != nil {
		r.watch.Remove(m.Ref)
		return err
	}
	return nil
}

// change makes the change that a record announces, and writes that it was made.
func (r *Run) change(ctx context.Context, p *Progress, about Record) error {
	p.mu.Lock()
	err := r.write(about)
	if err == nil {
		if err = r.provider.SetOptions(ctx, p.Ref, *about.After); err != nil {
			err = r.refused(ctx, p, about, err)
		}
	}
	at := p.At
	p.mu.Unlock()
	if err != nil || at == Skipped {
		return err
	}
	// Who is refused meanwhile is brought back while this waits.
	if err := r.awaitApplied(ctx, p); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.At != Requiring {
		return nil
	}
	return r.write(Record{Kind: Required, Wave: about.Wave, Instance: &p.Ref})
}

// refused finds out what became of a change that the service has not confirmed.
func (r *Run) refused(ctx context.Context, p *Progress, about Record, why error) error {
	if errors.Is(why, ErrGone) {
		return r.skip(p, about.Wave, why.Error())
	}
	in, err := r.provider.Instance(ctx, p.Ref)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w; whether tokens are required of it now is not known, and 'openimds migrate resume' finds out", p.Ref, why)
	case in.Options == *about.After:
		return nil
	}
	return r.skip(p, about.Wave, "it could not be changed: "+why.Error())
}

// How often it is looked whether options are applied, and for how long.
const (
	applyFirst = 20 * time.Millisecond
	applyLast  = 5 * time.Second
	applyTime  = 10 * time.Minute
)

// awaitApplied waits until the instance obeys its options, unless it is changed otherwise meanwhile.
func (r *Run) awaitApplied(ctx context.Context, p *Progress) error {
	begun := time.Now()
	for wait := applyFirst; ; wait = min(2*wait, applyLast) {
		if at, _ := p.how(); at == Returning || at == Returned {
			return nil
		}
		in, err := r.provider.Instance(ctx, p.Ref)
		switch {
		case errors.Is(err, ErrGone):
			return nil
		case err == nil && !in.Pending:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Since(begun) > applyTime && err == nil:
			return fmt.Errorf("%s does not obey its options after %s: is its host there? 'openimds migrate resume' goes on", p.Ref, applyTime)
		case time.Since(begun) > applyTime:
			return fmt.Errorf("%s: %w", p.Ref, err)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// progress is how far an instance is.
func (r *Run) progress(of Ref) *Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Of(of)
}

// skip leaves an instance as it is.
func (r *Run) skip(p *Progress, wave, reason string) error {
	return r.write(Record{Kind: Skipped, Wave: wave, Instance: &p.Ref, Reason: reason})
}

// skipFor leaves an instance as it is, of which something could not be found out.
func (r *Run) skipFor(ctx context.Context, p *Progress, wave string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrGone) {
		return r.skip(p, wave, err.Error())
	}
	return r.skip(p, wave, string(Unknown)+": "+err.Error())
}
