package server

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// in is the operator in a region.
func (o operator) in(region string) operator {
	o.region = region
	return o
}

// must carries out what has to succeed.
func (o operator) must(t *testing.T, operation string, in, out any) {
	t.Helper()
	if !strings.Contains(operation, ".") {
		operation = targetLightsail + operation
	}
	if err := o.call(t.Context(), operation, in, out); err != nil {
		t.Fatalf("%s in %s: %v", operation, o.region, err)
	}
}

type object = map[string]any

// shownInstance is what of an instance has to do with its region.
type shownInstance struct {
	Name, ARN, SupportCode string
	PublicIPAddress        string
	Location               struct{ AvailabilityZone, RegionName string }
	MetadataOptions        struct{ HTTPTokens string }
}

func (o operator) instances(t *testing.T) (all []shownInstance) {
	t.Helper()
	var answer struct{ Instances []shownInstance }
	o.must(t, "GetInstances", object{}, &answer)
	return answer.Instances
}

// TestRegions: each region of a server is one by itself, whatever names are used in the others.
func TestRegions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := forTest(dir)
	cfg.MoreRegions, cfg.TransitionTime = []string{"eu-west-1", "ap-southeast-5"}, 0
	i := openInstallation(t, cfg)
	first, eu := i.client, i.client.in("eu-west-1")

	var regions struct{ Regions []struct{ Name string } }
	eu.must(t, "GetRegions", object{}, &regions)
	if len(regions.Regions) != 3 || regions.Regions[0].Name != "us-east-1" || regions.Regions[2].Name != "ap-southeast-5" {
		t.Errorf("the regions are %+v", regions)
	}
	if err := i.client.in("us-west-2").call(t.Context(), targetLightsail+"GetInstances", object{}, nil); err == nil || !strings.Contains(err.Error(), "Credential should be scoped to a valid region, not 'us-west-2'.") {
		t.Errorf("a region that is not served: %v", err)
	}

	// One name, in both, for each kind of resource.
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+1P0dyDrHSlHxPCsQWKjCqXgcUJ8HOQ1wLvS0B3c6p me@here"
	var made struct{ Operations []struct{ ID string } }
	for _, o := range []operator{first, eu} {
		o.must(t, "ImportKeyPair", object{"keyPairName": "mine", "publicKeyBase64": key}, nil)
		o.must(t, targetOpenIMDS+"LaunchInstances", object{"instanceNames": []string{"web"}, "keyPairName": "mine"}, &made)
		o.must(t, "AllocateStaticIp", object{"staticIpName": "front"}, nil)
		o.must(t, "AttachStaticIp", object{"staticIpName": "front", "instanceName": "web"}, nil)
		o.must(t, "PutAlarm", object{"alarmName": "loud", "metricName": "MetadataNoToken", "monitoredResourceName": "web", "comparisonOperator": "GreaterThanThreshold", "threshold": 0.5, "evaluationPeriods": 1}, nil)
	}
	operation := object{"operationId": made.Operations[0].ID}
	eu.must(t, "GetOperation", operation, nil)
	if err := first.call(t.Context(), targetLightsail+"GetOperation", operation, nil); err == nil || !strings.Contains(err.Error(), "NotFoundException") {
		t.Errorf("the operation of another region: %v", err)
	}
	home, there := first.instances(t), eu.instances(t)
	if len(home) != 2 || home[0].Name != "demo" || len(there) != 1 || there[0].Name != "web" || len(i.client.in("ap-southeast-5").instances(t)) != 0 {
		t.Fatalf("us-east-1 has %+v, eu-west-1 has %+v", home, there)
	}
	if in := there[0]; in.Location.RegionName != "eu-west-1" || in.Location.AvailabilityZone != "eu-west-1a" ||
		!strings.HasPrefix(in.ARN, "arn:aws:lightsail:eu-west-1:") || in.SupportCode == home[1].SupportCode || in.PublicIPAddress == home[1].PublicIPAddress {
		t.Errorf("the instance of eu-west-1 is %+v, that of us-east-1 %+v", in, home[1])
	}

	// What is changed of the one is not changed of the other, and neither is what is told of it.
	eu.must(t, "UpdateInstanceMetadataOptions", object{"instanceName": "web", "httpTokens": "required"}, nil)
	eu.must(t, "DeleteAlarm", object{"alarmName": "loud"}, nil)
	var alarms struct{ Alarms []struct{ ARN string } }
	first.must(t, "GetAlarms", object{}, &alarms)
	if home = first.instances(t); home[1].MetadataOptions.HTTPTokens != "optional" || len(alarms.Alarms) != 1 {
		t.Errorf("us-east-1 after a change in eu-west-1: %+v, %+v", home[1], alarms)
	}
	checkGuests(t, i.server, map[string]string{"us-east-1": "HTTP/1.1 200", "eu-west-1": "HTTP/1.1 401"})
	checkRegionsAudit(t, i.server)
	i.stop()

	// Later, regions are given in another order, and one is not given any more.
	cfg.Region, cfg.MoreRegions, cfg.DefaultInstance = "eu-west-1", []string{"us-east-1"}, "web"
	i = openInstallation(t, cfg)
	if again := i.client.in("eu-west-1").instances(t); !slices.Equal(names(again), []string{"web"}) || again[0].SupportCode != there[0].SupportCode {
		t.Errorf("eu-west-1 has %+v, before it had %+v", again, there)
	}
	if again := i.client.instances(t); !slices.Equal(names(again), []string{"demo", "web"}) || again[1].SupportCode != home[1].SupportCode {
		t.Errorf("us-east-1 has %+v, before it had %+v", again, home)
	}
	if i.server.Instance().Region != "eu-west-1" {
		t.Errorf("the default instance is of %s", i.server.Instance().Region)
	}
	i.stop()
}

