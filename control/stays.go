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

// maxStays is how many times in which a host had an instance are told apart; of more, the earliest are taken for one.
const maxStays = 32

// Stays are the times in which a host had an instance, the earliest first. The end of the last one is zero while it has it,
// or may go on answering for it.
type Stays []span

// Has says whether it had it at some moment of a time.
func (s Stays) Has(since, until time.Time) bool {
	for _, stay := range s {
		if !stay.since.After(until) && (stay.until.IsZero() || !stay.until.Before(since)) {
			return true
		}
	}
	return false
}

// StaysOf tells when a host had instances, as it is asked of them one after the other.
type StaysOf struct {
	host  string
	whole enrolled // the store of all regions: a replica may lack one that the host has instances in
	parts []string
	known map[string]Stays
}

// StaysOf is for the requests of one moment: what it has found out it does not ask again.
func (h *Hosted) StaysOf(ctx context.Context) (*StaysOf, error) {
	of := h.service.store.(enrolled)
	of.Store = h.service.whole()
	parts, err := parts(ctx, of)
	return &StaysOf{host: h.Name(), whole: of, parts: parts, known: map[string]Stays{}}, err
}

// Instance tells when the host had the instance of that id, in whatever region, as far back as what it counted may be told
// late; none: it never had. A host that was cut off when the instance was taken away from it has it until it is there
// again, as its guest is answered until then.
func (of *StaysOf) Instance(ctx context.Context, id string) (Stays, error) {
	all, known := of.known[id]
	if known {
		return all, nil
	}
	for _, part := range of.parts {
		some, err := of.instance(ctx, part, id)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	of.known[id] = all
	return all, nil
}

func (of *StaysOf) instance(ctx context.Context, part, id string) (stays Stays, err error) {
	r, err := of.whole.Get(ctx, part+records.ServedKey(id, of.host))
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return nil, storeFailed(err)
	}
	if err == nil {
		if _, err := records.DecodeServed(r); err != nil {
			return Stays{{}}, nil // it had it: when, what cannot be read does not tell
		}
		had, err := closeStays(ctx, of.whole, part, r)
		if err != nil {
			return nil, err
		}
		for _, s := range had.Stays {
			one := span{s.From, s.Until}
			if s.Open {
				one.until = time.Time{}
			}
			stays = append(stays, one)
		}
	}
	name, err := of.whole.Get(ctx, part+records.InstanceIDKey(id))
	if errors.Is(err, store.ErrNoRecord) {
		return stays, nil
	}
	if err != nil {
		return nil, storeFailed(err)
	}
	a, err := of.attached(ctx, part, string(name.Value))
	if err != nil {
		return nil, err
	}
	if a != nil {
		stays = append(stays, span{since: a.CreatedAt})
	}
	return stays, nil
}

// attached is the host's attachment of that instance; nil: it has none. One that cannot be read, as of a later release, is
// known by the place that it has.
func (of *StaysOf) attached(ctx context.Context, part, instance string) (*openimds.Attachment, error) {
	r, err := of.whole.Get(ctx, part+records.AttachmentPrefix+instance)
	if errors.Is(err, store.ErrNoRecord) {
		return nil, nil
	}
	if err != nil {
		return nil, storeFailed(err)
	}
	r.Key = records.AttachmentPrefix + instance
	if a, err := records.DecodeAttachment(r); err == nil {
		if a.Host != of.host {
			return nil, nil
		}
		return a, nil
	}
	places, err := of.whole.List(ctx, store.Range{Prefix: records.PlacesOf(of.host)})
	if err != nil {
		return nil, storeFailed(err)
	}
	for _, r := range places.Records {
		there, _ := records.Decode[place](r) // of what cannot be read either nothing is known
		for i := range there {
			if p := &there[i]; p.Instance == instance && partOf(p.Region) == part {
				return &p.Attachment, nil
			}
		}
	}
	return nil, nil
}

