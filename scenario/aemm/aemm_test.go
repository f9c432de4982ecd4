package aemm_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/scenario/aemm"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// full has every kind of key, in the form in which the mock saves its configuration.
const full = `{
  "imdsv2": true,
  "mock-delay-sec": 0, "mock-trigger-time": "", "mock-ip-count": 2, "server": {"port": "1338"}, "save-config-to-file": false,
  "spot": {"action": "stop", "time": "2026-03-01T12:05:00Z", "rebalance-rec-time": "2026-03-01T11:00:00Z"},
  "events": {"code": "instance-stop", "state": "active", "not-before": "2026-03-02T00:00:00+02:00", "not-after": "", "not-before-deadline": "2026-03-05T00:00:00Z"},
  "metadata": {
    "paths": {
      "mac-mac": "/latest/meta-data/network/interfaces/macs/0e:49:61:0f:c3:11/mac",
      "mac-ipv4-associations": "/latest/meta-data/network/interfaces/macs/0e:49:61:0f:c3:11/ipv4-associations/192.0.2.54",
      "mine": "/latest/meta-data/mine/deep", "spot": "/latest/meta-data/spot/instance-action", "ami-id": "/latest/meta-data/ami-id"
    },
    "values": {
      "mac": "06:00:00:00:00:01", "public-ipv4": "192.0.2.9", "mac-mac": "06:00:00:00:00:01", "mac-ipv4-associations": "10.0.0.9", "mac-device-number": 0,
      "event-id": "instance-event-0123456789abcdef0", "mine": true, "ami-id": "ami-1",
      "iam-security-credentials-role": "app", "iam-security-credentials": {"code": "Success", "accesskeyid": "x"},
      "elastic-inference-associations": "eia-1", "elastic-inference-accelerator": {"a": {"b": [1, "<&>"], "c": {}, "d": []}},
      "userdata": "aGkA"
    }
  },
  "dynamic": {"values": {"instance-identity-document": {"accountid": "1", "kernelId": null}, "instance-identity-signature": "sig", "fws-instance-monitoring": "enabled"}}
}`

func TestDecode(t *testing.T) {
	p, err := aemm.Decode([]byte(full), now)
	if err != nil {
		t.Fatal(err)
	}
	const mac, eia = "meta-data/network/interfaces/macs/06:00:00:00:00:01", "meta-data/elastic-inference/associations"
	want := map[string]string{
		"meta-data/mac": "06:00:00:00:00:01", "meta-data/public-ipv4": "192.0.2.9", "meta-data/ami-id": "ami-1", "meta-data/mine/deep": "true",
		"meta-data/network/interfaces/macs": "-", mac + "/mac": "06:00:00:00:00:01", mac + "/device-number": "0", mac + "/ipv4-associations/192.0.2.9": "10.0.0.9",
		"meta-data/iam/security-credentials": "-", "meta-data/iam/security-credentials/app": "{\n  \"Code\" : \"Success\",\n  \"AccessKeyId\" : \"x\"\n}",
		eia: "-", eia + "/eia-1": "{\n  \"a\" : {\n    \"b\" : [ 1, \"<&>\" ],\n    \"c\" : {},\n    \"d\" : []\n  }\n}",
		"dynamic/instance-identity/document": "{\n  \"accountId\" : \"1\",\n  \"kernelId\" : null\n}", "dynamic/instance-identity/signature": "sig",
		"dynamic/instance-identity/pkcs7": "-", "dynamic/instance-identity/rsa2048": "-", "dynamic/fws/instance-monitoring": "enabled",
	}
	got := map[string]string{}
	for path, value := range p.Overlay {
		got[path] = "-"
		if value != nil {
			got[path] = *value
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the overlay is\n%q, want\n%q", got, want)
	}
	if p.UserData == nil || string(*p.UserData) != "hi\x00" || p.RoleName != nil || p.Tokens == nil || *p.Tokens != openimds.TokensRequired {
		t.Errorf("%+v", p)
	}
	if p.Spot == nil || *p.Spot != (openimds.SpotInterruption{Action: "stop", Time: now.Add(5 * time.Minute)}) || p.RebalanceAt == nil || !p.RebalanceAt.Equal(now.Add(-time.Hour)) {
		t.Errorf("spot %+v, rebalance %v", p.Spot, p.RebalanceAt)
	}
	m := p.Maintenance
	if m == nil || m.ID != "instance-event-0123456789abcdef0" || m.Code != "instance-stop" || m.State != "active" ||
		!m.NotBefore.Equal(time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC)) || !m.NotAfter.IsZero() || m.NotBeforeDeadline.IsZero() {
		t.Errorf("maintenance %+v", m)
	}
	wantNotes := []string{"line 3: mock-ip-count: not carried over", "line 3: server: not carried over", "no dynamic/instance-identity/pkcs7", "no dynamic/instance-identity/rsa2048"}
	if len(p.Notes) != len(wantNotes) {
		t.Errorf("notes: %q", p.Notes)
	}
	for i, part := range wantNotes {
		if i < len(p.Notes) && !strings.Contains(p.Notes[i], part) {
			t.Errorf("note %q, want %q", p.Notes[i], part)
		}
	}
}

