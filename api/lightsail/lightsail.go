// Package lightsail is the operator's side: the Amazon Lightsail API (version 2016-11-28, protocol
// AWS JSON 1.1) as far as it has to do with instances and their metadata, so that the AWS CLI, the
// SDKs and Terraform work unchanged, and beside it the operations that Lightsail does not have, under
// a target prefix of their own.
//
// One table names every operation, with its request, its result, and whether it changes anything.
// Rules live in [control.Service]; this package only reads requests, shows results and writes
// errors. Whatever it answers with content is asked for by a signed request.
package lightsail

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/control"
)

// Authenticator tells who signed a request. A refusal is a [*sigv4.Error]; any other error means that
// nobody can tell. [sigv4.Verifier] is one.
type Authenticator interface {
	// CheckHead refuses what needs no body to be refused. proven: whoever sends it holds a key.
	CheckHead(r *http.Request) (proven bool, err error)
	// Verify tells who signed a request whose body was received as body.
	Verify(r *http.Request, body []byte) (sigv4.Identity, error)
}

// Config is what the API works with.
type Config struct {
	// Service carries out the operations.
	Service *control.Service
	// Auth decides who is asking.
	Auth Authenticator
	// Refused is told of requests that were refused for who asked; nil: nobody is. Changes are told by
	// the service itself, see [control.Config].
	Refused Refused
	// Log takes what went wrong inside, and at level debug each request; nil: nothing is logged.
	Log *slog.Logger
	// Version of the program, for DescribeService.
	Version string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// callTime is how long an operation may take. A store that cannot decide within it is as good as
// away, and the client is told so while it still waits.
const callTime = 5 * time.Second

// New makes the handler of the API. It answers POST requests to "/" and nothing else.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &api{
		service: cfg.Service, cfg: cfg, table: table(), bodies: front.NewBodies(maxBody), refusals: refusals{cfg.Refused, cfg.Now},
		blueprints: byID(openimds.Blueprints(), func(b openimds.Blueprint) string { return b.ID }),
		bundles:    byID(openimds.Bundles(cfg.Service.Region()), func(b openimds.Bundle) string { return b.ID }),
	}
}

// api carries out requests. It never changes.
type api struct {
	service  *control.Service
	cfg      Config
	table    map[string]action
	refusals refusals
	bodies   *front.Bodies
	// The catalogue of the region by id: each instance that is shown needs an entry of both.
	blueprints map[string]openimds.Blueprint
	bundles    map[string]openimds.Bundle
}

func byID[T any](all []T, id func(T) string) map[string]T {
	found := make(map[string]T, len(all))
	for _, item := range all {
		found[id(item)] = item
	}
	return found
}

// call is one request on its way.
type call struct {
	id     string // of the request, for the client and the audit
	target string
	who    sigv4.Identity
	read   bool // the whole body was
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	c := &call{id: openimds.NewUUID(), target: r.Header.Get("X-Amz-Target")}
	result, err := a.answerSafely(c, w, r)
	if !c.read && r.ContentLength != 0 {
		front.Abandon(w)
	}
	status := write(w, c.id, result, err)
	if status >= http.StatusInternalServerError && r.Context().Err() == nil { // else the client left, and ended what it waited for
		a.cfg.Log.Error("a control request failed", "request", c.id, "target", shown(c.target), "error", err)
	}
	a.cfg.Log.Debug("control request", "request", c.id, "target", shown(c.target), "key", c.who.KeyID,
		"source", r.RemoteAddr, "status", status, "duration", time.Since(started))
}

// answerSafely answers a request whose handling panics like any other internal error: the client
// learns that it failed, and the program goes on.
func (a *api) answerSafely(c *call, w http.ResponseWriter, r *http.Request) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.cfg.Log.Error("a control request panicked", "request", c.id, "target", shown(c.target), "panic", p, "stack", string(debug.Stack()))
			result, err = nil, errInternal
		}
	}()
	return a.answer(c, w, r)
}

// answer decides in the order in which AWS's JSON services do: form, operation, signature, types,
// constraints, action. So it is one body, read once, that was checked, signed and acted upon. It is
// not read at all before the head shows that somebody known may have signed it.
func (a *api) answer(c *call, w http.ResponseWriter, r *http.Request) (any, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/" || !isJSON11(r.Header.Get("Content-Type")) {
		return nil, errNotTheAPI
	}
	op, known := a.table[c.target]
	if !known {
		return nil, errUnknownOperation
	}
	proven, err := a.cfg.Auth.CheckHead(r)
	if err != nil {
		return nil, a.refusals.signature(c.id, operationName(c.target), r, err)
	}
	body, release, err := a.bodies.Read(r, proven)
	if err != nil {
		return nil, unread(err)
	}
	defer release()
	c.read = true
	if c.who, err = a.cfg.Auth.Verify(r, body); err != nil {
		return nil, a.refusals.signature(c.id, operationName(c.target), r, err)
	}
	if err := awsjson.CheckSyntax(body); err != nil {
		return nil, err
	}
	if op.changes && c.who.ReadOnly {
		return nil, a.refusals.readOnly(c, r, a.service.AccountID())
	}
	ctx, done := context.WithTimeout(r.Context(), callTime)
	defer done()
	ctx = control.WithActor(ctx, actorName(c.who))
	ctx = control.WithRequest(ctx, c.id, r.RemoteAddr)
	return op.run(a, withCaller(ctx, c.who), body)
}

type callerKey struct{}

// withCaller keeps who is asking for the operation that tells them so.
func withCaller(ctx context.Context, who sigv4.Identity) context.Context {
	return context.WithValue(ctx, callerKey{}, who)
}

func caller(ctx context.Context) sigv4.Identity {
	who, _ := ctx.Value(callerKey{}).(sigv4.Identity)
	return who
}
