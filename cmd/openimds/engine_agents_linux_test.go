package main

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	cloudwatch "github.com/openimds/openimds/api/cloudwatch/wire"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/engine"
	"github.com/openimds/openimds/usage/engine/enginetest"
	"github.com/openimds/openimds/usage/history"
)

// Two agents push what they count to the engine, and two replicas tell all of it from there, exactly: across a restart of an
// agent, its death, that of a replica, an outage of the engine and a move of the instance. What a killed agent may have lost
// is told as not known. Nothing that is counted by the sample is in the shared store.
func TestEngineOfAgents(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("skipped: there is no curl on this machine")
	}
	cluster := etcdtest.Start(t, 1)
	enginetest.Each(t, func(t *testing.T, e *enginetest.Engine) {
		f := startFleet(t, cluster, e)
		write := []string{"--metrics-write", e.Write(), "--prometheus", "127.0.0.1:0"}
		f.join("host-a", write...)
		f.join("host-b", write...)
		f.begin("host-a")

		end(t, f.agents["host-a"], syscall.SIGTERM)
		f.agent("host-a", write...)
		f.serves("host-a")
		f.count("host-a", 3)
		f.tells()
		end(t, f.replicas["r1"], syscall.SIGKILL)
		f.count("host-a", 2)
		f.replica("r1")
		f.tells()
		f.isKnown(true)

		// Moved, with the engine away meanwhile: that is an error, and no fewer calls.
		f.attach("host-b")
		e.Stop()
		f.count("host-b", 5)
		if points, err := f.datapoints("r2", 300); err == nil {
			t.Errorf("without the engine it tells of %v", points)
		}
		e.Again()
		f.tells()
		f.isKnown(true)
		f.scraped("host-b", 5)
		f.agree()

		// An agent that is killed may have counted what nobody knows of.
		f.count("host-b", 1)
		f.marked("host-a", "host-b", "r1", "r2")
		end(t, f.agents["host-b"], syscall.SIGKILL)
		f.marked("host-a", "host-b", "r1", "r2")
		f.agent("host-b", write...)
		f.isKnown(false)

		// What an agent counts that does not tell the engine is not known, and is once it does.
		end(t, f.agents["host-a"], syscall.SIGTERM)
		f.marked("host-b", "r1", "r2")
		f.agent("host-a")
		f.untold("host-a")
		f.marked("host-a", "host-b", "r1", "r2")
		f.agent("host-a", write...)
		f.tells()
		f.keepsNone()
	})
}

// begin has a new instance called at a host. All its time is known: it is another one where a sample has begun before the
// first was attached.
func (f *engineFleet) begin(host string) {
	f.t.Helper()
	for {
		began := time.Now().Truncate(openimds.MetricPeriod)
		f.create(host)
		f.tells()
		if time.Now().Truncate(openimds.MetricPeriod).Equal(began) {
			f.isKnown(true)
			return
		}
	}
}

// untold has a new instance called at a host whose agent does not tell the engine, and ends that. The replicas hear from it
// who called; the calls of the time are unknown to them, and not none.
func (f *engineFleet) untold(host string) {
	f.t.Helper()
	f.create(host)
	if err := eventually(func() bool { return strings.Contains(f.agents[host].logged(), "this host tells it nothing") }); err != nil {
		f.t.Errorf("the agent does not say so:\n%s", f.agents[host].logged())
	}
	end(f.t, f.agents[host], syscall.SIGTERM)
	f.called()
	f.isKnown(false)
	for name := range f.replicas {
		points, err := f.datapoints(name, 300)
		if err != nil || len(points) > 0 {
			f.t.Errorf("%s tells of an agent that tells the engine nothing: %v %v", name, points, err)
		}
	}
}

// tells waits until each replica knows of all calls; none ever tells of more.
func (f *engineFleet) tells() {
	f.t.Helper()
	for name := range f.replicas {
		var sum float64
		err := eventually(func() bool {
			time.Sleep(pollEvery)
			points, err := f.datapoints(name, 3600)
			sum = 0
			for _, p := range points {
				sum += p.Sum
			}
			return err == nil && sum >= float64(f.calls)
		})
		if err != nil || sum != float64(f.calls) {
			f.t.Fatalf("%s tells of %v calls of %d: %v", name, sum, f.calls, err)
		}
	}
}

// isKnown waits until each replica says that all calls of the instance are known, or that they are not.
func (f *engineFleet) isKnown(want bool) {
	f.t.Helper()
	for name, r := range f.replicas {
		var last any
		err := eventually(func() bool {
			time.Sleep(pollEvery)
			all, err := client.Call(f.t.Context(), r.caller(f.t, client.ServiceLightsail), wire.GetMetadataCounts,
				wire.GetMetadataCountsRequest{InstanceName: f.web, StartTime: awsjson.At(f.since)})
			last = err
			if err != nil { // the engine may be slow
				return false
			}
			last = all.Counts
			return all.Counts[0].Known.Complete == want
		})
		if err != nil {
			f.t.Fatalf("%s, of which all should be known: %v: %v: %+v", name, want, err, last)
		}
	}
}

