package control

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// move drafts that an instance that is attached to another host is attached to a's from now on. The other one lets go
// first: until then, or until it is not there any more, nobody answers for the instance ([Service.LetGo]).
// The guest is taken for the same, wherever it is: its session tokens stay good.
func (s *Service) move(ctx context.Context, d *draft, was store.Record, before *openimds.Attachment, a openimds.Attachment) error {
	if err := s.refuseHost(ctx, d, a.Host); err != nil {
		return err
	}
	in, instanceWas, err := s.instance(ctx, a.Instance)
	if err != nil {
		return err
	}
	a.CreatedAt, a.Bound, a.Learned = d.now, nil, nil
	if a.From, err = s.serving(ctx, d, &a, append(slices.Clone(before.From), before.Host)); err != nil {
		return err
	}
	in.Bound, in.Links = nil, a.Links()
	d.noteInstance(instanceWas, in)
	if err := s.served(ctx, d, in, before); err != nil {
		return err
	}
	if err := s.leavePlace(ctx, d, before); err != nil {
		return err
	}
	if err := s.take(ctx, d, &a); err != nil {
		return err
	}
	d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: records.StatusKey(a.Instance), If: store.Whatever})
	d.put(was, &a)
	return nil
}

// serving returns those of the hosts, and of those that have a seat for the instance of a, that may answer for it: they
// have to let go before a's host begins. Those that are not there are none of them, and must not be when it is committed.
func (s *Service) serving(ctx context.Context, d *draft, a *openimds.Attachment, hosts []string) ([]string, error) {
	seats, err := s.store.List(ctx, store.Range{Prefix: records.SeatKey(a.Instance, ""), KeysOnly: true})
	if err != nil {
		return nil, storeFailed(err)
	}
	for _, r := range seats.Records {
		hosts = append(hosts, records.SeatingHost(r.Key))
	}
	slices.Sort(hosts)
	var from []string
	for _, name := range slices.Compact(hosts) {
		if name == a.Host {
			continue
		}
		r, err := s.store.Get(ctx, records.HostKey(name))
		switch {
		case errors.Is(err, store.ErrNoRecord):
			d.changes = append(d.changes, store.Change{Verb: store.Check, Key: records.HostKey(name), If: store.IfAbsent})
			continue
		case err != nil:
			return nil, storeFailed(err)
		}
		host, err := read[records.Host](r)
		if err != nil {
			return nil, err
		}
		if host.Attaches { // else it has no guest of an attachment
			from = append(from, name)
		}
	}
	return from, nil
}

// LetGo says that this service's host answers no more for instances that were moved to another one.
func (s *Service) LetGo(ctx context.Context, instances ...string) error {
	return s.letGo(ctx, s.cfg.Host, instances, func(*draft) (bool, error) { return true, nil })
}

// letGo takes a host from those whom the new ones of instances wait for, if that may be.
func (s *Service) letGo(ctx context.Context, host string, instances []string, may func(*draft) (bool, error)) error {
	for batch := range slices.Chunk(instances, maxSeats-1) {
		_, err := s.commit(ctx, "LetGo", func(d *draft) error {
			if ok, err := may(d); err != nil || !ok {
				return err
			}
			for _, name := range batch {
				if err := s.draftLetGo(ctx, d, host, name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// draftLetGo drafts that of one instance. An attachment that cannot be read attaches nobody, and stays as it is.
func (s *Service) draftLetGo(ctx context.Context, d *draft, host, instance string) error {
	was, err := s.store.Get(ctx, records.AttachmentPrefix+instance)
	if errors.Is(err, store.ErrNoRecord) {
		return nil
	}
	if err != nil {
		return storeFailed(err)
	}
	a, err := records.DecodeAttachment(was)
	if err != nil || !slices.Contains(a.From, host) {
		return nil
	}
	a.From = slices.DeleteFunc(a.From, func(other string) bool { return other == host })
	d.note(was, a)
	return nil
}

// SettleHosts does what has to be done for hosts that are gone without a word: what was moved away from them is waited
// for no longer, and when they were missed is written down.
func (s *Service) SettleHosts(ctx context.Context) error {
	moved := map[string][]string{} // by the host that has yet to let go
	err := s.walk(ctx, store.Range{Prefix: records.AttachmentPrefix}, func(r store.Record) {
		// Nearly none is on its way from another host; telling so costs less than reading it.
		if !bytes.Contains(r.Value, []byte(`"from"`)) {
			return
		}
		if a, err := records.DecodeAttachment(r); err == nil {
			for _, host := range a.From {
				moved[host] = append(moved[host], a.Instance)
			}
		}
	})
	if err != nil {
		return err
	}
	for host, instances := range moved {
		err := s.letGo(ctx, host, instances, func(d *draft) (gone bool, err error) {
			_, err = s.store.Get(ctx, records.HostKey(host))
			if err == nil {
				return false, nil
			}
			if !errors.Is(err, store.ErrNoRecord) {
				return false, storeFailed(err)
			}
			// It may come back meanwhile, and serves them then until it has let go.
			d.changes = append(d.changes, store.Change{Verb: store.Check, Key: records.HostKey(host), If: store.IfAbsent})
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return s.missHosts(ctx)
}

// missHosts writes down of the hosts that are not there that they were missed.
func (s *Service) missHosts(ctx context.Context) error {
	known, err := s.recordsOf(ctx, records.KnownPrefix)
	if err != nil {
		return err
	}
	for name := range known {
		_, err := s.commit(ctx, "MissHost", func(d *draft) error {
			was, err := s.store.Get(ctx, records.KnownKey(name))
			if err != nil && !errors.Is(err, store.ErrNoRecord) {
				return storeFailed(err)
			}
			if err != nil {
				return nil
			}
			of, err := read[records.Known](was)
			if err != nil || !of.Left.IsZero() {
				return err
			}
			switch _, err := s.store.Get(ctx, records.HostKey(name)); {
			case err == nil:
				return nil
			case !errors.Is(err, store.ErrNoRecord):
				return storeFailed(err)
			}
			of.Left = d.now
			d.note(was, of)
			d.changes = append(d.changes, store.Change{Verb: store.Check, Key: records.HostKey(name), If: store.IfAbsent})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
