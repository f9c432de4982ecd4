package openimds

import "context"

// GuardedPlace is a place of this host where an instance was attached and none is now. From there nobody
// reaches another metadata service through the host: its credentials are not the guest's.
type GuardedPlace struct {
	Interface string
	Netns     string // a path; one of the two
}

// GuardedPlaces lists the guarded places of this host, in the order of their names.
func (s *Service) GuardedPlaces() []GuardedPlace {
	if s.cfg.Attachments == nil {
		return nil
	}
	return s.cfg.Attachments.Guarded()
}

// ReleasePlaces ends the guard of these places, or of all with no names, and returns those that it was
// ended of. Places that are attached are not touched.
func (s *Service) ReleasePlaces(_ context.Context, names []string) ([]GuardedPlace, error) {
	if s.cfg.Attachments == nil {
		return nil, Errorf(OperationFailure, "", "This server attaches no instances, so it guards no place; 'openimds release --offline' does without a server")
	}
	return s.cfg.Attachments.Release(names)
}
