package migrate

import (
	"context"
	"errors"
	"fmt"
)

// ErrKept means that not everything could be taken back.
var ErrKept = errors.New("not all is as it was")

// Undo takes back what the journal's plans have required and is still in force: each instance gets exactly the
// options that it had, the latest first. One that somebody else has changed since keeps that, unless force says
// otherwise.
//
// Errors: [ErrNothing]; [ErrKept], if something had to stay.
func (r *Run) Undo(ctx context.Context, force bool) error {
	if !r.state.Undo || r.state.Ended != "" || force != r.state.Force {
		if len(r.InForce()) == 0 {
			return ErrNothing
		}
		record := Record{Kind: UndoBegan}
		if force {
			record.Reason = forced
		}
		if err := r.write(record); err != nil {
			return err
		}
	}
	r.checkClock()
	return r.undo(ctx)
}

// InForce are the instances whose options are not yet as they were, the latest first.
func (r *Run) InForce() []*Progress {
	var inForce []*Progress
	all := r.all()
	for i := range all {
		if p := all[len(all)-1-i]; p.InForce {
			inForce = append(inForce, p)
		}
	}
	return inForce
}

func (r *Run) undo(ctx context.Context) error {
	kept := 0
	for _, p := range r.InForce() {
		if err := r.takeBack(ctx, p); err != nil {
			return err
		}
		if p.At == Kept {
			kept++
		}
	}
	if err := r.write(Record{Kind: UndoFinished}); err != nil {
		return err
	}
	if kept > 0 {
		return fmt.Errorf("%w: %d of the instances were left as somebody else has changed them, or are gone", ErrKept, kept)
	}
	return nil
}

// takeBack gives one instance the options that it had.
func (r *Run) takeBack(ctx context.Context, p *Progress) error {
	in, err := r.provider.Instance(ctx, p.Ref)
	about := Record{Wave: p.Wave, Instance: &p.Ref, Before: &p.Before}
	switch {
	case errors.Is(err, ErrGone):
		about.Kind, about.Reason = Kept, err.Error()
		return r.write(about)
	case err != nil:
		return fmt.Errorf("%s: %w; 'openimds migrate resume' goes on", p.Ref, err)
	case in.Options == p.Before:
		about.Kind = Undone
		return r.write(about)
	case in.Options != p.After && !r.state.Force:
		about.Kind, about.Reason = Kept, fmt.Sprintf("somebody has changed it since, to %s; it had %s, which --force gives it", in.Options, p.Before)
		return r.write(about)
	}
	about.Kind, about.After = Undoing, &in.Options
	if err := r.write(about); err != nil {
		return err
	}
	if err := r.provider.SetOptions(ctx, p.Ref, p.Before); err != nil && !errors.Is(err, ErrGone) {
		return fmt.Errorf("%s: %w; 'openimds migrate resume' goes on", p.Ref, err)
	}
	if err := r.awaitApplied(ctx, p); err != nil {
		return err
	}
	return r.write(Record{Kind: Undone, Wave: p.Wave, Instance: &p.Ref})
}
