package lightsail_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/attest"
)

// A report is signed for whoever may change things, by name, and its key is told to all.
func TestSignReport(t *testing.T) {
	const sign = "OpenIMDS_20261122.SignReport"
	s := newServer(t)
	body := []byte("a report\n")
	answer := s.call(sign, `{"sha256":"`+attest.Digest(body)+`"}`)
	var result wire.SignReportResult
	if err := json.Unmarshal([]byte(answer.body), &result); err != nil {
		t.Fatal(err)
	}
	file, err := attest.Seal(body, result.Signature)
	if err != nil {
		t.Fatal(err)
	}
	var key wire.GetReportKeyResult
	if err := json.Unmarshal([]byte(s.send(s.request(s.looks, "OpenIMDS_20261122.GetReportKey", `{}`)).body), &key); err != nil {
		t.Fatal(err)
	}
	stated, err := attest.Verify(file, attest.Fingerprint(key.PublicKey))
	if err != nil || stated.Installation != "us-east-1 123456789012" || !strings.HasPrefix(stated.By, s.full.ID) {
		t.Errorf("%+v, %v", stated, err)
	}
	entries := s.entries()
	if last := entries[len(entries)-1]; last.What != "SignReport" || last.Resource != "Report/sha256:"+attest.Digest(body) {
		t.Errorf("the audit is told %+v", last)
	}
	s.steps([]step{
		{target: sign, body: `{"sha256":"` + strings.Repeat("g", 64) + `"}`, exception: invalid, message: "The digest must be SHA-256 as 64 small hexadecimal digits"},
		{target: sign, body: `{}`, exception: invalid, message: "1 validation error detected: Value null at 'sha256'"},
	})
	if a := s.send(s.request(s.looks, sign, `{"sha256":"`+attest.Digest(body)+`"}`)); a.header.Get("X-Amzn-Errortype") != "AccessDeniedException" {
		t.Errorf("a key that only looks gets %s", a.body)
	}
}

// The history has each change of options and rehearsals of this life of the instance, and no others.
func TestOptionsHistory(t *testing.T) {
	const history = "OpenIMDS_20261122.GetOptionsHistory"
	s := newServer(t)
	s.must("DeleteInstance", `{"instanceName":"demo"}`)
	if _, err := s.service.EnsureInstance(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	s.must("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"required"}`)
	in, err := s.service.Instance(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.service.MarkApplied(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	s.must("TagResource", `{"resourceName":"demo","tags":[{"key":"a"}]}`)
	s.must("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"optional"}`)
	s.must("OpenIMDS_20261122.StartRehearsal", `{"instanceName":"demo","mode":"shadow","seconds":60}`)
	s.steps([]step{{target: history, body: `{"instanceName":"demo"}`, want: `{"knownSince":"*","changes":[
		{"who":"openimds","before":"!","after":{"httpTokens":"optional"}},
		{"operation":"UpdateInstanceMetadataOptions","before":{"httpTokens":"optional"},"after":{"httpTokens":"required"}},
		{"operation":"UpdateInstanceMetadataOptions","before":{"httpTokens":"required"},"after":{"httpTokens":"optional"}},
		{"operation":"StartRehearsal","after":"!","rehearsal":{"mode":"shadow"}}]}`}})
}
