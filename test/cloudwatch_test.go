package clients

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// calledByV1 has the guest call without a token, so that there is something to be counted.
func (s *server) calledByV1(t *testing.T, times int) {
	t.Helper()
	for range times {
		resp, err := http.Get("http://" + s.IMDS + "/latest/meta-data/instance-id") //nolint:noctx // the test's own time will do
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

// TestCloudWatch: the SDK for Go, which speaks nothing but CBOR, reads what was counted, goes through all pages, waits for an
// alarm, and knows each failure by its type.
func TestCloudWatch(t *testing.T) {
	s := serve(t, nil)
	s.calledByV1(t, 3)
	ctx := t.Context()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"), config.WithSharedConfigFiles([]string{os.DevNull}),
		config.WithSharedCredentialsFiles([]string{filepath.Join(s.DataDir, "credentials")}))
	if err != nil {
		t.Fatal(err)
	}
	api := cloudwatch.NewFromConfig(cfg, func(o *cloudwatch.Options) { o.BaseEndpoint = aws.String("http://" + s.API) })
	start, end := aws.Time(time.Now().Add(-time.Hour)), aws.Time(time.Now().Add(time.Minute))
	of := []types.Dimension{{Name: aws.String("InstanceId"), Value: aws.String(s.Instance.ID)}}
	points, err := api.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/EC2"), MetricName: aws.String("MetadataNoToken"), Dimensions: of, StartTime: start, EndTime: end, Period: aws.Int32(7200), Statistics: []types.Statistic{"Sum"},
	})
	if err != nil || len(points.Datapoints) != 1 || *points.Datapoints[0].Sum != 3 || points.Datapoints[0].Unit != types.StandardUnitCount {
		t.Fatalf("%+v, %v", points, err)
	}
	query := func(id string) types.MetricDataQuery {
		return types.MetricDataQuery{Id: aws.String(id), MetricStat: &types.MetricStat{Period: aws.Int32(7200), Stat: aws.String("Sum"),
			Metric: &types.Metric{Namespace: aws.String("AWS/EC2"), MetricName: aws.String("MetadataNoToken"), Dimensions: of}}}
	}
	sum, pages := 0.0, 0
	data := cloudwatch.NewGetMetricDataPaginator(api, &cloudwatch.GetMetricDataInput{MetricDataQueries: []types.MetricDataQuery{query("a"), query("b")}, StartTime: start, EndTime: end, MaxDatapoints: aws.Int32(1)})
	for data.HasMorePages() {
		page, err := data.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, r := range page.MetricDataResults {
			for _, v := range r.Values {
				sum += v
			}
		}
	}
	if sum != 6 || pages != 2 {
		t.Errorf("%v on %d pages", sum, pages)
	}
	put := &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("v1"), Namespace: aws.String("AWS/EC2"), MetricName: aws.String("MetadataNoToken"), Dimensions: of, Statistic: "Sum", Period: aws.Int32(300),
		EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(0), ComparisonOperator: "GreaterThanThreshold",
	}
	if _, err := api.PutMetricAlarm(ctx, put); err != nil {
		t.Fatal(err)
	}
	if err := cloudwatch.NewAlarmExistsWaiter(api).Wait(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"v1"}}, patience); err != nil {
		t.Error(err)
	}
	if _, err := api.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{AlarmName: aws.String("v1"), StateValue: "ALARM", StateReason: aws.String("a drill")}); err != nil {
		t.Error(err)
	}
	_, err = api.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{AlarmName: aws.String("absent"), StateValue: "OK", StateReason: aws.String("")})
	if _, known := errors.AsType[*types.ResourceNotFound](err); !known {
		t.Errorf("an alarm that is not there: %v", err)
	}
	_, err = api.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{NextToken: aws.String("bad")})
	if _, known := errors.AsType[*types.InvalidNextToken](err); !known {
		t.Errorf("a token of nobody's: %v", err)
	}
	_, err = api.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{Namespace: aws.String("AWS/EC2"), MetricName: aws.String("MetadataNoToken"), StartTime: end, EndTime: start, Period: aws.Int32(60), Statistics: []types.Statistic{"Sum"}})
	if refused, known := errors.AsType[*types.InvalidParameterValueException](err); !known || !strings.Contains(*refused.Message, "StartTime") {
		t.Errorf("times in the wrong order: %v", err)
	}
	if _, err := api.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"v1"}}); err != nil {
		t.Error(err)
	}
}

// TestCloudWatchJavaScript does so with the SDK for JavaScript.
func TestCloudWatchJavaScript(t *testing.T) {
	need(t, "node")
	if _, err := os.Stat(filepath.Join("npm", "node_modules", "@aws-sdk", "client-cloudwatch")); err != nil {
		t.Skip("@aws-sdk/client-cloudwatch is not installed: run 'npm ci' in test/npm")
	}
	s := serve(t, nil)
	s.calledByV1(t, 3)
	out := s.run(t, "node", filepath.Join("npm", "cloudwatch.js"), "http://"+s.API, filepath.Join(s.DataDir, "credentials"), s.Instance.ID)
	var got struct {
		Sum           float64
		State, Failed string
		Left          int
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Sum != 3 || got.State != "ALARM" || got.Failed != "ResourceNotFound" || got.Left != 0 {
		t.Errorf("%s: %v", out, err)
	}
}
