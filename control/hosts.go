package control

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// HostDoor is where hosts join a server.
type HostDoor interface {
	// AuthorityPEM is the certificate by which hosts know the replicas.
	AuthorityPEM() []byte
	// Addresses are where hosts reach them, HOST:PORT.
	Addresses() []string
}

// hostChange tells the audit of a change of a host, whose records are not a resource's.
func (d *draft) hostChange(name string, before, after map[string]any) {
	if d.service.cfg.Audit != nil {
		d.entries = append(d.entries, openimds.AuditEntry{Resource: string(openimds.TypeHost) + "/" + name, Before: before, After: after})
	}
}

// checkHost refuses what cannot be a host's name.
func checkHost(name string) error {
	if name == "" {
		return openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "Name the host")
	}
	return openimds.ValidateHost(name)
}

// EnrollHost invites a machine to join as the host of that name, once and for lasts at most, up to
// [openimds.MaxJoinTime]. An earlier invitation for the name is good no more. A machine that is that host by now stays
// so until another one joins.
//
// Errors: InvalidInput/Incomplete without a name, InvalidInput/OutOfRange for a time beyond that;
// OperationFailure/NotEnforced on a server without a door for hosts.
func (s *Service) EnrollHost(ctx context.Context, name string, lasts time.Duration) (openimds.Invitation, error) {
	if err := checkHost(name); err != nil {
		return openimds.Invitation{}, err
	}
	if lasts < time.Second || lasts > openimds.MaxJoinTime {
		return openimds.Invitation{}, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A machine has 1 second to %s to join", openimds.Brief(openimds.MaxJoinTime))
	}
	if s.cfg.Door == nil {
		return openimds.Invitation{}, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This server has no door for hosts; start it with one")
	}
	i := openimds.Invitation{Version: openimds.InvitationVersion, Host: name, Authority: string(s.cfg.Door.AuthorityPEM()), Replicas: s.cfg.Door.Addresses()}
	_, err := s.commit(ctx, "EnrollHost", func(d *draft) error {
		i.Token, i.Until = openimds.NewJoinToken(name), d.now.Add(lasts)
		d.note(store.Record{Key: records.JoinTokenKey(name), Revision: store.Whatever}, records.JoinToken{Sum: i.Token.Sum(), Until: i.Until})
		d.hostChange(name, nil, map[string]any{"invitedUntil": i.Until})
		return nil
	})
	if err != nil {
		return openimds.Invitation{}, err
	}
	return i, nil
}

// fleet is what the store has of hosts; each by their names.
type fleet struct {
	there    map[string]store.Record
	known    map[string]store.Record
	drained  map[string]store.Record
	enrolled map[string]store.Record
	invited  map[string]store.Record
	attached map[string]int
	seated   map[string]int
}

func (s *Service) recordsOf(ctx context.Context, prefix string) (map[string]store.Record, error) {
	page, err := s.store.List(ctx, store.Range{Prefix: prefix})
	if err != nil {
		return nil, storeFailed(err)
	}
	found := make(map[string]store.Record, len(page.Records))
	for _, r := range page.Records {
		found[strings.TrimPrefix(r.Key, prefix)] = r
	}
	return found, nil
}

func (s *Service) fleet(ctx context.Context) (f fleet, err error) {
	for prefix, into := range map[string]*map[string]store.Record{
		records.HostPrefix: &f.there, records.KnownPrefix: &f.known, records.DrainedPrefix: &f.drained,
		records.EnrolledPrefix: &f.enrolled, records.JoinTokenPrefix: &f.invited,
	} {
		if *into, err = s.recordsOf(ctx, prefix); err != nil {
			return f, err
		}
	}
	f.attached, f.seated = map[string]int{}, map[string]int{}
	err = s.walk(ctx, store.Range{Prefix: records.AttachmentPrefix}, func(r store.Record) {
		if host, err := records.HostOf(r); err == nil {
			f.attached[host]++
		}
	})
	if err != nil {
		return f, err
	}
	return f, s.walk(ctx, store.Range{Prefix: records.SeatPrefix, KeysOnly: true}, func(r store.Record) {
		f.seated[records.SeatingHost(r.Key)]++
	})
}

