// Package lightsail is the Amazon Lightsail API (version 2016-11-28, protocol AWS JSON 1.1) as far as it
// has to do with instances and their metadata, so that the AWS CLI, the SDKs and Terraform work
// unchanged, and beside it the operations that Lightsail does not have, under a target prefix of their
// own.
//
// One table names every operation; its shapes, and whether it changes anything, stand in package wire.
// Rules live in [control.Service]; this package only reads requests, shows results and words errors.
package lightsail

import (
	"context"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/control"
)

// Config is what the API works with.
type Config struct {
	// Service carries out the operations.
	Service *control.Service
	// Regions are those that the server has; nil: that of Service alone.
	Regions []string
	// Links are by which operators sign in to the console; nil: there is no console.
	Links Links
	// Migration judges instances; nil: nobody here does.
	Migration Migration
	// Version of the program, for DescribeService.
	Version string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Links make what lets one browser sign in to the console, once and soon.
type Links interface {
	// Link makes the token of a link for whoever has signed the request.
	Link(ctx context.Context, who sigv4.Identity) (token string, until time.Time, err error)
}

// New makes the protocol. It answers POST requests to "/", however many slashes that are, and nothing else.
func New(cfg Config) api.Protocol {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Regions == nil {
		cfg.Regions = []string{cfg.Service.Region()}
	}
	return &protocol{
		service: cfg.Service, cfg: cfg, table: table(),
		blueprints: byID(openimds.Blueprints(), func(b openimds.Blueprint) string { return b.ID }),
		bundles:    byID(openimds.Bundles(cfg.Service.Region()), func(b openimds.Bundle) string { return b.ID }),
	}
}

// protocol is Lightsail's. It never changes.
type protocol struct {
	service *control.Service
	cfg     Config
	table   map[string]action
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

// Service is [api.Protocol].
func (a *protocol) Service() string { return "lightsail" }

// Prefix is [api.Protocol].
func (a *protocol) Prefix() string { return "lightsail" }

// Head is [api.Protocol]: form and operation come before the signature, as at AWS.
func (a *protocol) Head(r *http.Request) (operation string, err error) {
	if r.Method != http.MethodPost || sigv4.Path(r) != "/" || !isJSON11(r.Header.Get("Content-Type")) {
		return "", errNotTheAPI
	}
	target := r.Header.Get("X-Amz-Target")
	if _, known := a.table[target]; !known {
		return "", errUnknownOperation
	}
	return operationName(target), nil
}

// Read is [api.Protocol]. What stands in the body is only looked at when the operation runs: a key that
// may not ask for it learns nothing else.
func (a *protocol) Read(r *http.Request, body []byte) (api.Operation, error) {
	if err := awsjson.CheckSyntax(body); err != nil {
		return api.Operation{}, err
	}
	target := r.Header.Get("X-Amz-Target")
	found := a.table[target]
	return api.Operation{
		Name: operationName(target), Changes: found.changes || found.reveals != nil && found.reveals(body),
		Run: func(ctx context.Context) (any, error) { return found.run(a, ctx, body) },
	}, nil
}

func isJSON11(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/x-amz-json-1.1"
}

// operationName is the part of a target behind its prefix.
func operationName(target string) string {
	_, name, _ := strings.Cut(target, ".")
	return name
}
