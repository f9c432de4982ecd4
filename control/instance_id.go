package control

import (
	"context"
	"errors"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TerminatedTime is how long an instance that was deleted is remembered as terminated: an hour or so at EC2 (user guide,
// "Terminate Amazon EC2 instances").
const TerminatedTime = time.Hour

// instanceOfID reads the instance of that id.
func (s *Service) instanceOfID(ctx context.Context, id string) (*openimds.Instance, store.Record, error) {
	if !instanceIDForm.MatchString(id) {
		return nil, store.Record{}, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The instance id cannot be %.60q: it is i- and 8 to 17 hexadecimal digits", id)
	}
	r, err := s.store.Get(ctx, records.InstanceIDKey(id))
	if errors.Is(err, store.ErrNoRecord) {
		return nil, r, doesNotExist(openimds.TypeInstance, id)
	}
	if err != nil {
		return nil, r, storeFailed(err)
	}
	in, was, err := find[*openimds.Instance](ctx, s.store, openimds.TypeInstance, string(r.Value))
	if err != nil && openimds.KindOf(err) == openimds.NotFound || err == nil && in.ID != id {
		return nil, was, doesNotExist(openimds.TypeInstance, id) // deleted meanwhile, and its name perhaps given to another one
	}
	s.present(in)
	return in, was, err
}

// InstanceOfID returns the instance of that id, or what [Service.Terminated] knows of it.
//
// Errors: InvalidInput/Malformed for what is no id; NotFound/DoesNotExist.
func (s *Service) InstanceOfID(ctx context.Context, id string) (*openimds.Instance, error) {
	in, _, err := s.instanceOfID(ctx, id)
	if openimds.CodeOf(err) == openimds.DoesNotExist {
		return s.Terminated(ctx, id)
	}
	return in, err
}

// refuseTakenID refuses the id of an instance that is there.
func (s *Service) refuseTakenID(ctx context.Context, id string) error {
	_, err := s.store.Get(ctx, records.InstanceIDKey(id))
	if errors.Is(err, store.ErrNoRecord) {
		return nil
	}
	if err != nil {
		return storeFailed(err)
	}
	return openimds.Errorf(openimds.InvalidInput, openimds.NameTaken, "These names are taken: %s", id)
}

// destroyInstance drafts that an instance is gone, and that it is remembered as terminated.
func (d *draft) destroyInstance(was store.Record, in *openimds.Instance) {
	d.destroy(openimds.TypeInstance, was)
	value, err := records.Encode(remainsOf(in, d.now))
	d.err = errors.Join(d.err, err)
	d.changes = append(d.changes,
		store.Change{Verb: store.Delete, Key: records.InstanceIDKey(in.ID), If: store.Whatever},
		store.Change{Verb: store.Put, Key: records.TerminatedKey(in.ID), Value: value, If: store.Whatever})
}

// remainsOf is what may still be asked of an instance that is gone: what it was, and nothing that it held.
func remainsOf(in *openimds.Instance, now time.Time) *openimds.Instance {
	options := in.Options
	options.State = openimds.OptionsApplied
	return &openimds.Instance{
		Name: in.Name, ID: in.ID, UUID: in.UUID, State: openimds.StateTerminated, Options: options,
		CreatedAt: in.CreatedAt, LaunchedAt: in.LaunchedAt, ModifiedAt: now,
		Region: in.Region, Zone: in.Zone, ZoneID: in.ZoneID, OwnerID: in.OwnerID,
		BlueprintID: in.BlueprintID, BundleID: in.BundleID, ImageID: in.ImageID, InstanceType: in.InstanceType,
		Architecture: in.Architecture, System: in.System, LifeCycle: in.LifeCycle,
		ReservationID: in.ReservationID, LaunchIndex: in.LaunchIndex, KeyPairName: in.KeyPairName, Tags: in.Tags,
	}
}

// Terminated returns the instance of that id that was deleted within [TerminatedTime]. Its state is
// [openimds.StateTerminated], its latest change the end, and it has neither addresses nor secrets any more.
//
// Errors: InvalidInput/Malformed for what is no id; NotFound/DoesNotExist.
func (s *Service) Terminated(ctx context.Context, id string) (*openimds.Instance, error) {
	if !instanceIDForm.MatchString(id) {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The instance id cannot be %.60q: it is i- and 8 to 17 hexadecimal digits", id)
	}
	r, err := s.store.Get(ctx, records.TerminatedKey(id))
	if errors.Is(err, store.ErrNoRecord) {
		return nil, doesNotExist(openimds.TypeInstance, id)
	}
	if err != nil {
		return nil, storeFailed(err)
	}
	in, err := records.DecodeTerminated(r)
	if err != nil {
		return nil, broken(err)
	}
	if s.forgotten(in) {
		return nil, doesNotExist(openimds.TypeInstance, id)
	}
	return in, nil
}

// forgotten says whether a terminated instance is not remembered any more.
func (s *Service) forgotten(in *openimds.Instance) bool {
	return s.cfg.Now().Sub(in.ModifiedAt) >= TerminatedTime
}

// AllTerminated returns at most limit of the instances that [Service.Terminated] knows, in the order of their ids,
// beginning behind the id after, and the id to go on behind, which is empty at the end. Fewer than limit may be
// followed by more.
func (s *Service) AllTerminated(ctx context.Context, after string, limit int) (found []*openimds.Instance, next string, err error) {
	r := store.Range{Prefix: records.TerminatedPrefix, Limit: limit}
	if after != "" {
		r.After = records.TerminatedKey(after)
	}
	page, err := s.store.List(ctx, r)
	if err != nil {
		return nil, "", storeFailed(err)
	}
	for _, r := range page.Records {
		in, err := records.DecodeTerminated(r)
		if err != nil {
			return nil, "", broken(err)
		}
		if !s.forgotten(in) {
			found = append(found, in)
		}
		next = in.ID
	}
	if !page.More {
		next = ""
	}
	return found, next, nil
}

// endedKept is for how long after its last certificate has ended it is known that an enrolment was ended: those are
// refused by then wherever no clock is late by more.
const endedKept = time.Hour

// invitationKept is for how long after its time an invitation stays that nobody has used: no clock of a replica is early
// by more.
const invitationKept = 24 * time.Hour

// Forget forgets instances that were terminated, launches that nobody may ask for again, what hosts have left, enrolments
// that were ended and invitations that nobody has used, once their time is over, and tells how many those were. Each batch
// is a commit of its own. An error leaves those that it has not come to.
func (s *Service) Forget(ctx context.Context) (forgotten int, err error) {
	for prefix, over := range map[string]func(store.Record) bool{
		records.TerminatedPrefix: func(r store.Record) bool {
			in, err := records.DecodeTerminated(r)
			return overIf(err, func() bool { return s.forgotten(in) })
		},
		records.LaunchPrefix: func(r store.Record) bool {
			l, err := records.Decode[records.Launch](r)
			return overIf(err, func() bool { return s.cfg.Now().Sub(l.At) >= LaunchTime })
		},
		records.ServedPrefix: func(r store.Record) bool {
			of, err := records.DecodeServed(r)
			switch {
			case err != nil: // the host may have had it at any time, and be late to tell of it
				return false
			case len(of.Stays) == 0 || s.cfg.Now().Sub(of.Stays[len(of.Stays)-1].Until) >= openimds.CallersKept:
				return true
			}
			_, _ = closeStays(ctx, s.store, "", r) // else the next time
			return false
		},
		records.EndedPrefix: func(r store.Record) bool {
			ends, err := records.Decode[time.Time](r)
			return overIf(err, func() bool { return s.cfg.Now().Sub(ends) >= endedKept })
		},
		records.JoinTokenPrefix: func(r store.Record) bool {
			token, err := records.Decode[records.JoinToken](r)
			return overIf(err, func() bool { return s.cfg.Now().Sub(token.Until) >= invitationKept })
		},
	} {
		n, err := s.forget(ctx, prefix, over)
		if forgotten += n; err != nil {
			return forgotten, err
		}
	}
	return forgotten, nil
}

// overIf says whether a record's time is over. That of one that is damaged is; one of a later release is left to that.
func overIf(err error, over func() bool) bool {
	if err != nil {
		return !records.IsLater(err)
	}
	return over()
}

func (s *Service) forget(ctx context.Context, prefix string, over func(store.Record) bool) (forgotten int, err error) {
	const batch = 100 // etcd takes 128 changes in a commit unless told otherwise
	for after, more := "", true; more; {
		page, err := s.store.List(ctx, store.Range{Prefix: prefix, After: after, Limit: batch})
		if err != nil {
			return forgotten, storeFailed(err)
		}
		began := after
		var changes []store.Change
		for _, r := range page.Records {
			if after = r.Key; over(r) {
				changes = append(changes, store.Change{Verb: store.Delete, Key: r.Key, If: r.Revision})
			}
		}
		if more = page.More; len(changes) == 0 {
			continue
		}
		_, err = s.store.Commit(ctx, changes...)
		switch {
		case errors.Is(err, store.ErrConflict): // one is another by now, as of a host that was invited anew
			after, more = began, true
			continue
		case err != nil:
			return forgotten, storeFailed(err)
		}
		forgotten += len(changes)
	}
	return forgotten, nil
}
