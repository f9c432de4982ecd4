package guestside

import (
	"sync"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/imds"
)

// seat is where one instance is served: its guest, and what has to be made ready for it before the
// guest asks.
type seat struct {
	name        string
	guest       *imds.Guest
	faults      *faultEnds
	credentials Credentials
	signer      Signer

	mu sync.Mutex
	id string // of the instance that sits here; empty: none
}

// Set implements [agent.Seat].
func (s *seat) Set(in *openimds.Instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in != nil && s.credentials != nil {
		s.credentials.Keep(in) // first: the guest may ask at once
	}
	if err := s.guest.Set(in); err != nil {
		return err
	}
	s.faults.follow(s.name, in, s.guest)
	id := ""
	if in != nil {
		id = in.ID
	}
	if s.id != "" && s.id != id {
		s.drop(s.id)
	}
	s.id = id
	return nil
}

// drop gives up what was kept ready for an instance.
func (s *seat) drop(id string) {
	if s.credentials != nil {
		s.credentials.Drop(id)
	}
	if s.signer != nil {
		s.signer.Forget(id)
	}
}
