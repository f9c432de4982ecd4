package lightsail_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail/wire"
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

// The audit is told to keys that may change things, with all of its filters and page after page, and to no others.
func TestGetAuditEntries(t *testing.T) {
	const target = ours + "GetAuditEntries"
	s := newServer(t)
	s.must("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"required"}`)
	s.must("TagResource", `{"resourceName":"demo","tags":[{"key":"team","value":"front"}]}`)
	s.send(s.request(s.looks, "StopInstance", `{"instanceName":"demo"}`))
	s.refusals.Close() // it tells of what it gathered
	s.steps([]step{
		{target: target, body: `{"resource":"demo","pageSize":2}`, want: `{"server":"local","incomplete":[],"knownSince":"#","nextPageToken":"*","entries":[
			{"when":"*","who":"*","what":"TagResource","resource":"Instance/demo","source":"*","after":{"tags":[{"key":"team","value":"front"}]}},
			{"what":"UpdateInstanceMetadataOptions","before":{"options":{"tokens":"optional"}},"changed":["options.state: applied to pending","options.tokens: optional to required","*"],"failure":"!"}]}`},
		{target: target, body: `{"failed":true}`, want: `{"entries":[{"what":"StopInstance","failure":"*"}]}`},
		{target: target, body: `{"who":"nobody"}`, want: `{"entries":[],"incomplete":[],"nextPageToken":"!"}`},
		{target: target, body: `{"what":"TagResource","since":1000.5}`, want: `{"entries":[{"what":"TagResource"}]}`},
		{target: target, body: `{"pageSize":201}`, exception: invalid, message: "A page has 1 to 200 entries"},
		{target: target, body: `{"pageSize":0}`, exception: invalid, message: "A page has 1 to 200 entries"},
		{target: target, body: `{"pageToken":"eA"}`, exception: invalid, message: "The page token is not one that was given out for this list"},
		{target: target, body: `{"pageToken":"` + api.PageToken(api.List("GetAuditEntries", "us-east-1", "", "", "", false, time.Time{}), "x.-3") + `"}`, exception: invalid, message: "The page token is not one that was given out for this list"},
	})
	if a := s.send(s.request(s.looks, target, `{}`)); a.status != 400 || !strings.Contains(a.body, "AccessDeniedException") || strings.Contains(a.body, s.full.ID) {
		t.Errorf("a key that only looks gets %d %s", a.status, a.body)
	}
	var words []string
	for token, n := "", 0; n < 100; n++ {
		var page wire.GetAuditEntriesResult
		if err := json.Unmarshal([]byte(s.call(target, `{"pageSize":1,"pageToken":"`+token+`"}`).body), &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			words = append(words, e.What)
		}
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	var want []string
	for _, e := range s.entries() {
		want = append(want, e.What)
	}
	slices.Reverse(want)
	if len(want) < 4 || !slices.Equal(words, want) {
		t.Errorf("page after page there are %q, the log has %q", words, want)
	}
}

// What of a log cannot be told is said; a log of many servers is none of them.
func TestGetAuditEntriesIncomplete(t *testing.T) {
	s := newServer(t, func(c *control.Config) { c.Host, c.Changes = "host-7", rotated{} })
	s.steps([]step{
		{target: ours + "GetAuditEntries", body: `{}`, want: `{"server":"host-7","knownSince":"!","entries":[],"incomplete":[
			"The log was rotated away meanwhile: what came before stands where it was moved to, for \"openimds audit --file\"",
			"3 lines of the log cannot be read"]}`},
	})
	s = newServer(t, func(c *control.Config) {
		c.Changes = rotated{}
		c.AuditRecords = func([]openimds.AuditEntry) (ahead, within []store.Change, err error) { return nil, nil, nil }
	})
	s.steps([]step{{target: ours + "GetAuditEntries", body: `{}`, want: `{"server":"!","entries":[]}`}})
	s = newServer(t, func(c *control.Config) { c.Changes = unreadable{} })
	s.steps([]step{{target: ours + "GetAuditEntries", body: `{}`, exception: "ServiceException", message: "The log of changes cannot be read; try again"}})
}

type rotated struct{ openimds.ChangeLog }

func (rotated) Entries(context.Context, openimds.AuditQuery) (openimds.AuditPage, error) {
	return openimds.AuditPage{Rotated: true, Damaged: 3}, nil
}

type unreadable struct{ openimds.ChangeLog }

func (unreadable) Entries(context.Context, openimds.AuditQuery) (openimds.AuditPage, error) {
	return openimds.AuditPage{}, errors.New("an error of the disk")
}
