package openimds

import (
	"cmp"
	"context"
)

// GuardedPlace is a place of this host where an instance was attached and none is now. From there nobody
// reaches another metadata service through the host: its credentials are not the guest's.
type GuardedPlace struct {
	Interface string
	Netns     string // a path; one of the two
}

// Name is by what [Service.ReleasePlaces] is told of the place.
func (p GuardedPlace) Name() string { return cmp.Or(p.Interface, p.Netns) }

// GuardedPlaces lists the guarded places of this host, in the order of their names.
func (s *Service) GuardedPlaces() []GuardedPlace {
	if s.cfg.Attachments == nil {
		return nil
	}
	return s.cfg.Attachments.Guarded()
}

// ReleasePlaces ends the guard of these places, or of all with no names, and returns those that it was
// ended of. Places that are attached are not touched. What the host keeps is no record of
// the store, but the audit is told of the change as of others: [Unavailable] when it cannot be, and nothing
// is released.
func (s *Service) ReleasePlaces(ctx context.Context, names []string) ([]GuardedPlace, error) {
	if s.cfg.Attachments == nil {
		return nil, Errorf(OperationFailure, "", "This server attaches no instances, so it guards no place; 'openimds release --offline' does without a server")
	}
	d := &draft{service: s, now: s.cfg.Now().UTC()}
	for _, name := range names {
		d.entries = append(d.entries, AuditEntry{Resource: "Place/" + name})
	}
	if len(names) == 0 {
		var guarded []string
		for _, p := range s.cfg.Attachments.Guarded() {
			guarded = append(guarded, p.Name())
		}
		d.entries = []AuditEntry{{Resource: "Place/*", Before: map[string]any{"guarded": guarded}}}
	}
	entries := s.entries(ctx, "ReleasePlaces", d)
	if err := s.tell(ctx, entries); err != nil {
		return nil, err
	}
	released, err := s.cfg.Attachments.Release(names)
	if err != nil {
		s.takeBack(ctx, entries, "the host failed, a part may have been released: "+err.Error())
	}
	return released, err
}
