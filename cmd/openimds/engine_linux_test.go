package main

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	"github.com/openimds/openimds/usage/engine/enginetest"
)

// pollEvery is how long a server is left alone between two questions.
const pollEvery = 20 * time.Millisecond

// datapoint is one of GetInstanceMetricData's.
type datapoint struct {
	Timestamp                          float64
	Sum, Minimum, Maximum, SampleCount float64
}

// datapoints are what a server says that an instance called without a token.
func datapoints(t *testing.T, c *client.Client, instance string, since, until time.Time, period int) ([]datapoint, error) {
	var answer struct{ MetricData []datapoint }
	err := ask(t.Context(), c, targetLightsail+"GetInstanceMetricData", map[string]any{
		"instanceName": instance, "metricName": "MetadataNoToken", "unit": "Count", "period": period,
		"statistics": []string{"Sum", "Minimum", "Maximum", "SampleCount"}, "startTime": since.Unix(), "endTime": until.Unix(),
	}, &answer)
	slices.SortFunc(answer.MetricData, func(a, b datapoint) int { return int(a.Timestamp - b.Timestamp) })
	return answer.MetricData, err
}

// Of three servers on one store each tells of all calls, exactly, whichever counted them: after one was killed and
// started again, after it ended, after the guest has gone to another, and after the engine was away. While that is away
// it is an error that is told, not fewer calls. And nothing that is counted is in the shared store.
func TestEngineOfMetrics(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	enginetest.Each(t, func(t *testing.T, e *enginetest.Engine) {
		address := etcd.Scheme + cluster.Addresses() + "/" + strings.ReplaceAll(t.Name(), "/", "-")
		at, err := etcd.ParseAddress(address)
		must(t, err)
		kept, err := etcd.Open(t.Context(), etcd.Config{Address: at})
		must(t, err)
		defer func() { _ = kept.Close() }()
		flags := []string{"--store", address, "--store-timeout", patience.String(), "--metrics-write", e.Write(), "--metrics-from", e.From()}
		dir := t.TempDir()
		start := func(name string) *process {
			return startProcess(t, filepath.Join(dir, name), append(flags, "--host", name)...)
		}
		since := time.Now().Add(-12 * time.Hour).Truncate(time.Hour)
		until := since.Add(24 * time.Hour) // as many minutes as one may ask for
		servers := map[string]*process{}
		for _, name := range []string{"a", "b", "c"} {
			servers[name] = start(name)
		}
		calls := 0
		count := func(at string, n int) {
			for range n {
				if answer := servers[at].guest(t); !strings.Contains(answer, " 200 OK") {
					t.Fatal(answer)
				}
			}
			calls += n
		}
		// tells waits until a server knows of all calls; it never tells of more.
		tells := func(at string) {
			t.Helper()
			c := servers[at].caller(t, client.ServiceLightsail)
			var sum float64
			err := eventually(func() bool {
				time.Sleep(pollEvery)
				points, err := datapoints(t, c, "demo", since, until, 300)
				sum = 0
				for _, p := range points {
					sum += p.Sum
				}
				return err == nil && sum >= float64(calls)
			})
			if err != nil || sum != float64(calls) {
				t.Fatalf("%s tells of %v calls of %d: %v", at, sum, calls, err)
			}
		}
		count("a", 7)
		tells("c") // so it is kept, too
		must(t, servers["a"].cmd.Process.Kill())
		_ = servers["a"].cmd.Wait()
		servers["a"] = start("a")
		count("a", 5)
		count("b", 3)
		tells("c")
		tells("a")
		e.Stop()
		count("b", 11)
		if points, err := datapoints(t, servers["c"].caller(t, client.ServiceLightsail), "demo", since, until, 300); err == nil {
			t.Errorf("without the engine it tells of %v", points)
		}
		e.Again()
		tells("c")
		count("a", 2)
		must(t, servers["a"].cmd.Process.Signal(syscall.SIGTERM)) // what it counted last is told at its end
		must(t, servers["a"].cmd.Wait())
		servers["a"] = start("a") // which tells what it could not in time
		tells("c")
		// What one counted that was started without the engine is in the shared store, until it is started with it.
		servers["d"] = startProcess(t, filepath.Join(dir, "d"), "--store", address, "--store-timeout", patience.String(), "--host", "d")
		count("d", 4)
		must(t, servers["d"].cmd.Process.Signal(syscall.SIGTERM))
		must(t, servers["d"].cmd.Wait())
		servers["d"] = start("d")
		count("d", 1)
		tells("c")
		for _, period := range []int{60, 300, 3600, 86400} {
			sums := map[string]float64{}
			var all [][]datapoint
			must(t, eventually(func() bool { // a period that begins is not known everywhere at once
				time.Sleep(pollEvery)
				clear(sums)
				all = nil
				for name, server := range servers {
					points, err := datapoints(t, server.caller(t, client.ServiceLightsail), "demo", since, until, period)
					if err != nil { // the engine may be slow
						return false
					}
					for _, p := range points {
						sums[name] += p.Sum
					}
					all = append(all, points)
				}
				return !slices.ContainsFunc(all, func(one []datapoint) bool { return !reflect.DeepEqual(one, all[0]) })
			}))
			if len(all[0]) == 0 || sums["a"] != float64(calls) {
				t.Errorf("by %d seconds they tell of %v calls of %d: %v", period, sums["a"], calls, all[0])
			}
		}
		for _, name := range []string{"usage/300/", "usage/3600/"} {
			page, err := kept.List(t.Context(), store.Range{Prefix: name})
			must(t, err)
			if len(page.Records) > 0 {
				t.Errorf("the shared store has %s", page.Records[0].Key)
			}
		}
	})
}
