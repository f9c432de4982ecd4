package ec2_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/openimds/openimds/api/ec2"
	"github.com/openimds/openimds/store"
)

// everyAction asks for each action that is built, once, in an order in which all succeed.
func (s *server) everyAction() []string {
	s.t.Helper()
	demo, first := "&InstanceId="+s.demo, "&InstanceId.1="+s.demo
	return []string{
		"DescribeInstances", "DescribeInstanceStatus", "DescribeInstanceAttribute&Attribute=userData" + demo, "DescribeTags", "DescribeKeyPairs",
		"DescribeRegions", "DescribeAvailabilityZones", "DescribeInstanceTypes", "DescribeImages", "GetInstanceMetadataDefaults",
		"RunInstances&MinCount=1&MaxCount=1&ImageId=" + s.image("ubuntu_24_04"),
		"ModifyInstanceMetadataOptions&HttpTokens=required" + demo,
		"ModifyInstanceMetadataDefaults&HttpTokens=required",
		"CreateTags&ResourceId.1=" + s.demo + "&Tag.1.Key=a&Tag.1.Value=b",
		"DeleteTags&ResourceId.1=" + s.demo + "&Tag.1.Key=a",
		"ImportKeyPair&KeyName=mine&PublicKeyMaterial=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(publicKey))),
		"RebootInstances" + first, "StopInstances" + first, "StartInstances" + first, "TerminateInstances" + first,
	}
}

// TestReadOnly asks for every action of the table with a key that only looks, also as a trial: what changes something is
// refused and audited, nothing is changed. The same requests of a key that may show that the table tells rightly which change
// something.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	revision := func() int64 {
		page, err := s.store.List(t.Context(), store.Range{})
		if err != nil {
			t.Fatal(err)
		}
		return page.Revision
	}
	table, requests := ec2.Actions(), s.everyAction()
	s.audit.Take()
	before := revision()
	for _, request := range requests {
		name, _, _ := strings.Cut(request, "&")
		for _, dry := range []string{"", "&DryRun=true"} {
			a := s.send(s.request(s.looks, "ec2", form, "Action="+request+dry+"&Version=2016-11-15"))
			told := s.audit.Take()
			switch {
			case table[name].Changes:
				a.refused(t, "UnauthorizedOperation", "User: arn:aws:iam::123456789012:user/watcher is not authorized to perform: ec2:"+name+" on resource: *")
				if len(told) != 1 || told[0].Who != s.looks.ID+" (watcher)" || told[0].What != name || told[0].RequestID != a.header.Get("x-amzn-RequestId") ||
					!strings.HasPrefix(told[0].Source, "127.0.0.1:") || !strings.HasPrefix(told[0].Failure, "User: ") || told[0].Before != nil || told[0].After != nil {
					t.Errorf("%s%s: the audit has %+v", name, dry, told)
				}
			case dry != "":
				a.refused(t, "DryRunOperation", "")
			case a.status != http.StatusOK || len(told) != 0:
				t.Errorf("%s only looks: %d %s, the audit has %+v", name, a.status, a.body, told)
			}
		}
		if now := revision(); now != before {
			t.Fatalf("%s of a key that only looks changed the store", name)
		}
	}
	for _, request := range requests {
		name, _, _ := strings.Cut(request, "&")
		action, built := table[name]
		if delete(table, name); !built {
			t.Errorf("%s is asked for twice, or is not built", name)
		}
		s.must("Action=" + request)
		now := revision()
		if changed := now != before; changed != action.Changes {
			t.Errorf("%s: the table says that it changes something: %v; it did: %v", name, action.Changes, changed)
		}
		if told := s.audit.Take(); (len(told) > 0) != action.Changes {
			t.Errorf("%s: the audit has %+v", name, told)
		}
		before = now
	}
	for name := range table {
		t.Errorf("%s is built, and no request here asks for it", name)
	}
}
