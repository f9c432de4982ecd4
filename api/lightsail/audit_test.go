package lightsail_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// entries reads the audit log: one JSON object a line.
func (s *server) entries() []openimds.AuditEntry {
	s.t.Helper()
	var entries []openimds.AuditEntry
	for line := range strings.Lines(s.audit.String()) {
		var e openimds.AuditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		entries = append(entries, e)
	}
	return entries
}

func TestAuditOfChanges(t *testing.T) {
	s := newServer(t)
	before := len(s.entries())
	a := s.call("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"required"}`)
	s.must("GetInstance", `{"instanceName":"demo"}`)
	s.call("DeleteInstance", `{"instanceName":"absent"}`)
	entries := s.entries()[before:]
	if len(entries) != 1 {
		t.Fatalf("one change, %d entries: %+v", len(entries), entries)
	}
	e := entries[0]
	if e.Who != s.full.ID+" (operator)" || e.What != "UpdateInstanceMetadataOptions" || e.Resource != "Instance/demo" || e.Failure != "" || e.When.IsZero() {
		t.Errorf("%+v", e)
	}
	if e.RequestID != a.header.Get("X-Amzn-Requestid") || !strings.HasPrefix(e.Source, "127.0.0.1:") {
		t.Errorf("request %q from %q", e.RequestID, e.Source)
	}
	was, _ := e.Before["options"].(map[string]any)
	is, _ := e.After["options"].(map[string]any)
	if was["tokens"] != "optional" || is["tokens"] != "required" {
		t.Errorf("before %v, after %v", e.Before, e.After)
	}
}

func TestAuditOfRefusals(t *testing.T) {
	s := newServer(t)
	before := len(s.entries())
	const body = `{"instanceName":"demo"}`
	s.send(s.request(accesskeys.Key{}, "DeleteInstance", body))
	s.send(s.request(accesskeys.Key{ID: s.full.ID, Secret: "wrong"}, "DeleteInstance", body))
	swapped := s.request(accesskeys.Key{ID: "wJalrXUtnFEMI7K7MDENGbPxRfiCYEXAMPLEKEY", Secret: "x"}, "StopInstance", body)
	s.send(swapped)
	a := s.send(s.request(s.looks, "StopInstance", body))
	if a.status != 400 || a.json(t)["__type"] != "AccessDeniedException" ||
		a.json(t)["message"] != "User: arn:aws:iam::123456789012:user/watcher is not authorized to perform: lightsail:StopInstance on resource: *" {
		t.Errorf("a change by a key that only looks: %d %s", a.status, a.body)
	}
	entries := s.entries()[before:]
	want := []struct{ who, what, failure string }{
		{"unverified caller", "DeleteInstance", "MissingAuthenticationTokenException: "},
		{"unverified " + s.full.ID, "DeleteInstance", "InvalidSignatureException: "},
		{"unverified caller", "StopInstance", "UnrecognizedClientException: "},
		{s.looks.ID + " (watcher)", "StopInstance", "User: "},
	}
	if len(entries) != len(want) {
		t.Fatalf("%d entries: %s", len(entries), s.audit)
	}
	for i, w := range want {
		e := entries[i]
		if e.Who != w.who || e.What != w.what || !strings.HasPrefix(e.Failure, w.failure) || e.RequestID == "" || e.Source == "" || e.Before != nil || e.After != nil {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if strings.Contains(s.audit.String(), "wJalrXUtnFEMI") || strings.Contains(s.log.String(), "wJalrXUtnFEMI") {
		t.Error("a secret in the place of the key id is in a log")
	}
	if got := s.must("GetInstance", body)["instance"].(map[string]any)["state"].(map[string]any)["name"]; got != "running" {
		t.Errorf("the instance is %v", got)
	}
}

// TestReadOnly asks for every operation with a key that only looks: none may change the store.
func TestReadOnly(t *testing.T) {
	s := newServer(t)
	revision := func() int64 {
		page, err := s.store.List(t.Context(), store.Range{})
		if err != nil {
			t.Fatal(err)
		}
		return page.Revision
	}
	before := revision()
	refused := 0
	for _, c := range everyOperation() {
		a := s.send(s.request(s.looks, c.target, c.body))
		if a.header.Get("X-Amzn-Errortype") == "AccessDeniedException" {
			refused++
		} else if a.status != http.StatusOK && a.header.Get("X-Amzn-Errortype") != notFound {
			t.Errorf("%s: %d %s", c.target, a.status, a.body)
		}
		if now := revision(); now != before {
			t.Errorf("%s changed the store", c.target)
			before = now
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	// The same with the other key, to see that these requests would have changed something.
	for _, c := range everyOperation() {
		if a := s.send(s.request(s.full, c.target, c.body)); a.header.Get("X-Amzn-Errortype") == "AccessDeniedException" {
			t.Errorf("%s: %s", c.target, a.body)
		}
	}
	if revision() == before {
		t.Error("nothing was changed by the key that may")
	}
}

// TestRefusalsAreBounded sends more refusals than have lines, on a clock that stands still: those
// without are counted, and the owner of a key who tries what it may not still has lines.
func TestRefusalsAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s := newServer(t, func(c *control.Config) { c.Now = func() time.Time { return now } })
	before := len(s.entries())
	refuse := func(times int) {
		for range times {
			s.send(s.request(accesskeys.Key{}, "GetInstances", "{}"))
		}
	}
	refuse(150)
	written := len(s.entries()) - before
	if written < 20 || written > 100 {
		t.Errorf("%d lines for 150 refusals at once", written)
	}
	s.send(s.request(s.looks, "StopInstance", `{"instanceName":"demo"}`))
	entries := s.entries()[before:]
	if last := entries[len(entries)-1]; len(entries) != written+1 || !strings.HasPrefix(last.Who, s.looks.ID) {
		t.Errorf("a key that may not is told as %+v", last)
	}
	s.refusals.Flush()
	entries = s.entries()[before:]
	want := fmt.Sprintf("%d more refusals from 127.0.0.1 were not written", 150-written)
	if last := entries[len(entries)-1]; len(entries) != written+2 || last.Failure != want {
		t.Errorf("what was not written is told as %+v, want %q", last, want)
	}
	now = now.Add(30 * time.Second)
	refuse(20)
	if more := len(s.entries()) - before - len(entries); more < 1 || more > 10 {
		t.Errorf("%d lines for 20 refusals after half a minute", more)
	}
}

// TestCanary puts secrets wherever a request can carry one, and looks for them in all that is written.
func TestCanary(t *testing.T) {
	s := newServer(t)
	const canary = "cAnArY-5eCrEt"
	inBase64 := base64.StdEncoding.EncodeToString([]byte(canary))
	s.must("CreateInstances", `{"instanceNames":["web-1"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","userData":"`+canary+`"}`)
	s.must("OpenIMDS_20261122.SetInstance", `{"instanceName":"demo","userData":"`+inBase64+`","overlay":{"meta-data/secret":"`+canary+`","user-data":"`+canary+`-2"}}`)
	s.call("OpenIMDS_20261122.SetInstance", `{"instanceName":"demo","userData":"`+canary+`"}`)
	s.call("OpenIMDS_20261122.SetInstance", `{"instanceName":"demo","userData":["`+canary+`"]}`)
	s.call("ImportKeyPair", `{"keyPairName":"mine","publicKeyBase64":"`+canary+`"}`)
	s.call("GetInstance", `{"instanceName":"demo","`+canary+`":"`+canary+`"`)
	private := s.must("CreateKeyPair", `{"keyPairName":"made"}`)["privateKeyBase64"].(string)
	s.must("DownloadDefaultKeyPair", `{}`)
	in, err := s.service.Instance(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if string(in.UserData) != canary {
		t.Errorf("the user data is %q", in.UserData)
	}
	secrets := []string{canary, inBase64, base64.StdEncoding.EncodeToString(in.TokenKey), s.full.Secret, s.looks.Secret, strings.Split(private, "\n")[1], "PRIVATE KEY"}
	seen := s.audit.String() + s.log.String()
	for _, a := range []answer{
		s.call("GetInstance", `{"instanceName":"web-1"}`), s.call("GetInstances", `{}`), s.call("GetKeyPairs", `{"includeDefaultKeyPair":true}`),
		s.call("GetOperations", `{}`),
	} {
		seen += a.body
	}
	describe := s.call("OpenIMDS_20261122.DescribeInstance", `{"instanceName":"demo"}`).body
	if strings.Contains(describe, inBase64) || strings.Contains(describe, canary+"-2") || strings.Contains(describe, "tokenKey") || !strings.Contains(describe, `"hidden":["userData","user-data"]`) {
		t.Errorf("DescribeInstance shows a secret: %s", describe)
	}
	asked := s.call("OpenIMDS_20261122.DescribeInstance", `{"instanceName":"demo","includeUserData":true}`).body
	if !strings.Contains(asked, inBase64) || !strings.Contains(asked, canary+"-2") || strings.Contains(asked, "tokenKey") {
		t.Errorf("DescribeInstance with user data: %s", asked)
	}
	for _, secret := range secrets {
		if strings.Contains(seen, secret) {
			t.Errorf("%.20s… was written", secret)
		}
	}
	if !strings.Contains(s.audit.String(), "SetInstance") || !strings.Contains(s.log.String(), "SetInstance") {
		t.Error("the logs that were searched are empty")
	}
}

// TestClientLeaves: what a client ends by leaving is no failure of ours, and no error of the log.
func TestClientLeaves(t *testing.T) {
	waiting := make(chan struct{}, 1)
	s := newServer(t, func(cfg *control.Config) {
		told := cfg.Audit
		cfg.Audit = func(ctx context.Context, entries ...openimds.AuditEntry) error {
			if entries[0].What != "TagResource" || entries[0].Failure != "" {
				return told(ctx, entries...)
			}
			waiting <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	r := s.request(s.full, "TagResource", `{"resourceName":"demo","tags":[{"key":"a","value":"b"}]}`).WithContext(ctx)
	left := make(chan struct{})
	go func() {
		defer close(left)
		if response, err := http.DefaultClient.Do(r); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-waiting
	leave()
	<-left
	answered := func() bool { return strings.Contains(s.log.String(), "Lightsail_20161128.TagResource") }
	for end := time.Now().Add(3 * time.Minute); !answered(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the log has no word of the request")
		}
	}
	if strings.Contains(s.log.String(), `"level":"ERROR"`) {
		t.Errorf("a client that left is told as an error: %s", s.log)
	}
}
