package lightsail_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/lightsail"
)

// request is an operation with a body that makes sense in the order of [everyOperation].
type request struct{ target, body string }

const (
	publicKey  = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+1P0dyDrHSlHxPCsQWKjCqXgcUJ8HOQ1wLvS0B3c6p me@here"
	aMigration = "0123456789abcdef0123456789abcdef"
	aTime      = `"startTime":1704067200,"endTime":1704070800.5`
)

// recently is a time of which single samples are kept.
func recently() string {
	now := time.Now().Unix()
	return fmt.Sprintf(`"startTime":%d,"endTime":%d`, now-3600, now)
}

// everyOperation asks for each operation that is built, once, in an order in which all succeed.
func everyOperation() []request {
	return append(lightsailRequests(),
		request{"GetProfile", `{}`}, // which the clients of these tests do not know yet
		request{"OpenIMDS_20261122.CreateConsoleLink", `{}`},
		request{"OpenIMDS_20261122.DescribeService", `{}`},
		request{"OpenIMDS_20261122.DescribeInstance", `{"instanceName":"demo"}`},
		request{"OpenIMDS_20261122.ModifyInstanceMetadataDefaults", `{"httpTokens":"required","httpPutResponseHopLimit":-1}`},
		request{"OpenIMDS_20261122.GetInstanceMetadataDefaults", `{}`},
		request{"OpenIMDS_20261122.LaunchInstances", `{"instanceNames":["launched"],"metadataOptions":{"httpTokens":"optional","httpPutResponseHopLimit":2}}`},
		request{"OpenIMDS_20261122.SetInstance", `{"instanceName":"demo","roleName":"app"}`},
		request{"OpenIMDS_20261122.AttachInstance", `{"instanceName":"demo","interface":"tap0"}`},
		request{"OpenIMDS_20261122.GetAttachments", `{}`},
		request{"OpenIMDS_20261122.EnrollHost", `{"host":"host-1","seconds":60}`},
		request{"OpenIMDS_20261122.GetHosts", `{}`},
		request{"OpenIMDS_20261122.GetHost", `{"host":"host-1"}`},
		request{"OpenIMDS_20261122.DrainHost", `{"host":"host-1"}`},
		request{"OpenIMDS_20261122.UndrainHost", `{"host":"host-1"}`},
		request{"OpenIMDS_20261122.EvictHost", `{"host":"host-1"}`},
		request{"OpenIMDS_20261122.DetachInstance", `{"instanceName":"demo"}`},
		request{"OpenIMDS_20261122.GetGuardedPlaces", `{}`},
		request{"OpenIMDS_20261122.ReleasePlaces", `{"all":true}`},
		request{"OpenIMDS_20261122.UpdateInstanceEvents", `{"instanceName":"demo","rebalance":{"noticeTime":1795478608}}`},
		request{"OpenIMDS_20261122.UpdateInstanceFaults", `{"instanceName":"demo","latencyMillis":1,"statusShare":0.5,"status":503}`},
		request{"OpenIMDS_20261122.SendSSHPublicKey", `{"instanceName":"demo","instanceOSUser":"ubuntu","publicKeyBase64":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHWgsd+4qVBKGNwhDEHWMHaBaRNtTtvTRvHsr0gEVFAK"}`},
		request{"OpenIMDS_20261122.GetReportKey", `{}`},
		request{"OpenIMDS_20261122.SignReport", `{"sha256":"` + strings.Repeat("0", 64) + `"}`},
		request{"OpenIMDS_20261122.GetOptionsHistory", `{"instanceName":"demo"}`},
		request{"OpenIMDS_20261122.StartRehearsal", `{"instanceName":"launched","mode":"brown-out","seconds":600,"share":0.5}`},
		request{"OpenIMDS_20261122.StopRehearsal", `{"instanceName":"launched"}`},
		request{"OpenIMDS_20261122.GetMetricData", `{"instanceName":"demo","metricName":"MetadataNoTokenRejected","period":300,` + aTime + `,"statistics":["Sum"]}`},
		request{"OpenIMDS_20261122.GetMetadataCounts", `{}`},
		request{"OpenIMDS_20261122.GetCallers", `{}`},
		request{"OpenIMDS_20261122.GetAuditEntries", `{"resource":"Instance/demo","who":"operator","what":"TagResource","failed":true,"since":1.5,"pageSize":3}`},
		request{"OpenIMDS_20261122.GetMigrationVerdicts", `{"instanceNames":["demo"],"windowSeconds":3600}`},
		request{"OpenIMDS_20261122.MakeMigrationReport", `{"form":"html"}`},
		request{"OpenIMDS_20261122.TellMigration", `{"migrationId":"` + aMigration + `","plan":"plan.yaml","begunBy":"ann@desk","begunAt":1795478608,"state":"running","stepAt":1795478608,` +
			`"waves":[{"name":"canary","holdSeconds":60}],"exceptions":[{"names":["old-*"],"owner":"ann","until":1795478608}],"instances":[{"place":0,"instanceName":"demo","wave":"canary","step":"waiting"}]}`},
		request{"OpenIMDS_20261122.GetMigrations", `{}`},
		request{"OpenIMDS_20261122.GetMigratedInstances", `{"migrationId":"` + aMigration + `","wave":"canary","step":"waiting","pageSize":200,"page":1}`},
		request{"OpenIMDS_20261122.SearchInstances", `{"query":"de","metadataFilter":"all","sortBy":"noToken","descending":true,"pageSize":200,"page":1}`},
		request{"OpenIMDS_20261122.GetFleet", `{}`},
		request{"OpenIMDS_20261122.GetFleetMetricData", `{"metricName":"MetadataNoToken","period":3600,` + recently() + `}`},
		request{"OpenIMDS_20261122.GetFleetCallers", `{"limit":200}`},
		request{"OpenIMDS_20261122.GetMetadataTree", `{"instanceName":"demo","version":"latest","path":"meta-data","protocol":"v2"}`},
		request{"OpenIMDS_20261122.WaitForRefusals", `{"instances":[{"instanceName":"demo"}]}`},
	)
}

