// Package api is what the protocols of the operator's side have in common, from a request's head to its
// one answer: who signed it, its body in bounds, keys that only look, the audit of refusals, how long it
// may take, its id. A protocol adds its table of operations, its shapes and its words for errors, and
// lives in a package below this one. The service that a request is signed for tells them apart.
//
// Rules live in [control.Service]; nothing here or below has any. Whatever is answered with content is
// asked for by a signed request.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/control"
)

// Protocol is one of AWS's APIs. It never changes, and many requests use it at once.
type Protocol interface {
	// Service is what its requests are signed for, such as "lightsail".
	Service() string
	// Prefix is by which policies of IAM name its operations, as in "lightsail:GetInstances".
	Prefix() string
	// Head refuses a request whose head shows that it is none of this API's, and names the operation as
	// far as the head does. Nobody knows yet who sent it.
	Head(r *http.Request) (operation string, err error)
	// Read finds out what a request asks for, whose signature is right.
	Read(r *http.Request, body []byte) (Operation, error)
	// Encode makes the answer of a result or, if err is not nil, of a failure: one of Head, Read and Run,
	// a [*sigv4.Error], an [*Unread] or an [*openimds.Error]. Of all others the client learns nothing but
	// that the service failed.
	Encode(of Request, result any, err error) Answer
}

// Request is what an answer is of.
type Request struct {
	// ID is the request's, as every answer's head has it; some protocols have it in the body too.
	ID string
	// Head tells in which form it was asked; the body was read.
	Head *http.Request
}

// Operation is what a request asks for.
type Operation struct {
	// Name is of the operation without any prefix, for the audit.
	Name string
	// Changes says that it may change something, or shows what is for few; keys that only look may not ask for it.
	Changes bool
	// Run checks the request and carries it out.
	Run func(context.Context) (any, error)
}

// Answer is what a client reads.
type Answer struct {
	Status int
	// Header has what is not in every answer; its names are sent as they are spelled.
	Header      map[string]string
	ContentType string
	Body        []byte
}

// Unread is the failure to read a request's body. Reason is [front.ErrTooLarge], [front.ErrNoLength] or
// [front.ErrBusy]; with any other one the body broke off.
type Unread struct{ Reason error }

// Error is the reason.
func (e *Unread) Error() string { return e.Reason.Error() }

// Authenticator tells who signed a request. A refusal is a [*sigv4.Error]; any other error means that
// nobody can tell. [sigv4.Verifier] is one.
type Authenticator interface {
	// CheckHead refuses what needs no body to be refused. proven: whoever sends it holds a key.
	CheckHead(r *http.Request, service string) (proven bool, err error)
	// Verify tells who signed a request whose body was received as body.
	Verify(r *http.Request, service string, body []byte) (sigv4.Identity, error)
}

// Config is what the API works with.
type Config struct {
	// Protocols are what is spoken, at least one. What is signed for none of them, or not signed at all, is answered by the
	// first whose head it has, or the first.
	Protocols []Protocol
	// Auth decides who is asking.
	Auth Authenticator
	// Account is the number of the account that keys belong to, for the text of refusals.
	Account string
	// Refused is told of requests that were refused for who asked; nil: nobody is. Changes are told by
	// the service itself, see [control.Config].
	Refused Refused
	// Timeout is how long an operation may take; 0: [DefaultTimeout]. A store that cannot decide within it is as good as
	// away, and the client is told so while it still waits.
	Timeout time.Duration
	// Answered is told of the status of each answer; nil: nobody is. It must not wait for anything.
	Answered func(status int)
	// Log takes what went wrong inside, and at level debug each request; nil: nothing is logged.
	Log *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// MaxBody is the most bytes of a request's body.
const MaxBody = 1 << 20

// DefaultTimeout is how long an operation may take if nobody says, and MaxTimeout the most that can be said: a
// connection is not waited for any longer.
const (
	DefaultTimeout = 5 * time.Second
	MaxTimeout     = 50 * time.Second
)

// New makes the handler of the protocols.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	h := &handler{cfg: cfg, protocols: map[string]Protocol{}, bodies: front.NewBodies(MaxBody), refusals: refusals{cfg.Refused, cfg.Now}}
	for _, p := range cfg.Protocols {
		h.protocols[p.Service()] = p
	}
	return h
}

