package main

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	cloudwatch "github.com/openimds/openimds/api/cloudwatch/wire"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// TestKilledWhileItCounts kills the real program: of the period in which that was, no API tells that nobody called.
func TestKilledWhileItCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/data"
	p := startProcess(t, dir)
	begun := time.Now().Truncate(openimds.MetricPeriod)
	api := p.caller(t, client.ServiceLightsail)
	known := func() wire.Known {
		t.Helper()
		counts, err := client.Call(t.Context(), api, wire.GetMetadataCounts, wire.GetMetadataCountsRequest{InstanceName: "demo", StartTime: awsjson.At(begun)})
		must(t, err)
		return counts.Counts[0].Known
	}
	must(t, eventually(func() bool { return known().Complete }))
	in, err := client.Call(t.Context(), api, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: "demo"})
	must(t, err)
	killed := time.Now().Truncate(openimds.MetricPeriod)
	must(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
	p = startProcess(t, dir)
	api = p.caller(t, client.ServiceLightsail)
	must(t, eventually(func() bool { return !known().Complete }))

	end := killed.Add(openimds.MetricPeriod)
	told, err := client.Call(t.Context(), api, wire.GetInstanceMetricData, wire.GetInstanceMetricDataRequest{
		InstanceName: "demo", MetricName: openimds.MetricNoToken, Unit: "Count", StartTime: awsjson.At(killed), EndTime: awsjson.At(end),
		Period: new(wire.MetricPeriod(300)), Statistics: []wire.MetricStatistic{"Sum"},
	})
	if err != nil || len(told.MetricData) != 0 {
		t.Errorf("Lightsail's API tells %+v, %v", told, err)
	}
	metrics := p.caller(t, client.ServiceCloudWatch)
	of := []cloudwatch.Dimension{{Name: "InstanceId", Value: cloudwatch.DimensionValue(in.Instance.ID)}}
	for _, metric := range []cloudwatch.Text255{openimds.MetricNoToken, openimds.MetricNoTokenRejected} {
		data, err := client.CloudWatch(t.Context(), metrics, cloudwatch.GetMetricData, cloudwatch.GetMetricDataRequest{
			StartTime: awsjson.At(killed), EndTime: awsjson.At(end),
			MetricDataQueries: []cloudwatch.MetricDataQuery{{ID: "a", MetricStat: &cloudwatch.MetricStat{
				Metric: &cloudwatch.Metric{Namespace: "AWS/EC2", MetricName: metric, Dimensions: of}, Period: new(cloudwatch.Period(300)), Stat: "Sum",
			}}},
		})
		must(t, err)
		if r := data.MetricDataResults[0]; len(r.Values) != 0 || r.StatusCode != "PartialData" || len(r.Messages) != 1 || data.NextToken != "" {
			t.Errorf("CloudWatch's API tells %+v of %s", data, metric)
		}
		points, err := client.CloudWatch(t.Context(), metrics, cloudwatch.GetMetricStatistics, cloudwatch.GetMetricStatisticsRequest{
			Namespace: "AWS/EC2", MetricName: metric, Dimensions: of, StartTime: awsjson.At(killed), EndTime: awsjson.At(end),
			Period: new(cloudwatch.Period(300)), Statistics: []cloudwatch.Statistic{"Sum"},
		})
		if err != nil || len(points.Datapoints) != 0 {
			t.Errorf("CloudWatch's API tells %+v, %v", points, err)
		}
	}
}
