// Package cloudwatch is the Amazon CloudWatch API (version 2010-08-01) as far as it has to do with what is counted of
// instances and with their alarms, in the three forms that clients use: CBOR (Smithy RPC v2), AWS JSON 1.0, and a query
// whose answer is XML.
//
// One table names every operation; a request of any form becomes one shape of package wire, and is read by one strict
// reader. Rules live in [control.Service]; this package only reads requests, shows results and words errors.
package cloudwatch

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/cloudwatch/wire"
	"github.com/openimds/openimds/control"
)

// Config is what the API works with.
type Config struct {
	// Service carries out the operations.
	Service *control.Service
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// New makes the protocol.
func New(cfg Config) api.Protocol {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &protocol{service: cfg.Service, now: cfg.Now, table: table()}
}

// protocol is CloudWatch's. It never changes.
type protocol struct {
	service *control.Service
	now     func() time.Time
	table   map[string]action
}

// Service is [api.Protocol].
func (a *protocol) Service() string { return "monitoring" }

// Prefix is [api.Protocol]. It is not what requests are signed for.
func (a *protocol) Prefix() string { return "cloudwatch" }

// Head is [api.Protocol]. A query names its operation in its body only.
func (a *protocol) Head(r *http.Request) (operation string, err error) {
	name, err := operationOf(r)
	if err != nil {
		return "", err
	}
	if _, known := a.table[name]; !known && formOf(r) != formQuery {
		return "", unknownOperation(name)
	}
	return name, nil
}

// Read is [api.Protocol]. Each form is brought into JSON, which is then read as strictly as ever.
func (a *protocol) Read(r *http.Request, body []byte) (api.Operation, error) {
	name, _ := operationOf(r)
	var toJSON func(found action) ([]byte, error)
	switch formOf(r) {
	case formCBOR:
		text, err := jsonOfCBOR(body)
		if err != nil {
			return api.Operation{}, err
		}
		toJSON = func(action) ([]byte, error) { return text, nil }
	case formJSON:
		if err := awsjson.CheckSyntax(body); err != nil {
			return api.Operation{}, err
		}
		toJSON = func(action) ([]byte, error) { return body, nil }
	default:
		form, err := readQuery(body)
		if err != nil {
			return api.Operation{}, err
		}
		if name, err = form.operation(); err != nil {
			return api.Operation{}, err
		}
		toJSON = func(found action) ([]byte, error) { return form.json(found.request()) }
	}
	found, known := a.table[name]
	if !known {
		return api.Operation{}, unknownOperation(name)
	}
	return api.Operation{Name: name, Changes: found.changes, Run: func(ctx context.Context) (any, error) {
		text, err := toJSON(found)
		if err != nil {
			return nil, err
		}
		value, err := found.run(a, ctx, text)
		return outcome{name, value}, err
	}}, nil
}

// outcome is what an operation has come to.
type outcome struct {
	operation string
	value     any
}

// action is what an operation is here.
type action struct {
	changes bool
	request func() any // an empty one
	result  reflect.Type
	// run reads the request, from JSON, and carries it out.
	run func(a *protocol, ctx context.Context, text []byte) (any, error)
}

// act makes the action of an operation: reading, constraints, handler.
func act[Q, R any](f func(*protocol, context.Context, *Q) (R, error), target wire.Target[Q, R]) (string, action) {
	return target.Name, action{
		changes: target.Changes, request: func() any { return new(Q) }, result: reflect.TypeFor[R](),
		run: func(a *protocol, ctx context.Context, text []byte) (any, error) {
			request := new(Q)
			if err := awsjson.Decode(text, request); err != nil {
				return nil, err
			}
			if err := missing(request); err != nil {
				return nil, err
			}
			if err := awsjson.Check(request); err != nil {
				return nil, err
			}
			return f(a, ctx, request)
		},
	}
}

// table has every operation that is answered.
func table() map[string]action {
	t := map[string]action{}
	add := func(name string, found action) { t[name] = found }
	add(act((*protocol).deleteAlarms, wire.DeleteAlarms))
	add(act((*protocol).describeAlarms, wire.DescribeAlarms))
	add(act((*protocol).getMetricData, wire.GetMetricData))
	add(act((*protocol).getMetricStatistics, wire.GetMetricStatistics))
	add(act((*protocol).listMetrics, wire.ListMetrics))
	add(act((*protocol).listTagsForResource, wire.ListTagsForResource))
	add(act((*protocol).putMetricAlarm, wire.PutMetricAlarm))
	add(act((*protocol).setAlarmState, wire.SetAlarmState))
	add(act((*protocol).tagResource, wire.TagResource))
	add(act((*protocol).untagResource, wire.UntagResource))
	return t
}

const (
	// maxParameters bounds the parameters of a query. net/url has no more, either.
	maxParameters = 10_000
	// maxParts bounds the parts of their names, those that they share counted once.
	maxParts = 20_000
)

// readQuery reads a form in which each name stands once.
func readQuery(body []byte) (query, error) {
	if bytes.Count(body, []byte("&")) >= maxParameters {
		return nil, malformed("The request has more than %d parameters", maxParameters)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &awsjson.Malformed{Message: "The request's body is not a form that can be read"}
	}
	return query(values), query(values).check()
}
