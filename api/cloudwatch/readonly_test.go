package cloudwatch_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/cloudwatch"
	"github.com/openimds/openimds/store"
)

// operation is a request of one.
type operation struct {
	name string
	args map[string]any
}

// everyOperation asks for each operation that is built, once, in an order in which all succeed.
func (s *server) everyOperation() []operation {
	now := time.Now().Truncate(time.Minute)
	arn := map[string]any{"ResourceARN": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:v1"}
	return []operation{
		{"PutMetricAlarm", alarmOf("v1", s.demo)},
		{"DescribeAlarms", nil},
		{"SetAlarmState", map[string]any{"AlarmName": "v1", "StateValue": "ALARM", "StateReason": "a drill"}},
		{"TagResource", with(arn, "Tags", []any{map[string]any{"Key": "a", "Value": "b"}})},
		{"ListTagsForResource", arn},
		{"UntagResource", with(arn, "TagKeys", []any{"a"})},
		{"DeleteAlarms", map[string]any{"AlarmNames": []any{"v1"}}},
		{"ListMetrics", nil},
		{"GetMetricStatistics", statistics(s.demo, "MetadataNoToken", now.Add(-time.Hour), now, 300)},
		{"GetMetricData", map[string]any{"StartTime": now.Add(-time.Hour), "EndTime": now, "MetricDataQueries": []any{query("a", s.demo, "MetadataNoToken", "Sum", 300)}}},
	}
}

// TestReadOnly asks for every operation of the table, in each form, with a key that only looks: what changes something is
// refused and audited, nothing is changed. The same requests of a key that may show that the table tells rightly which change
// something.
func TestReadOnly(t *testing.T) {
	s := newServer(t)
	revision := func() int64 {
		page, err := s.store.List(t.Context(), store.Range{})
		if err != nil {
			t.Fatal(err)
		}
		return page.Revision
	}
	table, requests := cloudwatch.Operations(), s.everyOperation()
	// The alarm that the requests are about is there, so that each of them would succeed.
	s.must("json", requests[0].name, requests[0].args)
	s.audit.Take()
	before := revision()
	for _, form := range forms {
		for _, o := range requests {
			r, body := s.request(form, o.name, o.args)
			a := s.sign(r, body, looks, "monitoring")
			told := s.audit.Take()
			_, err := s.read(form, o.name, a)
			switch {
			case table[o.name]:
				refused, _ := err.(*refusedError)
				if refused == nil || refused.code != "AccessDenied" || refused.status != http.StatusForbidden ||
					refused.message != "User: arn:aws:iam::123456789012:user/watcher is not authorized to perform: cloudwatch:"+o.name+" on resource: *" {
					t.Errorf("%s, %s: %v", form, o.name, err)
				}
				if len(told) != 1 || told[0].Who != looks.ID+" (watcher)" || told[0].What != o.name || told[0].RequestID != a.header.Get("X-Amzn-Requestid") ||
					!strings.HasPrefix(told[0].Source, "127.0.0.1:") || !strings.HasPrefix(told[0].Failure, "User: ") || told[0].Before != nil || told[0].After != nil {
					t.Errorf("%s, %s: the audit has %+v", form, o.name, told)
				}
			case err != nil || len(told) != 0:
				t.Errorf("%s, %s only looks: %v, the audit has %+v", form, o.name, err, told)
			}
			if now := revision(); now != before {
				t.Fatalf("%s, %s of a key that only looks changed the store", form, o.name)
			}
		}
	}
	for _, o := range requests {
		changes, built := table[o.name]
		if delete(table, o.name); !built {
			t.Errorf("%s is asked for twice, or is not built", o.name)
		}
		s.must("cbor", o.name, o.args)
		now := revision()
		if changed := now != before; changed != changes {
			t.Errorf("%s: the table says that it changes something: %v; it did: %v", o.name, changes, changed)
		}
		if told := s.audit.Take(); (len(told) > 0) != changes {
			t.Errorf("%s: the audit has %+v", o.name, told)
		}
		before = now
	}
	for name := range table {
		t.Errorf("%s is built, and no request here asks for it", name)
	}
}
