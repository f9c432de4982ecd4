package lightsail_test

import "testing"

func TestRehearsal(t *testing.T) {
	const begin, stop, describe = "OpenIMDS_20261122.StartRehearsal", "OpenIMDS_20261122.StopRehearsal", "OpenIMDS_20261122.DescribeInstance"
	s := newServer(t)
	s.steps([]step{
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"rehearsal":"!"}}`},
		{target: begin, body: `{"instanceName":"demo","mode":"brown-out","seconds":600,"share":0.25}`,
			want: `{"operation":{"operationType":"StartRehearsal","resourceName":"demo","status":"Succeeded"}}`},
		// It is seen wherever the instance is, and is no change of the options.
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"rehearsal":{"mode":"brown-out","share":0.25,"since":"*","until":"*","ended":"!"},
			"metadataOptions":{"httpTokens":"optional","state":"applied"}}}`},
		{target: "GetInstances", body: `{}`, want: `{"instances":[{"name":"demo","rehearsal":{"mode":"brown-out"}}]}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"rehearsal":{"mode":"brown-out"}}}`},
		{target: "OpenIMDS_20261122.GetCallers", body: `{}`, want: `{"callers":[],"rehearsals":[{"instanceName":"demo","rehearsal":{"share":0.25}}]}`},
		// Without a share, a brown-out is of all.
		{target: begin, body: `{"instanceName":"demo","mode":"brown-out","seconds":60}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"rehearsal":{"share":1}}}`},
		{target: begin, body: `{"instanceName":"demo","mode":"shadow","seconds":86400}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"rehearsal":{"mode":"shadow","share":"!"}}}`},
		{target: begin, body: `{"instanceName":"demo","mode":"maybe","seconds":60}`, exception: invalid, message: `The mode of a rehearsal must be one of [shadow brown-out], not "maybe"`},
		{target: begin, body: `{"instanceName":"demo","mode":"shadow","seconds":2147483647}`, exception: invalid, message: "A shadow can last"},
		{target: begin, body: `{"instanceName":"demo","mode":"shadow"}`, exception: invalid, message: "1 validation error detected: Value null at 'seconds'"},
		{target: stop, body: `{"instanceName":"demo"}`, want: `{"operation":{"operationType":"StopRehearsal"}}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"rehearsal":"!"}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"rehearsal":{"mode":"shadow","ended":"*"}}}`},
		{target: "OpenIMDS_20261122.GetCallers", body: `{}`, want: `{"callers":[],"rehearsals":"!"}`},
	})
}
