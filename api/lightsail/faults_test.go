package lightsail_test

import "testing"

func TestFaults(t *testing.T) {
	const update, describe = "OpenIMDS_20261122.UpdateInstanceFaults", "OpenIMDS_20261122.DescribeInstance"
	s := newServer(t)
	s.steps([]step{
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"faults":"!"}}`},
		{target: update, body: `{"instanceName":"demo","latencyMillis":200,"jitterMillis":50,"status":503,"statusShare":0.25,"refuseShare":0.5,"on":"token","expiredCredentials":true,"absentSeconds":30}`,
			want: `{"operation":{"operationType":"UpdateInstanceFaults","resourceName":"demo","status":"Succeeded"}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"faults":{"on":"token","latencyMillis":200,"jitterMillis":50,"status":503,"statusShare":0.25,
			"refuseShare":0.5,"expiredCredentials":true,"absentSeconds":30,"absentUntil":"*"}}}`},
		// They are seen wherever the instance is.
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"faults":{"status":503}}}`},
		{target: "GetInstances", body: `{}`, want: `{"instances":[{"name":"demo","faults":{"status":503}}]}`},
		{target: "OpenIMDS_20261122.GetCallers", body: `{}`, want: `{"callers":[],"faults":[{"instanceName":"demo","faults":{"status":503}}]}`},
		{target: update, body: `{"instanceName":"demo","status":0,"refuseShare":0}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"faults":{"on":"token","status":"!","statusShare":"!","refuseShare":"!","latencyMillis":200}}}`},
		{target: update, body: `{"instanceName":"demo","status":700}`, exception: invalid, message: "The status of failures must be one of HTTP's"},
		{target: update, body: `{"instanceName":"demo","latencyMillis":0.5}`, exception: "SerializationException", message: "DECIMAL_VALUE can not be converted to an Integer"},
		{target: update, body: `{"latencyMillis":1}`, exception: invalid, message: "1 validation error detected: Value null at 'instanceName'"},
		{target: update, body: `{"instanceName":"demo","latencyMillis":3600000000}`, exception: "SerializationException"},
		{target: update, body: `{"instanceName":"demo","clear":true,"latencyMillis":10,"share":0.25,"dropShare":0.5,"on":"/latest/meta-data/iam","forMillis":60000,"count":3}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"faults":{"on":"meta-data/iam","latencyMillis":10,"latencyShare":0.25,"dropShare":0.5,
			"until":"*","count":3,"met":"!","countedFrom":"*"}}}`},
		{target: update, body: `{"instanceName":"demo","on":"meta-dat"}`, exception: invalid, message: "The requests that faults are for must be one of [all token data] or a path"},
		{target: update, body: `{"instanceName":"demo","clear":true,"forMillis":1}`, exception: invalid, message: "No fault is on that could end in 1ms"},
		{target: update, body: `{"instanceName":"demo","clear":true}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"faults":"!"}}`},
		{target: "OpenIMDS_20261122.GetCallers", body: `{}`, want: `{"callers":[],"faults":"!"}`},
	})
}
