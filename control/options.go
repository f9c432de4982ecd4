package control

import (
	"context"
	"errors"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// UpdateOptions changes the metadata options of an instance. What u leaves out keeps its value. On a
// running instance the new values are pending, and the operation Started, until the side that serves
// it obeys them ([Service.MarkApplied]); on a stopped one nobody has to obey, so they are applied at
// once. Writers of different members never undo each other.
//
// Errors: InvalidInput/UnknownValue and InvalidInput/OutOfRange for values that there are not,
// InvalidInput/NotEnforced for IPv6 in an installation without, InvalidInput/Malformed for tags that the metadata cannot
// show, InvalidInput/Conflicting where a recording would hide them; NotFound/DoesNotExist; OperationFailure/WrongState unless it runs or is stopped, OperationFailure/TokensEnforced
// for optional tokens where the account demands required ones ([Service.ModifyDefaults]).
func (s *Service) UpdateOptions(ctx context.Context, name string, u openimds.OptionsUpdate) (openimds.Operation, error) {
	d, _, err := s.changeOptions(ctx, name, u)
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// ChangeOptions is [Service.UpdateOptions] that returns the instance as the change left it.
//
// Errors: those of UpdateOptions, which are InvalidInput/UnknownValue, InvalidInput/OutOfRange, InvalidInput/NotEnforced,
// InvalidInput/Malformed, InvalidInput/Conflicting, NotFound/DoesNotExist, OperationFailure/WrongState and
// OperationFailure/TokensEnforced.
func (s *Service) ChangeOptions(ctx context.Context, name string, u openimds.OptionsUpdate) (*openimds.Instance, error) {
	_, in, err := s.changeOptions(ctx, name, u)
	return in, err
}

func (s *Service) changeOptions(ctx context.Context, name string, u openimds.OptionsUpdate) (d *draft, in *openimds.Instance, err error) {
	if err := s.checkOptions(u); err != nil {
		return nil, nil, err
	}
	d, err = s.commit(ctx, "UpdateInstanceMetadataOptions", func(d *draft) (err error) {
		var was store.Record
		in, was, err = s.instance(ctx, name)
		if err != nil {
			return err
		}
		if in.State != openimds.StateRunning && in.State != openimds.StateStopped {
			return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, "The metadata options of %s cannot be changed: the instance is %s", in.Name, in.State)
		}
		next := u.Apply(in.Options)
		if err := next.Validate(); err != nil {
			return err
		}
		if err := s.permitted(ctx, d, in, next); err != nil {
			return err
		}
		op := instanceOperation("UpdateInstanceMetadataOptions", in)
		pending := in.Options.State == openimds.OptionsPending
		switch {
		case u == (openimds.OptionsUpdate{}), next == in.Options && !pending:
			// Nothing to change, and nothing asked for that somebody has yet to apply.
			d.operation(op)
			return nil
		case in.State == openimds.StateStopped:
			next.State = openimds.OptionsApplied
			d.operation(op)
		default:
			next.State = openimds.OptionsPending
			op.Status, op.Follows = openimds.OperationStarted, in.OptionsOperation
			in.OptionsOperation = d.operation(op).ID
		}
		in.Options = next
		d.putInstance(was, in)
		return nil
	})
	return d, in, err
}

// permitted refuses options that in must not get, or cannot be carried out with what else it has.
func (s *Service) permitted(ctx context.Context, d *draft, in *openimds.Instance, next openimds.MetadataOptions) error {
	if next.Tags != in.Options.Tags {
		if in.Recorded != nil {
			return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "The instance %s answers a recording, which would hide its tags: lay a value over the path instead, or take the recording away", in.Name)
		}
		shown := *in
		shown.Options = next
		if err := checkTagsInMetadata(&shown); err != nil {
			return err
		}
	}
	if next.Tokens == in.Options.Tokens {
		return nil
	}
	return s.enforceTokens(ctx, d, in.Name, next.Tokens)
}

// checkOptions refuses values that no instance may have, before any is looked at.
func (s *Service) checkOptions(u openimds.OptionsUpdate) error {
	if err := u.Apply(openimds.DefaultOptions()).Validate(); err != nil {
		return err
	}
	if u.IPv6 != nil && *u.IPv6 == openimds.EndpointEnabled && !s.cfg.AllowIMDSIPv6 {
		return openimds.Errorf(openimds.InvalidInput, openimds.NotEnforced, "The IPv6 endpoint of the metadata service is not available in this installation")
	}
	return nil
}

// PendingHosts names the hosts that serve an instance and do not obey its options yet, in their order; none once they
// are applied. One that is gone without a word is among them until its time is over ([HostTTL]).
func (s *Service) PendingHosts(ctx context.Context, in *openimds.Instance) ([]string, error) {
	if in.Options.State != openimds.OptionsPending {
		return nil, nil
	}
	page, err := s.store.List(ctx, store.Range{Prefix: records.SeatKey(in.Name, "")})
	if err != nil {
		return nil, storeFailed(err)
	}
	var hosts []string
	for _, r := range page.Records {
		seat, err := read[records.Seat](r)
		if err != nil {
			return nil, err
		}
		if seat.Obeys != in.OptionsOperation {
			hosts = append(hosts, records.SeatingHost(r.Key))
		}
	}
	return hosts, nil
}