func lightsailRequests() []request {
	const demo = `{"instanceName":"demo"}`
	return []request{
		{"CreateInstances", `{"instanceNames":["web-1"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","userData":"#!/bin/sh\necho \u00fc","tags":[{"key":"a","value":"b"}]}`},
		{"GetInstance", demo},
		{"GetInstances", `{}`},
		{"GetInstanceState", demo},
		{"UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"required","httpPutResponseHopLimit":2}`},
		{"GetInstanceMetricData", `{"instanceName":"demo","metricName":"MetadataNoToken","period":300,` + aTime + `,"unit":"Count","statistics":["Sum","Average"]}`},
		{"SetIpAddressType", `{"resourceType":"Instance","resourceName":"web-1","ipAddressType":"ipv4"}`},
		{"PutInstancePublicPorts", `{"instanceName":"demo","portInfos":[{"fromPort":22,"toPort":22,"protocol":"tcp"}]}`},
		{"OpenInstancePublicPorts", `{"instanceName":"demo","portInfo":{"fromPort":443,"toPort":443,"protocol":"tcp"}}`},
		{"CloseInstancePublicPorts", `{"instanceName":"demo","portInfo":{"fromPort":22,"toPort":22,"protocol":"tcp"}}`},
		{"GetInstancePortStates", demo},
		{"GetInstanceAccessDetails", demo},
		{"GetAutoSnapshots", `{"resourceName":"demo"}`},
		{"GetSetupHistory", `{"resourceName":"demo"}`},
		{"GetCostEstimate", `{"resourceName":"demo","startTime":1760000000,"endTime":1770000000}`},
		{"DeleteKnownHostKeys", demo},
		{"RebootInstance", demo},
		{"StopInstance", demo},
		{"StartInstance", demo},
		{"CreateKeyPair", `{"keyPairName":"made"}`},
		{"ImportKeyPair", `{"keyPairName":"mine","publicKeyBase64":"` + publicKey + `"}`},
		{"GetKeyPair", `{"keyPairName":"mine"}`},
		{"GetKeyPairs", `{"includeDefaultKeyPair":true}`},
		{"DownloadDefaultKeyPair", `{}`},
		{"DeleteKeyPair", `{"keyPairName":"mine"}`},
		{"AllocateStaticIp", `{"staticIpName":"front"}`},
		{"AttachStaticIp", `{"staticIpName":"front","instanceName":"demo"}`},
		{"GetStaticIp", `{"staticIpName":"front"}`},
		{"GetStaticIps", `{}`},
		{"DetachStaticIp", `{"staticIpName":"front"}`},
		{"ReleaseStaticIp", `{"staticIpName":"front"}`},
		{"PutAlarm", `{"alarmName":"load","metricName":"StatusCheckFailed","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":0.5,"evaluationPeriods":1,"notificationEnabled":false}`},
		{"GetAlarms", `{}`},
		{"TestAlarm", `{"alarmName":"load","state":"ALARM"}`},
		{"DeleteAlarm", `{"alarmName":"load"}`},
		{"TagResource", `{"resourceName":"demo","tags":[{"key":"tier","value":"web"}]}`},
		{"UntagResource", `{"resourceName":"demo","tagKeys":["tier"]}`},
		{"GetOperations", `{}`},
		{"GetOperationsForResource", `{"resourceName":"demo"}`},
		{"GetActiveNames", `{}`},
		{"GetBlueprints", `{"includeInactive":true}`},
		{"GetBundles", `{"includeInactive":false}`},
		{"GetRegions", `{"includeAvailabilityZones":true}`},
		{"IsVpcPeered", `{}`},
		{"DeleteInstance", `{"instanceName":"web-1"}`},
	}
}

// TestEveryOperation sees that the list is whole and that each of its requests succeeds.
func TestEveryOperation(t *testing.T) {
	s := newServer(t, withAttachments)
	asked := []string{"Lightsail_20161128.GetOperation", "OpenIMDS_20261122.GetMigrationReport"}
	for _, c := range everyOperation() {
		s.must(c.target, c.body)
		target := c.target
		if !strings.Contains(target, ".") {
			target = "Lightsail_20161128." + target
		}
		asked = append(asked, target)
	}
	// These need ids that the server has made up.
	id := s.must("OpenIMDS_20261122.MakeMigrationReport", `{"form":"html"}`)["reportId"].(string)
	s.must("OpenIMDS_20261122.GetMigrationReport", `{"reportId":"`+id+`","from":0}`)
	ops := s.must("GetOperations", `{}`)["operations"].([]any)
	s.must("GetOperation", `{"operationId":"`+ops[0].(map[string]any)["id"].(string)+`"}`)
	built := lightsail.BuiltTargets()
	for _, target := range built {
		if !slices.Contains(asked, target) {
			t.Errorf("%s is built, and no request here asks for it", target)
		}
	}
	slices.Sort(asked)
	for i, target := range asked {
		if !slices.Contains(built, target) {
			t.Errorf("%s is asked for and not built", target)
		}
		if i > 0 && target == asked[i-1] {
			t.Errorf("%s is asked for twice", target)
		}
	}
}

// python runs a script that has nothing of this machine's AWS configuration, with the requests as
// JSON in its standard input. Without the module the test is skipped.
func (s *server) python(t *testing.T, module, script string) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), path, "-c", "import "+module).CombinedOutput(); err != nil {
		t.Skipf("python3 has no module %s: %s", module, strings.TrimSpace(string(out)))
	}
	requests := [][2]any{}
	for _, c := range lightsailRequests() {
		requests = append(requests, [2]any{c.target, json.RawMessage(c.body)})
	}
	input, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // its tools take minutes where much else runs
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-c", script)
	cmd.Stdin = strings.NewReader(string(input))
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	cmd.Env = append(cmd.Env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_MAX_ATTEMPTS=1", "AWS_PAGER=", "NO_PROXY=*", "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1", "HOME="+filepath.Dir(s.credentials),
		"AWS_SHARED_CREDENTIALS_FILE="+s.credentials, "AWS_ENDPOINT_URL_LIGHTSAIL="+s.url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestBoto3 asks for each operation once and reads a few answers as boto3 understands them.
func TestBoto3(t *testing.T) {
	s := newServer(t)
	out := s.python(t, "boto3", `
import boto3, datetime, json, sys
from botocore import xform_name
client = boto3.client("lightsail")
for name, request in json.load(sys.stdin):
    answer = getattr(client, xform_name(name))(**request)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200, name
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36, name
operation = client.get_operations()["operations"][0]
assert client.get_operation(operationId=operation["id"])["operation"]["id"] == operation["id"]
instance = client.get_instance(instanceName="demo")["instance"]
assert isinstance(instance["createdAt"], datetime.datetime) and instance["createdAt"].year >= 2025, instance
assert instance["metadataOptions"]["httpTokens"] == "required"
for call, exception in [
    (lambda: client.get_instance(instanceName="absent"), client.exceptions.NotFoundException),
    (lambda: client.update_instance_metadata_options(instanceName="demo", httpTokens="never"), client.exceptions.InvalidInputException),
    (lambda: client.detach_static_ip(staticIpName="absent"), client.exceptions.NotFoundException),
    (lambda: client.create_bucket(bucketName="bucket", bundleId="small_1_0"), client.exceptions.InvalidInputException),
    (lambda: client.create_disk(diskName="disk", availabilityZone="us-east-1a", sizeInGb=8), client.exceptions.InvalidInputException),
    (lambda: boto3.Session(profile_name="watcher").client("lightsail").stop_instance(instanceName="demo"), client.exceptions.AccessDeniedException),
]:
    try:
        call()
    except exception as e:
        assert e.response["Error"]["Message"], e
    except Exception as e:
        if type(e).__name__ != exception.__name__: raise
    else:
        raise AssertionError(exception)
for name in ["a%03d" % i for i in range(130)]:
    client.allocate_static_ip(staticIpName=name)
pages = [len(page["staticIps"]) for page in client.get_paginator("get_static_ips").paginate()]
assert pages == [100, 30], pages
names = list(client.get_paginator("get_active_names").paginate().search("activeNames"))
assert len(names) == len(set(names)) >= 132, names
print("done")
`)
	if !strings.HasSuffix(out, "done\n") {
		t.Error(out)
	}
}

// TestAWSCLI asks for each operation once, through the code of the AWS CLI (version 1) in one process.
func TestAWSCLI(t *testing.T) {
	s := newServer(t)
	out := s.python(t, "awscli.clidriver", `
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
from botocore import xform_name
def aws(name, *more):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = create_clidriver().main(["lightsail", xform_name(name, "-"), "--output", "json", *more])
    return code, out.getvalue(), err.getvalue()
for name, request in json.load(sys.stdin):
    code, out, err = aws(name, "--cli-input-json", json.dumps(request))
    assert code == 0, (name, code, out, err)
    json.loads(out)
for kind in ["disks", "buckets", "relational-databases", "load-balancers", "domains", "contact-methods", "container-services", "distributions", "certificates", "instance-snapshots"]:
    code, out, err = aws("get-" + kind)
    assert code == 0 and list(json.loads(out).values()) == [[]], (kind, out, err)
code, out, err = aws("GetInstance", "--instance-name", "absent")
assert code != 0 and "An error occurred (NotFoundException) when calling the GetInstance operation: The Instance does not exist: absent" in err, err
code, out, err = aws("UpdateInstanceMetadataOptions", "--instance-name", "demo", "--http-tokens", "optional", "--http-endpoint", "enabled")
assert code == 0 and json.loads(out)["operation"]["status"] == "Started", (out, err)
code, out, err = aws("GetOperation", "--operation-id", json.loads(out)["operation"]["id"])
assert code == 0, err
print("done")
`)
	if !strings.HasSuffix(out, "done\n") {
		t.Error(out)
	}
}
