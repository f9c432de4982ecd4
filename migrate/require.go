package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openimds/openimds"
)

// require takes one instance to version 2, if it is there as it was when the plan began, ready, and watched.
func (r *Run) require(ctx context.Context, wave Wave, m RosterMember) error {
	p := r.progress(m.Ref)
	if at, inForce := p.how(); at == Skipped || at == Returned || at == Gone || inForce {
		return nil // by an earlier process, or an earlier plan of this journal
	}
	in, err := r.provider.Instance(ctx, m.Ref)
	if err != nil {
		return r.skipFor(ctx, p, wave.Name, err)
	}
	if e := r.state.Plan.excepted(in, r.now()); e != nil {
		return r.write(Record{Kind: Skipped, Wave: wave.Name, Instance: &p.Ref, Reason: e.String(), Exempt: &Exempt{e.Owner, e.Reason, e.Until}})
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
	// What somebody has changed while it was looked at is not what was looked at.
	now, err := r.provider.Instance(ctx, m.Ref)
	if err != nil || now.Options != in.Options {
		r.watch.Remove(m.Ref)
		if err != nil {
			return r.skipFor(ctx, p, wave.Name, err)
		}
		return r.skip(p, wave.Name, fmt.Sprintf("somebody has changed it while it was looked at, from %s to %s", in.Options, now.Options))
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
	p.changing.Lock()
	err := r.write(about)
	if err == nil {
		if err = r.provider.SetOptions(ctx, p.Ref, Options{Tokens: about.After.Tokens}); err != nil {
			err = r.refused(ctx, p, about, err)
		}
	}
	p.changing.Unlock()
	if at, _ := p.how(); err != nil || at == Skipped || at == Gone {
		if err == nil {
			r.watch.Remove(p.Ref)
		}
		return err
	}
	return r.required(ctx, p)
}

// required writes that tokens are required of an instance, when it obeys that. Who is refused meanwhile is brought back
// while this waits.
func (r *Run) required(ctx context.Context, p *Progress) error {
	if err := r.awaitApplied(ctx, p, time.Now()); err != nil {
		return fmt.Errorf("%s: %w", p.Ref, err)
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	if at, _ := p.how(); at != Requiring {
		return nil
	}
	return r.write(Record{Kind: Required, Wave: p.Wave, Instance: &p.Ref})
}

// refused finds out what became of a change that the service has not confirmed. Tokens that are required now are
// ours, whatever else somebody has changed meanwhile.
func (r *Run) refused(ctx context.Context, p *Progress, about Record, why error) error {
	if errors.Is(why, ErrGone) {
		return r.gone(p, why)
	}
	in, err := r.provider.Instance(ctx, p.Ref)
	switch {
	case errors.Is(err, ErrGone):
		return r.gone(p, err)
	case err != nil:
		return fmt.Errorf("%s: %w; whether tokens are required of it now is not known, and 'openimds migrate resume' finds out", p.Ref, why)
	case in.Options.Tokens == required:
		return nil
	}
	return r.skip(p, about.Wave, "it could not be changed: "+why.Error())
}

// gone writes that an instance is not there any more whose options were changed, or were about to be.
func (r *Run) gone(p *Progress, why error) error {
	return r.write(Record{Kind: Gone, Wave: p.Wave, Instance: &p.Ref, Before: &p.Before, Reason: why.Error()})
}

// How often it is looked whether options are applied, and for how long.
const (
	applyFirst = 20 * time.Millisecond
	applyLast  = 5 * time.Second
	applyTime  = 10 * time.Minute
)

// awaitApplied waits until the instance obeys its options, unless it is changed otherwise meanwhile.
// It waits for applyTime since it was begun to wait.
func (r *Run) awaitApplied(ctx context.Context, p *Progress, begun time.Time) error {
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
			return fmt.Errorf("it does not obey its options after %s: is its host there?", openimds.Brief(applyTime))
		case time.Since(begun) > applyTime:
			return err
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
