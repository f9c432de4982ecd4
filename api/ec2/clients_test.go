package ec2_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/control"
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // its tools take minutes where much else runs
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-c", script)
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	cmd.Env = append(cmd.Env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_MAX_ATTEMPTS=1", "AWS_PAGER=", "NO_PROXY=*", "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1", "HOME="+filepath.Dir(s.credentials),
		"AWS_SHARED_CREDENTIALS_FILE="+s.credentials, "AWS_ENDPOINT_URL_EC2="+s.url, "AWS_ENDPOINT_URL_LIGHTSAIL="+s.url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.HasSuffix(string(out), "done\n") {
		t.Errorf("%s", out)
	}
}

// ends has transitions take a moment, and ends them, as a whole server does.
func (s *server) ends(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go func() {
		for ctx.Err() == nil {
			s.endTransitions(ctx)
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

// TestBoto3 drives boto3's client, resource, paginators and waiters. Every answer is held against botocore's model:
// there is no element that the model does not have, and none with a value that it does not know.
func TestBoto3(t *testing.T) {
	s := newServer(t, func(c *control.Config) { c.TransitionTime = 50 * time.Millisecond })
	s.ends(t)
	s.python(t, "boto3", `
import boto3, datetime, sys
import xml.etree.ElementTree as ET
from botocore.exceptions import ClientError

seen = set()
def walk(shape, element, path):
    if shape.type_name == "structure":
        names = {(m.serialization.get("name") or n): m for n, m in shape.members.items()}
        for child in element:
            tag = child.tag.split("}")[1]
            if path.count(".") == 0 and tag == "requestId": continue
            assert tag in names, path + "." + tag + " is not in the model"
            walk(names[tag], child, path + "." + tag)
    elif shape.type_name == "list":
        for child in element:
            assert child.tag.split("}")[1] == shape.member.serialization.get("name", "member"), (path, child.tag)
            walk(shape.member, child, path)
    else:
        text = element.text or ""
        if shape.type_name in ("integer", "long"): int(text)
        if shape.type_name == "boolean": assert text in ("true", "false"), path
        if shape.type_name == "timestamp": datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
        if getattr(shape, "enum", None): assert text in shape.enum, (path, text)
def check(http_response, parsed, model, **_):
    if http_response.status_code == 200 and model.output_shape:
        walk(model.output_shape, ET.fromstring(http_response.content), model.name)
    seen.add(model.name)

session = boto3.Session()
client = session.client("ec2")
client.meta.events.register("after-call.ec2", check)
lightsail = session.client("lightsail")
demo = client.describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]

changed = client.modify_instance_metadata_options(InstanceId=demo, HttpTokens="required", HttpPutResponseHopLimit=2)
assert changed["InstanceMetadataOptions"]["State"] == "pending" and changed["InstanceMetadataOptions"]["HttpPutResponseHopLimit"] == 2, changed
assert lightsail.get_instance(instanceName="demo")["instance"]["metadataOptions"]["httpTokens"] == "required"

image = client.describe_images(Filters=[{"Name": "name", "Values": ["amazon_linux_2023"]}], Owners=["amazon"])["Images"][0]
assert image["ImdsSupport"] == "v2.0", image
client.import_key_pair(KeyName="mine", PublicKeyMaterial=b"`+publicKey+`")
made = session.resource("ec2").create_instances(ImageId=image["ImageId"], InstanceType="t3.micro", KeyName="mine", MinCount=3, MaxCount=3, UserData="#!/bin/sh",
    TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}], MetadataOptions={"InstanceMetadataTags": "enabled", "HttpEndpoint": "enabled"})
ids = [m.id for m in made]
def wait(name): client.get_waiter(name).wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
wait("instance_exists"); wait("instance_running"); wait("instance_status_ok"); wait("system_status_ok")
one = session.resource("ec2").Instance(ids[0])
assert one.state["Name"] == "running" and one.metadata_options["HttpTokens"] == "required" and one.tags == [{"Key": "Name", "Value": "web"}], one.meta.data
assert client.describe_instance_attribute(InstanceId=ids[0], Attribute="userData")["UserData"]["Value"] == "IyEvYmluL3No"
one.create_tags(Tags=[{"Key": "a", "Value": "b"}])
assert len(client.describe_tags(Filters=[{"Name": "resource-id", "Values": [ids[0]]}])["Tags"]) == 2
one.delete_tags(Tags=[{"Key": "a"}])
client.create_tags(Resources=ids, Tags=[{"Key": "x", "Value": ""}]); client.delete_tags(Resources=ids, Tags=[{"Key": "x", "Value": ""}])
client.stop_instances(InstanceIds=ids); wait("instance_stopped")
client.start_instances(InstanceIds=ids); wait("instance_running")
client.reboot_instances(InstanceIds=ids)
assert [i.id for i in session.resource("ec2").instances.filter(Filters=[{"Name": "tag:Name", "Values": ["web"]}, {"Name": "instance-state-name", "Values": ["running"]}])] == sorted(ids)
client.terminate_instances(InstanceIds=ids); wait("instance_terminated")
assert client.describe_instances(InstanceIds=[ids[0]])["Reservations"][0]["Instances"][0]["State"]["Name"] == "terminated"
pages = list(client.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
assert sum(len(r["Instances"]) for p in pages for r in p["Reservations"]) == 4, pages
for name in ["describe_instance_status", "describe_instance_types", "describe_images", "describe_tags"]:
    list(client.get_paginator(name).paginate(PaginationConfig={"PageSize": 5}))
client.describe_instance_status(IncludeAllInstances=True)
assert client.describe_key_pairs(KeyNames=["mine"], IncludePublicKey=True)["KeyPairs"][0]["KeyType"] == "ed25519"
assert [r["RegionName"] for r in client.describe_regions()["Regions"]] == ["us-east-1"]
assert len(client.describe_availability_zones(Filters=[{"Name": "zone-name", "Values": ["us-east-1?"]}])["AvailabilityZones"]) == 6
assert client.modify_instance_metadata_defaults(HttpTokens="required", HttpTokensEnforced="enabled")["Return"] is True
level = client.get_instance_metadata_defaults()["AccountLevel"]
assert (level["HttpTokens"], level["HttpTokensEnforced"], level["ManagedBy"]) == ("required", "enabled", "account"), level
def refused(code, status, call, **arguments):
    try: call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code and e.response["ResponseMetadata"]["HTTPStatusCode"] == status and len(e.response["ResponseMetadata"]["RequestId"]) == 36, e.response
    else: raise AssertionError(code)
refused("UnsupportedOperation", 400, client.modify_instance_metadata_options, InstanceId=demo, HttpTokens="optional")
refused("DryRunOperation", 412, client.modify_instance_metadata_options, InstanceId=demo, HttpPutResponseHopLimit=9, DryRun=True)
refused("InvalidInstanceID.NotFound", 400, client.describe_instances, InstanceIds=["i-00000000000000000"])
refused("IncorrectInstanceState", 400, client.start_instances, InstanceIds=ids)
refused("InvalidAction", 400, client.describe_vpcs)
refused("UnauthorizedOperation", 403, boto3.Session(profile_name="watcher").client("ec2").stop_instances, InstanceIds=[demo])
refused("AuthFailure", 401, boto3.Session(aws_access_key_id="AKIDUNKNOWN", aws_secret_access_key="x").client("ec2").describe_instances)
missing = set("`+strings.Join(actionNames(), " ")+`".split()) - seen - {"RunInstances"}
assert not missing, missing
print("done")
`)
}

// TestAWSCLI drives the code of the AWS CLI (version 1) in one process.
func TestAWSCLI(t *testing.T) {
	s := newServer(t)
	s.python(t, "awscli.clidriver", `
import contextlib, io, json
from awscli.clidriver import create_clidriver
driver = create_clidriver()
def aws(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = driver.main(["ec2", "--output", "json", *words])
    return code, out.getvalue(), err.getvalue()
def must(*words):
    code, out, err = aws(*words)
    assert code == 0, (words, code, out, err)
    return json.loads(out or "null")
(demo, options), = must("describe-instances", "--query", "Reservations[].Instances[].[InstanceId,MetadataOptions]")
assert options["HttpTokens"] == "optional" and options["State"] == "applied", options
changed = must("modify-instance-metadata-options", "--instance-id", demo, "--http-tokens", "required", "--http-put-response-hop-limit", "2", "--instance-metadata-tags", "enabled")
assert changed["InstanceMetadataOptions"]["InstanceMetadataTags"] == "enabled", changed
image, = must("describe-images", "--filters", "Name=name,Values=debian_12", "--query", "Images[].ImageId")
made = must("run-instances", "--image-id", image, "--count", "2", "--instance-type", "t3.small", "--user-data", "hello",
    "--metadata-options", "HttpTokens=required,HttpPutResponseHopLimit=3", "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=web}]")
ids = [i["InstanceId"] for i in made["Instances"]]
assert len(ids) == 2 and made["Instances"][0]["MetadataOptions"]["HttpPutResponseHopLimit"] == 3, made
must("wait", "instance-running", "--instance-ids", *ids)
must("create-tags", "--resources", *ids, "--tags", "Key=a,Value=b")
assert len(must("describe-tags", "--filters", "Name=key,Values=a")["Tags"]) == 2
must("stop-instances", "--instance-ids", *ids); must("wait", "instance-stopped", "--instance-ids", *ids)
must("terminate-instances", "--instance-ids", *ids); must("wait", "instance-terminated", "--instance-ids", *ids)
must("modify-instance-metadata-defaults", "--http-tokens", "required")
assert must("get-instance-metadata-defaults")["AccountLevel"]["HttpTokens"] == "required"
code, out, err = aws("modify-instance-metadata-options", "--instance-id", "i-00000000000000000", "--http-tokens", "required")
assert code != 0 and "An error occurred (InvalidInstanceID.NotFound) when calling the ModifyInstanceMetadataOptions operation: The instance ID 'i-00000000000000000' does not exist" in err, err
code, out, err = aws("modify-instance-metadata-options", "--instance-id", demo, "--http-endpoint", "disabled", "--dry-run")
assert code != 0 and "DryRunOperation" in err, err
print("done")
`)
}