// agree asks other APIs for the same: CloudWatch's, the list of callers once the agent has told it all, and alarms.
func (f *engineFleet) agree() {
	f.t.Helper()
	t := f.t
	in, err := client.Call(t.Context(), f.replicas["r1"].caller(t, client.ServiceLightsail), wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: f.web})
	must(t, err)
	for name, r := range f.replicas {
		data, err := client.CloudWatch(t.Context(), r.caller(t, client.ServiceCloudWatch), cloudwatch.GetMetricData, cloudwatch.GetMetricDataRequest{
			StartTime: awsjson.At(f.since), EndTime: awsjson.At(f.until()),
			MetricDataQueries: []cloudwatch.MetricDataQuery{{ID: "calls", MetricStat: &cloudwatch.MetricStat{
				Metric: &cloudwatch.Metric{
					Namespace: "AWS/EC2", MetricName: openimds.MetricNoToken,
					Dimensions: []cloudwatch.Dimension{{Name: "InstanceId", Value: cloudwatch.DimensionValue(in.Instance.ID)}},
				},
				Period: new(cloudwatch.Period(300)), Stat: "Sum",
			}}},
		})
		must(t, err)
		sum := 0.0
		for _, value := range data.MetricDataResults[0].Values {
			sum += float64(value)
		}
		if sum != float64(f.calls) {
			t.Errorf("%s: CloudWatch's API tells of %v calls, %d were made", name, sum, f.calls)
		}
	}
	f.alarmed()
	end(t, f.agents["host-b"], syscall.SIGTERM) // callers whom it has told of may wait for minutes with what they called since
	f.agent("host-b", "--metrics-write", f.e.Write(), "--prometheus", "127.0.0.1:0")
	f.serves("host-b")
	f.called()
}

// called waits until each replica knows who made all calls.
func (f *engineFleet) called() {
	f.t.Helper()
	for name, r := range f.replicas {
		var n int64
		err := eventually(func() bool {
			time.Sleep(pollEvery)
			callers, err := client.Call(f.t.Context(), r.caller(f.t, client.ServiceLightsail), wire.GetCallers, wire.GetCallersRequest{InstanceName: f.web})
			must(f.t, err)
			n = 0
			for _, c := range callers.Callers {
				n += c.Counts[openimds.MetricNoToken]
			}
			return n == int64(f.calls)
		})
		if err != nil {
			f.t.Errorf("%s: callers called %d times of %d: %v", name, n, f.calls, err)
		}
	}
}

// alarmed has alarms evaluated as a replica would when the period of the latest calls is over, of whose place this is: the
// one at as many calls as there are is in alarm, and the one at one more is not.
func (f *engineFleet) alarmed() {
	f.t.Helper()
	t := f.t
	points, err := f.datapoints("r1", 300)
	must(t, err)
	last := points[len(points)-1]
	for name, threshold := range map[string]float64{"as-many": last.Sum, "more": last.Sum + 1} {
		must(t, ask(t.Context(), f.replicas["r1"].caller(t, client.ServiceLightsail), targetLightsail+"PutAlarm", map[string]any{
			"alarmName": name, "metricName": openimds.MetricNoToken, "monitoredResourceName": f.web,
			"comparisonOperator": "GreaterThanOrEqualToThreshold", "threshold": threshold, "evaluationPeriods": 1,
		}, nil))
	}
	now := func() time.Time { return time.Unix(int64(last.Timestamp), 0).Add(openimds.MetricPeriod + time.Minute) }
	installation, err := engine.Installation(t.Context(), f.kept)
	must(t, err)
	reader, err := engine.NewReader(engine.ReaderConfig{URL: f.e.From(), Installation: installation, Now: now})
	must(t, err)
	office, err := f.kept.Get(t.Context(), records.OfficeKey)
	must(t, err)
	evaluator := control.New(f.kept, control.Config{
		Region: "us-east-1", AccountID: "123456789012", Host: string(office.Value), Now: now,
		History: history.New(history.Config{Store: mem.New(), Name: "evaluator", Others: reader, Now: now}),
	})
	changed, err := evaluator.EvaluateAlarms(t.Context())
	must(t, err)
	states := map[string]openimds.AlarmState{}
	for _, alarm := range changed {
		states[alarm.Name] = alarm.State
	}
	if states["as-many"] != openimds.AlarmAlarm || states["more"] != openimds.AlarmOK {
		t.Errorf("of %v calls in the latest period the alarms say %v", last.Sum, states)
	}
}

// scraped reads what a host serves to its own machine for Prometheus, which tells of the calls since its start.
func (f *engineFleet) scraped(host string, calls int) {
	f.t.Helper()
	answer, err := http.Get("http://" + f.agents[host].api + "/metrics")
	must(f.t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	must(f.t, err)
	want := regexp.MustCompile(fmt.Sprintf(`(?m)^openimds_metadata_no_token_total\{instance=%q,instance_id="i-[0-9a-f]+"\} %d$`, f.web, calls))
	if !want.Match(text) {
		f.t.Errorf("%s does not tell of %d calls, but\n%s", host, calls, text)
	}
}

// marked waits until the shared store has the marks of those hosts, and of no other: how far they have told the engine.
func (f *engineFleet) marked(want ...string) {
	f.t.Helper()
	var has []string
	if eventually(func() bool {
		time.Sleep(50 * time.Millisecond)
		page, err := f.kept.List(f.t.Context(), store.Range{Prefix: history.MarkPrefix})
		must(f.t, err)
		has = has[:0]
		for _, r := range page.Records {
			host, _, _ := strings.Cut(strings.TrimPrefix(r.Key, history.MarkPrefix), "~")
			has = append(has, host)
		}
		return slices.Equal(has, want)
	}) != nil {
		f.t.Errorf("the shared store has marks of %q, not of %q", has, want)
	}
}

// keepsNone says that nothing that is counted by the sample is in the shared store.
func (f *engineFleet) keepsNone() {
	f.t.Helper()
	for _, name := range []string{history.SamplePrefix, "usage/3600/"} {
		page, err := f.kept.List(f.t.Context(), store.Range{Prefix: name})
		must(f.t, err)
		if len(page.Records) > 0 {
			f.t.Errorf("the shared store has %s", page.Records[0].Key)
		}
	}
}
