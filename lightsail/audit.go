package lightsail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/sigv4"
	"golang.org/x/time/rate"
)

// NewAudit makes a function that writes each entry to w as one line of JSON, in one Write. It is
// meant for [Config] and [openimds.ServiceConfig] alike. What cannot be written is told to log, since
// by then the change has been made.
func NewAudit(w io.Writer, log *slog.Logger) func(openimds.AuditEntry) {
	var mu sync.Mutex
	return func(e openimds.AuditEntry) {
		line, err := json.Marshal(e)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			_, err = w.Write(append(line, '\n'))
		}
		if err != nil {
			log.Error("the audit log cannot be written", "error", err, "who", e.Who, "what", e.What, "resource", e.Resource)
		}
	}
}

// How many refusals a second have lines of their own: whoever has no key must not fill the disk.
const (
	refusalsPerSecond = 10
	refusalsAtOnce    = 100
)

// refusals tells the audit of requests that were refused for who asked.
type refusals struct {
	cfg     Config
	limit   *rate.Limiter
	dropped atomic.Int64 // without a line since the latest one
}

func newRefusals(cfg Config) *refusals {
	return &refusals{cfg: cfg, limit: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce)}
}

// signature takes note of a signature that was refused.
func (f *refusals) signature(c *call, r *http.Request, err error) error {
	if _, refused := errors.AsType[*sigv4.Error](err); refused {
		f.tell(c, r, "unverified "+claimedKey(r), err.Error())
	}
	return err
}

// readOnly refuses a change by a key that may only look.
func (f *refusals) readOnly(c *call, r *http.Request, account string) error {
	err := openimds.Errorf(openimds.AccessDenied, "", "User: arn:aws:iam::%s:user/%s is not authorized to perform: lightsail:%s on resource: *",
		account, c.who.Profile, operationName(c.target))
	f.tell(c, r, actorName(c.who), err.Error())
	return err
}

func (f *refusals) tell(c *call, r *http.Request, who, why string) {
	if f.cfg.Audit == nil {
		return
	}
	now := f.cfg.Now().UTC()
	if !f.limit.AllowN(now, 1) {
		f.dropped.Add(1)
		return
	}
	if n := f.dropped.Swap(0); n > 0 {
		why += fmt.Sprintf(" (%d refusals before this one have no line)", n)
	}
	f.cfg.Audit(openimds.AuditEntry{
		When: now, Who: who, What: operationName(c.target), RequestID: c.id, Source: r.RemoteAddr, Failure: why,
	})
}

// actorName is who made a change.
func actorName(who sigv4.Identity) string { return who.KeyID + " (" + who.Profile + ")" }

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

// operationName is the part of a target behind its prefix.
func operationName(target string) string {
	_, name, _ := strings.Cut(target, ".")
	return name
}

// shown is a target as the log shows it: it comes from anybody.
func shown(target string) string { return fmt.Sprintf("%.80q", target) }
