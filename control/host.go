package control

import (
	"context"
	"errors"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// HostTTL is how long a host is taken to be there after it last said so. For that long a change of options
// waits for a host that is gone without a word.
const HostTTL = 15 * time.Second

// JoinHost says that this service's host is there, for [HostTTL] after its lease was last kept alive. All that a
// host tells of itself is bound to that lease. A process that begins takes over: what an earlier one of the
// host's name told is forgotten, for that one serves nobody any more. One that has lost its lease does not.
//
// Errors: OperationFailure/InUse where another process is that host.
func (s *Service) JoinHost(ctx context.Context, takeOver bool) (store.Lease, error) {
	self := s.self
	self.Since = s.cfg.Now().UTC()
	value, err := records.Encode(self)
	if err != nil {
		return store.NoLease, broken(err)
	}
	known, err := s.knownHost()
	if err != nil {
		return store.NoLease, broken(err)
	}
	lease, err := s.store.Grant(ctx, HostTTL)
	if err != nil {
		return store.NoLease, storeFailed(err)
	}
	join := store.Change{Verb: store.Put, Key: records.HostKey(s.cfg.Host), Value: value, If: store.IfAbsent, Lease: lease}
	for {
		_, err := s.store.Commit(ctx, append([]store.Change{join}, known...)...)
		if err == nil {
			return lease, nil
		}
		if errors.Is(err, store.ErrConflict) {
			err = s.takeOver(ctx, takeOver)
		}
		if err != nil {
			_ = s.store.Revoke(ctx, lease) // or it ends by itself
			if _, known := errors.AsType[*openimds.Error](err); known {
				return store.NoLease, err
			}
			return store.NoLease, storeFailed(err)
		}
	}
}

// knownHost is the change that has this service's host be known when it is gone. A name that was made up for this
// process is nobody's afterwards.
func (s *Service) knownHost() ([]store.Change, error) {
	if s.cfg.Nameless {
		return nil, nil
	}
	value, err := records.Encode(records.Known{Version: s.self.Version})
	return []store.Change{{Key: records.KnownKey(s.cfg.Host), Value: value, If: store.Whatever}}, err
}

// takeOver ends the lease of whoever is this host, if that may be.
func (s *Service) takeOver(ctx context.Context, may bool) error {
	was, err := s.store.Get(ctx, records.HostKey(s.cfg.Host))
	switch {
	case errors.Is(err, store.ErrNoRecord):
		return nil
	case err != nil:
		return err
	case !may:
		return openimds.Errorf(openimds.OperationFailure, openimds.InUse, "Another process says that it is the host %s; give each host a name of its own", s.cfg.Host)
	}
	if was.Lease == store.NoLease { // no lease takes it away: it was restored, or written by hand
		_, err := s.store.Commit(ctx, store.Change{Verb: store.Delete, Key: was.Key, If: was.Revision})
		if errors.Is(err, store.ErrConflict) {
			return nil // JoinHost looks again
		}
		return err
	}
	if err := s.store.Revoke(ctx, was.Lease); !errors.Is(err, store.ErrNoLease) {
		return err
	}
	return nil
}

// maxSeats is how many seats one commit takes; see maxEnded.
const maxSeats = 100

// TakeSeats says that the host of that lease is about to serve instances. What is changed of their options from
// then on is applied only when this host obeys it too, so the instances are read after it.
func (s *Service) TakeSeats(ctx context.Context, lease store.Lease, instances ...string) error {
	value, err := records.Encode(records.Seat{Process: s.process})
	if err != nil {
		return broken(err)
	}
	for len(instances) > 0 {
		n := min(len(instances), maxSeats)
		var changes []store.Change
		for _, name := range instances[:n] {
			changes = append(changes, store.Change{Verb: store.Put, Key: records.SeatKey(name, s.cfg.Host), Value: value, If: store.Whatever, Lease: lease})
		}
		if _, err := s.store.Commit(ctx, changes...); err != nil {
			return storeFailed(err)
		}
		instances = instances[n:]
	}
	return nil
}

// LeaveSeat says that this host serves an instance no more: one that was moved away from it is let go of. The seat that
// a later process of the host has taken stays, and then the host has not let go.
func (s *Service) LeaveSeat(ctx context.Context, instance string) error {
	_, err := s.commit(ctx, "LeaveSeat", func(d *draft) error {
		was, err := s.store.Get(ctx, records.SeatKey(instance, s.cfg.Host))
		switch {
		case errors.Is(err, store.ErrNoRecord):
			return s.draftLeft(ctx, d, instance)
		case err != nil:
			return storeFailed(err)
		}
		seat, err := read[records.Seat](was)
		if err != nil || seat.Process != s.process {
			return err
		}
		d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: was.Key, If: was.Revision})
		return s.draftLeft(ctx, d, instance)
	})
	return err
}

// waitsFor says whether others than this process have to obey an operation yet. A later process of this host is
// another: what this one obeys says nothing of it.
//
// Who seats an instance later obeys it from the start, so that what is read here cannot become untrue before the
// commit; and each host looks again when it has told that it obeys, so that the last of two at the same moment
// sees the other.
func (s *Service) waitsFor(ctx context.Context, instance, operation string) (others bool, own store.Record, err error) {
	page, err := s.store.List(ctx, store.Range{Prefix: records.SeatKey(instance, "")})
	if err != nil {
		return false, own, storeFailed(err)
	}
	for _, r := range page.Records {
		seat, err := read[records.Seat](r)
		if err != nil {
			return false, own, err
		}
		if seat.Process == s.process && r.Key == records.SeatKey(instance, s.cfg.Host) {
			own = r
			continue
		}
		others = others || seat.Obeys != operation
	}
	return others, own, nil
}

// obey drafts that this host obeys an operation, if it seats the instance and has not said so. It reports whether
// there was anything to say.
func (d *draft) obey(own store.Record, operation string) (bool, error) {
	if own.Key == "" {
		return false, nil
	}
	seat, err := read[records.Seat](own)
	if err != nil || seat.Obeys == operation {
		return false, err
	}
	seat.Obeys = operation
	d.note(own, seat)
	return true, nil
}
