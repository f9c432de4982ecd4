package control

import (
	"context"
	"errors"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// EvictHost cuts a host off: its certificates are void and so is an invitation that was not used, no replica answers it
// any more, and the changes that wait for it, in whatever region, wait no longer. Its attachments stay, for it to come back by a new
// invitation or to be moved. A host that is not there is forgotten too, and drained no more. One that is there and has
// the store itself is not to be cut off so.
//
// Errors: InvalidInput/Incomplete without a name; NotFound/DoesNotExist where nobody has joined or may join by the
// name, or was there; OperationFailure/NotEnforced for a server that has the store itself.
func (s *Service) EvictHost(ctx context.Context, name string) error {
	if err := checkHost(name); err != nil {
		return err
	}
	_, err := s.commit(ctx, "EvictHost", func(d *draft) error {
		before, ends := map[string]any{}, map[string]string{records.EnrolledKey(name): "joined", records.JoinTokenKey(name): "invited"}
		switch _, err := s.store.Get(ctx, records.HostKey(name)); {
		case errors.Is(err, store.ErrNoRecord):
			ends[records.KnownKey(name)], ends[records.DrainedKey(name)] = "known", "drained"
			d.changes = append(d.changes, store.Change{Verb: store.Check, Key: records.HostKey(name), If: store.IfAbsent})
		case err != nil:
			return storeFailed(err)
		}
		for key, what := range ends {
			r, err := s.store.Get(ctx, key)
			if errors.Is(err, store.ErrNoRecord) {
				d.changes = append(d.changes, store.Change{Verb: store.Check, Key: key, If: store.IfAbsent})
				continue
			}
			if err != nil {
				return storeFailed(err)
			}
			before[what] = true
			d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: key, If: r.Revision})
			if key != records.EnrolledKey(name) {
				continue
			}
			// A record that cannot be read is deleted all the same: what it lets in is more than what it could tell.
			if was, err := records.Decode[records.Enrolled](r); err == nil {
				end, err := was.End(name)
				if err != nil {
					return broken(err)
				}
				d.changes = append(d.changes, end)
			}
		}
		if len(before) == 0 {
			return s.notJoined(ctx, name)
		}
		d.hostChange(name, before, nil)
		return nil
	})
	if err != nil {
		return err
	}
	// After it, so that it cannot come back between the two. A process that has the store itself comes back.
	return s.revokeHost(ctx, name)
}

// revokeHost ends all that a host has told of itself, in every region, and the times in which it may have had instances that
// were taken away from it: what it counts from now on is nobody's. Where the host is not there it is forgotten.
func (s *Service) revokeHost(ctx context.Context, name string) error {
	whole := s.whole()
	parts, err := parts(ctx, whole)
	if err != nil {
		return err
	}
	var failed error
	for _, part := range parts {
		host, err := whole.Get(ctx, part+records.HostKey(name))
		switch {
		case errors.Is(err, store.ErrNoRecord):
			_, err = whole.Commit(ctx,
				store.Change{Verb: store.Check, Key: part + records.HostKey(name), If: store.IfAbsent},
				store.Change{Verb: store.Delete, Key: part + records.KnownKey(name), If: store.Whatever})
			if errors.Is(err, store.ErrConflict) {
				err = nil // it is there again
			}
		case err == nil && host.Lease != store.NoLease:
			if err = noteEvicted(ctx, whole, part+records.KnownKey(name)); err == nil {
				err = whole.Revoke(ctx, host.Lease)
			}
		}
		if err == nil || errors.Is(err, store.ErrNoLease) {
			err = s.endStays(ctx, whole, part, name)
		}
		if err != nil {
			failed = storeFailed(err) // the others' are ended all the same
		}
	}
	return failed
}

// noteEvicted has it stand with what is known of a host that it was evicted, until it comes anew.
func noteEvicted(ctx context.Context, whole store.Store, key string) error {
	for {
		was, err := whole.Get(ctx, key)
		if errors.Is(err, store.ErrNoRecord) {
			return nil // a name that was made up
		}
		if err != nil {
			return err
		}
		known, _ := records.Decode[records.Known](was) // what cannot be read has its place taken
		known.Evicted = true
		value, err := records.Encode(known)
		if err != nil {
			return err
		}
		_, err = whole.Commit(ctx, store.Change{Verb: store.Put, Key: key, Value: value, If: was.Revision})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// notJoined says why a host cannot be evicted that has no certificate.
func (s *Service) notJoined(ctx context.Context, name string) error {
	_, err := s.store.Get(ctx, records.HostKey(name))
	switch {
	case err == nil:
		return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "The host %s is a server that has the store itself, and no certificate of ours: stop it, and take its access to the store away", name)
	case !errors.Is(err, store.ErrNoRecord):
		return storeFailed(err)
	}
	return doesNotExist(openimds.TypeHost, name)
}
