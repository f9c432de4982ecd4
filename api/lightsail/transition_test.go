package lightsail_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// arrive ends the transitions that are under way.
func (s *server) arrive() {
	s.t.Helper()
	page, err := s.store.List(s.t.Context(), store.Range{Prefix: records.TransitionPrefix})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range page.Records {
		under, err := records.DecodeTransition(r)
		if err == nil {
			err = s.service.EndTransition(s.t.Context(), strings.TrimPrefix(r.Key, records.TransitionPrefix), under.Begun)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestTransitions: what is asked for is Started, and its state one in between, until it is so.
func TestTransitions(t *testing.T) {
	s := newServer(t, func(c *control.Config) { c.TransitionTime = time.Hour })
	state := func(code int, name string) step {
		return step{target: "GetInstanceState", body: `{"instanceName":"web"}`, want: fmt.Sprintf(`{"state":{"code":%d,"name":%q}}`, code, name)}
	}
	s.steps([]step{
		{target: "GetInstanceState", body: `{"instanceName":"demo"}`, want: `{"state":{"code":16,"name":"running"}}`},
		{target: "CreateInstances", body: `{"instanceNames":["web"],"availabilityZone":"us-east-1b","blueprintId":"ubuntu_24_04","bundleId":"small_3_0"}`,
			want: `{"operations":[{"id":"*","resourceName":"web","isTerminal":false,"operationType":"CreateInstance","status":"Started","errorCode":"!","errorDetails":"!"}]}`},
		{target: "GetInstance", body: `{"instanceName":"web"}`, want: `{"instance":{"state":{"code":0,"name":"pending"},"publicIpAddress":"*","metadataOptions":{"state":"applied"}}}`},
		{target: "StopInstance", body: `{"instanceName":"web"}`, exception: failure, message: "The instance web cannot be stopped: it is pending, not running"},
		{target: "RebootInstance", body: `{"instanceName":"web"}`, exception: failure},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"web","httpTokens":"required"}`, exception: failure, message: "The metadata options of web cannot be changed: the instance is pending"},
		{target: "StartInstance", body: `{"instanceName":"web"}`, want: `{"operations":[{"operationType":"StartInstance","status":"Started","isTerminal":false}]}`},
	})
	s.arrive()
	s.steps([]step{
		state(16, "running"),
		{target: "GetOperationsForResource", body: `{"resourceName":"web"}`, want: `{"operations":[{"operationType":"StartInstance","status":"Succeeded","isTerminal":true},{"operationType":"CreateInstance","status":"Succeeded","isTerminal":true}]}`},
		{target: "RebootInstance", body: `{"instanceName":"web"}`, want: `{"operations":[{"operationType":"RebootInstance","status":"Succeeded","isTerminal":true}]}`},
		state(16, "running"),
		{target: "StopInstance", body: `{"instanceName":"web"}`, want: `{"operations":[{"operationType":"StopInstance","status":"Started","isTerminal":false}]}`},
		state(64, "stopping"),
		{target: "StartInstance", body: `{"instanceName":"web"}`, exception: failure, message: "The instance web cannot be started: it is stopping, not stopped"},
		{target: "StopInstance", body: `{"instanceName":"web","force":true}`, want: `{"operations":[{"operationType":"StopInstance","status":"Succeeded","isTerminal":true}]}`},
		state(80, "stopped"),
		{target: "StartInstance", body: `{"instanceName":"web"}`, want: `{"operations":[{"status":"Started"}]}`},
		{target: "DeleteInstance", body: `{"instanceName":"web"}`, want: `{"operations":[{"operationType":"DeleteInstance","status":"Succeeded","isTerminal":true}]}`},
		{target: "GetOperationsForResource", body: `{"resourceName":"web"}`, want: `{"operations":[{},{"operationType":"StartInstance","status":"Failed","isTerminal":true,"errorCode":"OperationFailure","errorDetails":"The instance was deleted while it was pending"},{},{},{},{},{}]}`},
	})
}
