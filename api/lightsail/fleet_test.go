package lightsail_test

import "testing"

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
