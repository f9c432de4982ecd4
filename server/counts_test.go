package server

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// Requests without a token are there as soon as they are answered, whatever the period that is asked for.
func TestCountsByAnyPeriod(t *testing.T) {
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	for range 3 {
		resp, err := http.Get("http://" + i.imds + "/latest/meta-data/instance-id")
		must(t, err)
		must(t, resp.Body.Close())
	}
	now := time.Now()
	for _, target := range []string{targetLightsail + "GetInstanceMetricData", targetOpenIMDS + "GetMetricData"} {
		for _, period := range []int{60, 300, 3600, 86400, 2628000} {
			var answer struct {
				MetricData []struct{ Sum float64 }
				Known      struct{ Complete bool }
			}
			request := map[string]any{
				"instanceName": i.server.Instance().Name, "metricName": openimds.MetricNoToken, "period": period, "unit": "Count",
				"statistics": []string{"Sum"}, "startTime": now.Add(-20 * time.Minute).Unix(), "endTime": now.Add(10 * time.Minute).Unix(),
			}
			must(t, i.client.call(t.Context(), target, request, &answer))
			sum := 0.0
			for _, p := range answer.MetricData {
				sum += p.Sum
			}
			if sum != 3 || target == targetOpenIMDS+"GetMetricData" && !answer.Known.Complete {
				t.Errorf("%s by %d seconds: %s", target, period, fmt.Sprint(answer))
			}
		}
	}
}
