// Package sigv4 verifies requests that AWS clients sign with Signature Version 4 (IAM User Guide,
// "Create a signed AWS API request").
//
// It knows header authentication only, which is what clients use for JSON APIs, and is stricter
// than AWS where leniency would let somebody on the way alter a request: whatever may decide what a
// request does has to be signed, and has to be there once.
package sigv4

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
)

// MaxSkew is how far a request's date may lie from the server's, both ways.
const MaxSkew = 15 * time.Minute

// Config says what a [Verifier] accepts.
type Config struct {
	// Regions are those that a signature may be scoped to.
	Regions []string
	// Keys finds an access key by its id; false means that there is none. An error means that
	// nobody can tell: the request is refused.
	Keys func(id string) (accesskeys.Key, bool, error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// WrongPerSecond is how many wrong signatures a second from one address are answered in full
	// (ten times as many in a burst); 0 is no limit. A right signature is never held back, so
	// nobody can lock the owner of a key out, not even from the same address.
	WrongPerSecond float64
}

// Identity is who signed a request.
type Identity struct {
	KeyID    string
	Profile  string
	ReadOnly bool
}

// Verifier verifies signed requests. It is safe for use by many goroutines.
type Verifier struct {
	cfg Config
	// decoy stands in for the secret of a key that does not exist, so that finding that out takes
	// the same work.
	decoy string
	keys  keyCache
	wrong *limiter
}

// New makes a verifier.
func New(cfg Config) *Verifier {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Verifier{cfg: cfg, decoy: rand.Text(), wrong: &limiter{perSecond: cfg.WrongPerSecond}}
}

// In makes a verifier like v that takes signatures of one region. Wrong signatures count with v's: whoever guesses has no
// more tries where there are more regions.
func (v *Verifier) In(region string) *Verifier {
	cfg := v.cfg
	cfg.Regions = []string{region}
	return &Verifier{cfg: cfg, decoy: v.decoy, wrong: v.wrong}
}

// CheckHead refuses what the head of a request to a service alone shows to be wrong, before anybody reads its body: the
// checks of [Verifier.Verify], but for the signature where that covers a body nobody has seen. proven
// says that the signature is right already, since the client sent the body's hash with it
// (X-Amz-Content-Sha256); the body has to be verified in any case.
func (v *Verifier) CheckHead(r *http.Request, service string) (proven bool, err error) {
	a, headers, err := v.form(r, service)
	if err != nil {
		return false, err
	}
	hash := ""
	if claimed, ok := headers["x-amz-content-sha256"]; ok {
		if hash = claimed[0]; !isHash(hash) { // UNSIGNED-PAYLOAD, say
			return false, errBodyHash
		}
	}
	_, err = v.identify(r, a, headers, hash)
	return err == nil && hash != "", err
}

// Verify tells who signed r for a service such as "lightsail"; r's body was received as body. A refusal is an [*Error], in the
// order of checks and with the texts of AWS's JSON services; any other error means that the keys
// could not be looked up.
//
// A good signature covers the method, host, path, query and body, and x-amz-target, x-amz-date and
// every other x-amz header that is there. Further headers may have been changed on the way, unless
// the client chose to sign them: nothing may hang on them.
func (v *Verifier) Verify(r *http.Request, service string, body []byte) (Identity, error) {
	a, headers, err := v.form(r, service)
	if err != nil {
		return Identity{}, err
	}
	hash := hexHash(body)
	if claimed, ok := headers["x-amz-content-sha256"]; ok && claimed[0] != hash {
		return Identity{}, errBodyHash
	}
	return v.identify(r, a, headers, hash)
}

// form reads what a request says of its signature, and refuses what no key could make good.
func (v *Verifier) form(r *http.Request, service string) (*authorization, map[string][]string, error) {
	a, err := parseAuthorization(r)
	if err != nil {
		return nil, nil, err
	}
	if err := a.checkDate(v.cfg.Now()); err != nil {
		return nil, nil, err
	}
	headers := headersOf(r)
	if err := a.checkSigned(headers); err != nil {
		return nil, nil, err
	}
	return a, headers, a.checkScope(v.cfg.Regions, service)
}

// identify finds the key and compares the signature with its own. Without the body's hash a signature
// that differs decides nothing, but the work is the same.
func (v *Verifier) identify(r *http.Request, a *authorization, headers map[string][]string, hash string) (Identity, error) {
	var requests []string
	for _, path := range signedPaths(r) {
		request, err := a.canonical(r, path, headers, hash)
		if err != nil {
			return Identity{}, err
		}
		requests = append(requests, request)
	}
	key, known, err := v.cfg.Keys(a.scope.keyID)
	if err != nil {
		return Identity{}, fmt.Errorf("look up an access key: %w", err)
	}
	if !known {
		v.keys.drop(a.scope.keyID)
		a.scope.keyID, key.Secret = "", v.decoy
	}
	matches := hash == ""
	for _, request := range requests {
		want := sign(v.keys.signingKey(a.scope, key.Secret), a.stringToSign(request))
		matches = subtle.ConstantTimeCompare([]byte(want), []byte(a.signature)) == 1 || matches
	}
	switch {
	case (!known || !matches) && !v.wrong.allow(r.RemoteAddr, v.cfg.Now()):
		return Identity{}, errThrottled
	case !known:
		return Identity{}, errUnrecognized
	case !matches:
		return Identity{}, errMismatch
	case headers["x-amz-security-token"] != nil: // only temporary keys have one, and none are given out
		return Identity{}, errUnrecognized
	}
	return Identity{KeyID: key.ID, Profile: key.Profile, ReadOnly: key.ReadOnly}, nil
}

// CheckSecret tells whose an access key is, for somebody who shows it whole where nothing can be signed: a browser. A
// refusal is an [*Error], and counts with the wrong signatures of its address; what is unknown takes the same work as
// what does not match.
func (v *Verifier) CheckSecret(remoteAddr, id, secret string) (Identity, error) {
	key, known, err := v.cfg.Keys(id)
	if err != nil {
		return Identity{}, fmt.Errorf("look up an access key: %w", err)
	}
	if !known {
		key.Secret = v.decoy
	}
	want, got := sha256.Sum256([]byte(key.Secret)), sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 || !known {
		return Identity{}, v.Wrong(remoteAddr)
	}
	return Identity{KeyID: key.ID, Profile: key.Profile, ReadOnly: key.ReadOnly}, nil
}

// Wrong counts something wrong, by which somebody wanted to be taken for the holder of a key, with the wrong signatures of
// that address, and returns the refusal.
func (v *Verifier) Wrong(remoteAddr string) error {
	if !v.wrong.allow(remoteAddr, v.cfg.Now()) {
		return errThrottled
	}
	return errUnrecognized
}