// endStays ends the times in which a host may go on answering for instances that were taken away from it.
func (s *Service) endStays(ctx context.Context, whole store.Store, part, host string) error {
	for r := (store.Range{Prefix: part + records.ServedPrefix, Limit: 1000}); ; {
		page, err := whole.List(ctx, r)
		if err != nil {
			return err
		}
		for _, record := range page.Records {
			r.After = record.Key
			if records.ServingHost(strings.TrimPrefix(record.Key, part)) != host {
				continue
			}
			if err := s.endStay(ctx, whole, record); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
}

func (s *Service) endStay(ctx context.Context, whole store.Store, r store.Record) error {
	for {
		had, err := records.DecodeServed(r)
		if err != nil || !had.Close(s.cfg.Now().UTC()) {
			return nil
		}
		value, err := records.Encode(had)
		if err != nil {
			return err
		}
		_, err = whole.Commit(ctx, store.Change{Verb: store.Put, Key: r.Key, Value: value, If: r.Revision})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if r, err = whole.Get(ctx, r.Key); errors.Is(err, store.ErrNoRecord) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// FormerHosts tells, from the store of all regions, which hosts had instances that were taken away from them.
func FormerHosts(whole store.Store) openimds.FormerHosts {
	return func(ctx context.Context, instanceID string) (all []openimds.FormerHost, err error) {
		parts, err := parts(ctx, whole)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			prefix := part + records.ServedPrefix
			if instanceID != "" {
				prefix = part + records.ServedKey(instanceID, "")
			}
			page, err := whole.List(ctx, store.Range{Prefix: prefix})
			if err != nil {
				return nil, storeFailed(err)
			}
			for _, r := range page.Records {
				key := strings.TrimPrefix(r.Key, part)
				id, host, _ := strings.Cut(strings.TrimPrefix(key, records.ServedPrefix), "/")
				had, err := records.DecodeServed(r)
				if err != nil {
					had = records.Served{Stays: []records.Stay{{Open: true}}} // it may be any time
				}
				for _, s := range had.Stays {
					f := openimds.FormerHost{InstanceID: id, Host: host, Since: s.From, Until: s.Until}
					if s.Open {
						f.Until = time.Time{}
					}
					all = append(all, f)
				}
			}
		}
		return all, nil
	}
}

// served drafts that the time ends in which the host of an attachment had the instance, or had it by other marks.
func (s *Service) served(ctx context.Context, d *draft, in *openimds.Instance, a *openimds.Attachment) error {
	was, of, err := s.staysOf(ctx, in.ID, a.Host)
	if err != nil {
		return err
	}
	comes, err := s.mayCome(ctx, a.Host)
	if err != nil {
		return err
	}
	of.Stays = append(of.Stays, records.Stay{From: a.CreatedAt, Until: d.now, Open: comes})
	for len(of.Stays) > maxStays {
		of.Stays[1].From = of.Stays[0].From
		of.Stays = of.Stays[1:]
	}
	for d.now.Sub(of.Stays[0].Until) >= openimds.CallersKept {
		of.Stays = of.Stays[1:]
	}
	d.note(was, of)
	return nil
}

// mayCome says whether a host is there or may come back, and have more to tell then: one that was evicted does not.
func (s *Service) mayCome(ctx context.Context, host string) (bool, error) {
	for _, key := range []string{records.HostKey(host), records.EnrolledKey(host)} {
		_, err := s.store.Get(ctx, key)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, store.ErrNoRecord) {
			return false, storeFailed(err)
		}
	}
	r, err := s.store.Get(ctx, records.KnownKey(host))
	if errors.Is(err, store.ErrNoRecord) {
		return false, nil
	}
	if err != nil {
		return false, storeFailed(err)
	}
	known, err := records.Decode[records.Known](r)
	return err != nil || !known.Evicted, nil
}

// staysOf reads the times in which a host had an instance; none: there is no record. One that is damaged is begun anew.
func (s *Service) staysOf(ctx context.Context, instanceID, host string) (was store.Record, of records.Served, err error) {
	key := records.ServedKey(instanceID, host)
	was, err = s.store.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return store.Record{Key: key, Revision: store.IfAbsent}, of, nil
	}
	if err != nil {
		return was, of, storeFailed(err)
	}
	of, err = records.DecodeServed(was)
	if records.IsLater(err) { // which is not this program's to replace
		return was, of, broken(err)
	}
	return was, of, nil
}

// draftLeft drafts that this service's host answers no more for an instance, which may be another host's by now.
func (s *Service) draftLeft(ctx context.Context, d *draft, instance string) error {
	in, _, err := s.instance(ctx, instance)
	if openimds.KindOf(err) == openimds.NotFound {
		return s.draftLetGo(ctx, d, s.cfg.Host, instance)
	}
	if err != nil {
		return err
	}
	was, of, err := s.staysOf(ctx, in.ID, s.cfg.Host)
	if err != nil {
		return err
	}
	if of.Close(d.now) {
		d.note(was, of)
	}
	return s.draftLetGo(ctx, d, s.cfg.Host, instance)
}

// closeStays reads the times in which a host had an instance, and ends those that are open once it has come anew: it says
// so when it has heard of all that was taken away from it. part is the region's in that store.
func closeStays(ctx context.Context, in store.Store, part string, r store.Record) (records.Served, error) {
	had, err := records.DecodeServed(r)
	if err != nil {
		return had, broken(err)
	}
	there, err := in.Get(ctx, part+records.HostKey(records.ServingHost(strings.TrimPrefix(r.Key, part))))
	if errors.Is(err, store.ErrNoRecord) {
		return had, nil
	}
	if err != nil {
		return had, storeFailed(err)
	}
	host, err := read[records.Host](there)
	if err != nil || !had.Close(host.Since) {
		return had, err
	}
	value, err := records.Encode(had)
	if err != nil {
		return had, broken(err)
	}
	// The latest time that it came is known alone, so that this is to be kept before it comes once more.
	_, err = in.Commit(ctx, store.Change{Verb: store.Put, Key: r.Key, Value: value, If: r.Revision})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return had, storeFailed(err)
	}
	return had, nil
}
