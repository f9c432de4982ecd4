package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/sigv4"
)

// Refused is told of a request that was refused for who asked. key is the verified key that signed it;
// empty: nobody knows who did.
type Refused func(ctx context.Context, e openimds.AuditEntry, key string)

// refusals tells of requests that were refused, whatever they asked for.
type refusals struct {
	tell Refused
	now  func() time.Time
}

// signature takes note of a signature that was refused.
func (f refusals) signature(id, what string, r *http.Request, err error) error {
	if _, refused := errors.AsType[*sigv4.Error](err); refused {
		f.note(id, what, r, "unverified "+claimedKey(r), err, "")
	}
	return err
}

// readOnly refuses a change by a key that may only look.
func (f refusals) readOnly(c *call, operation string, r *http.Request, account string) error {
	err := openimds.Errorf(openimds.AccessDenied, openimds.ReadOnly, "User: arn:aws:iam::%s:user/%s is not authorized to perform: %s:%s on resource: *",
		account, c.who.Profile, c.protocol.Prefix(), operation)
	f.note(c.id, operation, r, ActorName(c.who), err, c.who.KeyID)
	return err
}

func (f refusals) note(id, what string, r *http.Request, who string, why error, key string) {
	if f.tell == nil {
		return
	}
	f.tell(r.Context(), openimds.AuditEntry{
		When: f.now().UTC(), Who: who, What: what, RequestID: id, Source: r.RemoteAddr, Failure: why.Error(),
	}, key)
}

// Signed serves next to whoever signs the request, for that service, with any key. what names it for the
// audit, which learns of refusals as it does of those of [New].
func Signed(auth Authenticator, service string, tell Refused, what string, next http.Handler) http.Handler {
	refusals := refusals{tell, time.Now}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := auth.Verify(r, service, nil)
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		err = refusals.signature(openimds.NewUUID(), what, r, err)
		switch refused, ok := errors.AsType[*sigv4.Error](err); {
		case !ok:
			http.Error(w, "nobody can tell which keys hold; try again", http.StatusServiceUnavailable)
		case refused.Throttled():
			http.Error(w, "too many wrong signatures; try again later", http.StatusTooManyRequests)
		default:
			http.Error(w, "sign the request, or serve with --api-anonymous-metrics", http.StatusForbidden)
		}
	})
}

// ActorName is who made a change, for the audit.
func ActorName(who sigv4.Identity) string { return who.KeyID + " (" + who.Profile + ")" }

// claimedKeyForm is narrower than what a key id may be: in the place of the id people put their
// secret, which has small letters.
var claimedKeyForm = regexp.MustCompile(`Credential=([A-Z0-9]{16,32})/`)

// claimedKey is the key id that an unverified request names.
func claimedKey(r *http.Request) string {
	if m := claimedKeyForm.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		return m[1]
	}
	return "caller"
}