// fleetOf is what the store has of one host. A host of a large fleet is asked for by itself, not among all.
func (s *Service) fleetOf(ctx context.Context, name string) (f fleet, attached []*openimds.Attachment, err error) {
	for prefix, into := range map[string]*map[string]store.Record{
		records.HostPrefix: &f.there, records.KnownPrefix: &f.known, records.DrainedPrefix: &f.drained,
		records.EnrolledPrefix: &f.enrolled, records.JoinTokenPrefix: &f.invited,
	} {
		r, err := s.store.Get(ctx, prefix+name)
		switch {
		case err == nil:
			*into = map[string]store.Record{name: r}
		case !errors.Is(err, store.ErrNoRecord):
			return f, nil, storeFailed(err)
		}
	}
	if attached, err = s.AttachmentsOf(ctx, name); err != nil {
		return f, nil, err
	}
	f.attached, f.seated = map[string]int{name: len(attached)}, map[string]int{}
	return f, attached, s.walk(ctx, store.Range{Prefix: records.SeatPrefix, KeysOnly: true}, func(r store.Record) {
		if records.SeatingHost(r.Key) == name {
			f.seated[name]++
		}
	})
}

// host puts together what is known of one; false: nothing is.
func (f *fleet) host(name string) (h openimds.FleetHost, known bool, err error) {
	h = openimds.FleetHost{Name: name, Attachments: f.attached[name], Seats: f.seated[name]}
	known = h.Attachments > 0
	if r, ok := f.known[name]; ok {
		of, err := read[records.Known](r)
		if err != nil {
			return h, true, err
		}
		h.Version, h.Left, known = of.Version, of.Left, true
	}
	if r, ok := f.there[name]; ok {
		of, err := read[records.Host](r)
		if err != nil {
			return h, true, err
		}
		h.There, h.Since, h.Left, h.Version, h.Attaches, h.Why, known = true, of.Since, time.Time{}, of.Version, of.Attaches, of.Why, true
	}
	if r, ok := f.drained[name]; ok {
		of, err := read[records.Drained](r)
		if err != nil {
			return h, true, err
		}
		h.Drained, known = of.Since, true
	}
	if r, ok := f.enrolled[name]; ok {
		of, err := read[records.Enrolled](r)
		if err != nil {
			return h, true, err
		}
		h.JoinedAt, h.CertificateEnds, known = of.JoinedAt, of.CertificateEnds, true
	}
	if r, ok := f.invited[name]; ok {
		of, err := read[records.JoinToken](r)
		if err != nil {
			return h, true, err
		}
		h.InvitedUntil, known = of.Until, true
	}
	return h, known, nil
}

