package lightsail_test

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// attachable carries out every attachment.
type attachable struct{}

func (attachable) Guarded() []openimds.GuardedPlace {
	return []openimds.GuardedPlace{{Interface: "tap7"}, {Netns: "/run/netns/c1"}}
}

func (a attachable) Release(names []string) ([]openimds.GuardedPlace, error) {
	if len(names) == 0 {
		return a.Guarded(), nil
	}
	return []openimds.GuardedPlace{{Interface: names[0]}}, nil
}

func (attachable) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

// TestGuardedPlaces lists and releases what is guarded.
func TestGuardedPlaces(t *testing.T) {
	s := newServer(t, withAttachments)
	const list, release = "OpenIMDS_20261122.GetGuardedPlaces", "OpenIMDS_20261122.ReleasePlaces"
	const all = `{"places":[{"interface":"tap7"},{"networkNamespace":"/run/netns/c1"}]}`
	s.steps([]step{
		{target: list, body: `{}`, want: all},
		{target: release, body: `{"all":true}`, want: all},
		{target: release, body: `{"names":["tap7"]}`, want: `{"places":[{"interface":"tap7"}]}`},
		{target: release, body: `{}`, exception: invalid, message: "Name the places to release"},
		{target: release, body: `{"names":["tap7"],"all":true}`, exception: invalid, message: "Name the places to release"},
	})
	s = newServer(t)
	s.steps([]step{
		{target: list, body: `{}`, want: `{"places":[]}`},
		{target: release, body: `{"all":true}`, exception: failure, message: "This server attaches no instances"},
	})
}

// withAttachments is a server that attaches instances, and has a door for hosts.
func withAttachments(cfg *control.Config) { cfg.Attachments, cfg.Door = attachable{}, door{} }

// door is where hosts join.
type door struct{}

func (door) AuthorityPEM() []byte { return []byte("authority") }
func (door) Addresses() []string  { return []string{"10.0.0.1:1340"} }

