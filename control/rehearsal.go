package control

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// StartRehearsal begins to try out required session tokens on an instance, from its guest's next request on,
// and ends by itself after that time. An earlier rehearsal ends with it. The options stay as they are, and what
// they refuse stays refused.
//
// Errors: InvalidInput/UnknownValue, InvalidInput/OutOfRange and InvalidInput/Conflicting for what is no
// rehearsal; NotFound/DoesNotExist; OperationFailure/WrongState unless the instance runs or is stopped, and where
// its options refuse all calls without a token already.
func (s *Service) StartRehearsal(ctx context.Context, name string, mode openimds.RehearsalMode, share float64, lasts time.Duration) (openimds.Operation, error) {
	d, err := s.commit(ctx, "StartRehearsal", func(d *draft) error {
		r := &openimds.Rehearsal{Mode: mode, Share: share, Since: d.now, Until: d.now.Add(lasts)}
		if err := r.Validate(); err != nil {
			return err
		}
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		const nothing = "There is nothing to rehearse on %s: %s"
		switch {
		case in.State != openimds.StateRunning && in.State != openimds.StateStopped:
			return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, nothing, in.Name, "the instance is "+string(in.State))
		case in.Options.Tokens == openimds.TokensRequired:
			return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, nothing, in.Name, "it requires session tokens already")
		case in.Options.Endpoint != openimds.EndpointEnabled:
			return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, nothing, in.Name, "its metadata endpoint is disabled")
		}
		in.Rehearsal = r
		d.putInstance(was, in)
		d.changes = append(d.changes, store.Change{Verb: store.Put, Key: records.RehearsalKey(in.Name), If: store.Whatever})
		d.operation(instanceOperation("StartRehearsal", in))
		return nil
	})
	return operationOf(d, err)
}

// StopRehearsal ends the rehearsal of an instance before its time. Without one that is under way it changes
// nothing, and is no error.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) StopRehearsal(ctx context.Context, name string) (openimds.Operation, error) {
	d, err := s.commit(ctx, "StopRehearsal", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if in.Rehearsal.UnderWay(d.now) {
			d.endRehearsal(was, in, d.now)
		}
		d.operation(instanceOperation("StopRehearsal", in))
		return nil
	})
	return operationOf(d, err)
}

// operationOf is the one operation of a draft that was committed.
func operationOf(d *draft, err error) (openimds.Operation, error) {
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// endRehearsal drafts that the rehearsal of an instance ended then.
func (d *draft) endRehearsal(was store.Record, in *openimds.Instance, at time.Time) {
	ended := *in.Rehearsal
	ended.Ended = at
	in.Rehearsal = &ended
	d.putInstance(was, in)
	d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: records.RehearsalKey(in.Name), If: store.Whatever})
}

// EndRehearsals writes down the end of the rehearsals whose time is over. Guests did not wait for it: it is for
// the audit, and for a clock that is turned back while nobody serves the instance. An error leaves those that it
// has not come to.
func (s *Service) EndRehearsals(ctx context.Context) error {
	for after := ""; ; {
		page, err := s.store.List(ctx, store.Range{Prefix: records.RehearsalPrefix, After: after, Limit: 100})
		if err != nil {
			return storeFailed(err)
		}
		for _, r := range page.Records {
			after = r.Key
			if err := s.concludeRehearsal(ctx, strings.TrimPrefix(r.Key, records.RehearsalPrefix)); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
}

// concludeRehearsal ends the rehearsal of one instance if its time is over. An instance that is gone, or was made
// anew, has none.
func (s *Service) concludeRehearsal(ctx context.Context, name string) error {
	_, err := s.commit(ctx, "EndRehearsals", func(d *draft) error {
		told, err := s.store.Get(ctx, records.RehearsalKey(name))
		if errors.Is(err, store.ErrNoRecord) {
			return nil // stopped meanwhile
		}
		if err != nil {
			return storeFailed(err)
		}
		in, was, err := s.instance(ctx, name)
		switch {
		case err != nil && openimds.KindOf(err) != openimds.NotFound:
			return err
		case err == nil && in.Rehearsal.UnderWay(d.now):
			return nil
		case err == nil && in.Rehearsal != nil && in.Rehearsal.Ended.IsZero():
			d.endRehearsal(was, in, in.Rehearsal.Until)
		default:
			d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: told.Key, If: told.Revision})
		}
		return nil
	})
	return err
}
