package lightsail_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openimds/openimds/metadata"
)

const ours = "OpenIMDS_20261122."

func TestSearchInstances(t *testing.T) {
	t.Parallel()
	newServer(t).steps([]step{
		{target: "CreateInstances", body: `{"instanceNames":["web-1","web-2"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","tags":[{"key":"team","value":"front"}]}`, want: `{}`},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"web-2","httpTokens":"required"}`, want: `{}`},
		{target: ours + "SearchInstances", body: `{"query":"web"}`, want: `{"total":2,"pages":1,"nextPageToken":"!","instances":[
			{"name":"web-1","state":"running","zone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","createdAt":"#","privateIp":"*","attached":false,
			 "noToken":null,"unknownSeconds":"#","tags":[{"key":"team","value":"front"}],
			 "metadataOptions":{"state":"applied","httpTokens":"optional","httpEndpoint":"enabled","httpPutResponseHopLimit":1,"httpProtocolIpv6":"disabled"}},
			{"name":"web-2","metadataOptions":{"state":"pending","httpTokens":"required"}}]}`},
		{target: ours + "SearchInstances", body: `{"metadataFilter":"v2Only","sortBy":"created"}`, want: `{"total":1,"instances":[{"name":"web-2"}]}`},
		{target: ours + "SearchInstances", body: `{"query":"nobody"}`, want: `{"total":0,"pages":0,"instances":[]}`},
		{target: ours + "SearchInstances", body: `{"descending":true,"pageSize":2,"page":2}`, want: `{"total":3,"pages":2,"instances":[{"name":"demo"}],"nextPageToken":"!"}`},
		{target: ours + "SearchInstances", body: `{"pageSize":2}`, want: `{"nextPageToken":"*"}`},
		{target: ours + "SearchInstances", body: `{"pageToken":"x"}`, exception: invalid, message: "The page token is not one"},
		{target: ours + "SearchInstances", body: `{"pageSize":201}`, exception: invalid, message: "A page has 1 to 200 instances"},
		{target: ours + "SearchInstances", body: `{"page":0}`, exception: invalid, message: "A page has 1 to 200 instances"},
		{target: ours + "SearchInstances", body: `{"since":0}`, exception: invalid, message: "What many instances counted together is known of the last 62 days"},
		{target: ours + "SearchInstances", body: `{"sortBy":"size"}`, exception: invalid, message: "1 validation error detected: Value 'size' at 'sortBy'"},
		{target: ours + "SearchInstances", body: `{"metadataFilter":"v3"}`, exception: invalid, message: "1 validation error detected: Value 'v3' at 'metadataFilter'"},
		{target: ours + "GetFleet", body: `{}`, want: `{"instances":3,"optional":2,"required":1,"disabled":0,"pending":1,"states":{"running":3},"attachments":{},"unheard":0,
			"noToken":{"sum":null,"unknownInstances":3}}`},
		{target: ours + "GetFleet", body: `{"since":4102444800}`, exception: invalid, message: "The time begins in the future"},
	})
}

func TestGetFleetMetricDataRefuses(t *testing.T) {
	t.Parallel()
	const target = ours + "GetFleetMetricData"
	newServer(t).steps([]step{
		{target: target, body: `{"metricName":"MetadataNoToken","period":300,` + recently() + `}`,
			want: `{"metricName":"MetadataNoToken","datapoints":[],"worst":[],"incomplete":["*"]}`},
		{target: target, body: `{"metricName":"CPUUtilization","period":300,` + recently() + `}`, exception: invalid, message: "1 validation error detected: Value 'CPUUtilization' at 'metricName'"},
		{target: target, body: `{"metricName":"MetadataNoToken","period":90,` + recently() + `}`, exception: invalid},
		{target: target, body: `{"metricName":"MetadataNoToken","period":300,` + aTime + `}`, exception: invalid, message: "What many instances counted together is known of the last 62 days"},
		{target: target, body: `{"metricName":"MetadataNoToken","period":300,"worst":51,` + recently() + `}`, exception: invalid, message: "Of the worst there are 0 to 50 told, not 51"},
	})
}

// versions are all that the service knows, as a list.
func versions(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(metadata.Versions())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGetMetadataTree(t *testing.T) {
	t.Parallel()
	const target = ours + "GetMetadataTree"
	s := newServer(t)
	s.steps([]step{
		{target: ours + "SetInstance", body: `{"instanceName":"demo","roleName":"app","userData":"c2VjcmV0LXdvcmQ="}`, want: `{}`},
		{target: target, body: `{"instanceName":"demo"}`, want: `{"status":200,"version":"latest","path":"","entries":[
			{"path":"dynamic","kind":"directory","value":"!","doc":"!"},{"path":"meta-data","kind":"directory"},{"path":"user-data","kind":"secret","value":"!","valueBase64":"!","doc":"*"}],"versions":` + versions(t) + `}`},
		{target: target, body: `{"instanceName":"demo","path":"meta-data"}`, want: `{"status":200,"versions":"!"}`},
		{target: target, body: `{"instanceName":"demo","path":"/meta-data/../user-data/","reveal":true}`, want: `{"status":200,"entries":[{"path":"user-data","kind":"secret","value":"secret-word"}]}`},
		{target: target, body: `{"instanceName":"demo","path":"meta-data/iam/security-credentials","protocol":"v1"}`, want: `{"entries":[{"path":"meta-data/iam/security-credentials/app","kind":"secret","value":"!"}]}`},
		{target: target, body: `{"instanceName":"demo","version":"2000-01-01"}`, want: `{"status":404,"entries":[]}`},
		{target: target, body: `{"instanceName":"demo","protocol":"v3"}`, exception: invalid},
		{target: target, body: `{"instanceName":"absent","reveal":true}`, exception: notFound, code: "DoesNotExist"},
	})
	// A key that only looks sees all but secrets, however it asks for them.
	for body, status := range map[string]int{
		`{"instanceName":"demo"}`: 200, `{"instanceName":"demo","reveal":false}`: 200, `{"instanceName":"demo","reveal":true}`: 400, `{"instanceName":"demo","Reveal":true}`: 400,
	} {
		a := s.send(s.request(s.looks, target, body))
		if a.status != status || status == 400 && !strings.Contains(a.body, "AccessDeniedException") {
			t.Errorf("%s by a key that only looks: %d %s", body, a.status, a.body)
		}
		if strings.Contains(a.body, "secret-word") {
			t.Errorf("%s shows the user data: %s", body, a.body)
		}
	}
	audit := s.audit.String()
	if n := strings.Count(audit, `"revealed":"latest/user-data"`); n != 1 {
		t.Errorf("the audit log tells of the secrets %d times, want once: %s", n, audit)
	}
	if strings.Contains(audit, "secret-word") {
		t.Error("the audit log has the secret")
	}
}
