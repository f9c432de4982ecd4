package control

import (
	"context"
	"errors"
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

// Stays tells when this host had the instance of that id, as far back as what it counted may be told late; ErrNotServed:
// it never had. A host that was cut off when the instance was taken away from it has it until it is there again, as its
// guest is answered until then.
func (h *Hosted) Stays(ctx context.Context, instanceID string) (Stays, error) {
	var stays Stays
	r, err := h.service.store.Get(ctx, records.ServedKey(instanceID, h.Name()))
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return nil, storeFailed(err)
	}
	if err == nil {
		of, err := h.service.closeStays(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, s := range of.Stays {
			one := span{s.From, s.Until}
			if s.Open {
				one.until = time.Time{}
			}
			stays = append(stays, one)
		}
	}
	name, err := h.service.store.Get(ctx, records.InstanceIDKey(instanceID))
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return nil, storeFailed(err)
	}
	if err == nil {
		switch a, _, err := h.attachment(ctx, string(name.Value)); {
		case err == nil:
			stays = append(stays, span{since: a.CreatedAt})
		case !errors.Is(err, ErrNotServed):
			return nil, err
		}
	}
	if len(stays) == 0 {
		return nil, ErrNotServed
	}
	return stays, nil
}

// served drafts that the time ends in which the host of an attachment had the instance, or had it by other marks.
func (s *Service) served(ctx context.Context, d *draft, in *openimds.Instance, a *openimds.Attachment) error {
	was, of, err := s.staysOf(ctx, in.ID, a.Host)
	if err != nil {
		return err
	}
	of.Stays = append(of.Stays, records.Stay{From: a.CreatedAt, Until: d.now, Open: true})
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
	of, _ = records.DecodeServed(was)
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
// so when it has heard of all that was taken away from it.
func (s *Service) closeStays(ctx context.Context, r store.Record) (records.Served, error) {
	of, err := records.DecodeServed(r)
	if err != nil {
		return of, broken(err)
	}
	there, err := s.store.Get(ctx, records.HostKey(records.ServingHost(r.Key)))
	if errors.Is(err, store.ErrNoRecord) {
		return of, nil
	}
	if err != nil {
		return of, storeFailed(err)
	}
	host, err := read[records.Host](there)
	if err != nil || !of.Close(host.Since) {
		return of, err
	}
	value, err := records.Encode(of)
	if err != nil {
		return of, broken(err)
	}
	// The latest time that it came is known alone, so that this is to be kept before it comes once more.
	_, err = s.store.Commit(ctx, store.Change{Verb: store.Put, Key: r.Key, Value: value, If: r.Revision})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return of, storeFailed(err)
	}
	return of, nil
}
