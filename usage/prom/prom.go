// Package prom tells what [usage] counts, and the state of the process around it, as metrics of
// Prometheus.
package prom

import (
	"net/http"
	"strconv"
	"time"

	"github.com/openimds/openimds/usage"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Gauges are what the exported metrics ask of others at each scrape; a nil one is not exported.
type Gauges struct {
	// Connections is how many connections of guests are open.
	Connections func() int
	// StoreUp says whether the store answers. It must do so at once.
	StoreUp func() bool
	// StoreTakes says whether the store takes changes. It must do so at once.
	StoreTakes func() bool
	// Contact is when the watch of the store was last heard of, and the revision then.
	Contact func() (time.Time, int64)
	// Credentials tells how many sets of role credentials of each source are in each state.
	Credentials func(yield func(source, state string, sets int))
	// Attachments tells how many attachments are in each state.
	Attachments func() map[string]int
	// Operator tells how many requests of operators were answered with each status.
	Operator func() map[int]uint64
	// Written is when the engine that is told what is counted had been told all of it last, and how many values it refused.
	Written func() (time.Time, uint64)
}

// Handler serves the metrics of this process in the format of Prometheus.
func Handler(r *usage.Meter, g Gauges) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(Collector(r, g), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Collector returns the metrics of the guest side, for a registry of the caller's.
func Collector(r *usage.Meter, g Gauges) prometheus.Collector {
	return &collector{meter: r, gauges: g}
}

type collector struct {
	meter  *usage.Meter
	gauges Gauges
}

var (
	requestsDesc = prometheus.NewDesc("openimds_imds_requests_total",
		"Requests of guests that were answered, by protocol (none: neither tells) and status.", []string{"version", "status"}, nil)
	durationDesc = prometheus.NewDesc("openimds_imds_request_duration_seconds",
		"Time from a guest's complete request to the bytes of its answer.", nil, nil)
	tokensDesc    = prometheus.NewDesc("openimds_imds_tokens_issued_total", "Session tokens given to guests.", nil, nil)
	throttledDesc = prometheus.NewDesc("openimds_imds_throttled_total", "Requests of guests that were refused as too many.", nil, nil)
	refusalsDesc  = prometheus.NewDesc("openimds_imds_refusals_total",
		"Requests and connections of guests that were refused, by why; OPERATIONS.md has the reasons.", []string{"reason"}, nil)
	faultedDesc = prometheus.NewDesc("openimds_imds_faulted_total",
		"Requests of guests that failed on purpose, by what they met: a status, the reset of their connection, or silence (drop).", []string{"by"}, nil)
	faultsDesc = prometheus.NewDesc("openimds_imds_faults",
		"Instances whose guests meet faults on purpose: 1 while that is so.", []string{"instance_id", "instance"}, nil)
	noTokenDesc = prometheus.NewDesc("openimds_metadata_no_token_total",
		"Requests that succeeded without a session token, of the instances that made any.", []string{"instance_id", "instance"}, nil)
	noTokenRejectedDesc = prometheus.NewDesc("openimds_metadata_no_token_rejected_total",
		"Requests that were refused for the lack of a session token, of the instances that made any.", []string{"instance_id", "instance"}, nil)
	undeliveredDesc = prometheus.NewDesc("openimds_metadata_token_undelivered_total",
		"Session tokens whose answer the caller did not acknowledge, of the instances that have any.", []string{"instance_id", "instance"}, nil)
	wouldBeRefusedDesc = prometheus.NewDesc("openimds_metadata_would_be_refused_total",
		"Requests that were served without a session token during a rehearsal of required ones, of the instances that made any.", []string{"instance_id", "instance"}, nil)
	rehearsalsDesc = prometheus.NewDesc("openimds_imds_rehearsals",
		"Instances on which required session tokens are rehearsed, by mode (shadow, brown-out): 1 while that is so.", []string{"instance_id", "instance", "mode"}, nil)
	instancesDesc = prometheus.NewDesc("openimds_imds_instances", "Instances that this process serves and that run.", nil, nil)
	failuresDesc  = prometheus.NewDesc("openimds_usage_flush_failures_total",
		"Attempts to store the counts that failed; the counts stay in memory for the next.", nil, nil)
	connectionsDesc = prometheus.NewDesc("openimds_imds_connections", "Open connections of guests.", nil, nil)
	credentialsDesc = prometheus.NewDesc("openimds_role_credentials_sets",
		"Sets of role credentials that are kept for guests, by source and state (fresh; stale: the last renewal failed; none: guests get none).",
		[]string{"source", "state"}, nil)
	attachmentsDesc = prometheus.NewDesc("openimds_attachments",
		"Attachments of instances to this host, by state (attached; impaired: attached, but something is amiss, as where the host drops its guests' calls; waiting, failed, gone; replaced: something else is at the place).",
		[]string{"state"}, nil)
	operatorDesc = prometheus.NewDesc("openimds_api_requests_total",
		"Requests of operators to the control API that were answered, by status.", []string{"status"}, nil)
	writtenDesc = prometheus.NewDesc("openimds_metrics_write_timestamp_seconds",
		"When the engine of --metrics-write had been told all that was counted, in Unix time; 0: not since the start.", nil, nil)
	writeRefusedDesc = prometheus.NewDesc("openimds_metrics_write_refused_total",
		"Values that the engine of --metrics-write refused for good.", nil, nil)
	storeUpDesc    = prometheus.NewDesc("openimds_store_up", "Whether the store answers.", nil, nil)
	storeTakesDesc = prometheus.NewDesc("openimds_store_writable", "Whether the store takes changes: not when its disk is full or has failed.", nil, nil)
	contactDesc    = prometheus.NewDesc("openimds_watch_contact_timestamp_seconds",
		"When the watch of the store was last heard of, in Unix time.", nil, nil)
	revisionDesc = prometheus.NewDesc("openimds_watch_revision", "Revision of the store that the watch has reached.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		requestsDesc, durationDesc, tokensDesc, throttledDesc, refusalsDesc, faultedDesc, faultsDesc, noTokenDesc, noTokenRejectedDesc, undeliveredDesc,
		wouldBeRefusedDesc, rehearsalsDesc, instancesDesc, failuresDesc,
		connectionsDesc, credentialsDesc, attachmentsDesc, operatorDesc, writtenDesc, writeRefusedDesc, storeUpDesc, storeTakesDesc, contactDesc, revisionDesc,
	} {
		descs <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, t, value, labels...)
	}
	totals := c.meter.Totals()
	ofGuests(totals.Guests, send)
	for _, a := range totals.Answers {
		send(requestsDesc, prometheus.CounterValue, float64(a.Count), a.Version, a.Status)
	}
	metrics <- histogram(totals)
	send(tokensDesc, prometheus.CounterValue, float64(totals.TokensIssued))
	send(throttledDesc, prometheus.CounterValue, float64(totals.Throttled))
	for _, r := range totals.Refusals {
		send(refusalsDesc, prometheus.CounterValue, float64(r.Count), r.Refusal.String())
	}
	send(faultedDesc, prometheus.CounterValue, float64(totals.Faulted), "status")
	send(faultedDesc, prometheus.CounterValue, float64(totals.Refused), "connection")
	send(faultedDesc, prometheus.CounterValue, float64(totals.Dropped), "drop")
	send(instancesDesc, prometheus.GaugeValue, float64(totals.Running))
	send(failuresDesc, prometheus.CounterValue, float64(totals.FlushFailures))
	if c.gauges.Connections != nil {
		send(connectionsDesc, prometheus.GaugeValue, float64(c.gauges.Connections()))
	}
	if c.gauges.Credentials != nil {
		c.gauges.Credentials(func(source, state string, sets int) {
			send(credentialsDesc, prometheus.GaugeValue, float64(sets), source, state)
		})
	}
	if c.gauges.Attachments != nil {
		for state, n := range c.gauges.Attachments() {
			send(attachmentsDesc, prometheus.GaugeValue, float64(n), state)
		}
	}
	if c.gauges.Operator != nil {
		for status, n := range c.gauges.Operator() {
			send(operatorDesc, prometheus.CounterValue, float64(n), strconv.Itoa(status))
		}
	}
	if c.gauges.Written != nil {
		at, refused := c.gauges.Written()
		send(writtenDesc, prometheus.GaugeValue, unixSeconds(at))
		send(writeRefusedDesc, prometheus.CounterValue, float64(refused))
	}
	sendIs := func(d *prometheus.Desc, is func() bool) {
		switch {
		case is == nil:
		case is():
			send(d, prometheus.GaugeValue, 1)
		default:
			send(d, prometheus.GaugeValue, 0)
		}
	}
	sendIs(storeUpDesc, c.gauges.StoreUp)
	sendIs(storeTakesDesc, c.gauges.StoreTakes)
	if c.gauges.Contact != nil {
		contact, revision := c.gauges.Contact()
		send(contactDesc, prometheus.GaugeValue, unixSeconds(contact))
		send(revisionDesc, prometheus.GaugeValue, float64(revision))
	}
}

// ofGuests sends what there is to be said of single instances.
func ofGuests(guests []usage.GuestTotals, send func(d *prometheus.Desc, t prometheus.ValueType, value float64, labels ...string)) {
	for _, g := range guests {
		if g.Faulty {
			send(faultsDesc, prometheus.GaugeValue, 1, g.ID, g.Name)
		}
		if g.NoToken > 0 {
			send(noTokenDesc, prometheus.CounterValue, float64(g.NoToken), g.ID, g.Name)
		}
		if g.NoTokenRejected > 0 {
			send(noTokenRejectedDesc, prometheus.CounterValue, float64(g.NoTokenRejected), g.ID, g.Name)
		}
		if g.Undelivered > 0 {
			send(undeliveredDesc, prometheus.CounterValue, float64(g.Undelivered), g.ID, g.Name)
		}
		if g.WouldBeRefused > 0 {
			send(wouldBeRefusedDesc, prometheus.CounterValue, float64(g.WouldBeRefused), g.ID, g.Name)
		}
		if g.Rehearsing != "" {
			send(rehearsalsDesc, prometheus.GaugeValue, 1, g.ID, g.Name, string(g.Rehearsing))
		}
	}
}

// unixSeconds is 0 for a time that has not come, as the convention has it.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func histogram(t usage.Totals) prometheus.Metric {
	buckets := make(map[float64]uint64, len(t.Took))
	for _, took := range t.Took {
		buckets[took.AtMost.Seconds()] = took.Count
	}
	return prometheus.MustNewConstHistogram(durationDesc, t.Answered, t.Time.Seconds(), buckets)
}
