package imds

import (
	"bytes"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/session"
	"github.com/openimds/openimds/usage"
)

// Headers of the token endpoint.
const (
	tokenPath  = "/latest/api/token"
	allowToken = "OPTIONS, PUT"
	allowData  = "GET, HEAD, OPTIONS"
)

// state is what one instance's guest is served from. It is made whole and never changed.
type state struct {
	instance    *openimds.Instance
	sealer      *session.Sealer
	credentials openimds.CredentialSource
	signatures  metadata.Signatures
	keys        metadata.KeySigner
	recorded    *metadata.Recorded
	allowHosts  map[string]bool
	usage       *usage.Tally
	faults      *faults    // nil: none
	rehearsal   *rehearsal // nil: none
}

// answer decides the answer to a request whose head could be read. It touches nothing but its
// arguments and the row of a rehearsal: no clock, no socket, no disk.
func (s *state) answer(r *request, now time.Time, w *workspace) response {
	path, authority, ok := splitTarget(r.target)
	if status := s.refuseHost(r, authority); status == 403 {
		return refusal(empty(status), usage.RefusedHost, r, w)
	} else if status != 0 {
		return refusal(empty(status), usage.RefusedMalformed, r, w)
	}
	if s.instance.Options.Endpoint != openimds.EndpointEnabled {
		return s.disabled(r, path, w)
	}
	if r.expect {
		return refusal(page(417), usage.RefusedExpect, r, w)
	}
	switch r.method {
	case methodPut:
		return s.putToken(r, path, now, w)
	case methodGet, methodHead:
		return s.get(r, path, ok, now, w)
	case methodOptions:
		if !ok {
			return notAllowed(allowData, r, w)
		}
		if _, ok := cleanPath(w.path[:0], path); !ok {
			return refusal(empty(400), usage.RefusedPath, r, w)
		}
		resp := empty(200)
		resp.allow = allowOf(path)
		if r.tokenCount > 0 {
			resp.call = usage.OtherV2
		}
		return resp
	}
	return notAllowed(allowOf(path), r, w)
}

// refusal is an answer to a request that is not looked at any further.
func refusal(resp response, why usage.Refusal, r *request, w *workspace) response {
	resp.refusal = why
	resp.call = cameToNothing(r, w, usage.Other, usage.RefusedV1, usage.RefusedV2)
	return resp
}

// disabled is the answer where the endpoint is disabled.
func (s *state) disabled(r *request, path []byte, w *workspace) response {
	resp := refusal(empty(403), usage.RefusedEndpoint, r, w)
	switch r.method {
	case methodGet, methodHead:
		resp.call = rejected(r)
	case methodPut:
		resp.call = usage.TokenRefused
	}
	return resp
}

func (s *state) refuseHost(r *request, authority []byte) int {
	if status := hostStatus(r.host, s.allowHosts); status != 0 {
		return status
	}
	return hostStatus(authority, s.allowHosts)
}

// allowOf names the methods of a path.
func allowOf(path []byte) string {
	if isTokenPath(path) {
		return allowToken
	}
	return allowData
}

// isTokenPath says whether a path, as it was sent, gives tokens: the documented one with any number
// of slashes in front, since clients put another one behind an endpoint that ends in a slash. No
// other spelling gives a token, though a GET may resolve it to the same place.
func isTokenPath(path []byte) bool {
	return len(path) > 0 && path[0] == '/' && string(bytes.TrimLeft(path, "/")) == tokenPath[1:]
}

// notAllowed refuses a method. A GET of the token's path is none of IMDSv1: whoever sends it wants a token.
func notAllowed(allow string, r *request, w *workspace) response {
	resp := refusal(empty(405), usage.RefusedMethod, r, w)
	if resp.allow = allow; resp.call == usage.RefusedV1 {
		resp.call = usage.Other
	}
	return resp
}