func names(all []shownInstance) (names []string) {
	for _, in := range all {
		names = append(names, in.Name)
	}
	return names
}

// checkGuests asks as the instance "web" of each region, and wants that of a request without a token.
func checkGuests(t *testing.T, s *Server, want map[string]string) {
	t.Helper()
	for _, r := range s.regions {
		begins := want[r.region]
		if begins == "" {
			continue
		}
		guests := commands{&s.hosting}
		name := r.region + "/web"
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		must(t, guests.Seat(t.Context(), name))
		ended := make(chan error, 1)
		go func() { ended <- guests.Serve(l, name) }()
		token := exchange(t, l.Addr().String(), "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n")
		token = token[strings.Index(token, "\r\n\r\n")+4:]
		for path, value := range map[string]string{"placement/region": r.region, "placement/availability-zone": r.region + "a"} {
			answer := exchange(t, l.Addr().String(), "GET /latest/meta-data/"+path+" HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token: "+token+"\r\n\r\n")
			if !strings.HasSuffix(answer, "\r\n\r\n"+value) {
				t.Errorf("%s of %s is %q", path, name, answer)
			}
		}
		document := exchange(t, l.Addr().String(), "GET /latest/dynamic/instance-identity/document HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token: "+token+"\r\n\r\n")
		if !strings.Contains(document, `"region" : "`+r.region+`"`) {
			t.Errorf("the identity document of %s: %s", name, document)
		}
		if answer := exchange(t, l.Addr().String(), "GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(answer, begins) {
			t.Errorf("without a token %s gets %q", name, answer)
		}
		must(t, l.Close())
		<-ended
		must(t, guests.Unseat(name))
	}
	if err := (commands{&s.hosting}).Seat(t.Context(), "us-west-2/web"); openimds.CodeOf(err) != openimds.Mismatch {
		t.Errorf("a guest of a region that there is not: %v", err)
	}
}

// checkRegionsAudit looks at who is told of what was changed.
func checkRegionsAudit(t *testing.T, s *Server) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.DataDir(), auditFile))
	must(t, err)
	if !strings.Contains(string(text), `"eu-west-1/Instance/web"`) || !strings.Contains(string(text), `"Instance/web"`) {
		t.Errorf("the audit log does not tell regions apart:\n%s", text)
	}
	for _, r := range s.regions[:2] {
		found, since, err := changesOf{s, r}.Changes(t.Context(), "Instance/web")
		must(t, err)
		changed := slices.ContainsFunc(found, func(e openimds.AuditEntry) bool { return e.What == "UpdateInstanceMetadataOptions" })
		if len(found) == 0 || since.IsZero() || changed != (r.region == "eu-west-1") || found[0].Resource != "Instance/web" {
			t.Errorf("%s is told of %+v since %v", r.region, found, since)
		}
	}
}

