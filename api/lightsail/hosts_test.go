package lightsail_test

import (
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TestHosts: an operator invites a host, sees what is there, drains it and cuts it off; a key that only looks may only look.
func TestHosts(t *testing.T) {
	const prefix = "OpenIMDS_20261122."
	s := newServer(t, withAttachments, func(c *control.Config) { c.Version = "1.2.3" })
	if _, err := s.service.JoinHost(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	const local = `"name":"local","state":"there","since":"#","version":"1.2.3","attaches":true`
	s.steps([]step{
		{target: prefix + "GetHosts", body: `{}`, want: `{"hosts":[{` + local + `,"attachments":0,"seats":0,"left":"!","drainedSince":"!","joinedAt":"!","certificateEnds":"!","invitedUntil":"!"}]}`},
		{target: prefix + "AttachInstance", body: `{"instanceName":"demo","interface":"tap0"}`, want: `{"operation":{}}`},
		{target: prefix + "EnrollHost", body: `{"host":"host-17","seconds":60}`, want: `{"invitation":{"version":1,"host":"host-17","token":"*","until":"*","authority":"authority","replicas":["10.0.0.1:1340"]}}`},
		{target: prefix + "EnrollHost", body: `{"host":"host-17","seconds":3601}`, exception: invalid, message: "A machine has 1 second to 1h to join"},
		{target: prefix + "EnrollHost", body: `{"host":"host-17","seconds":0}`, exception: invalid, message: "A machine has 1 second to 1h to join"},
		{target: prefix + "EnrollHost", body: `{"host":"host/17"}`, exception: invalid, message: `"host/17" cannot be the name of a host`},
		{target: prefix + "EnrollHost", body: `{}`, exception: invalid, message: "1 validation error detected: Value null at 'host'"},
		{target: prefix + "GetHosts", body: `{}`, want: `{"hosts":[{"name":"host-17","state":"invited","attaches":false,"invitedUntil":"#","attachments":0,"seats":0},{` + local + `,"attachments":1}]}`},
		{target: prefix + "DrainHost", body: `{"host":"local"}`, want: `{"host":{` + local + `,"drainedSince":"#"},"attachments":[{"instanceName":"demo","interface":"tap0","state":"waiting"}]}`},
		{target: prefix + "GetHost", body: `{"host":"local"}`, want: `{"host":{"drainedSince":"#"},"attachments":[{"instanceName":"demo"}]}`},
		{target: prefix + "UndrainHost", body: `{"host":"local"}`, want: `{"host":{"drainedSince":"!"}}`},
		{target: prefix + "GetHost", body: `{"host":"absent"}`, exception: notFound, code: "DoesNotExist", message: "The host does not exist: absent"},
		{target: prefix + "EvictHost", body: `{"host":"absent"}`, exception: notFound, code: "DoesNotExist"},
		{target: prefix + "EvictHost", body: `{"host":"local"}`, exception: failure, message: "The host local is a server that has the store itself"},
		{target: prefix + "EvictHost", body: `{"host":"host-17"}`, want: `{"host":{"name":"host-17","state":"away"},"attachments":[]}`},
		{target: prefix + "GetHosts", body: `{}`, want: `{"hosts":[{` + local + `}]}`},
	})
}

// TestPendingHosts: who looks at options that are not in force everywhere is told which hosts they wait for, at the
// instance and at the operation, until the last one obeys or is gone.
func TestPendingHosts(t *testing.T) {
	s := newServer(t)
	leases := map[string]store.Lease{}
	services := map[string]*control.Service{}
	for _, name := range []string{"host-1", "host-2"} {
		h := control.New(s.store, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: name})
		lease, err := h.JoinHost(t.Context(), true)
		if err == nil {
			err = h.TakeSeats(t.Context(), lease, "demo")
		}
		if err != nil {
			t.Fatal(err)
		}
		leases[name], services[name] = lease, h
	}
	made := s.must("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"required"}`)["operation"].(map[string]any)
	look := func(instance, operation string) {
		t.Helper()
		s.steps([]step{
			{target: "GetInstance", body: `{"instanceName":"demo"}`, want: instance},
			{target: "GetOperation", body: `{"operationId":"` + made["id"].(string) + `"}`, want: operation},
		})
	}
	look(`{"instance":{"metadataOptions":{"state":"pending"},"pendingHosts":["host-1","host-2"]}}`, `{"operation":{"status":"Started","operationDetails":"waits for host-1, host-2"}}`)
	in, err := s.service.Instance(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if err := services["host-1"].MarkApplied(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	look(`{"instance":{"metadataOptions":{"state":"pending"},"pendingHosts":["host-2"]}}`, `{"operation":{"status":"Started","operationDetails":"waits for host-2"}}`)
	s.steps([]step{
		{target: "GetOperationsForResource", body: `{"resourceName":"demo"}`, want: `{"operations":[{"operationDetails":"waits for host-2"},{"operationDetails":"!"}]}`},
		{target: "GetOperations", body: `{}`, want: `{"operations":[{"operationDetails":"waits for host-2"},{"operationDetails":"!"}]}`},
	})
	// A later change waits for both anew, and so does the one that it follows.
	s.must("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpPutResponseHopLimit":3}`)
	look(`{"instance":{"pendingHosts":["host-1","host-2"]}}`, `{"operation":{"operationDetails":"waits for host-1, host-2"}}`)
	// One that is gone is waited for until its lease ends.
	if err := s.store.Revoke(t.Context(), leases["host-2"]); err != nil {
		t.Fatal(err)
	}
	look(`{"instance":{"pendingHosts":["host-1"]}}`, `{"operation":{"operationDetails":"waits for host-1"}}`)
	if in, err = s.service.Instance(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	if err := services["host-1"].MarkApplied(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	look(`{"instance":{"metadataOptions":{"state":"applied"},"pendingHosts":"!"}}`, `{"operation":{"status":"Succeeded","operationDetails":"!"}}`)
	if _, err := s.store.Get(t.Context(), records.SeatKey("demo", "host-1")); err != nil {
		t.Error(err)
	}
	var none openimds.Instance
	if hosts, err := s.service.PendingHosts(t.Context(), &none); err != nil || hosts != nil {
		t.Errorf("of options that are in force: %v, %v", hosts, err)
	}
}
