package lightsail_test

import "testing"

func TestEvents(t *testing.T) {
	const update, describe = "OpenIMDS_20261122.UpdateInstanceEvents", "OpenIMDS_20261122.DescribeInstance"
	s := newServer(t)
	// The year 2100; noon of some day there.
	s.steps([]step{
		{target: update, body: `{"instanceName":"demo","spot":{"action":"stop","time":4102488000},"rebalance":{"noticeTime":4102488000},"lifecycleState":"Terminated",
			"maintenance":{"code":"system-reboot","notBefore":4102488000.5,"notAfter":4102491600,"eventId":"instance-event-0123456789abcdef0"}}`,
			want: `{"operation":{"operationType":"UpdateInstanceEvents","resourceName":"demo","status":"Succeeded"}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"events":{"spot":{"action":"stop","time":"2100-01-01T12:00:00Z"},"rebalanceAt":"2100-01-01T12:00:00Z",
			"lifecycleState":"Terminated","maintenance":[{"id":"instance-event-0123456789abcdef0","code":"system-reboot","state":"active","description":"*","notBefore":"2100-01-01T12:00:00.5Z","notAfter":"2100-01-01T13:00:00Z"}]}}}`},
		// An event of the same id is changed, what is left out stays.
		{target: update, body: `{"instanceName":"demo","maintenance":{"eventId":"instance-event-0123456789abcdef0","state":"completed","description":"done"}}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"events":{"maintenance":[{"code":"system-reboot","state":"completed","description":"done","notAfter":"2100-01-01T13:00:00Z"}]}}}`},
		{target: update, body: `{"instanceName":"demo","clear":["spot","maintenance"]}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"events":{"spot":"!","maintenance":"!","lifecycleState":"Terminated"}}}`},
		{target: update, body: `{"instanceName":"demo","clear":["rebalance","lifecycle"]}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo"}`, want: `{"instance":{"events":"!"}}`},
		{target: update, body: `{"instanceName":"demo","clear":["weather"]}`, exception: invalid, message: "There is no kind of event"},
		{target: update, body: `{"instanceName":"demo","spot":{"action":"explode","time":4102488000}}`, exception: invalid, message: "The action of a spot interruption must be one of [hibernate stop terminate]"},
		{target: update, body: `{"instanceName":"demo","spot":{"action":"stop","time":1}}`, exception: invalid, message: "The time of a spot interruption must lie in the future"},
		{target: update, body: `{"instanceName":"demo","spot":{"action":"stop"}}`, exception: invalid, message: "1 validation error detected: Value null at 'spot.time'"},
		{target: update, body: `{"instanceName":"demo","spot":{"action":"stop","time":1}}`, exception: invalid, message: "The time of a spot interruption must lie in the future, not at 1970-01-01T00:00:01Z"},
		{target: update, body: `{"instanceName":"demo","spot":{"action":"stop","time":"tomorrow"}}`, exception: "SerializationException", message: "STRING_VALUE can not be converted to a Timestamp"},
		{target: update, body: `{"instanceName":"demo","maintenance":{"eventId":"instance-event-0123456789abcdef1","state":"completed"}}`, exception: invalid, message: "There is no scheduled event instance-event-0123456789abcdef1 to change"},
		{target: update, body: `{"instanceName":"demo","lifecycleState":"Gone"}`, exception: invalid, message: "The target lifecycle state must be one of"},
		{target: update, body: `{"instanceName":"demo","maintenance":{"code":"lunch","notBefore":4102488000}}`, exception: invalid, message: "The code of a scheduled event"},
		{target: update, body: `{"instanceName":"demo","maintenance":{"code":"system-reboot"}}`, exception: invalid, message: "A scheduled event needs the time"},
		{target: update, body: `{"instanceName":"demo","maintenance":{"code":"system-reboot","notBefore":1}}`, exception: invalid, message: "The time of a scheduled event must lie in the future"},
		{target: update, body: `{"instanceName":"demo","maintenance":{"code":"system-reboot","notBefore":4102488000,"notAfter":4102487000}}`, exception: invalid, message: "A scheduled event cannot end before it begins"},
		{target: update, body: `{"instanceName":"demo","maintenance":{"code":"system-reboot","notBefore":4102488000,"eventId":"7"}}`, exception: invalid, message: "The id of a scheduled event"},
		{target: update, body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
	})
}
