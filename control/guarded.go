package control

import (
	"context"

	"github.com/openimds/openimds"
)

// GuardedPlaces lists the guarded places of this host, in the order of their names.
func (s *Service) GuardedPlaces() []openimds.GuardedPlace {
	if s.cfg.Attachments == nil {
		return nil
	}
	return s.ofThisHost(s.cfg.Attachments.Guarded())
}

func (s *Service) ofThisHost(places []openimds.GuardedPlace) []openimds.GuardedPlace {
	for i := range places {
		places[i].Host = s.cfg.Host
	}
	return places
}

// ReleasePlaces ends the guard of these places, or of all with no names, and returns those that it was
// ended of. Places that are attached are not touched. What the host keeps is no record of
// the store, but the audit is told of the change as of others: [openimds.Unavailable] when it cannot be, and nothing
// is released.
//
// Errors: OperationFailure/NotEnforced on a server that attaches none; what the host says of a place that is not
// guarded. When the host fails, a part may have been released.
func (s *Service) ReleasePlaces(ctx context.Context, names []string) ([]openimds.GuardedPlace, error) {
	if s.cfg.Attachments == nil {
		return nil, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This server attaches no instances, so it guards no place; 'openimds release --offline' does without a server")
	}
	d := &draft{service: s, now: s.cfg.Now().UTC()}
	for _, name := range names {
		d.entries = append(d.entries, openimds.AuditEntry{Resource: "Place/" + name})
	}
	if len(names) == 0 {
		var guarded []string
		for _, p := range s.cfg.Attachments.Guarded() {
			guarded = append(guarded, p.Name())
		}
		d.entries = []openimds.AuditEntry{{Resource: "Place/*", Before: map[string]any{"guarded": guarded}}}
	}
	entries := s.entries(ctx, "ReleasePlaces", d)
	if err := s.tellAlone(ctx, entries); err != nil {
		return nil, err
	}
	released, err := s.cfg.Attachments.Release(names)
	if err != nil {
		s.takeBackAlone(ctx, entries, "the host failed, a part may have been released: "+err.Error())
	}
	return s.ofThisHost(released), err
}