// What the guest is answered: the mock's role and interface alone.
func TestDecodedIsServed(t *testing.T) {
	p, err := aemm.Decode([]byte(full), now)
	if err != nil {
		t.Fatal(err)
	}
	in := openimds.NewInstance(openimds.Launch{Name: "demo", Region: "us-east-1"}, now)
	in.Overlay = p.Overlay
	v := &metadata.View{Instance: in, Now: now}
	for path, want := range map[string]string{
		"latest/meta-data/iam/security-credentials":       "app",
		"latest/meta-data/network/interfaces/macs":        "06:00:00:00:00:01/",
		"latest/meta-data/elastic-inference/associations": "eia-1",
		"latest/dynamic/instance-identity":                "document\nsignature\n",
	} {
		if it, _ := metadata.Get(v, path); string(it.Body) != want {
			t.Errorf("GET %s = %q, want %q", path, it.Body, want)
		}
	}
}

func TestParts(t *testing.T) {
	for _, tt := range []struct {
		file  string
		paths string // of the overlay
		notes []string
		check func(p *aemm.Plan) bool
	}{
		{`{}`, "", nil, func(p *aemm.Plan) bool { return p.Tokens == nil && p.UserData == nil && p.Spot == nil }},
		{`{"metadata": {"values": {"iam-security-credentials-role": "app"}}}`, "", nil, func(p *aemm.Plan) bool { return p.RoleName != nil && *p.RoleName == "app" }},
		{`{"metadata": {"values": {"iam-security-credentials": {"Expiration": "2020-04-02T00:49:51Z"}}}}`,
			"meta-data/iam/security-credentials meta-data/iam/security-credentials/baskinc-role", []string{"clients refuse such"}, nil},
		{`{"metadata": {"values": {"mac": "06:00:00:00:00:01"}}}`, "meta-data/mac", []string{"give the mac-* values"}, nil},
		{`{"metadata": {"values": {"mac-owner-id": "1"}}}`, "meta-data/mac meta-data/network/interfaces/macs meta-data/network/interfaces/macs/0e:49:61:0f:c3:11/owner-id", nil, nil},
		{`{"metadata": {"paths": {"ipv4-associations": "/latest/x"}}}`, "", []string{"line 1: metadata.paths.ipv4-associations: not carried over: there is no value of this name"}, nil},
		{`{"metadata": {"paths": {"ami-id": "/latest/x"}}}`, "", []string{"does not say which value stands there"}, nil},
		{`{"metadata": {"paths": {"spot": "/latest/x"}}}`, "", []string{"stands at AWS's path"}, nil},
		{`{"metadata": {"values": {"kernel-id": null}}}`, "", []string{"it has no value"}, nil},
		{`{"userdata": {"values": {"userdata": "aGk="}, "paths": {"userdata": "/latest/other"}}}`, "other", nil, nil},
		{`{"userdata": {"values": {"userdata": "/w=="}, "paths": {"userdata": "/latest/other"}}}`, "", []string{"what is not text"}, nil},
		{`{"imdsv2": "false"}`, "", nil, func(p *aemm.Plan) bool { return *p.Tokens == openimds.TokensOptional }},
		{`{"spot": {}}`, "", []string{"2m from now"}, func(p *aemm.Plan) bool { return p.Spot.Action == "terminate" && len(p.Uncover) == 2 }},
		{`{"spot": {"time": "2020-01-07T01:03:47Z"}}`, "meta-data/spot/instance-action meta-data/spot/termination-time", []string{"the time is over"}, nil},
		{`{"spot": {}, "mock-delay-sec": "12"}`, "", []string{"mock-delay-sec: not carried over, so no interruption"}, func(p *aemm.Plan) bool { return p.Spot == nil }},
		{`{"spot": {}, "mock-delay-sec": 12, "mock-trigger-time": "2026-01-01T00:00:00Z"}`, "", []string{"2m"}, func(p *aemm.Plan) bool { return p.Spot != nil }},
		{`{"events": {}, "mock-trigger-time": "2027-01-01T00:00:00Z"}`, "", []string{"no maintenance is announced"}, func(p *aemm.Plan) bool { return p.Maintenance == nil }},
		{`{"events": {"not-before": "2021-05-10T16:22:30-05:00"}}`, "meta-data/events/maintenance/scheduled", []string{"the time is over"}, nil},
		{`{"events": {"state": "completed", "not-before": "2021-05-10T16:22:30-05:00"}}`, "", []string{"stands in the history"}, func(p *aemm.Plan) bool { return p.Maintenance.State == "completed" }},
		{"{\n\n\"metdata\": {}, \"metadata\": {\"values\": {\"ami-id\": \"x\"}}}", "meta-data/ami-id", []string{"line 3: metdata: not carried over: this key is not known here; the keys are "}, nil},
		{"{\"metadata\":\n{\"x\":1}}", "", []string{"line 2: metadata.x: not carried over: this key is not known here; the keys are paths, values"}, nil},
		{`{"metadata": {"values": {"ami-di": "x", "ami-id": "y", "tags-instance": {"Name": "z"}}}}`, "meta-data/ami-id", []string{
			"line 1: metadata.values.ami-di: not carried over: this key is not known, and no path of that name is given", "tags-instance: not carried over"}, nil},
		{`{"spot": {"when": "soon", "action": "stop"}}`, "", []string{"spot.when: not carried over: this key is not known here", "2m from now"}, func(p *aemm.Plan) bool { return p.Spot.Action == "stop" }},
		{`{"events": {"when": "soon", "not-before": "2027-01-01T00:00:00Z"}}`, "", []string{"events.when: not carried over"}, func(p *aemm.Plan) bool { return p.Maintenance != nil }},
		{`{"dynamic": {"values": {"new-one": 1}, "paths": {"new-one": "/latest/dynamic/new-one"}}}`, "dynamic/new-one", nil, nil},
		{`{"metadata": {"values": {"userdata": "1234,john"}}}`, "", []string{"taken as it stands"}, func(p *aemm.Plan) bool { return string(*p.UserData) == "1234,john" }},
		{`{"rebalance-delay-sec": 5, "asg-termination-delay-sec": 0, "asg-termination-trigger-time": ""}`, "", []string{"rebalance-delay-sec: not carried"}, nil},
	} {
		p, err := aemm.Decode([]byte(tt.file), now)
		if err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		if got := strings.Join(slices.Sorted(maps.Keys(p.Overlay)), " "); got != tt.paths {
			t.Errorf("%s lays over %s, want %s", tt.file, got, tt.paths)
		}
		if len(p.Notes) != len(tt.notes) || tt.check != nil && !tt.check(p) {
			t.Errorf("%s: notes %q, want %q; %+v", tt.file, p.Notes, tt.notes, p)
		}
		for i := range min(len(p.Notes), len(tt.notes)) {
			if !strings.Contains(p.Notes[i], tt.notes[i]) {
				t.Errorf("%s: note %q, want %q", tt.file, p.Notes[i], tt.notes[i])
			}
		}
		if value := p.Overlay["meta-data/events/maintenance/scheduled"]; value != nil && !json.Valid([]byte(*value)) {
			t.Errorf("not JSON: %s", *value)
		}
	}
}

