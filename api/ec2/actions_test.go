package ec2_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+1P0dyDrHSlHxPCsQWKjCqXgcUJ8HOQ1wLvS0B3c6p me@here"

// TestBothAPIs: what one API changes the other shows, whichever made the instance, with the same operations.
func TestBothAPIs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	changed := s.must("Action=ModifyInstanceMetadataOptions&HttpTokens=required&HttpPutResponseHopLimit=2&InstanceId=" + s.demo)
	for name, want := range map[string]string{
		"instanceId": s.demo, "state": "pending", "httpTokens": "required", "httpPutResponseHopLimit": "2", "httpEndpoint": "enabled",
		"httpProtocolIpv6": "disabled", "instanceMetadataTags": "disabled",
	} {
		if got := value(t, changed, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	options := func(name string) map[string]any {
		return s.lightsail("GetInstance", `{"instanceName":"`+name+`"}`)["instance"].(map[string]any)["metadataOptions"].(map[string]any)
	}
	if o := options("demo"); o["httpTokens"] != "required" || o["state"] != "pending" || o["httpPutResponseHopLimit"] != 2.0 {
		t.Errorf("Lightsail shows %v", o)
	}
	operations := s.lightsail("GetOperationsForResource", `{"resourceName":"demo"}`)["operations"].([]any)
	if op := operations[0].(map[string]any); op["operationType"] != "UpdateInstanceMetadataOptions" || op["status"] != "Started" {
		t.Errorf("the operation is %v", op)
	}
	in, err := s.service.Instance(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.service.MarkApplied(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if got := value(t, s.must("Action=DescribeInstances&Filter.1.Name=metadata-options.state&Filter.1.Value.1=applied"), "httpTokens"); got != "required" {
		t.Errorf("applied: %s", got)
	}
	s.lightsail("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"optional","instanceMetadataTags":"enabled"}`)
	shown := s.must("Action=DescribeInstances&InstanceId.1=" + s.demo)
	if value(t, shown, "httpTokens") != "optional" || value(t, shown, "instanceMetadataTags") != "enabled" || value(t, shown, "httpPutResponseHopLimit") != "2" {
		t.Errorf("EC2 shows %s", shown)
	}

	id := s.run(1, "&MetadataOptions.HttpEndpoint=disabled&KeyName=")[0]
	if o := options(id); o["httpEndpoint"] != "disabled" {
		t.Errorf("Lightsail shows an instance of EC2's with %v", o)
	}
	s.lightsail("DeleteInstance", `{"instanceName":"`+id+`"}`)
	shown = s.must("Action=DescribeInstances&InstanceId.1=" + id)
	if !strings.Contains(shown, "<instanceState><code>48</code><name>terminated</name></instanceState>") || strings.Contains(shown, "privateIpAddress") {
		t.Errorf("after Lightsail's deletion: %s", shown)
	}
	s.call("Action=ModifyInstanceMetadataOptions&HttpTokens=required&InstanceId="+id).refused(t, "IncorrectInstanceState", "is terminated")
}

// TestAnnounced: while something is announced to an instance, the API says of it what its guest reads.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	at := time.Now().Add(time.Hour).Unix()
	for _, tt := range []struct {
		name, events, lifecycle, hibernates, index string
	}{
		{"nothing", ``, "", "false", "1"},
		{"stop", fmt.Sprintf(`,"spot":{"action":"stop","time":%d}`, at), "spot", "false", "1"},
		{"hibernate", fmt.Sprintf(`,"spot":{"action":"hibernate","time":%d}`, at), "spot", "true", "1"},
		{"rebalance", fmt.Sprintf(`,"rebalance":{"noticeTime":%d}`, at), "spot", "false", "1"},
		{"maintenance", fmt.Sprintf(`,"maintenance":{"code":"instance-stop","notBefore":%d}`, at), "", "false", "1"},
		{"Auto Scaling", `,"lifecycleState":"InService"`, "", "false", "0"},
		{"a hibernated pool", `,"lifecycleState":"Warmed:Hibernated"`, "", "true", "0"},
		{"nothing more", ``, "", "false", "1"},
	} {
		id := s.demo
		s.openimds("SetInstance", `{"instanceName":"demo","launchIndex":1}`)
		s.openimds("UpdateInstanceEvents", `{"instanceName":"demo","clear":["spot","rebalance","maintenance","lifecycle"]`+tt.events+`}`)
		shown := s.must("Action=DescribeInstances&InstanceId.1=" + id)
		if got := values(shown, "instanceLifecycle"); strings.Join(got, " ") != tt.lifecycle {
			t.Errorf("%s: the life cycle is %v, want %q", tt.name, got, tt.lifecycle)
		}
		if got := value(t, shown, "configured"); got != tt.hibernates {
			t.Errorf("%s: hibernation is configured: %s", tt.name, got)
		}
		if got := value(t, shown, "amiLaunchIndex"); got != tt.index {
			t.Errorf("%s: the launch index is %s", tt.name, got)
		}
		for filter, want := range map[string]bool{
			"instance-lifecycle=spot": tt.lifecycle == "spot", "hibernation-options.configured=true": tt.hibernates == "true", "launch-index=0": tt.index == "0",
		} {
			name, word, _ := strings.Cut(filter, "=")
			found := values(s.must("Action=DescribeInstances&Filter.1.Name="+name+"&Filter.1.Value.1="+word), "instanceId")
			if slices.Contains(found, id) != want {
				t.Errorf("%s: %s finds %v", tt.name, filter, found)
			}
		}
	}

	for state, want := range map[string]string{"active": "reboot", "completed": "[Completed] reboot", "canceled": "[Canceled] reboot"} {
		s.openimds("UpdateInstanceEvents", fmt.Sprintf(`{"instanceName":"demo","clear":["maintenance"],
			"maintenance":{"code":"system-reboot","notBefore":%d,"state":%q,"description":"reboot"}}`, at, state))
		status := s.must("Action=DescribeInstanceStatus&InstanceId.1=" + s.demo)
		if got := value(t, status, "description"); got != want {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
	}
}

// TestLife: an instance of EC2's from its launch to its end.
func TestLife(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.must("Action=ImportKeyPair&KeyName=mine&PublicKeyMaterial=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(publicKey))) +
		"&TagSpecification.1.ResourceType=key-pair&TagSpecification.1.Tag.1.Key=of&TagSpecification.1.Tag.1.Value=me")
	ids := s.run(2, "&InstanceType=t3.small&KeyName=mine&Placement.AvailabilityZone=us-east-1b&IamInstanceProfile.Name=app"+
		"&UserData="+url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("\x00\xff#!")))+
		"&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=tier&TagSpecification.1.Tag.1.Value=web"+
		"&MetadataOptions.HttpTokens=required&MetadataOptions.HttpPutResponseHopLimit=3&MetadataOptions.InstanceMetadataTags=enabled&MetadataOptions.HttpProtocolIpv6=enabled")
	shown := s.must("Action=DescribeInstances&Filter.1.Name=tag:tier&Filter.1.Value.1=w*")
	if got := values(shown, "reservationId"); len(got) != 1 {
		t.Errorf("one launch is the reservations %v", got)
	}
	for name, want := range map[string][]string{
		"instanceId": ids, "instanceType": {"t3.small", "t3.small"}, "keyName": {"mine", "mine"}, "availabilityZone": {"us-east-1b", "us-east-1b"},
		"httpTokens": {"required", "required"}, "httpPutResponseHopLimit": {"3", "3"}, "instanceMetadataTags": {"enabled", "enabled"}, "httpProtocolIpv6": {"enabled", "enabled"},
		"amiLaunchIndex": {"0", "1"}, "arn": {"arn:aws:iam::123456789012:instance-profile/app", "arn:aws:iam::123456789012:instance-profile/app"},
	} {
		got := values(shown, name)
		if name == "instanceId" || name == "amiLaunchIndex" { // pages are in the order of names
			slices.Sort(got)
			slices.Sort(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := value(t, s.must("Action=DescribeInstanceAttribute&Attribute=userData&InstanceId="+ids[0]), "value"); got != "AP8jIQ==" {
		t.Errorf("user data %s", got)
	}
	all := list("InstanceId", ids...)
	if got := values(s.must("Action=DescribeInstanceStatus"+all), "status"); len(got) != 8 {
		t.Errorf("statuses %v", got)
	}
	s.must("Action=CreateTags" + list("ResourceId", ids...) + "&Tag.1.Key=a&Tag.1.Value=b&Tag.2.Key=c")
	s.must("Action=DeleteTags" + list("ResourceId", ids...) + "&Tag.1.Key=a&Tag.1.Value=other&Tag.2.Key=c")
	if got := values(s.must("Action=DescribeTags&Filter.1.Name=resource-id&Filter.1.Value.1="+ids[0]), "key"); !slices.Equal(got, []string{"tier", "a"}) {
		t.Errorf("tags %v", got)
	}
	s.must("Action=DeleteTags&ResourceId.1=" + ids[1])
	if got := values(s.must("Action=DescribeTags&Filter.1.Name=resource-id&Filter.1.Value.1="+ids[1]), "key"); len(got) > 0 {
		t.Errorf("no tag was named, and %v stayed", got)
	}
	s.must("Action=RebootInstances" + all)
	s.must("Action=StopInstances" + all)
	s.call("Action=RebootInstances"+all).refused(t, "IncorrectInstanceState", "")
	if got := values(s.must("Action=DescribeInstances&Filter.1.Name=instance-state-name&Filter.1.Value.1=stopped"), "instanceId"); len(got) != 2 {
		t.Errorf("stopped: %v", got)
	}
	s.must("Action=StartInstances" + all)
	moved := s.must("Action=TerminateInstances" + all)
	if got := values(moved, "name"); !slices.Equal(got, []string{"terminated", "running", "terminated", "running"}) {
		t.Errorf("terminated: %v", got)
	}
	s.must("Action=TerminateInstances" + all)
	s.call("Action=StartInstances"+all).refused(t, "IncorrectInstanceState", "terminated")
	s.call("Action=DescribeInstanceAttribute&Attribute=userData&InstanceId="+ids[0]).refused(t, "IncorrectInstanceState", "terminated")

	keys := s.must("Action=DescribeKeyPairs&IncludePublicKey=true&KeyName.1=mine")
	if value(t, keys, "keyType") != "ed25519" || !strings.HasPrefix(value(t, keys, "publicKey"), "ssh-ed25519 ") {
		t.Errorf("key pair: %s", keys)
	}
	pair := value(t, keys, "keyPairId")
	s.must("Action=CreateTags&ResourceId.1=" + pair + "&Tag.1.Key=x&Tag.1.Value=y")
	if got := value(t, s.must("Action=DescribeKeyPairs&KeyPairId.1="+pair+"&Filter.1.Name=tag-key&Filter.1.Value.1=x"), "keyName"); got != "mine" {
		t.Errorf("key pair %s", got)
	}
	if got := values(s.must("Action=DescribeTags&Filter.1.Name=resource-type&Filter.1.Value.1=key-pair"), "key"); !slices.Equal(got, []string{"of", "x"}) {
		t.Errorf("tags of key pairs: %v", got)
	}
}

// TestSmallPages: a page for few instances of which filters match is looked for among many.
func TestSmallPages(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var ids []string
	for range 8 {
		ids = append(ids, s.run(20, "")...)
	}
	slices.Sort(ids) // as pages have them
	want := []string{ids[2], ids[110], ids[120], ids[130], ids[140], ids[150], ids[158]}
	s.must("Action=CreateTags&Tag.1.Key=a" + list("ResourceId", want...))
	page := func(answer string) []string { // of which instances of one launch stand together
		got := values(answer, "instanceId")
		slices.Sort(got)
		return got
	}
	const few = "Action=DescribeInstances&MaxResults=5&Filter.1.Name=tag-key&Filter.1.Value.1=a"
	first := s.must(few)
	if got := page(first); !slices.Equal(got, want[:5]) {
		t.Errorf("first page %v, want %v", got, want[:5])
	}
	s.must("Action=TerminateInstances" + list("InstanceId", ids[150:]...))
	second := s.must(few + "&NextToken=" + url.QueryEscape(value(t, first, "nextToken")))
	if got := page(second); !slices.Equal(got, want[5:]) {
		t.Errorf("second page %v, want %v", got, want[5:])
	}
	if got := values(second, "nextToken"); len(got) > 0 {
		t.Errorf("a page behind the last: %v", got)
	}
}

// TestKeyPairNamedAsAnInstance: a key pair whose name is an instance's id is tagged itself, and the instance is not.
func TestKeyPairNamedAsAnInstance(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	pair := value(t, s.must("Action=ImportKeyPair&KeyName="+s.demo+"&PublicKeyMaterial="+url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(publicKey)))), "keyPairId")
	whose := func() []string { return values(s.must("Action=DescribeTags"), "resourceId") }
	s.must("Action=CreateTags&Tag.1.Key=a&ResourceId.1=" + pair)
	if got := whose(); !slices.Equal(got, []string{pair}) {
		t.Errorf("tagged: %v, not %s", got, pair)
	}
	s.must("Action=CreateTags&Tag.1.Key=a&ResourceId.1=" + s.demo)
	s.must("Action=DeleteTags&Tag.1.Key=a&ResourceId.1=" + pair)
	if got := whose(); !slices.Equal(got, []string{s.demo}) {
		t.Errorf("tagged: %v, not %s", got, s.demo)
	}
}

// TestIdempotence: a launch with the same token is the same launch.
func TestIdempotence(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := s.run(2, "&ClientToken=abc")
	if again := s.run(2, "&ClientToken=abc"); !slices.Equal(first, again) {
		t.Errorf("%v, then %v", first, again)
	}
	s.must("Action=ImportKeyPair&KeyName=mine&PublicKeyMaterial=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(publicKey))))
	keyed := s.run(1, "&ClientToken=keyed&KeyName=mine")
	s.lightsail("DeleteKeyPair", `{"keyPairName":"mine"}`)
	if again := s.run(1, "&ClientToken=keyed&KeyName=mine"); !slices.Equal(keyed, again) {
		t.Errorf("%v, and without the key pair %v", keyed, again)
	}
	image := s.image("ubuntu_24_04")
	for _, other := range []string{"MinCount=1&MaxCount=1", "MinCount=1&MaxCount=2", "MinCount=2&MaxCount=3", "MinCount=2&MaxCount=2&InstanceType=t3.nano", "MinCount=2&MaxCount=2&UserData=aGkK"} {
		s.call("Action=RunInstances&"+other+"&ClientToken=abc&ImageId="+image).refused(t, "IdempotentParameterMismatch", "ClientToken")
	}
	s.must("Action=TerminateInstances&InstanceId.1=" + first[0])
	s.call("Action=RunInstances&MinCount=2&MaxCount=2&ClientToken=abc&ImageId="+image).refused(t, "IdempotentInstanceTerminated", first[0])
}

// TestDefaults: what the account prefers goes before the image, and what it demands nobody gets around.
func TestDefaults(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	if got := s.must("Action=GetInstanceMetadataDefaults"); !strings.Contains(got, "<accountLevel><managedBy>account</managedBy></accountLevel>") {
		t.Errorf("at first: %s", got)
	}
	launched := func(image, parameters string) [2]string {
		t.Helper()
		shown := s.must("Action=RunInstances&MinCount=1&MaxCount=1&ImageId=" + s.image(image) + parameters)
		return [2]string{value(t, shown, "httpTokens"), value(t, shown, "httpPutResponseHopLimit")}
	}
	for _, tt := range []struct {
		change, image, parameters string
		want                      [2]string
	}{
		{"", "ubuntu_24_04", "", [2]string{"optional", "1"}},
		{"", "amazon_linux_2023", "", [2]string{"required", "2"}},
		{"&HttpTokens=optional", "amazon_linux_2023", "", [2]string{"optional", "2"}},
		{"&HttpTokens=required&HttpPutResponseHopLimit=5", "ubuntu_24_04", "", [2]string{"required", "5"}},
		{"", "ubuntu_24_04", "&MetadataOptions.HttpTokens=optional", [2]string{"optional", "5"}},
		{"&HttpTokens=no-preference&HttpPutResponseHopLimit=-1", "amazon_linux_2023", "&MetadataOptions.HttpPutResponseHopLimit=9", [2]string{"required", "9"}},
	} {
		if tt.change != "" {
			s.must("Action=ModifyInstanceMetadataDefaults" + tt.change)
		}
		if got := launched(tt.image, tt.parameters); got != tt.want {
			t.Errorf("%s %s %s: %v, want %v", tt.change, tt.image, tt.parameters, got, tt.want)
		}
	}
	s.must("Action=ModifyInstanceMetadataDefaults&HttpTokensEnforced=enabled&InstanceMetadataTags=enabled&HttpEndpoint=enabled")
	if got := s.must("Action=GetInstanceMetadataDefaults"); value(t, got, "httpTokensEnforced") != "enabled" || value(t, got, "instanceMetadataTags") != "enabled" {
		t.Errorf("then: %s", got)
	}
	s.call("Action=RunInstances&MinCount=1&MaxCount=1&ImageId="+s.image("ubuntu_24_04")).refused(t, "UnsupportedOperation", "demands that session tokens are required")
	if got := launched("ubuntu_24_04", "&MetadataOptions.HttpTokens=required"); got[0] != "required" {
		t.Errorf("required: %v", got)
	}
	s.must("Action=ModifyInstanceMetadataOptions&HttpTokens=required&InstanceId=" + s.demo)
	s.call("Action=ModifyInstanceMetadataOptions&HttpTokens=optional&InstanceId="+s.demo).refused(t, "UnsupportedOperation", "demands")
}

// TestPages: all pages together are all instances, living before terminated, each once.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	want := append(s.run(20, ""), s.demo)
	s.must("Action=TerminateInstances" + list("InstanceId", want[:7]...))
	for _, parameters := range []string{"&MaxResults=5", "&MaxResults=8", "&MaxResults=1000", ""} {
		var got []string
		pages := 0
		for token := ""; ; pages++ {
			page := s.must("Action=DescribeInstances" + parameters + "&NextToken=" + url.QueryEscape(token))
			got = append(got, values(page, "instanceId")...)
			next := values(page, "nextToken")
			if len(next) == 0 {
				break
			}
			token = next[0]
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d pages with %d of %d instances", parameters, pages+1, len(got), len(want))
		}
	}
	s.call("Action=DescribeInstances&NextToken=x").refused(t, "InvalidNextToken", "")
	page := s.must("Action=DescribeImages&MaxResults=5")
	s.call("Action=DescribeInstances&NextToken="+value(t, page, "nextToken")).refused(t, "InvalidNextToken", "")
}

// TestTagsOfMany: whatever few of the tags of many instances a filter selects are found in few requests, and pages have each
// of them once.
func TestTagsOfMany(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ids := s.run(20, "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.2.Key=b")
	s.must("Action=CreateTags&Tag.1.Key=rare&ResourceId.1=" + slices.Max(ids))
	if answer := s.must("Action=DescribeTags&MaxResults=5&Filter.1.Name=key&Filter.1.Value.1=rare"); len(values(answer, "key")) != 1 || len(values(answer, "nextToken")) != 0 {
		t.Errorf("one of many: %s", answer)
	}
	if answer := s.must("Action=DescribeTags&MaxResults=5&Filter.1.Name=key&Filter.1.Value.1=none"); len(values(answer, "nextToken")) != 0 {
		t.Errorf("none of many: %s", answer)
	}
	for _, filter := range []string{"", "&Filter.1.Name=key&Filter.1.Value.1=b"} {
		seen := map[string]int{}
		for token := ""; ; {
			answer := s.must("Action=DescribeTags&MaxResults=5" + filter + token)
			whose := values(answer, "resourceId")
			if len(whose) > 7 {
				t.Errorf("a page of 5 with %d tags", len(whose))
			}
			for _, id := range whose {
				seen[id]++
			}
			next := values(answer, "nextToken")
			if len(next) == 0 {
				break
			}
			token = "&NextToken=" + url.QueryEscape(next[0])
		}
		for _, id := range ids {
			want := 2
			switch {
			case filter != "":
				want = 1
			case id == slices.Max(ids):
				want = 3
			}
			if seen[id] != want {
				t.Errorf("%s: %d tags of %s, not %d", filter, seen[id], id, want)
			}
		}
	}
}
