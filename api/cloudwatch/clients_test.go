package cloudwatch_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// python runs a script that has nothing of this machine's AWS configuration. Without the module the test is skipped.
func (s *server) python(t *testing.T, module, script string) {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), path, "-c", "import "+module).CombinedOutput(); err != nil {
		t.Skipf("python3 has no module %s: %s", module, strings.TrimSpace(string(out)))
	}
	home := t.TempDir()
	keys := filepath.Join(home, "credentials")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = "+full.ID+"\naws_secret_access_key = "+full.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // its tools take minutes where much else runs
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-c", script, s.demo)
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	cmd.Env = append(cmd.Env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=",
		"NO_PROXY=*", "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1", "HOME="+home, "AWS_SHARED_CREDENTIALS_FILE="+keys, "AWS_ENDPOINT_URL_CLOUDWATCH="+s.url)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// counted has the instance called on three times without a token, a few minutes ago.
func (s *server) counted() {
	s.history.Add(s.demo, time.Now().Add(-openimds.MetricPeriod), openimds.MetricNoToken, 3)
	s.history.Begin(s.demo, time.Now())
}

// TestBoto3 does what people do with boto3, its waiter, its paginators and its resource, in each of the protocols that a
// botocore of some time has spoken; this one prefers CBOR.
func TestBoto3(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.counted()
	s.python(t, "boto3", `
import boto3, datetime, sys
import botocore.model
from botocore import parsers
instance = sys.argv[1]
def every(protocol):
    botocore.model.ServiceModel.resolved_protocol = protocol
    client = boto3.client("cloudwatch")
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)
    start = end - datetime.timedelta(hours=1)
    dims = [{"Name": "InstanceId", "Value": instance}]
    points = client.get_metric_statistics(Namespace="AWS/EC2", MetricName="MetadataNoToken", Dimensions=dims, StartTime=start, EndTime=end, Period=3600, Statistics=["Sum", "SampleCount"])
    assert [(p["Sum"], p["SampleCount"], p["Unit"]) for p in points["Datapoints"]] == [(3.0, 2.0, "Count")], points
    assert isinstance(points["Datapoints"][0]["Timestamp"], datetime.datetime) and points["Label"] == "MetadataNoToken", points
    stat = lambda name: {"Id": name, "MetricStat": {"Metric": {"Namespace": "AWS/EC2", "MetricName": "MetadataNoToken", "Dimensions": dims}, "Period": 300, "Stat": "Sum"}}
    pages = list(client.get_paginator("get_metric_data").paginate(MetricDataQueries=[stat("a"), stat("b")], StartTime=start, EndTime=end, MaxDatapoints=1))
    assert sum(v for p in pages for r in p["MetricDataResults"] for v in r["Values"]) == 6.0 and len(pages) == 4, pages
    metrics = [m["MetricName"] for m in client.get_paginator("list_metrics").paginate(Namespace="AWS/EC2", RecentlyActive="PT3H").search("Metrics[]")]
    assert "MetadataNoToken" in metrics and "MetadataNoTokenRejected" in metrics, metrics
    put = dict(AlarmName="v1", Namespace="AWS/EC2", MetricName="MetadataNoToken", Dimensions=dims, Statistic="Sum", Period=300, EvaluationPeriods=1, Threshold=0, ComparisonOperator="GreaterThanThreshold", Tags=[{"Key": "a", "Value": "b"}])
    client.put_metric_alarm(**put)
    client.get_waiter("alarm_exists").wait(AlarmNames=["v1"])
    client.set_alarm_state(AlarmName="v1", StateValue="ALARM", StateReason="a drill")
    alarms = list(client.get_paginator("describe_alarms").paginate(StateValue="ALARM").search("MetricAlarms[]"))
    assert [(a["AlarmName"], a["Threshold"], a["StateReason"], a["ActionsEnabled"]) for a in alarms] == [("v1", 0.0, "a drill", True)], alarms
    assert client.list_tags_for_resource(ResourceARN=alarms[0]["AlarmArn"])["Tags"] == [{"Key": "a", "Value": "b"}]
    alarm = boto3.resource("cloudwatch").Alarm("v1")
    assert alarm.metric_name == "MetadataNoToken" and alarm.state_value == "ALARM"
    def refused(call, exception, code):
        try:
            call()
        except exception as e:
            assert e.response["Error"]["Code"] == code and e.response["Error"]["Message"], e.response
        else:
            raise AssertionError(code)
    refused(lambda: client.set_alarm_state(AlarmName="absent", StateValue="OK", StateReason="x"), client.exceptions.ResourceNotFound, "ResourceNotFound")
    refused(lambda: client.describe_alarms(NextToken="bad"), client.exceptions.InvalidNextToken, "InvalidNextToken")
    refused(lambda: client.put_metric_alarm(**{**put, "Period": 60}), client.exceptions.ClientError, "InvalidParameterValue")
    refused(lambda: client.get_metric_statistics(Namespace="AWS/EC2", MetricName="MetadataNoToken", StartTime=end, EndTime=start, Period=60, Statistics=["Sum"]), client.exceptions.InvalidParameterValueException, "InvalidParameterValue")
    refused(lambda: client.put_dashboard(DashboardName="x", DashboardBody="{}"), client.exceptions.ClientError, "InvalidAction")
    alarm.delete()
    assert client.describe_alarms()["MetricAlarms"] == []
for protocol in ["smithy-rpc-v2-cbor", "json", "query"]:
    if protocol in parsers.PROTOCOL_PARSERS:
        every(protocol)
print("done")
`)
}

