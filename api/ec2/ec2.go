// Package ec2 is the Amazon EC2 API (version 2016-11-15, the EC2 Query protocol) as far as it has to do with instances
// and their metadata, so that the AWS CLI, the SDKs and what is made with them work unchanged. It shows the same
// instances as Lightsail's API.
//
// One table names every action. Rules live in [control.Service]; this package only reads requests, shows results and
// words errors.
package ec2

import (
	"context"
	"mime"
	"net/http"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/api/ec2query"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/control"
)

// Config is what the API works with.
type Config struct {
	// Service carries out the actions.
	Service *control.Service
	// Regions are those that the server has; nil: that of Service alone.
	Regions []string
}

// New makes the protocol. It answers POST requests to "/" and nothing else.
func New(cfg Config) api.Protocol {
	if cfg.Regions == nil {
		cfg.Regions = []string{cfg.Service.Region()}
	}
	p := &protocol{service: cfg.Service.ByID(), regions: cfg.Regions, actions: map[string]action{}, images: map[string]openimds.Blueprint{}}
	for _, a := range actions() {
		p.actions[a.name] = a
	}
	for _, b := range openimds.Blueprints() {
		p.images[openimds.ImageID(b.ID, cfg.Service.Region())] = b
	}
	return p
}

// protocol is EC2's. It never changes.
type protocol struct {
	service *control.Service // by the ids of instances
	regions []string
	actions map[string]action
	images  map[string]openimds.Blueprint
}

// call is an action being carried out: with a service that changes nothing if it is a dry run.
type call struct {
	*protocol
	service *control.Service
}

// Service is [api.Protocol].
func (p *protocol) Service() string { return "ec2" }

// Prefix is [api.Protocol].
func (p *protocol) Prefix() string { return "ec2" }

const form = "application/x-www-form-urlencoded"

// Head is [api.Protocol]. The action stands in the body.
func (p *protocol) Head(r *http.Request) (operation string, err error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != form || r.Method != http.MethodPost || sigv4.Path(r) != "/" || r.URL.RawQuery != "" {
		return "", &ec2query.Error{Code: "MissingAction", Message: "The request has no action: send it as a form, by POST to /"}
	}
	return "an action of EC2", nil
}

// Read is [api.Protocol]. What stands in the parameters is only looked at when the action runs.
func (p *protocol) Read(_ *http.Request, body []byte) (api.Operation, error) {
	f, err := ec2query.Parse(body)
	if err != nil {
		return api.Operation{}, err
	}
	name := f.Take("Action")
	found, ok := p.actions[name]
	switch {
	case name == "":
		return api.Operation{}, &ec2query.Error{Code: "MissingAction", Message: "The request must contain the parameter Action"}
	case !ok:
		return api.Operation{}, invalid("InvalidAction", "The action %.100s is not valid for this web service.", name)
	}
	return api.Operation{Name: name, Changes: found.changes, Run: func(ctx context.Context) (any, error) {
		if v := f.Take("Version"); v != wire.Version {
			return nil, invalid("NoSuchVersion", "The requested version (%.100s) of service AmazonEC2 does not exist", v)
		}
		dry := f.Take("DryRun")
		if dry != "" && dry != "true" && dry != "false" {
			return nil, invalid("InvalidParameterValue", "Value (%.100s) for parameter DryRun is invalid. It must be true or false", dry)
		}
		c := &call{p, p.service}
		if dry == "true" {
			c.service = p.service.Trial()
		}
		result, err := found.run(c, ctx, f)
		switch {
		case err != nil:
			return nil, p.explained(ctx, err)
		case dry == "true":
			return nil, errDryRun
		}
		return answer{name, result}, nil
	}}, nil
}

// answer is the result of an action.
type answer struct {
	action string
	result any
}
