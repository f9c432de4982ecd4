// Package prom tells what [trace] sees as metrics of Prometheus.
package prom

import (
	"net/http"
	"time"

	"github.com/openimds/openimds/trace"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// mostCallers is how many callers have series of their own; those with the most calls by IMDSv1 come first.
const mostCallers = 500

// Handler serves a summary in the format of Prometheus.
func Handler(s *trace.Summary) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

type collector struct{ summary *trace.Summary }

var (
	callsDesc = prometheus.NewDesc("openimds_trace_calls_total",
		"Calls that were seen, by caller and version (none: of a service without versions). The caller \"(others)\" is all who have no series of their own.",
		[]string{"service", "version", "process", "user", "unit", "container", "pod"}, nil)
	missedDesc = prometheus.NewDesc("openimds_trace_missed_total",
		"What was not seen, so that its callers are unknown: connections, requests and answers that were lost, calls that could not be told, connections that were sampled out.",
		[]string{"what"}, nil)
)

// Describe is [prometheus.Collector].
func (*collector) Describe(to chan<- *prometheus.Desc) {
	to <- callsDesc
	to <- missedDesc
}

// series are the labels of one.
type series struct{ service, version, process, user, unit, container, pod string }

// Collect is [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	report := c.summary.Report(time.Now())
	sums := map[series]float64{} // several callers may differ in what is no label
	for i, row := range report.Callers {
		labels := series{service: string(row.Service), process: "(others)"}
		if i < mostCallers {
			p := row.Example
			labels.process, labels.user, labels.unit = row.Who(), p.User, p.Unit
			if p.Container != nil {
				labels.container, labels.pod = p.Container.Name, p.Container.Pod
				if labels.container == "" {
					labels.container = p.Container.ID
				}
			}
		}
		add(sums, labels, row)
	}
	if report.Beyond != nil {
		add(sums, series{service: string(report.Beyond.Service), process: "(others)"}, *report.Beyond)
	}
	for l, n := range sums {
		to <- prometheus.MustNewConstMetric(callsDesc, prometheus.CounterValue, n, l.service, l.version, l.process, l.user, l.unit, l.container, l.pod)
	}
	var missed trace.Gap
	if report.Missed != nil {
		missed = *report.Missed
	}
	for what, n := range map[string]uint64{
		"connections": missed.Connections, "requests": missed.Requests, "answers": missed.Answers, "calls": missed.Calls, "sampled": missed.Sampled,
	} {
		to <- prometheus.MustNewConstMetric(missedDesc, prometheus.CounterValue, float64(n), what)
	}
}

func add(sums map[series]float64, labels series, row trace.Row) {
	for version, n := range map[trace.Version]uint64{
		trace.V1: row.V1, trace.V2: row.V2, trace.Token: row.Tokens, trace.None: row.Other, trace.Unknown: row.Unknown,
	} {
		if n > 0 {
			labels.version = string(version)
			sums[labels] += float64(n)
		}
	}
}
