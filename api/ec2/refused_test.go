package ec2_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/store"
)

// TestRefused: bad input of every kind gets EC2's code, and changes nothing.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	modify, run := "Action=ModifyInstanceMetadataOptions&InstanceId="+s.demo, "Action=RunInstances&ImageId="+s.image("ubuntu_24_04")+"&MinCount=1&MaxCount=1"
	s.must("Action=ImportKeyPair&KeyName=there&PublicKeyMaterial=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(publicKey))))
	fifty := ""
	for i := range 51 {
		fifty += fmt.Sprintf("&Tag.%d.Key=k%d", i+1, i)
	}
	before, err := s.store.List(t.Context(), store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	const absent = "i-00000000000000000"
	for _, tt := range []struct{ parameters, code, message string }{
		{"", "MissingAction", ""},
		{"Action=Nonsense", "InvalidAction", "The action Nonsense is not valid for this web service."},
		{"Action=DescribeVpcs", "InvalidAction", ""},
		{"Action=describeInstances", "InvalidAction", ""},
		{"Action=DescribeInstances&Action=RunInstances", "MalformedQueryString", "twice"},
		{"Action.1=DescribeInstances", "MissingAction", ""},
		{"Action=DescribeInstances&X=%zz", "MalformedQueryString", ""},
		{"Action=DescribeInstances&InstanceId.1=%ff", "MalformedQueryString", ""},
		{"Action=DescribeInstances&Bogus=1", "UnknownParameter", "Bogus"},
		{"Action=DescribeInstances&instanceId.1=" + s.demo, "UnknownParameter", "instanceId"},
		{"Action=DescribeInstances&InstanceId=" + s.demo, "UnknownParameter", "InstanceId"},
		{"Action=DescribeInstances&InstanceId=" + s.demo + "&InstanceId.1=" + s.demo, "MalformedQueryString", "both"},
		{"Action=DescribeInstances&InstanceId.0=" + s.demo, "UnknownParameter", "InstanceId.0"},
		{"Action=DescribeInstances&InstanceId.01=" + s.demo, "UnknownParameter", "InstanceId.01"},
		{"Action=DescribeInstances&InstanceId.1.x=" + s.demo, "UnknownParameter", "InstanceId.1"},
		{"Action=DescribeInstances&Filter.1.Value.1=x", "MissingParameter", "Filter.1.Name"},
		{"Action=DescribeInstances&Filter.1.Name=colour&Filter.1.Value.1=x", "InvalidParameterValue", "The filter 'colour' is invalid"},
		{"Action=DescribeInstances&MaxResults=4", "InvalidParameterValue", "between 5 and 1000"},
		{"Action=DescribeInstances&MaxResults=1001", "InvalidParameterValue", "between 5 and 1000"},
		{"Action=DescribeInstances&MaxResults=x", "InvalidParameterValue", "integer"},
		{"Action=DescribeInstances&MaxResults=5&InstanceId.1=" + s.demo, "InvalidParameterCombination", ""},
		{"Action=DescribeInstances&InstanceId.1=" + absent, "InvalidInstanceID.NotFound", "The instance ID '" + absent + "' does not exist"},
		{"Action=DescribeInstances&InstanceId.1=demo", "InvalidInstanceID.Malformed", `Invalid id: "demo"`},
		{"Action=DescribeInstances" + strings.Repeat("&a.b.c.d.e.f.g.h.i.j.k.l=1", 1), "UnknownParameter", ""},
		{"Action=DescribeInstances&DryRun=maybe", "InvalidParameterValue", "DryRun"},
		{"Action=DescribeInstances&DryRun=true", "DryRunOperation", "Request would have succeeded, but DryRun flag is set."},
		{"Action=DescribeInstances&DryRun=true&InstanceId.1=" + absent, "InvalidInstanceID.NotFound", ""},

		{"Action=ModifyInstanceMetadataOptions", "MissingParameter", "The request must contain the parameter InstanceId"},
		{"Action=ModifyInstanceMetadataOptions&InstanceId=", "MissingParameter", "InstanceId"},
		{"Action=ModifyInstanceMetadataOptions&InstanceId=" + absent, "InvalidInstanceID.NotFound", absent},
		{"Action=ModifyInstanceMetadataOptions&InstanceId=demo&HttpTokens=required", "InvalidInstanceID.Malformed", ""},
		{modify + "&HttpTokens=sometimes", "InvalidParameterValue", "Value (sometimes) for parameter HttpTokens is invalid"},
		{modify + "&HttpTokens=", "InvalidParameterValue", "HttpTokens"},
		{modify + "&HttpTokens=Required", "InvalidParameterValue", "HttpTokens"},
		{modify + "&HttpTokens=required&HttpTokens=optional", "MalformedQueryString", "twice"},
		{modify + "&HttpTokens.1=required", "UnknownParameter", "HttpTokens"},
		{modify + "&httpTokens=required", "UnknownParameter", "httpTokens"},
		{modify + "&HttpPutResponseHopLimit=0", "InvalidParameterValue", "HttpPutResponseHopLimit must be 1 to 64, not 0"},
		{modify + "&HttpPutResponseHopLimit=65", "InvalidParameterValue", "HttpPutResponseHopLimit must be 1 to 64, not 65"},
		{modify + "&HttpPutResponseHopLimit=x", "InvalidParameterValue", "integer"},
		{modify + "&HttpPutResponseHopLimit=1.5", "InvalidParameterValue", "integer"},
		{modify + "&HttpPutResponseHopLimit=99999999999", "InvalidParameterValue", "integer"},
		{modify + "&HttpEndpoint=on", "InvalidParameterValue", "HttpEndpoint"},
		{modify + "&HttpProtocolIpv6=yes", "InvalidParameterValue", "HttpProtocolIpv6"},
		{modify + "&InstanceMetadataTags=yes", "InvalidParameterValue", "InstanceMetadataTags"},
		{modify + "&HttpTokens=required&HttpPutResponseHopLimit=0", "InvalidParameterValue", "must be 1 to 64"},
		{modify + "&HttpTokens=required&DryRun=true", "DryRunOperation", ""},
		{modify + "&HttpPutResponseHopLimit=0&DryRun=true", "InvalidParameterValue", "must be 1 to 64"},

		{"Action=ModifyInstanceMetadataDefaults&HttpTokens=never", "InvalidParameterValue", "HttpTokens"},
		{"Action=ModifyInstanceMetadataDefaults&HttpPutResponseHopLimit=-2", "InvalidParameterValue", "must be 1 to 64"},
		{"Action=ModifyInstanceMetadataDefaults&HttpTokensEnforced=yes", "InvalidParameterValue", "HttpTokensEnforced"},
		{"Action=ModifyInstanceMetadataDefaults&HttpProtocolIpv6=enabled", "UnknownParameter", "HttpProtocolIpv6"},

		{"Action=RunInstances&MinCount=1&MaxCount=1", "MissingParameter", "ImageId"},
		{"Action=RunInstances&ImageId=" + s.image("debian_12"), "MissingParameter", "MinCount"},
		{"Action=RunInstances&MinCount=1&MaxCount=1&ImageId=ubuntu", "InvalidAMIID.Malformed", ""},
		{"Action=RunInstances&MinCount=1&MaxCount=1&ImageId=ami-00000000000000000", "InvalidAMIID.NotFound", "ami-00000000000000000"},
		{"Action=RunInstances&MinCount=2&MaxCount=1&ImageId=" + s.image("debian_12"), "InvalidParameterValue", "MinCount"},
		{"Action=RunInstances&MinCount=0&MaxCount=1&ImageId=" + s.image("debian_12"), "InvalidParameterValue", "MinCount"},
		{"Action=RunInstances&MinCount=21&MaxCount=21&ImageId=" + s.image("debian_12"), "InstanceLimitExceeded", ""},
		{run + "&InstanceType=t3.toaster", "InvalidParameterValue", "t3.toaster"},
		{run + "&KeyName=absent", "InvalidKeyPair.NotFound", "The key pair 'absent' does not exist"},
		{run + "&UserData=***", "InvalidUserData.Malformed", ""},
		{run + "&UserData=" + strings.Repeat("QUFB", 5462), "InvalidParameterValue", "User data is limited to 16384 bytes"},
		{run + "&Placement.AvailabilityZone=mars-1a", "InvalidParameterValue", "mars-1a"},
		{run + "&Placement.Tenancy=host", "InvalidParameterValue", "Tenancy"},
		{run + "&TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=a", "InvalidParameterValue", "volume"},
		{run + "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=aws:x", "InvalidParameterValue", "reserved"},
		{run + "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a/b&MetadataOptions.InstanceMetadataTags=enabled", "InvalidParameterValue", "a/b"},
		{run + "&MetadataOptions.HttpTokens=x", "InvalidParameterValue", "MetadataOptions.HttpTokens"},
		{run + "&MetadataOptions=required", "UnknownParameter", "MetadataOptions"},
		{run + "&SecurityGroupId.1=sg-1", "UnsupportedOperation", "SecurityGroupId"},
		{run + "&EbsOptimized=true", "UnsupportedOperation", "EbsOptimized"},
		{run + "&IamInstanceProfile.Name=a&IamInstanceProfile.Arn=b", "InvalidParameterCombination", ""},
		{run + "&IamInstanceProfile.Arn=b", "InvalidParameterValue", "ARN"},
		{run + "&IamInstanceProfile.Name=a%20b", "InvalidParameterValue", "IamInstanceProfile.Name"},
		{run + "&ClientToken=" + strings.Repeat("x", 65), "InvalidParameterValue", "ClientToken"},
		{run + "&DryRun=true", "DryRunOperation", ""},

		{"Action=TerminateInstances", "MissingParameter", "InstanceId"},
		{"Action=TerminateInstances&InstanceId.1=" + s.demo + "&InstanceId.2=" + absent, "InvalidInstanceID.NotFound", absent},
		{"Action=StopInstances&InstanceId.1=" + s.demo + "&InstanceId.2=x", "InvalidInstanceID.Malformed", ""},
		{"Action=StopInstances&Hibernate=true&InstanceId.1=" + s.demo, "UnsupportedOperation", "Hibernate"},
		{"Action=CreateTags&ResourceId.1=" + s.demo, "MissingParameter", "Tag"},
		{"Action=CreateTags&ResourceId.1=vol-1&Tag.1.Key=a", "InvalidID", "vol-1"},
		{"Action=CreateTags&ResourceId.1=key-00000000000000000&Tag.1.Key=a", "InvalidKeyPair.NotFound", ""},
		{"Action=CreateTags&ResourceId.1=" + s.demo + "&ResourceId.2=" + absent + "&Tag.1.Key=a", "InvalidInstanceID.NotFound", absent},
		{"Action=CreateTags&ResourceId.1=" + s.demo + fifty, "TagLimitExceeded", "50"},
		{"Action=CreateTags&ResourceId.1=" + s.demo + "&Tag.1.Key=" + strings.Repeat("k", 129), "InvalidParameterValue", "128"},
		{"Action=DescribeInstanceAttribute&InstanceId=" + s.demo, "MissingParameter", "Attribute"},
		{"Action=DescribeInstanceAttribute&Attribute=colour&InstanceId=" + s.demo, "InvalidParameterValue", "colour"},
		{"Action=DescribeInstanceAttribute&Attribute=enaSupport&InstanceId=" + s.demo, "UnsupportedOperation", "enaSupport"},
		{"Action=ImportKeyPair&KeyName=there&PublicKeyMaterial=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(publicKey))), "InvalidKeyPair.Duplicate", "there"},
		{"Action=ImportKeyPair&KeyName=new&PublicKeyMaterial=bm8ga2V5", "InvalidKey.Format", "PublicKeyMaterial"},
		{"Action=ImportKeyPair&KeyName=new&PublicKeyMaterial=***", "InvalidParameterValue", "base64"},
		{"Action=DescribeKeyPairs&KeyName.1=absent", "InvalidKeyPair.NotFound", "absent"},
		{"Action=DescribeRegions&RegionName.1=mars-1", "InvalidParameterValue", "mars-1"},
		{"Action=DescribeAvailabilityZones&ZoneName.1=mars-1a", "InvalidParameterValue", "mars-1a"},
		{"Action=DescribeInstanceTypes&InstanceType.1=t3.toaster", "InvalidInstanceType", "t3.toaster"},
		{"Action=DescribeImages&ImageId.1=ami-00000000000000000", "InvalidAMIID.NotFound", ""},
		{"Action=DescribeInstances&Filter.1.Name=instance-id" + list("Filter.1.Value", strings.Split(strings.Repeat("x,", 200)+"x", ",")...), "FilterLimitExceeded", ""},
	} {
		t.Run(fmt.Sprintf("%.120s", tt.parameters), func(t *testing.T) { s.call(tt.parameters).refused(t, tt.code, tt.message) })
	}
	a := s.send(s.request(s.full, "ec2", form, "Action=DescribeInstances&Version=2001-01-01"))
	a.refused(t, "NoSuchVersion", "2001-01-01")
	s.call("Action=DescribeInstances"+list("Filter.1.Value", strings.Repeat("x", 1<<20))).refused(t, "RequestEntityTooLarge", "")
	after, err := s.store.List(t.Context(), store.Range{})
	if err != nil || after.Revision != before.Revision {
		t.Errorf("refusals changed the store from revision %d to %d, %v", before.Revision, after.Revision, err)
	}
}

// TestScopes: a signature for one service opens no other, whatever the request looks like, and what is not signed, or
// wrongly, is refused in EC2's words.
func TestScopes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const describe = "Action=DescribeInstances&Version=2016-11-15"
	const json = "application/x-amz-json-1.1"
	target := []string{"X-Amz-Target", "Lightsail_20161128.GetInstances"}
	none := accesskeys.Key{}
	wrong, unknown := s.full, s.full
	wrong.Secret, unknown.ID = strings.Repeat("x", 40), "AKIDUNKNOWN"

	if a := s.send(s.request(s.full, "lightsail", form, describe)); a.status == http.StatusOK {
		t.Errorf("a signature for lightsail opened ec2: %s", a.body)
	}
	s.send(s.request(s.full, "ec2", json, "{}", target...)).refused(t, "MissingAction", "")
	if a := s.send(s.request(s.full, "ec2", form, "{}", target...)); a.status == http.StatusOK || strings.Contains(a.body, "demo") {
		t.Errorf("a signature for ec2 opened lightsail: %s", a.body)
	}
	for _, service := range []string{"s3", "monitoring", "EC2", ""} {
		if a := s.send(s.request(s.full, service, form, describe)); a.status == http.StatusOK {
			t.Errorf("a signature for %q opened ec2: %s", service, a.body)
		}
	}
	// The service that the head names is the one that the key was made for: to rename it breaks the signature.
	r := s.request(s.full, "lightsail", form, describe)
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/lightsail/", "/ec2/", 1))
	s.send(r).refused(t, "AuthFailure", "not able to validate")
	r = s.request(s.full, "ec2", json, "{}", target...)
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/ec2/", "/lightsail/", 1))
	if a := s.send(r); a.status == http.StatusOK || strings.Contains(a.body, "demo") {
		t.Errorf("a renamed scope opened lightsail: %s", a.body)
	}

	s.send(s.request(none, "ec2", form, describe)).refused(t, "MissingAuthenticationToken", "")
	s.send(s.request(wrong, "ec2", form, describe)).refused(t, "AuthFailure", "not able to validate")
	s.send(s.request(unknown, "ec2", form, describe)).refused(t, "AuthFailure", "not able to validate")
	r = s.request(s.full, "ec2", form, describe)
	r.Header.Set("X-Amz-Date", time.Now().Add(-time.Hour).UTC().Format("20060102T150405Z"))
	if a := s.send(r); a.status == http.StatusOK {
		t.Error("an old signature was taken")
	}
	r = s.request(s.full, "ec2", form, describe)
	r.URL.RawQuery = "Action=TerminateInstances"
	s.send(r).refused(t, "MissingAction", "")
	r = s.request(s.full, "ec2", form, describe)
	r.Method = http.MethodPut
	s.send(r).refused(t, "MissingAction", "")

	// Keys that only look.
	read := s.send(s.request(s.looks, "ec2", form, describe))
	if read.status != http.StatusOK {
		t.Errorf("a key that looks: %s", read.body)
	}
	for _, change := range []string{"Action=TerminateInstances&InstanceId.1=" + s.demo, "Action=ModifyInstanceMetadataDefaults&HttpTokens=required&DryRun=true"} {
		s.send(s.request(s.looks, "ec2", form, change+"&Version=2016-11-15")).refused(t, "UnauthorizedOperation", "is not authorized to perform: ec2:")
	}
}