// handler carries out requests. It never changes.
type handler struct {
	cfg       Config
	protocols map[string]Protocol // by service
	refusals  refusals
	bodies    *front.Bodies
}

// call is one request on its way.
type call struct {
	id       string // of the request, for the client and the audit
	protocol Protocol
	who      sigv4.Identity
	read     bool // the whole body was
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	c := &call{id: openimds.NewUUID(), protocol: h.protocolOf(r)}
	result, err := h.answerSafely(c, r)
	if !c.read && r.ContentLength != 0 {
		front.Abandon(w)
	}
	answer := c.protocol.Encode(Request{c.id, r}, result, err)
	write(w, c.id, answer)
	if h.cfg.Answered != nil {
		h.cfg.Answered(answer.Status)
	}
	target := fmt.Sprintf("%.80q", r.Header.Get("X-Amz-Target"))                     // it comes from anybody
	if answer.Status >= http.StatusInternalServerError && r.Context().Err() == nil { // else the client left, and ended what it waited for
		h.cfg.Log.Error("a control request failed", "request", c.id, "target", target, "error", err)
	}
	h.cfg.Log.Debug("control request", "request", c.id, "target", target, "key", c.who.KeyID,
		"source", r.RemoteAddr, "status", answer.Status, "duration", time.Since(started))
}

// protocolOf finds whom a request is for. The signature is verified for that very service. One that is signed for none
// is refused whoever answers it: that is whose request it looks like, so that its sender can read why.
func (h *handler) protocolOf(r *http.Request) Protocol {
	service := sigv4.ClaimedService(r)
	if p, ok := h.protocols[service]; ok {
		return p
	}
	for _, p := range h.cfg.Protocols {
		if _, err := p.Head(r); err == nil {
			return p
		}
	}
	return h.cfg.Protocols[0]
}

var errPanicked = errors.New("the handling of the request panicked")

// answerSafely answers a request whose handling panics like any other internal error: the client
// learns that it failed, and the program goes on.
func (h *handler) answerSafely(c *call, r *http.Request) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.cfg.Log.Error("a control request panicked", "request", c.id, "target", fmt.Sprintf("%.80q", r.Header.Get("X-Amz-Target")), "panic", p, "stack", string(debug.Stack()))
			result, err = nil, errPanicked
		}
	}()
	return h.answer(c, r)
}

// answer decides in the order in which AWS's JSON services do: form, operation, signature, types,
// constraints, action. So it is one body, read once, that was checked, signed and acted upon. It is
// not read at all before the head shows that somebody known may have signed it.
func (h *handler) answer(c *call, r *http.Request) (any, error) {
	service := c.protocol.Service()
	name, err := c.protocol.Head(r)
	if err != nil {
		return nil, err
	}
	proven, err := h.cfg.Auth.CheckHead(r, service)
	if err != nil {
		return nil, h.refusals.signature(c.id, name, r, err)
	}
	body, release, err := h.bodies.Read(r, proven)
	if err != nil {
		return nil, &Unread{err}
	}
	defer release()
	c.read = true
	if c.who, err = h.cfg.Auth.Verify(r, service, body); err != nil {
		return nil, h.refusals.signature(c.id, name, r, err)
	}
	op, err := c.protocol.Read(r, body)
	if err != nil {
		return nil, err
	}
	if op.Changes && c.who.ReadOnly {
		return nil, h.refusals.readOnly(c, op.Name, r, h.cfg.Account)
	}
	ctx, done := context.WithTimeout(r.Context(), h.cfg.Timeout)
	defer done()
	ctx = control.WithActor(ctx, ActorName(c.who))
	ctx = control.WithRequest(ctx, c.id, r.RemoteAddr)
	return op.Run(context.WithValue(ctx, callerKey{}, c.who))
}

type callerKey struct{}

// Caller is who asked for the operation that is carried out with this context.
func Caller(ctx context.Context) sigv4.Identity {
	who, _ := ctx.Value(callerKey{}).(sigv4.Identity)
	return who
}

// write sends the one answer of a request.
func write(w http.ResponseWriter, requestID string, a Answer) {
	h := w.Header()
	h["x-amzn-RequestId"] = []string{requestID} // the spelling of AWS, not Go's
	h["Server"] = []string{"Server"}
	h["Content-Type"] = []string{a.ContentType}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	for name, value := range a.Header {
		h[name] = []string{value}
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // a client that has gone does not read why
}