// putToken answers PUT, which AWS forbids on every path but the token's. Nor does anything get a
// token that came through a proxy or from a web page: X-Forwarded-For is what an open proxy adds,
// Origin what a browser does.
func (s *state) putToken(r *request, path []byte, now time.Time, w *workspace) response {
	resp := empty(0)
	resp.call = usage.TokenRefused
	switch {
	case r.forwarded:
		resp.call, w.path = usage.Forwarded, append(w.path[:0], tokenPath[1:]...)
		resp.status, resp.refusal = 403, usage.RefusedForwarded
		return resp
	case r.origin:
		resp.status, resp.refusal = 403, usage.RefusedOrigin
		return resp
	case !isTokenPath(path):
		resp.status, resp.refusal = 403, usage.RefusedPut
		return resp
	}
	ttl := parseTTL(r)
	if ttl == 0 {
		resp.status, resp.refusal = 400, usage.RefusedTTL
		return resp
	}
	resp.status, resp.ttl, resp.call = 200, ttl, usage.TokenIssued
	resp.body = s.sealer.Append(w.token[:0], ttl, now, &w.scratch)
	return resp
}

// parseTTL returns the seconds that a token is asked for, or 0 if that is missing, given twice, not
// plain digits, or out of range.
func parseTTL(r *request) int {
	digits := bytes.TrimLeft(r.ttl, "0") // a number may have any zeros in front
	if r.ttlCount != 1 || len(digits) == 0 || len(digits) > 5 {
		return 0
	}
	n := 0
	for _, c := range digits {
		if !isDigit(c) {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	if n < session.MinTTL || n > session.MaxTTL {
		return 0
	}
	return n
}

// get answers GET and HEAD. Without a path the target is of another form (RFC 9112 3.2), and of nothing that there is.
func (s *state) get(r *request, raw []byte, hasPath bool, now time.Time, w *workspace) response {
	path, ok := w.path[:0], true
	if hasPath {
		path, ok = cleanPath(path, raw)
	}
	w.path = path
	if !ok {
		return refusal(empty(400), usage.RefusedPath, r, w)
	}
	if string(path) == tokenPath[1:] {
		return notAllowed(allowToken, r, w)
	}
	left, why := s.authorize(r, now, w)
	if why != usage.NotRefused {
		resp := empty(401)
		if why == usage.RefusedForwarded {
			resp = empty(403)
		}
		resp.call, resp.refusal = rejected(r), why
		return resp
	}
	view := metadata.View{Instance: s.instance, Now: now, V2: left > 0, Credentials: s.credentials, Identity: s.signatures, Keys: s.keys, Recorded: s.recorded}
	var item metadata.Item
	found := false
	if hasPath {
		item, found = metadata.Get(&view, string(path))
	}
	resp := page(404)
	if found {
		resp = response{status: 200, contentType: item.ContentType, modified: item.Modified, body: item.Body, listing: item.Listing}
	}
	resp.ttl = left
	resp.rehearsed = left == 0 && s.rehearsal != nil && s.rehearsal.underWay(now)
	switch {
	case left > 0 && found:
		resp.call = usage.WithToken
	case left > 0:
		resp.call = usage.WithTokenMissed
	case found:
		resp.call = usage.NoToken
	default:
		resp.call = usage.NoTokenMissed
	}
	return resp
}

// rejected is what a GET was that did not get past its token, or past having none.
func rejected(r *request) usage.Call {
	switch {
	case r.hasToken() && r.forwarded:
		return usage.Forwarded
	case r.hasToken():
		return usage.WithTokenRejected
	}
	return usage.NoTokenRejected
}

// authorize returns what is left of the session in seconds, 0 for a request of version 1, or why it is
// refused. A token makes a request one of version 2: it must open, also where tokens are optional.
func (s *state) authorize(r *request, now time.Time, w *workspace) (left int, why usage.Refusal) {
	if !r.hasToken() {
		if s.instance.Options.Tokens != openimds.TokensOptional || s.rehearsal != nil && s.rehearsal.refuses(now) {
			return 0, usage.RefusedNoToken
		}
		return 0, usage.NotRefused
	}
	if r.forwarded {
		return 0, usage.RefusedForwarded
	}
	if r.tokenCount > 1 {
		return 0, usage.RefusedBadToken
	}
	left, err := s.sealer.Open(r.token, now, &w.scratch)
	if err != nil {
		return 0, usage.RefusedBadToken
	}
	return left, usage.NotRefused
}