func TestAttachments(t *testing.T) {
	const attach, detach, list = "OpenIMDS_20261122.AttachInstance", "OpenIMDS_20261122.DetachInstance", "OpenIMDS_20261122.GetAttachments"
	s := newServer(t, withAttachments)
	lease, err := s.service.JoinHost(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	// report is what the host tells: nothing is where it should be, and at web-2's place another link is.
	report := func() {
		t.Helper()
		all, err := s.service.Attachments(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range all {
			status := openimds.AttachmentStatus{Instance: at.Instance, CreatedAt: at.CreatedAt, State: "waiting", Reason: "there is no tap0"}
			if at.Instance == "web-2" {
				status.Found = &openimds.Face{Boot: "b", Index: 7, Serial: 1 << 60, MAC: "fe:54:00:00:00:07"}
			}
			if err := s.service.ReportAttachments(t.Context(), lease, []openimds.AttachmentStatus{status}); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.must("CreateInstances", `{"instanceNames":["web-1","web-2","web-3"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0"}`)
	s.steps([]step{
		{target: list, body: `{}`, want: `{"attachments":[]}`},
		{target: attach, body: `{"instanceName":"web-1","interface":"tap0"}`,
			want: `{"operation":{"operationType":"AttachInstance","resourceName":"web-1","status":"Succeeded"}}`},
		{target: list, body: `{}`, want: `{"attachments":[{"instanceName":"web-1","interface":"tap0","createdAt":"#","state":"waiting","reason":"it is being attached"}]}`},
	})
	report()
	s.steps([]step{
		{target: list, body: `{}`, want: `{"attachments":[{"instanceName":"web-1","interface":"tap0","createdAt":"#","state":"waiting","reason":"there is no tap0"}]}`},
		{target: attach, body: `{"instanceName":"web-1","interface":"tap0"}`, want: `{"operation":{"operationType":"AttachInstance","status":"Succeeded"}}`},
		{target: attach, body: `{"instanceName":"web-1","interface":"tap1"}`, exception: invalid, message: "The instance web-1 is attached already"},
		{target: attach, body: `{"instanceName":"web-2","interface":"tap0"}`, exception: invalid, message: "The instance web-1 is attached to that place"},
		{target: attach, body: `{"instanceName":"web-2","interface":"tap0","sources":["10.0.0.7"]}`, exception: invalid, message: "The instance web-1 is attached to that place"},
		{target: attach, body: `{"instanceName":"web-2","interface":"br0","sources":["10.0.0.7","2001:db8::/64"]}`, want: `{"operation":{}}`},
		{target: attach, body: `{"instanceName":"web-3","interface":"br0","sources":["10.0.0.0/24"]}`, exception: invalid, message: "The instance web-2 is attached to that place"},
		{target: attach, body: `{"instanceName":"web-3","interface":"br0","sources":["10.0.0.8/32"]}`, want: `{"operation":{}}`},
		{target: detach, body: `{"instanceName":"web-3"}`, want: `{"operation":{"operationType":"DetachInstance"}}`},
		{target: detach, body: `{"instanceName":"web-3"}`, exception: invalid, message: "The instance web-3 is not attached"},
		{target: attach, body: `{"instanceName":"web-3","networkNamespace":"web3"}`, want: `{"operation":{}}`},
		{target: detach, body: `{"instanceName":"web-3"}`, want: `{"operation":{}}`},
		{target: attach, body: `{"instanceName":"web-3","processId":4711}`, want: `{"operation":{}}`},
		{target: detach, body: `{"instanceName":"web-3"}`, want: `{"operation":{}}`},
		{target: attach, body: `{"instanceName":"web-3"}`, exception: invalid, message: "An attachment names one of"},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap9","processId":1}`, exception: invalid, message: "An attachment names one of"},
		{target: attach, body: `{"instanceName":"web-3","interface":"lo"}`, exception: invalid, message: "The interface lo is the host's own"},
		{target: attach, body: `{"instanceName":"web-3","interface":"a/b"}`, exception: invalid, message: `"a/b" cannot be the name of an interface`},
		{target: attach, body: `{"instanceName":"web-3","networkNamespace":"../etc"}`, exception: invalid, message: `"../etc" is neither the name`},
		{target: attach, body: `{"instanceName":"web-3","networkNamespace":"web3","sources":["10.0.0.1"]}`, exception: invalid, message: "Sources tell the callers of an interface apart"},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap9","sources":["10.0.0.1/24"]}`, exception: invalid, message: "The source 10.0.0.1/24 is not an address or prefix"},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap9","sources":["here"]}`, exception: invalid, message: `The source "here" is not an address or prefix`},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap9","macAddress":"52:54:00:00:00:01","ifAlias":"web three"}`, want: `{"operation":{}}`},
	})
	report()
	s.steps([]step{
		{target: attach, body: `{"instanceName":"web-2","interface":"br0","sources":["10.0.0.7","2001:db8::/64"]}`, want: `{"operation":{}}`},
	})
	report()
	s.steps([]step{
		{target: list, body: `{}`, want: `{"attachments":[
			{"instanceName":"web-1","interface":"tap0","createdAt":"#","state":"waiting","reason":"there is no tap0"},
			{"instanceName":"web-2","interface":"br0","sources":["10.0.0.7/32","2001:db8::/64"],"createdAt":"#","state":"waiting","reason":"there is no tap0",
				"boundTo":{"boot":"b","index":7,"serial":"1152921504606846976","mac":"fe:54:00:00:00:07"},
				"found":{"boot":"b","index":7,"serial":"1152921504606846976","mac":"fe:54:00:00:00:07"}},
			{"instanceName":"web-3","interface":"tap9","macAddress":"52:54:00:00:00:01","ifAlias":"web three","createdAt":"#","state":"waiting","reason":"there is no tap0"}]}`},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap9","byName":true}`, want: `{"operation":{}}`},
		{target: detach, body: `{"instanceName":"web-3"}`, want: `{"operation":{}}`},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap9","macAddress":"52:54:00:00:00:01","byName":true}`, exception: invalid, message: "byName takes whatever has the name"},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap9","macAddress":"525400000001"}`, exception: invalid, message: `"525400000001" is not a MAC address`},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap9","ifAlias":"a\u001b"}`, exception: invalid, message: `"a\x1b" cannot be the alias`},
		{target: attach, body: `{"instanceName":"web-3","networkNamespace":"web3","ifAlias":"a"}`, exception: invalid, message: "ifAlias is a mark of an interface"},
		{target: attach, body: `{"instanceName":"web-3","processId":4711,"byName":true}`, exception: invalid, message: "byName takes whatever has the name"},
		{target: attach, body: `{"instanceName":"web-3","host":"elsewhere","interface":"tap9"}`, exception: failure, message: "There is no host elsewhere; see which there are, or enroll it first"},
		{target: attach, body: `{"instanceName":"web-3","host":"a/b","interface":"tap9"}`, exception: invalid, message: `"a/b" cannot be the name of a host`},
		{target: attach, body: `{"instanceName":"absent","interface":"tap9"}`, exception: notFound, code: "DoesNotExist"},
		{target: detach, body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
		// An instance that is deleted takes its attachment along; another of its name is not attached.
		{target: "DeleteInstance", body: `{"instanceName":"web-1"}`, want: `{"operations":[{}]}`},
		{target: attach, body: `{"instanceName":"web-3","interface":"tap0"}`, want: `{"operation":{}}`},
		{target: list, body: `{}`, want: `{"attachments":[{"instanceName":"web-2","sources":["10.0.0.7/32","2001:db8::/64"]},{"instanceName":"web-3","interface":"tap0"}]}`},
	})
}

func TestAttachmentsNeedAHost(t *testing.T) {
	s := newServer(t)
	s.steps([]step{{target: "OpenIMDS_20261122.AttachInstance", body: `{"instanceName":"demo","interface":"tap0"}`,
		exception: failure, message: "This server cannot attach instances"}})
}
