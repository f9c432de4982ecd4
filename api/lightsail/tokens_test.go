package lightsail_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/openimds/openimds/control"
)

// TestTokensBelongToAQuestion: a page's token leads nowhere in another region, in another list, or with another question.
func TestTokensBelongToAQuestion(t *testing.T) {
	s := newServer(t)
	other := newServerOn(t, s.store, func(c *control.Config) { c.Region = "eu-west-1" })
	const more = 101 // than a page has
	var names []string
	for n := range more {
		names = append(names, fmt.Sprint("web-", n))
	}
	for i := 0; i < more; i += 20 {
		text, err := json.Marshal(names[i:min(i+20, more)])
		if err != nil {
			t.Fatal(err)
		}
		s.must("CreateInstances", `{"availabilityZone":"us-east-1a","blueprintId":"ubuntu_24_04","bundleId":"nano_3_0","instanceNames":`+string(text)+`}`)
	}
	for n := range more {
		s.must("PutAlarm", fmt.Sprintf(`{"alarmName":"alarm-%[1]d","metricName":"MetadataNoToken","monitoredResourceName":"web-%[1]d","comparisonOperator":"GreaterThanThreshold","threshold":0,"evaluationPeriods":1}`, n))
		s.must("AllocateStaticIp", fmt.Sprintf(`{"staticIpName":"address-%d"}`, n))
		s.must("ImportKeyPair", fmt.Sprintf(`{"keyPairName":"key-%d","publicKeyBase64":%q}`, n, publicKey))
		s.must("TagResource", fmt.Sprintf(`{"resourceName":"demo","tags":[{"key":"k","value":"%d"}]}`, n))
	}
	const own = "OpenIMDS_20261122."
	type list struct{ target, question string }
	lists := []list{
		{"GetInstances", ""}, {"GetActiveNames", ""}, {"GetOperations", ""}, {"GetOperationsForResource", `"resourceName":"demo"`},
		{"GetStaticIps", ""}, {"GetKeyPairs", ""}, {"GetAlarms", ""},
		{own + "GetCallers", ""}, {own + "GetCallers", `"since":1000`}, {own + "GetMetadataCounts", ""}, {own + "GetMetadataCounts", `"startTime":1000,"endTime":2000`},
		{own + "SearchInstances", `"pageSize":1`}, {own + "SearchInstances", `"pageSize":2`}, {own + "SearchInstances", `"pageSize":1,"query":"web"`},
		{own + "SearchInstances", `"pageSize":1,"descending":true`}, {own + "SearchInstances", `"pageSize":1,"sortBy":"noToken"`},
		{own + "SearchInstances", fmt.Sprintf(`"pageSize":1,"since":%d`, time.Now().Add(-time.Hour).Unix())}, {own + "SearchInstances", `"pageSize":1,"metadataFilter":"v1AndV2"`},
		{own + "GetAuditEntries", ""}, {own + "GetAuditEntries", `"resource":"Instance/demo"`}, {own + "GetAuditEntries", `"what":"TagResource"`},
		{own + "GetAuditEntries", `"who":"operator"`}, {own + "GetAuditEntries", `"since":1000`},
	}
	body := func(question, token string) string {
		switch {
		case token == "":
			return "{" + question + "}"
		case question == "":
			return fmt.Sprintf(`{"pageToken":%q}`, token)
		}
		return fmt.Sprintf(`{%s,"pageToken":%q}`, question, token)
	}
	refused := func(s *server, to list, token, from string) {
		t.Helper()
		a := s.call(to.target, body(to.question, token))
		if a.status != 400 || a.json(t)["__type"] != "InvalidInputException" {
			t.Errorf("a token of %s at %s {%s} of %s: %d %.200s", from, to.target, to.question, s.service.Region(), a.status, a.body)
		}
	}
	for i, from := range lists {
		token, _ := s.must(from.target, body(from.question, ""))["nextPageToken"].(string)
		if token == "" {
			t.Fatalf("%s {%s} has one page", from.target, from.question)
		}
		for j, to := range lists {
			if i != j {
				refused(s, to, token, fmt.Sprint(from))
			}
		}
		s.must(from.target, body(from.question, token))
		refused(other, from, token, "another region")
	}
	token, _ := s.must("GetInstances", "{}")["nextPageToken"].(string)
	for _, one := range []list{ // what has one page takes no token
		{"GetAlarms", `"alarmName":"alarm-1"`}, {"GetAlarms", `"monitoredResourceName":"web-1"`}, {own + "GetCallers", `"instanceName":"demo"`}, {own + "GetMetadataCounts", `"instanceName":"demo"`},
		{"GetBlueprints", ""}, {"GetBundles", ""},
	} {
		refused(s, one, token, "all instances")
	}
	audit, _ := s.must(own+"GetAuditEntries", `{"pageSize":1}`)["nextPageToken"].(string)
	s.must(own+"GetAuditEntries", body(`"pageSize":2`, audit)) // how large a page is may change
}
