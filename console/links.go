package console

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/sigv4"
)

// linkTime is how long a link may be used, once.
const linkTime = 60 * time.Second

// maxLinks of one access key wait to be used; one more takes the earliest's place.
const maxLinks = 16

// link lets one browser sign in with a key whose holder has signed for it.
type link struct {
	keyID string
	until time.Time
}

type bySession struct{}

// Link makes the token of a link for whoever has signed the request that it is asked by. A session makes none: it would
// outlive itself by it.
//
// Errors: AccessDenied/Conflicting.
func (s *Sessions) Link(ctx context.Context, who sigv4.Identity) (token string, until time.Time, err error) {
	if ctx.Value(bySession{}) != nil {
		return "", until, openimds.Errorf(openimds.AccessDenied, openimds.Conflicting, "A link to the console is made for a signed request only: run 'openimds console'")
	}
	token, until = newToken(), s.cfg.Now().Add(linkTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	var earliest digest
	count := 0
	for id, l := range s.links {
		switch {
		case s.cfg.Now().After(l.until):
			delete(s.links, id)
		case l.keyID == who.KeyID:
			if count == 0 || l.until.Before(s.links[earliest].until) {
				earliest = id
			}
			count++
		}
	}
	if count >= maxLinks {
		delete(s.links, earliest)
	}
	s.links[sha256.Sum256([]byte(token))] = link{who.KeyID, until}
	return token, until, nil
}

// follow uses a link up, and says whose key it is of.
func (s *Sessions) follow(token string) (sigv4.Identity, bool) {
	id := digest(sha256.Sum256([]byte(token)))
	s.mu.Lock()
	l, found := s.links[id]
	delete(s.links, id)
	s.mu.Unlock()
	if !found || s.cfg.Now().After(l.until) {
		return sigv4.Identity{}, false
	}
	key, known, err := s.cfg.Keys(l.keyID)
	if err != nil || !known {
		return sigv4.Identity{}, false
	}
	return sigv4.Identity{KeyID: key.ID, Profile: key.Profile, ReadOnly: key.ReadOnly}, true
}
