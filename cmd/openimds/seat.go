package main

import (
	"sync"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/imds"
)

// seat is where one instance is served on this host: its guest, and what has to be made ready for it
// before the guest asks.
type seat struct {
	guest       *imds.Guest
	credentials *credentials.Sources
	signer      *identity.Signer

	mu sync.Mutex
	id string // of the instance that sits here; empty: none
}

// Set implements [agent.Seat].
func (s *seat) Set(in *openimds.Instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in != nil {
		s.credentials.Keep(in) // first: the guest may ask at once
	}
	if err := s.guest.Set(in); err != nil {
		return err
	}
	id := ""
	if in != nil {
		id = in.ID
	}
	if s.id != "" && s.id != id {
		s.credentials.Drop(s.id)
		s.signer.Forget(s.id)
	}
	s.id = id
	return nil
}
