package prom_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
	"github.com/openimds/openimds/usage/prom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newRecorder(now func() time.Time) *usage.Meter {
	store := mem.New()
	return usage.NewMeter(usage.Config{Store: store, Now: now, History: history.New(history.Config{Store: store, Now: now})})
}

func TestMetrics(t *testing.T) {
	r := newRecorder(func() time.Time { return noon })
	gauges := prom.Gauges{
		Connections: func() int { return 3 },
		StoreUp:     func() bool { return true },
		Contact:     func() (time.Time, int64) { return noon, 42 },
		Attachments: func() map[string]int { return map[string]int{"attached": 2, "replaced": 1} },
		Operator:    func() map[int]uint64 { return map[int]uint64{200: 5, 500: 1} },
		Written:     func() (time.Time, uint64) { return noon, 3 },
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(prom.Collector(r, gauges))
	web, quiet := r.Guest("i-0123456789abcdef0", "web-1"), r.Guest("i-quiet", "web-2")
	web.Running(true)
	for _, took := range []time.Duration{time.Microsecond, 10 * time.Microsecond, 11 * time.Microsecond, time.Minute} {
		web.Answered(usage.NoToken, 200, took)
	}
	web.Answered(usage.TokenIssued, 200, 0)
	web.Answered(usage.NoTokenRejected, 401, 0)
	web.Answered(usage.Other, 418, 0)
	quiet.Answered(usage.WithToken, 200, 0)
	quiet.Answered(usage.Throttled, 503, 0)
	quiet.Faulty(true)
	quiet.Answered(usage.Faulted, 500, 0)
	quiet.Refused()
	quiet.Refused()
	quiet.Dropped()
	quiet.Answered(usage.RefusedV1, 403, 0)
	quiet.Answered(usage.ThrottledV2, 503, 0)
	quiet.Refuse(usage.RefusedHost)
	r.Refuse(usage.ClosedNotRunning)
	recovered, gone := r.Guest("i-recovered", "web-3"), r.Guest("i-gone", "web-4")
	recovered.Faulty(true)
	recovered.Faulty(false)
	gone.Faulty(true)
	r.Forget("i-gone")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("the linter says %v, %v", problems, err)
	}
	const want = `# HELP openimds_api_requests_total Requests of operators to the control API that were answered, by status.
# TYPE openimds_api_requests_total counter
openimds_api_requests_total{status="200"} 5
openimds_api_requests_total{status="500"} 1
# HELP openimds_attachments Attachments of instances to this host, by state (attached; impaired: attached, but something is amiss, as where the host drops its guests' calls; waiting, failed, gone; replaced: something else is at the place).
# TYPE openimds_attachments gauge
openimds_attachments{state="attached"} 2
openimds_attachments{state="replaced"} 1
# HELP openimds_imds_connections Open connections of guests.
# TYPE openimds_imds_connections gauge
openimds_imds_connections 3
# HELP openimds_imds_faulted_total Requests of guests that failed on purpose, by what they met: a status, the reset of their connection, or silence (drop).
# TYPE openimds_imds_faulted_total counter
openimds_imds_faulted_total{by="connection"} 2
openimds_imds_faulted_total{by="drop"} 1
openimds_imds_faulted_total{by="status"} 1
# HELP openimds_imds_faults Instances whose guests meet faults on purpose: 1 while that is so.
# TYPE openimds_imds_faults gauge
openimds_imds_faults{instance="web-2",instance_id="i-quiet"} 1
# HELP openimds_imds_instances Instances that this process serves and that run.
# TYPE openimds_imds_instances gauge
openimds_imds_instances 1
# HELP openimds_imds_refusals_total Requests and connections of guests that were refused, by why; OPERATIONS.md has the reasons.
# TYPE openimds_imds_refusals_total counter
openimds_imds_refusals_total{reason="bad-token"} 0
openimds_imds_refusals_total{reason="caller"} 0
openimds_imds_refusals_total{reason="connections"} 0
openimds_imds_refusals_total{reason="encoding"} 0
openimds_imds_refusals_total{reason="endpoint-disabled"} 0
openimds_imds_refusals_total{reason="expect"} 0
openimds_imds_refusals_total{reason="forwarded"} 0
openimds_imds_refusals_total{reason="hop-limit"} 0
openimds_imds_refusals_total{reason="host"} 1
openimds_imds_refusals_total{reason="http-version"} 0
openimds_imds_refusals_total{reason="incomplete"} 0
openimds_imds_refusals_total{reason="internal"} 0
openimds_imds_refusals_total{reason="ipv6-disabled"} 0
openimds_imds_refusals_total{reason="link"} 0
openimds_imds_refusals_total{reason="malformed"} 0
openimds_imds_refusals_total{reason="method"} 0
openimds_imds_refusals_total{reason="no-token"} 0
openimds_imds_refusals_total{reason="not-running"} 1
openimds_imds_refusals_total{reason="origin"} 0
openimds_imds_refusals_total{reason="path"} 0
openimds_imds_refusals_total{reason="put-path"} 0
openimds_imds_refusals_total{reason="rate"} 0
openimds_imds_refusals_total{reason="slow"} 0
openimds_imds_refusals_total{reason="too-large"} 0
openimds_imds_refusals_total{reason="ttl"} 0
openimds_imds_refusals_total{reason="waiting"} 0
# HELP openimds_imds_request_duration_seconds Time from a guest's complete request to the bytes of its answer.
# TYPE openimds_imds_request_duration_seconds histogram
openimds_imds_request_duration_seconds_bucket{le="2.5e-06"} 9
openimds_imds_request_duration_seconds_bucket{le="5e-06"} 9
openimds_imds_request_duration_seconds_bucket{le="1e-05"} 10
openimds_imds_request_duration_seconds_bucket{le="2.5e-05"} 11
openimds_imds_request_duration_seconds_bucket{le="5e-05"} 11
openimds_imds_request_duration_seconds_bucket{le="0.0001"} 11
openimds_imds_request_duration_seconds_bucket{le="0.00025"} 11
openimds_imds_request_duration_seconds_bucket{le="0.001"} 11
openimds_imds_request_duration_seconds_bucket{le="0.01"} 11
openimds_imds_request_duration_seconds_bucket{le="0.1"} 11
openimds_imds_request_duration_seconds_bucket{le="1"} 11
openimds_imds_request_duration_seconds_bucket{le="+Inf"} 12
openimds_imds_request_duration_seconds_sum 60.000022
openimds_imds_request_duration_seconds_count 12
# HELP openimds_imds_requests_total Requests of guests that were answered, by protocol (none: neither tells) and status.
# TYPE openimds_imds_requests_total counter
openimds_imds_requests_total{status="200",version="v1"} 4
openimds_imds_requests_total{status="200",version="v2"} 2
openimds_imds_requests_total{status="401",version="v1"} 1
openimds_imds_requests_total{status="403",version="v1"} 1
openimds_imds_requests_total{status="500",version="none"} 1
openimds_imds_requests_total{status="503",version="none"} 1
openimds_imds_requests_total{status="503",version="v2"} 1
openimds_imds_requests_total{status="other",version="none"} 1
# HELP openimds_imds_throttled_total Requests of guests that were refused as too many.
# TYPE openimds_imds_throttled_total counter
openimds_imds_throttled_total 2
# HELP openimds_imds_tokens_issued_total Session tokens given to guests.
# TYPE openimds_imds_tokens_issued_total counter
openimds_imds_tokens_issued_total 1
# HELP openimds_metadata_no_token_rejected_total Requests that were refused for the lack of a session token, of the instances that made any.
# TYPE openimds_metadata_no_token_rejected_total counter
openimds_metadata_no_token_rejected_total{instance="web-1",instance_id="i-0123456789abcdef0"} 1
# HELP openimds_metadata_no_token_total Requests that succeeded without a session token, of the instances that made any.
# TYPE openimds_metadata_no_token_total counter
openimds_metadata_no_token_total{instance="web-1",instance_id="i-0123456789abcdef0"} 4
# HELP openimds_metrics_write_refused_total Values that the engine of --metrics-write refused for good.
# TYPE openimds_metrics_write_refused_total counter
openimds_metrics_write_refused_total 3
# HELP openimds_metrics_write_timestamp_seconds When the engine of --metrics-write had been told all that was counted, in Unix time; 0: not since the start.
# TYPE openimds_metrics_write_timestamp_seconds gauge
openimds_metrics_write_timestamp_seconds 1.7723664e+09
# HELP openimds_store_up Whether the store answers.
# TYPE openimds_store_up gauge
openimds_store_up 1
# HELP openimds_usage_flush_failures_total Attempts to store the counts that failed; the counts stay in memory for the next.
# TYPE openimds_usage_flush_failures_total counter
openimds_usage_flush_failures_total 0
# HELP openimds_watch_contact_timestamp_seconds When the watch of the store was last heard of, in Unix time.
# TYPE openimds_watch_contact_timestamp_seconds gauge
openimds_watch_contact_timestamp_seconds 1.7723664e+09
# HELP openimds_watch_revision Revision of the store that the watch has reached.
# TYPE openimds_watch_revision gauge
openimds_watch_revision 42
`
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if got := answer.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHandler(t *testing.T) {
	r := newRecorder(nil)
	answer := httptest.NewRecorder()
	prom.Handler(r, prom.Gauges{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	body := answer.Body.String()
	if answer.Code != 200 || !strings.Contains(body, "\nopenimds_imds_tokens_issued_total 0\n") || !strings.Contains(body, "\ngo_goroutines ") {
		t.Errorf("%d\n%s", answer.Code, body)
	}
	if strings.Contains(body, "openimds_store_up") {
		t.Error("a gauge that nobody gives is exported")
	}
}
