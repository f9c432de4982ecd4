package console

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/api/sigv4"
)

// maxSignIn is more bytes than any key or link has.
const maxSignIn = 4 << 10

// signIn is by what somebody wants to be let in: a key, or a link.
type signIn struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	Link            string `json:"link"`
}

// signedIn is what a page knows of its session.
type signedIn struct {
	AccessKeyID string    `json:"accessKeyId"`
	Profile     string    `json:"profile"`
	ReadOnly    bool      `json:"readOnly"`
	Regions     []string  `json:"regions"`
	Region      string    `json:"region"`
	Version     string    `json:"version"`
	Expires     time.Time `json:"expires"`
}

func (c *Console) session(w http.ResponseWriter, r *http.Request) {
	if !method(w, r, http.MethodGet, http.MethodPost, http.MethodDelete) {
		return
	}
	switch r.Method {
	case http.MethodPost:
		c.signIn(w, r)
	case http.MethodDelete:
		c.signOut(w, r)
	default:
		c.showSession(w, r)
	}
}

// signIn makes a session, always a new one: a cookie that came along decides nothing but what ends.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	if !isJSON(w, r) {
		return
	}
	asked, ok := readSignIn(w, r)
	if !ok {
		return
	}
	if asked.SecretAccessKey != "" && readable(r) {
		fail(w, http.StatusForbidden, "InsecureConnection", "A secret access key can be read on the way here: open the console by https, or sign in with a link of 'openimds console --no-open'")
		return
	}
	who, err := c.admit(r, asked)
	if err != nil {
		c.refuse(w, err)
		return
	}
	token, err := c.cfg.Sessions.begin(who)
	if err != nil {
		c.refuse(w, err)
		return
	}
	c.cfg.Sessions.leave(r)
	c.audit(r, who, "ConsoleSignIn")
	setCookie(w, r, token)
	c.show(w, who, c.cfg.Sessions.cfg.Now())
}

// readable says whether a browser has the page from another machine by plain HTTP, as it says itself: a proxy may speak TLS, and
// a tunnel or a container's port may lead here from the browser's own machine.
func readable(r *http.Request) bool {
	from, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && from.Scheme == "http" && !isHere(from.Hostname())
}

func readSignIn(w http.ResponseWriter, r *http.Request) (asked signIn, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSignIn))
	defer clear(body)
	if err == nil {
		err = json.Unmarshal(body, &asked)
	}
	if err != nil {
		front.Abandon(w)
		fail(w, http.StatusBadRequest, "SerializationException", `Send {"accessKeyId": …, "secretAccessKey": …} or {"link": …}`)
	}
	return asked, err == nil
}

// admit says whose a key or a link is. The secret goes no further.
func (c *Console) admit(r *http.Request, asked signIn) (sigv4.Identity, error) {
	s := c.cfg.Sessions
	if asked.Link != "" {
		if who, ok := s.follow(asked.Link); ok {
			return who, nil
		}
		err := s.cfg.Door.Wrong(r.RemoteAddr)
		if refused, ok := errors.AsType[*sigv4.Error](err); !ok || !refused.Throttled() {
			err = &sigv4.Error{Code: "LinkExpired", Message: "This link was used already, or is more than a minute old: run 'openimds console' again", Status: http.StatusUnauthorized}
		}
		c.refused(r, "a link", err)
		return sigv4.Identity{}, err
	}
	who, err := s.cfg.Door.CheckSecret(r.RemoteAddr, asked.AccessKeyID, asked.SecretAccessKey)
	if refused, ok := errors.AsType[*sigv4.Error](err); ok {
		if !refused.Throttled() {
			err = &sigv4.Error{Code: refused.Code, Message: "The access key id or the secret access key is wrong", Status: http.StatusUnauthorized}
		}
		c.refused(r, claimed(asked.AccessKeyID), err)
	}
	return who, err
}

// claimedForm is narrower than what a key id may be: in the place of the id people put their secret.
var claimedForm = regexp.MustCompile(`^[A-Z0-9]{16,32}$`)

func claimed(keyID string) string {
	if claimedForm.MatchString(keyID) {
		return keyID
	}
	return "caller"
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if who, was := c.cfg.Sessions.leave(r); was {
		c.audit(r, who, "ConsoleSignOut")
	}
	setCookie(w, r, "")
	w.WriteHeader(http.StatusNoContent)
}

func (c *Console) showSession(w http.ResponseWriter, r *http.Request) {
	if !ofPage(r) {
		fail(w, http.StatusForbidden, "CrossOriginRequest", "Only the console's own page may ask for this")
		return
	}
	who, open, err := c.cfg.Sessions.find(r, true)
	if err != nil {
		c.refuse(w, err)
		return
	}
	c.show(w, who, open.begun)
}

func (c *Console) show(w http.ResponseWriter, who sigv4.Identity, begun time.Time) {
	answer := signedIn{
		AccessKeyID: who.KeyID, Profile: who.Profile, ReadOnly: who.ReadOnly, Region: c.cfg.Regions[0].Name,
		Version: c.cfg.Version, Expires: begun.Add(wholeTime).UTC().Truncate(time.Second),
	}
	for _, r := range c.cfg.Regions {
		answer.Regions = append(answer.Regions, r.Name)
	}
	tell(w, http.StatusOK, answer)
}

// refuse answers that nobody is known to ask.
func (c *Console) refuse(w http.ResponseWriter, err error) {
	refused, ok := errors.AsType[*sigv4.Error](err)
	switch {
	case !ok:
		c.cfg.Log.Error("the console cannot tell which keys hold", "error", err)
		fail(w, http.StatusServiceUnavailable, "ServiceUnavailableException", "Nobody can tell which keys hold; try again")
	case refused.Throttled():
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusTooManyRequests, refused.Code, "Too many wrong keys or links came from this address; try again later")
	default:
		fail(w, refused.Status, refused.Code, refused.Message)
	}
}

// audit tells of who has signed in or out. It is no change: without its line it happens all the same.
func (c *Console) audit(r *http.Request, who sigv4.Identity, what string) {
	s := c.cfg.Sessions.cfg
	if s.Audit == nil {
		return
	}
	err := s.Audit(r.Context(), openimds.AuditEntry{When: s.Now().UTC(), Who: api.ActorName(who), What: what, RequestID: openimds.NewUUID(), Source: r.RemoteAddr})
	if err != nil {
		s.Log.Warn("the audit log does not tell of a sign-in or sign-out", "what", what, "key", who.KeyID, "error", err)
	}
}

// refused tells of who wanted to sign in.
func (c *Console) refused(r *http.Request, as string, why error) {
	s := c.cfg.Sessions.cfg
	if s.Refused != nil {
		s.Refused(r.Context(), openimds.AuditEntry{
			When: s.Now().UTC(), Who: "unverified " + as, What: "ConsoleSignIn", RequestID: openimds.NewUUID(), Source: r.RemoteAddr, Failure: why.Error(),
		}, "")
	}
}
