package lightsail_test

import (
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

type refused map[string]int64

func (r refused) RefusedCalls(string) (openimds.RefusedCalls, bool) {
	return openimds.RefusedCalls{Counter: "this", NoToken: r["n"]}, true
}

func TestWaitForRefusals(t *testing.T) {
	const target = "OpenIMDS_20261122.WaitForRefusals"
	newServer(t, func(c *control.Config) { c.Refusals = refused{"n": 3} }).steps([]step{
		{target: target, body: `{"instances":[{"instanceName":"demo"},{"instanceName":"absent"}],"waitSeconds":3}`, want: `{"time":"#","instances":[{"instanceName":"demo","instanceId":"*","refused":3}]}`},
		{target: target, body: `{"instances":[{"instanceName":"demo","seen":2}],"waitSeconds":3}`, want: `{"instances":[{"refused":3}]}`},
		{target: target, body: `{"instances":[{"instanceName":"demo","seen":3}],"waitSeconds":0}`, want: `{"instances":[{"refused":3}]}`},
		{target: target, body: `{"instances":[{"instanceName":"demo"}],"waitSeconds":4}`, exception: invalid, message: "1 validation error detected: Value '4' at 'waitSeconds'"},
		{target: target, body: `{"instances":[{"seen":3}]}`, exception: invalid, message: "1 validation error detected"},
		{target: target, body: `{}`, exception: invalid, message: "1 validation error detected"},
	})
	newServer(t).steps([]step{
		{target: target, body: `{"instances":[{"instanceName":"demo"}]}`, want: `{"instances":[{"instanceName":"demo","refused":"!","unknown":"no host serves it"}]}`},
	})
}