// tellPending has a change of options say which hosts it still waits for.
func (s *Service) tellPending(ctx context.Context, op *openimds.Operation) error {
	if op.Terminal() || op.Type != "UpdateInstanceMetadataOptions" {
		return nil
	}
	r, err := s.store.Get(ctx, records.Key(openimds.TypeInstance, op.Resource))
	if errors.Is(err, store.ErrNoRecord) {
		return nil
	}
	if err != nil {
		return storeFailed(err)
	}
	in, err := read[*openimds.Instance](r)
	if err != nil {
		return err
	}
	// Those that a later change has come after wait for the same hosts.
	hosts, err := s.PendingHosts(ctx, in)
	if len(hosts) > 0 {
		op.Details = "waits for " + strings.Join(hosts, ", ")
	}
	return err
}

// MarkApplied says that this service's host obeys the options of in, the very value that it serves by
// now, or that it has no seat for it. When no other host that seats the instance is still to obey them
// ([Service.TakeSeats]), the options become applied and their operation succeeds, with all that it
// follows, unless they were changed meanwhile: each change has an operation of its own, and
// in.OptionsOperation says which one has been applied. A later change stays pending, an instance
// that is gone or begun anew stays untouched; neither is an error.
func (s *Service) MarkApplied(ctx context.Context, in *openimds.Instance) error {
	for told := in.Options.State == openimds.OptionsPending; told; {
		_, err := s.commit(ctx, "MarkApplied", func(d *draft) (err error) {
			told, err = s.markApplied(ctx, d, in)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// markApplied drafts that, and reports whether it only tells the other hosts.
func (s *Service) markApplied(ctx context.Context, d *draft, in *openimds.Instance) (told bool, err error) {
	now, was, err := s.instance(ctx, in.Name)
	if err != nil && openimds.KindOf(err) != openimds.NotFound {
		return false, err
	}
	if err != nil || now.ID != in.ID {
		return false, s.endWaiting(ctx, d, in.OptionsOperation, openimds.OperationSucceeded, "")
	}
	others, own, err := s.waitsFor(ctx, in.Name, in.OptionsOperation)
	switch {
	case err != nil:
		return false, err
	case now.OptionsOperation != in.OptionsOperation && others:
		return false, nil // the later change ends this one too
	case now.OptionsOperation != in.OptionsOperation:
		return false, s.endWaiting(ctx, d, in.OptionsOperation, openimds.OperationSucceeded, "")
	case others:
		return d.obey(own, in.OptionsOperation)
	}
	if err := s.endOptions(ctx, d, now, openimds.OperationSucceeded, ""); err != nil {
		return false, err
	}
	d.putInstance(was, now)
	return false, nil
}

// endOptions leaves nothing of in's options pending: their operations end with that status.
func (s *Service) endOptions(ctx context.Context, d *draft, in *openimds.Instance, status openimds.OperationStatus, details string) error {
	if err := s.endWaiting(ctx, d, in.OptionsOperation, status, details); err != nil {
		return err
	}
	in.OptionsOperation = ""
	in.Options.State = openimds.OptionsApplied
	return nil
}

// maxEnded is how many operations of one row one commit ends beside what else it changes: etcd takes 128 changes in one
// unless told otherwise, and a commit may end two rows.
const maxEnded = 20

// endWaiting ends the operation and those that it follows, if they still wait. Of a long row the
// earlier part ends in commits of its own, the earliest first, so that a row that was interrupted is
// found again from its end.
func (s *Service) endWaiting(ctx context.Context, d *draft, id string, status openimds.OperationStatus, details string) error {
	type waiting struct {
		op  openimds.Operation
		was store.Record
	}
	var row []waiting // the latest first
	for id != "" {
		op, was, err := s.operation(ctx, id)
		if err != nil && openimds.KindOf(err) == openimds.NotFound {
			break // pruned
		}
		if err != nil {
			return err
		}
		if op.Terminal() {
			break
		}
		row = append(row, waiting{op, was})
		id = op.Follows
	}
	for len(row) > maxEnded {
		early := row[len(row)-maxEnded:]
		row = row[:len(row)-maxEnded]
		if s.trial {
			continue
		}
		part := &draft{service: s, now: d.now}
		for _, w := range early {
			part.end(w.was, w.op, status, details)
		}
		if _, err := s.store.Commit(ctx, part.changes...); errors.Is(err, store.ErrConflict) {
			return err
		} else if err != nil {
			return storeFailed(err)
		}
	}
	for _, w := range row {
		d.end(w.was, w.op, status, details)
	}
	return nil
}