// TestHomeRegion: what was there before a server had several regions is of the region that it had, as far as that is
// known, whatever is served now.
func TestHomeRegion(t *testing.T) {
	for _, written := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "data")
		cfg := forTest(dir)
		cfg.Region = "eu-north-1"
		i := openInstallation(t, cfg)
		id := i.server.Instance().ID
		i.stop()
		s := &Server{hosting: hosting{cfg: cfg, log: slog.New(slog.DiscardHandler)}}
		s.cfg.DataDir = i.server.DataDir()
		must(t, s.openStore(t.Context()))
		_, err := s.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: records.HomeKey, If: store.Whatever}) // as an earlier version left it
		must(t, err)
		must(t, s.store.Close())
		want := "us-east-1"
		if written {
			want = "eu-north-1"
		} else {
			must(t, os.Remove(filepath.Join(dir, regionFile)))
		}
		cfg.Region, cfg.MoreRegions = "us-east-1", []string{"eu-north-1"}
		i = openInstallation(t, cfg)
		for _, region := range i.server.Regions() {
			in, err := i.server.ServiceOf(region).Instance(t.Context(), "demo")
			if has := err == nil && in.ID == id; has != (region == want) {
				t.Errorf("region file %v: the instance is of %s: %v, %v", written, region, has, err)
			}
		}
		i.stop()
	}
}

// TestSharedNetwork: the host's network has the endpoints of all regions, and each region is told of its own.
func TestSharedNetwork(t *testing.T) {
	east, west := &regional{region: "us-east-1", home: true}, &regional{region: "us-west-2"}
	s := &Server{hosting: hosting{regions: []*regional{east, west}, regional: east}}
	for _, r := range s.regions {
		id := r.endpointOf("web#abc")
		if found, own := s.regionOf(id); found != r || own != "web#abc" {
			t.Errorf("%s is found as %s of %s", id, own, found.region)
		}
	}
	if east.endpointOf("web#abc") == west.endpointOf("web#abc") {
		t.Error("two regions have one endpoint")
	}
	var given []string
	set := func(endpoints []hostnet.Endpoint) error {
		given = nil
		for _, e := range endpoints {
			given = append(given, e.ID)
		}
		return nil
	}
	s.setHost = set
	must(t, shared{&s.hosting, west}.Set([]hostnet.Endpoint{{ID: "web#1", Interface: "tap1"}}))
	if given != nil {
		t.Errorf("the host is given %q before a region has told its own", given)
	}
	must(t, shared{&s.hosting, east}.Set([]hostnet.Endpoint{{ID: "web#2", Interface: "tap0"}, {ID: "db#3", Interface: "tap2"}}))
	if !reflect.DeepEqual(given, []string{"web#2", "db#3", "web#1@us-west-2"}) {
		t.Errorf("the host is given %q", given)
	}
	// Who is served at a place stays, whichever region comes for it.
	mine := []hostnet.Endpoint{{ID: "web#1", Interface: "tap1"}}
	must(t, shared{&s.hosting, east}.Set(mine))
	if !reflect.DeepEqual(given, []string{"web#1@us-west-2"}) {
		t.Errorf("with two for one place the host is given %q", given)
	}
	must(t, shared{&s.hosting, west}.Set(nil))
	if !reflect.DeepEqual(given, []string{"web#1"}) {
		t.Errorf("once the place is free the host is given %q", given)
	}
	must(t, shared{&s.hosting, west}.Set(mine))
	if !reflect.DeepEqual(given, []string{"web#1"}) {
		t.Errorf("with two for one place the host is given %q", given)
	}
	must(t, shared{&s.hosting, east}.Set(nil))
	if !reflect.DeepEqual(given, []string{"web#1@us-west-2"}) {
		t.Errorf("the host is given %q", given)
	}
}