// TestAWSCLI does the same through the code of the AWS CLI (version 1) in one process.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.counted()
	s.python(t, "awscli.clidriver", `
import contextlib, datetime, io, json, sys
from awscli.clidriver import create_clidriver
instance = sys.argv[1]
def aws(*args):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = create_clidriver().main(["cloudwatch", *args, "--output", "json"])
    return code, out.getvalue(), err.getvalue()
def done(*args):
    code, out, err = aws(*args)
    assert code == 0, (args, out, err)
    return json.loads(out) if out else {}
end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)
times = ["--start-time", (end - datetime.timedelta(hours=1)).isoformat(), "--end-time", end.isoformat()]
of = ["--namespace", "AWS/EC2", "--metric-name", "MetadataNoToken", "--dimensions", "Name=InstanceId,Value=" + instance]
assert done("get-metric-statistics", *of, *times, "--period", "3600", "--statistics", "Sum")["Datapoints"][0]["Sum"] == 3.0
query = [{"Id": "a", "MetricStat": {"Metric": {"Namespace": "AWS/EC2", "MetricName": "MetadataNoToken", "Dimensions": [{"Name": "InstanceId", "Value": instance}]}, "Period": 300, "Stat": "Sum"}}]
assert sum(done("get-metric-data", *times, "--metric-data-queries", json.dumps(query))["MetricDataResults"][0]["Values"]) == 3.0
assert len(done("list-metrics", "--namespace", "AWS/EC2", "--metric-name", "MetadataNoTokenRejected")["Metrics"]) == 1
done("put-metric-alarm", "--alarm-name", "v1", *of, "--statistic", "Sum", "--period", "300", "--evaluation-periods", "1", "--threshold", "0", "--comparison-operator", "GreaterThanThreshold", "--alarm-description", "IMDSv1 is called")
done("set-alarm-state", "--alarm-name", "v1", "--state-value", "ALARM", "--state-reason", "a drill")
shown = done("describe-alarms", "--alarm-names", "v1")["MetricAlarms"][0]
assert shown["StateValue"] == "ALARM" and shown["AlarmDescription"] == "IMDSv1 is called", shown
done("delete-alarms", "--alarm-names", "v1")
code, out, err = aws("delete-alarms", "--alarm-names", "v1")
assert code != 0 and "(ResourceNotFound) when calling the DeleteAlarms operation" in err, err
print("done")
`)
}