func TestErrors(t *testing.T) {
	for file, want := range map[string]string{
		"":                             "not JSON",
		"{\n\"metadata\": {,}}":        "line 2: not JSON: ",
		"[]":                           "line 1: expected an object, not a list",
		`{"metadata": {"values": []}}`: "line 1: metadata.values: expected an object, not a list",
		`{"metadata": {"values": {"ami-id": "x"}, "paths": {"ami-id": "/x"}}}`:                                `metadata.paths.ami-id: the path "/x" does not begin with /latest/`,
		`{"metadata": {"values": {"ami-id": "x"}, "paths": {"ami-id": "/latest/../x"}}}`:                      `metadata.paths.ami-id: overlay path "../x" has a segment`,
		`{"metadata": {"values": {"ami-id": "x"}, "paths": {"ami-id": 1}}}`:                                   "metadata.paths.ami-id: expected a text, not a number",
		`{"metadata": {"values": {"ami-id": "x", "mac": "y"}, "paths": {"ami-id": "/latest/meta-data/mac"}}}`: "the path meta-data/mac has a value on line 1 already",
		`{"metadata": {"values": {"ami-id": "x", "ami-id": "y"}}}`:                                            "metadata.values.ami-id: this key is there twice",
		`{"userdata": {"values": {"userdata": "%"}}}`:                                                         "userdata.values.userdata: this is not base64",
		`{"imdsv2": "maybe"}`:             "imdsv2: expected true or false",
		`{"spot": {"action": "explode"}}`: `spot.action: "explode" is not one of hibernate, stop, terminate`,
		`{"spot": {"time": "soon"}}`:      `spot.time: "soon" is not a time`,
		`{"events": {"code": "reboot"}}`:  `events.code: "reboot" is not one of`,
		`{"events": {"not-before": "2027-01-02T00:00:00Z", "not-after": "2027-01-01T00:00:00Z"}}`: "events.not-after: the event would end before it begins",
		`{"events": {}, "metadata": {"values": {"event-id": "x"}}}`:                               "metadata.values.event-id: the id of an event is",
		`{"mock-delay-sec": "long"}`: "mock-delay-sec: expected a number of seconds",
		`{"mock-trigger-time": 1}`:   "mock-trigger-time: expected a text",
	} {
		_, err := aemm.Decode([]byte(file), now)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %s", file, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"metadata": {"values": {"mac": "a/b"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := aemm.Decode(text, now)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("several lines: %q", err)
			}
			return
		}
		if err := metadata.ValidateOverlay(p.Overlay); err != nil {
			t.Errorf("the overlay is refused: %v", err)
		}
	})
}
