package lightsail_test

import "testing"

// smallRecording is a recording of one value, "hi" in base64.
const smallRecording = `{"source":"http://there","recordedAt":1767323045,"items":[
	{"path":"","listing":true,"contentType":"text/plain","modified":1767323045,"body":"bGF0ZXN0"},
	{"path":"latest","listing":true,"contentType":"text/plain","body":"eA=="},
	{"path":"latest/x","contentType":"text/plain","body":"aGk="},
	{"path":"latest/user-data","state":"withheld"}]}`

func TestRecording(t *testing.T) {
	s := newServer(t)
	const set, describe = "OpenIMDS_20261122.SetInstance", "OpenIMDS_20261122.DescribeInstance"
	s.steps([]step{
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"recording":"!"}}`},
		{target: set, body: `{"instanceName":"demo","recording":` + smallRecording + `}`, want: `{"operation":{"operationType":"SetInstance"}}`},
		{target: describe, body: `{"instanceName":"demo","includeUserData":true}`,
			want: `{"instance":{"recording":{"source":"http://there","recordedAt":"2026-01-02T03:04:05Z","items":4,"size":81}}}`},
		{target: set, body: `{"instanceName":"demo","roleName":"x"}`, exception: invalid, message: "The instance demo answers a recording, which would hide roleName"},
		{target: set, body: `{"instanceName":"demo","recording":{"items":[{"path":"latest/x","state":"lost"}]}}`, exception: invalid,
			message: "1 validation error detected: Value 'lost' at 'recording.items.1.member.state'"},
		{target: set, body: `{"instanceName":"demo","recording":{"items":[{"path":"latest/x","contentType":"text/plain"}]}}`, exception: invalid,
			message: "The recording cannot be used: the recording has no list of versions"},
		{target: set, body: `{"instanceName":"demo","recording":{"items":{}}}`, exception: malformed},
		{target: set, body: `{"instanceName":"demo","recording":{}}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"recording":"!"}}`},
	})
}
