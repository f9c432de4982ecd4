package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrKept means that not everything could be taken back.
var ErrKept = errors.New("not all is as it was")

// Undo takes back what the journal's plans have required and is still in force: each instance gets the tokens option
// that it had, the latest first. What else somebody has changed of one since stays, unless force says otherwise: then it
// gets exactly the options that it had. One that cannot be changed keeps no other from it; where the account enforces
// session tokens nobody can give IMDSv1 back, and nothing is tried. One that is gone is told of.
//
// Errors: [ErrNotInForce]; [ErrKept], if something was left that somebody else has changed; any other leaves the
// instances that it names unfinished, and [Run.Resume] goes on with those.
func (r *Run) Undo(ctx context.Context, force bool) error {
	if err := r.atHome(ctx); err != nil {
		return err
	}
	r.checkClock()
	if !r.state.Undo || r.state.Ended != "" || force != r.state.Force {
		if len(r.toUndo(ctx, force)) == 0 {
			return ErrNotInForce
		}
		record := Record{Kind: UndoBegan}
		if force {
			record.Reason = forced
		}
		if err := r.write(record); err != nil {
			return err
		}
	}
	return r.undo(ctx)
}

// toUndo are those in force, those that were gone and are there again (the journal was held against another server),
// and by force those that were left with what somebody else had changed. The latest come first.
func (r *Run) toUndo(ctx context.Context, force bool) []*Progress {
	var found []*Progress
	all := r.all()
	for i := range all {
		p := all[len(all)-1-i]
		is := p.InForce || force && p.At == Kept
		if p.Gone {
			_, err := r.provider.Instance(ctx, p.Ref)
			is = err == nil
		}
		if is {
			found = append(found, p)
		}
	}
	return found
}

func (r *Run) undo(ctx context.Context) (err error) {
	defer r.tell(ctx)(&err)
	var waiting []*Progress
	all, failed := withoutShut(r.toUndo(ctx, r.state.Force), r.shut(ctx))
	for _, p := range all {
		wait, err := r.takeBack(ctx, p)
		if err := cmp.Or(ctx.Err(), r.journal.Err()); err != nil {
			return err
		}
		if err != nil {
			failed = also(failed, fmt.Errorf("%s: %w", p.Ref, err))
		} else if wait {
			waiting = append(waiting, p)
		}
	}
	begun := time.Now()
	for _, p := range waiting {
		err := r.awaitApplied(ctx, p, begun)
		if err == nil {
			err = r.takenBack(ctx, p)
		}
		if err := cmp.Or(ctx.Err(), r.journal.Err()); err != nil {
			return err
		}
		if err != nil {
			failed = also(failed, fmt.Errorf("%s: %w", p.Ref, err))
		}
	}
	if failed != nil {
		return fmt.Errorf("%w; all else was taken back, and 'openimds migrate resume' tries these again", failed)
	}
	kept := 0
	for _, p := range r.all() {
		if p.At == Kept {
			kept++
		}
	}
	if err := r.write(Record{Kind: UndoFinished}); err != nil {
		return err
	}
	if kept > 0 {
		return fmt.Errorf("%w: of %d of the instances somebody else has changed other options, which were left; --force takes those back too", ErrKept, kept)
	}
	return nil
}

// takeBack gives one instance the options that it had; wait says that it has not yet been seen that it obeys them.
func (r *Run) takeBack(ctx context.Context, p *Progress) (wait bool, err error) {
	in, err := r.provider.Instance(ctx, p.Ref)
	switch {
	case errors.Is(err, ErrGone):
		return false, r.gone(p, err)
	case err != nil:
		return false, err
	}
	to := Options{Tokens: p.Before.Tokens}
	if r.state.Force {
		to = p.Before
	}
	if in.Options.changed(to) == in.Options {
		return false, r.takenBackTo(p, in.Options, in.Options)
	}
	if err := r.write(Record{Kind: Undoing, Wave: p.Wave, Instance: &p.Ref, Before: &p.Before, After: &in.Options}); err != nil {
		return false, err
	}
	if err := r.provider.SetOptions(ctx, p.Ref, to); err != nil && !errors.Is(err, ErrGone) {
		return false, err
	}
	return true, nil
}

// takenBack writes that an instance has what it had, or what it has beside that.
func (r *Run) takenBack(ctx context.Context, p *Progress) error {
	in, err := r.provider.Instance(ctx, p.Ref)
	switch {
	case errors.Is(err, ErrGone):
		return r.gone(p, err)
	case err != nil:
		return err
	case in.Options.Tokens != p.Before.Tokens:
		return fmt.Errorf("somebody changes it at the same time, to %s", in.Options)
	}
	return r.takenBackTo(p, in.Options.With(p.After.Tokens), in.Options)
}

// takenBackTo is takenBack of an instance that had these options until then, and has those now.
func (r *Run) takenBackTo(p *Progress, had, has Options) error {
	record := Record{Kind: Undone, Wave: p.Wave, Instance: &p.Ref, Before: &p.Before}
	if has != p.Before {
		record.Kind, record.After = Kept, &has
		record.Reason = fmt.Sprintf("somebody has changed it since, to %s; tokens are %s again, and the rest stays; it had %s, which --force gives it", had, has.Tokens, p.Before)
	}
	return r.write(record)
}