// Hosts lists the hosts that are there, were there, may join, or have instances attached, in the order of their names.
func (s *Service) Hosts(ctx context.Context) ([]openimds.FleetHost, error) {
	f, err := s.fleet(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, of := range []map[string]store.Record{f.there, f.known, f.drained, f.enrolled, f.invited} {
		for name := range of {
			names[name] = true
		}
	}
	for name := range f.attached {
		names[name] = true
	}
	all := make([]openimds.FleetHost, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		h, known, err := f.asOf(name, s.cfg.Now())
		if err != nil {
			return nil, err
		}
		if known {
			all = append(all, h)
		}
	}
	return all, nil
}

// asOf is what is known of a host at that time; false: nothing is, or nobody came by the name who might.
func (f *fleet) asOf(name string, now time.Time) (openimds.FleetHost, bool, error) {
	h, known, err := f.host(name)
	if err != nil || h.InvitedUntil.IsZero() || now.Before(h.InvitedUntil) {
		return h, known, err
	}
	h.InvitedUntil = time.Time{}
	return h, h.There || h.Version != "" || !h.Left.IsZero() || !h.JoinedAt.IsZero() || !h.Drained.IsZero() || h.Attachments > 0, nil
}

// Host is what is known of one host, with the attachments there, which include those that another host has yet to let
// go of, in the order of the instances' names.
//
// Errors: InvalidInput/Incomplete without a name; NotFound/DoesNotExist.
func (s *Service) Host(ctx context.Context, name string) (openimds.FleetHost, []*openimds.Attachment, error) {
	if err := checkHost(name); err != nil {
		return openimds.FleetHost{}, nil, err
	}
	f, attached, err := s.fleetOf(ctx, name)
	if err != nil {
		return openimds.FleetHost{}, nil, err
	}
	h, known, err := f.asOf(name, s.cfg.Now())
	if err != nil {
		return openimds.FleetHost{}, nil, err
	}
	if !known {
		return openimds.FleetHost{}, nil, doesNotExist(openimds.TypeHost, name)
	}
	return h, attached, nil
}

// DrainHost has a host take no new attachments. What is attached there stays until it is moved or detached. To drain
// a drained host changes nothing.
//
// Errors: InvalidInput/Incomplete without a name; NotFound/DoesNotExist.
func (s *Service) DrainHost(ctx context.Context, name string) error {
	if _, _, err := s.Host(ctx, name); err != nil {
		return err
	}
	_, err := s.commit(ctx, "DrainHost", func(d *draft) error {
		switch _, err := s.store.Get(ctx, records.DrainedKey(name)); {
		case err == nil:
			return nil
		case !errors.Is(err, store.ErrNoRecord):
			return storeFailed(err)
		}
		d.note(store.Record{Key: records.DrainedKey(name), Revision: store.IfAbsent}, records.Drained{Since: d.now})
		d.hostChange(name, map[string]any{"drained": false}, map[string]any{"drained": true})
		return nil
	})
	return err
}

// UndrainHost has a host take attachments again. To do so with one that is not drained changes nothing.
//
// Errors: InvalidInput/Incomplete without a name; NotFound/DoesNotExist.
func (s *Service) UndrainHost(ctx context.Context, name string) error {
	if _, _, err := s.Host(ctx, name); err != nil {
		return err
	}
	_, err := s.commit(ctx, "UndrainHost", func(d *draft) error {
		was, err := s.store.Get(ctx, records.DrainedKey(name))
		switch {
		case errors.Is(err, store.ErrNoRecord):
			return nil
		case err != nil:
			return storeFailed(err)
		}
		d.changes = append(d.changes, store.Change{Verb: store.Delete, Key: was.Key, If: was.Revision})
		d.hostChange(name, map[string]any{"drained": true}, map[string]any{"drained": false})
		return nil
	})
	return err
}

// refuseHost refuses a host that is not there, attaches nothing or is drained. What it goes by still holds when the
// draft is committed, but that the host is there.
func (s *Service) refuseHost(ctx context.Context, d *draft, name string) error {
	drained, err := s.store.Get(ctx, records.DrainedKey(name))
	switch {
	case err == nil:
		since, err := read[records.Drained](drained)
		if err != nil {
			return err
		}
		return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, "The host %s takes no new attachments: it is drained since %s; attach to another, or undrain it", name, since.Since.Format(time.RFC3339))
	case !errors.Is(err, store.ErrNoRecord):
		return storeFailed(err)
	}
	d.changes = append(d.changes, store.Change{Verb: store.Check, Key: records.DrainedKey(name), If: store.IfAbsent})
	return s.refuseAbsent(ctx, name)
}

// refuseAbsent refuses a host that is not there, or attaches nothing.
func (s *Service) refuseAbsent(ctx context.Context, name string) error {
	if name == s.cfg.Host {
		return nil // it is this very process
	}
	r, err := s.store.Get(ctx, records.HostKey(name))
	if errors.Is(err, store.ErrNoRecord) {
		return s.absent(ctx, name)
	}
	if err != nil {
		return storeFailed(err)
	}
	host, err := read[records.Host](r)
	if err != nil {
		return err
	}
	if !host.Attaches {
		return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "The host %s attaches no instances: %s", name, host.Why)
	}
	return nil
}

// absent says why a host is not there.
func (s *Service) absent(ctx context.Context, name string) error {
	for _, key := range []string{records.KnownKey(name), records.EnrolledKey(name)} {
		_, err := s.store.Get(ctx, key)
		if err == nil {
			return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "The host %s is not there now, so that nobody would carry it out; start it, or attach to another", name)
		}
		if !errors.Is(err, store.ErrNoRecord) {
			return storeFailed(err)
		}
	}
	return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "There is no host %s; see which there are, or enroll it first", name)
}
