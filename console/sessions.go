package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/sigv4"
)

// How long a session lasts: so long without a request, and so long in all.
const (
	idleTime  = time.Hour
	wholeTime = 12 * time.Hour
)

// Of one access key there are so many sessions at once, and each has so many streams.
const (
	maxSessions = 64
	maxStreams  = 32
)

// Door is who knows access keys; a [sigv4.Verifier] is one.
type Door interface {
	// CheckSecret tells whose a key is. A refusal is a [*sigv4.Error].
	CheckSecret(remoteAddr, id, secret string) (sigv4.Identity, error)
	// Wrong takes note of anything else that is wrong, and is the refusal.
	Wrong(remoteAddr string) error
}

// SessionsConfig is what [Sessions] work with.
type SessionsConfig struct {
	// File keeps the sessions while the server is restarted; empty: they end with it.
	File string
	// Keys finds an access key by its id, as in [sigv4.Config].
	Keys func(id string) (accesskeys.Key, bool, error)
	Door Door
	// Audit is told of who signs in and out, Refused of who may not; nil: nobody is.
	Audit   func(context.Context, ...openimds.AuditEntry) error
	Refused api.Refused
	// Log takes what went wrong inside; nil: nothing is logged.
	Log *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Sessions are who is signed in, and the links by which somebody may. A session is an access key's: it has the rights
// that the key has at each request, and ends with it.
type Sessions struct {
	cfg SessionsConfig

	mu    sync.Mutex
	open  map[digest]*session
	links map[digest]link
}

// digest stands for a token in memory and in files, which then open nothing for whoever reads them.
type digest [sha256.Size]byte

// session is one browser's being signed in.
type session struct {
	keyID string
	// proof is made of the session's token and the key's secret: another secret under the same id is another key.
	proof       digest
	begun, used time.Time
	streams     int
	over        chan struct{} // closed at its end
}

// NewSessions makes sessions, with those of the file that have not ended.
func NewSessions(cfg SessionsConfig) *Sessions {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sessions{cfg: cfg, open: map[digest]*session{}, links: map[digest]link{}}
	s.load()
	return s
}

// errOver is what answers a request without a session.
var errOver = &sigv4.Error{Code: "SessionExpired", Message: "Nobody is signed in here, or the session has ended: sign in", Status: http.StatusUnauthorized}

// CheckHead implements [api.Authenticator]: who has a session has shown to hold a key.
func (s *Sessions) CheckHead(r *http.Request, _ string) (proven bool, err error) {
	_, err = s.Verify(r, "", nil)
	return err == nil, err
}

// Verify implements [api.Authenticator].
func (s *Sessions) Verify(r *http.Request, _ string, _ []byte) (sigv4.Identity, error) {
	who, _, err := s.find(r, true)
	return who, err
}

// find is the session of a request. use says that the request keeps it from being idle.
func (s *Sessions) find(r *http.Request, use bool) (sigv4.Identity, *session, error) {
	token := tokenOf(r)
	if token == "" {
		return sigv4.Identity{}, nil, errOver
	}
	id := digest(sha256.Sum256([]byte(token)))
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.open[id]
	if found == nil {
		return sigv4.Identity{}, nil, errOver
	}
	key, known, err := s.cfg.Keys(found.keyID)
	if err != nil {
		return sigv4.Identity{}, nil, fmt.Errorf("look up an access key: %w", err)
	}
	now := s.cfg.Now()
	if proof := proofOf(token, key); !known || found.ended(now) || !hmac.Equal(proof[:], found.proof[:]) {
		s.end(id)
		return sigv4.Identity{}, nil, errOver
	}
	if use {
		found.used = now
	}
	return sigv4.Identity{KeyID: key.ID, Profile: key.Profile, ReadOnly: key.ReadOnly}, found, nil
}

// ended says whether a session has lasted as long as it may. One that began later than now is of a clock that was turned back.
func (s *session) ended(now time.Time) bool {
	return now.Sub(s.used) > idleTime || now.Sub(s.begun) > wholeTime || s.begun.Sub(now) > time.Minute
}

// proofOf binds a session's token to a key.
func proofOf(token string, key accesskeys.Key) digest {
	mac := hmac.New(sha256.New, []byte(token))
	_, _ = mac.Write([]byte(key.Secret))
	return digest(mac.Sum(nil))
}

// begin makes a session of a key whose holder has shown to have it, and returns its token.
func (s *Sessions) begin(who sigv4.Identity) (token string, err error) {
	key, known, err := s.cfg.Keys(who.KeyID)
	if err != nil {
		return "", fmt.Errorf("look up an access key: %w", err)
	}
	if !known {
		return "", errOver
	}
	token = newToken()
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(key.ID, now)
	s.open[sha256.Sum256([]byte(token))] = &session{
		keyID: key.ID, proof: proofOf(token, key), begun: now, used: now, over: make(chan struct{}),
	}
	s.save()
	return token, nil
}

// makeRoom ends what has lasted as long as it may, and of a key with too many sessions the one that was used least lately.
func (s *Sessions) makeRoom(keyID string, now time.Time) {
	var oldest digest
	count := 0
	for id, open := range s.open {
		switch {
		case open.ended(now):
			s.drop(id)
		case open.keyID == keyID:
			if count == 0 || open.used.Before(s.open[oldest].used) {
				oldest = id
			}
			count++
		}
	}
	if count >= maxSessions {
		s.drop(oldest)
	}
}

// end ends a session for good. s.mu is held.
func (s *Sessions) end(id digest) {
	if s.open[id] != nil {
		s.drop(id)
		s.save()
	}
}

func (s *Sessions) drop(id digest) {
	close(s.open[id].over)
	delete(s.open, id)
}

// leave ends the session of a request, if it has one, and says whose it was.
func (s *Sessions) leave(r *http.Request) (sigv4.Identity, bool) {
	who, _, err := s.find(r, false)
	if err != nil {
		return who, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(sha256.Sum256([]byte(tokenOf(r))))
	return who, true
}

// newToken is 256 random bits.
func newToken() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails
	return base64.RawURLEncoding.EncodeToString(random)
}

// cookieName is of the port, too: browsers keep cookies by address alone, so that two servers on one machine would sign
// each other's users out.
func cookieName(r *http.Request) string {
	name := "openimds-console"
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(at.String()); err == nil {
			name += "-" + port
		}
	}
	if r.TLS != nil {
		name = "__Secure-" + name
	}
	return name
}

func tokenOf(r *http.Request) string {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// setCookie gives a browser a token, or with the empty one takes it back.
func setCookie(w http.ResponseWriter, r *http.Request, token string) {
	cookie := &http.Cookie{
		Name: cookieName(r), Value: token, Path: "/console", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
		MaxAge: int(wholeTime / time.Second),
	}
	if token == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}
