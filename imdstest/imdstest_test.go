package imdstest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/imdstest"
)

// whole is an instance of which nothing is left out.
func whole() imdstest.Instance {
	return imdstest.Instance{
		ID: "i-0123456789abcdef0", ImageID: "ami-0123456789abcdef0", InstanceType: "m7g.large", LifeCycle: "spot",
		Region: "eu-central-1", Zone: "eu-central-1b", AccountID: "111122223333", MAC: "06:aa:bb:cc:dd:ee",
		PrivateIP: "10.1.2.3", Hostname: "db.internal", PublicIP: "203.0.113.9", KeyName: "ops",
		PublicKey: "ssh-ed25519 AAAA someone@example.com", UserData: "#!/bin/sh\n\x00\xff", Tags: map[string]string{"Name": "db", "env": "prod"},
		RoleName: "reader", ExtendedCredentials: true, Values: map[string]string{"meta-data/x/y": "z"}, Absent: []string{"meta-data/ami-launch-index"},
		Options: imdstest.Options{Tokens: "optional", Endpoint: "enabled", HopLimit: 2},
	}
}

func TestWholeInstance(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, whole())
	const nic = "meta-data/network/interfaces/macs/06:aa:bb:cc:dd:ee/"
	expect(t, srv, map[string]string{
		"meta-data/instance-id":                 "i-0123456789abcdef0",
		"meta-data/ami-id":                      "ami-0123456789abcdef0",
		"meta-data/instance-type":               "m7g.large",
		"meta-data/instance-life-cycle":         "spot",
		"meta-data/placement/region":            "eu-central-1",
		"meta-data/placement/availability-zone": "eu-central-1b",
		nic + "owner-id":                        "111122223333",
		nic + "subnet-ipv4-cidr-block":          "10.1.0.0/20",
		nic + "vpc-ipv4-cidr-block":             "10.1.0.0/16",
		nic + "ipv4-associations/203.0.113.9":   "10.1.2.3",
		"meta-data/mac":                         "06:aa:bb:cc:dd:ee",
		"meta-data/local-ipv4":                  "10.1.2.3",
		"meta-data/local-hostname":              "db.internal",
		"meta-data/public-ipv4":                 "203.0.113.9",
		"meta-data/public-hostname":             "ec2-203-0-113-9.eu-central-1.compute.amazonaws.com",
		"meta-data/public-keys/":                "0=ops",
		"meta-data/public-keys/0/openssh-key":   "ssh-ed25519 AAAA someone@example.com\n",
		"user-data":                             "#!/bin/sh\n\x00\xff",
		"meta-data/tags/instance/":              "Name\nenv",
		"meta-data/tags/instance/Name":          "db",
		"meta-data/iam/security-credentials/":   "reader",
		"meta-data/iam/":                        "info\nsecurity-credentials/\nsecurity-credentials-extended/",
		"meta-data/x/y":                         "z",
		"meta-data/ami-launch-index":            "[404]",
	})
	if _, document := get(t, srv, "dynamic/instance-identity/document"); !strings.Contains(document, `"accountId" : "111122223333"`) ||
		!strings.Contains(document, `"privateIp" : "10.1.2.3"`) || !strings.Contains(document, `"instanceId" : "i-0123456789abcdef0"`) {
		t.Errorf("the identity document is of another instance: %s", document)
	}
	if _, document := get(t, srv, "meta-data/iam/security-credentials-extended/reader"); !strings.Contains(document, `"AccountId" : "111122223333"`) {
		t.Errorf("the credentials are of another account: %s", document)
	}
	if got, want := srv.Instance(), whole(); !reflect.DeepEqual(got, want) {
		t.Errorf("Instance is\n%+v, not\n%+v", got, want)
	}
}

// TestWholeIsWhole: a new field of Instance must be in whole, so that its way to the guest is tested.
func TestWholeIsWhole(t *testing.T) {
	in := reflect.ValueOf(whole())
	for i := range in.NumField() {
		if name := in.Type().Field(i).Name; in.Field(i).IsZero() && name != "Credentials" {
			t.Errorf("Instance.%s is not tested", name)
		}
	}
}

// TestLeftOut: what every instance has is made up, the rest is absent.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	srv, other := imdstest.Start(t, imdstest.Instance{}), imdstest.Start(t, imdstest.Instance{})
	in := srv.Instance()
	for name, form := range map[string]string{
		in.ID: `^i-[0-9a-f]{17}$`, in.ImageID: `^ami-[0-9a-f]{17}$`, in.MAC: `^06(:[0-9a-f]{2}){5}$`,
		in.PrivateIP: `^172\.26\.`, in.Hostname: `^ip-172-26-\d+-\d+\.ec2\.internal$`,
	} {
		if !regexp.MustCompile(form).MatchString(name) {
			t.Errorf("%q is not of the form %s", name, form)
		}
	}
	if in.ID == other.Instance().ID || in.MAC == other.Instance().MAC || srv.URL == other.URL {
		t.Error("two servers have one instance")
	}
	expect(t, srv, map[string]string{
		"meta-data/instance-id": in.ID, "meta-data/placement/availability-zone": "us-east-1a", "meta-data/instance-life-cycle": "on-demand",
		"meta-data/public-ipv4": "[404]", "meta-data/public-hostname": "[404]", "meta-data/public-keys/": "[404]", "meta-data/ipv6": "[404]",
		"meta-data/iam/": "[404]", "meta-data/tags/": "[404]", "meta-data/spot/": "[404]", "user-data": "[404]",
	})
	left := imdstest.Instance{
		ID: in.ID, ImageID: in.ImageID, InstanceType: in.InstanceType, LifeCycle: "on-demand", Region: "us-east-1", Zone: "us-east-1a",
		AccountID: "123456789012", MAC: in.MAC, PrivateIP: in.PrivateIP, Hostname: in.Hostname,
		Options: imdstest.Options{Tokens: "optional", Endpoint: "enabled", HopLimit: 1},
	}
	if !reflect.DeepEqual(in, left) {
		t.Errorf("the instance of nothing is %+v", in)
	}
}

func TestBadInstances(t *testing.T) {
	for part, in := range map[string]imdstest.Instance{
		"instance id cannot be":      {ID: "web"},
		"id of the image cannot be":  {ImageID: "debian"},
		"instance type cannot be":    {InstanceType: "big"},
		"life cycle cannot be":       {LifeCycle: "short"},
		`region "Frankfurt" is not`:  {Region: "Frankfurt"},
		"zone us-east-1a is not in":  {Region: "eu-west-1", Zone: "us-east-1a"},
		`account id "1" is not`:      {AccountID: "1"},
		"The MAC address":            {MAC: "06-00"},
		`PrivateIP "10.0.0.300"`:     {PrivateIP: "10.0.0.300"},
		`PublicIP "::1"`:             {PublicIP: "::1"},
		"host name cannot be":        {Hostname: "a b"},
		"names no key":               {KeyName: "x"},
		"one line":                   {PublicKey: "a\nb"},
		"limited to 16384 bytes":     {UserData: strings.Repeat("x", openimds.MaxUserData+1)},
		"tag key":                    {Tags: map[string]string{"a b": "c"}},
		"name of the role cannot be": {RoleName: "a/b"},
		"set Instance.RoleName":      {Credentials: keys},
		"need all of":                {RoleName: "r", Credentials: imdstest.Credentials{AccessKeyID: "a"}},
		"why there are none":         {RoleName: "r", Credentials: imdstest.Credentials{AccessKeyID: "a", Code: "Failed"}},
		"goes with a Code":           {RoleName: "r", Credentials: imdstest.Credentials{Message: "no"}},
		"write it as":                {Values: map[string]string{"/latest/meta-data/ami-id": "x"}},
		"begins with a slash":        {Values: map[string]string{"/meta-data/ami-id": "x"}},
		"in Values and in Absent":    {Values: map[string]string{"a": "b"}, Absent: []string{"a"}},
		"token endpoint":             {Absent: []string{"api"}},
		"session tokens must be":     {Options: imdstest.Options{Tokens: "never"}},
		"hop limit must be 1 to 64":  {Options: imdstest.Options{HopLimit: 65}},
	} {
		said := failure(&recorder{}, func(tb imdstest.TB) { imdstest.Start(tb, in) })
		oneLine(t, part, said, part)
	}
}

// TestEnvironment: New puts the process on the instance, for the time of the test and no longer.
func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIADEVELOPER")
	t.Setenv("AWS_PROFILE", "production")
	before := os.Environ()
	t.Run("inside", func(t *testing.T) {
		srv := imdstest.New(t, imdstest.Instance{})
		if got := os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"); got != srv.URL {
			t.Errorf("the endpoint is %q, not %q", got, srv.URL)
		}
		for _, name := range []string{"AWS_EC2_METADATA_DISABLED", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"} {
			if value := os.Getenv(name); value != "" {
				t.Errorf("%s is still %q", name, value)
			}
		}
	})
	if after := os.Environ(); !sameSet(before, after) {
		t.Errorf("the environment was %q and is %q", before, after)
	}
	imdstest.Start(t, imdstest.Instance{})
	if after := os.Environ(); !sameSet(before, after) {
		t.Error("Start changed the environment")
	}
	said := failure(&recorder{parallel: true}, func(tb imdstest.TB) { imdstest.New(tb, imdstest.Instance{}) })
	oneLine(t, "New in a parallel test", said, "call imdstest.Start")
}

func sameSet(a, b []string) bool {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// TestNewInParallel: what testing itself does about Setenv in a parallel test leads to the same line.
func TestNewInParallel(t *testing.T) {
	t.Run("group", func(t *testing.T) {
		t.Run("parallel", func(t *testing.T) {
			t.Parallel()
			said := failure(&recorder{}, func(tb imdstest.TB) { imdstest.New(realSetenv{tb, t}, imdstest.Instance{}) })
			oneLine(t, "New", said, "call imdstest.Start")
		})
	})
}

// realSetenv is a recorder with the Setenv of a real test.
type realSetenv struct {
	imdstest.TB
	t *testing.T
}

func (r realSetenv) Setenv(name, value string) { r.t.Setenv(name, value) }

// TestChangesAreObeyed: the very next request sees each change.
func TestChangesAreObeyed(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{RoleName: "r"})
	was := srv.Instance()
	for n := range 20 {
		data := fmt.Sprint("data ", n)
		srv.SetUserData(data)
		expect(t, srv, map[string]string{"user-data": data})
		srv.SetOptions(imdstest.Options{Tokens: "required"})
		expect(t, srv, map[string]string{"user-data": "[401]"})
		srv.SetOptions(imdstest.Options{Endpoint: "disabled"})
		expect(t, srv, map[string]string{"user-data": "[403]"})
		srv.SetOptions(imdstest.Options{Endpoint: "enabled", Tokens: "optional", HopLimit: 1 + n})
		srv.Set("meta-data/ami-id", data)
		srv.Set("meta-data/new/one", data)
		expect(t, srv, map[string]string{"meta-data/ami-id": data, "meta-data/new/": "one"})
		srv.Remove("meta-data/ami-id")
		expect(t, srv, map[string]string{"meta-data/ami-id": "[404]"})
		srv.Restore("meta-data/ami-id")
		srv.Restore("meta-data/new/one")
		expect(t, srv, map[string]string{"meta-data/ami-id": was.ImageID, "meta-data/new/": "[404]"})
		if got := srv.Instance().Options; got != (imdstest.Options{Tokens: "optional", Endpoint: "enabled", HopLimit: 1 + n}) {
			t.Errorf("the options are %+v", got)
		}
	}
	srv.SetUserData("")
	srv.SetOptions(imdstest.Options{HopLimit: 1})
	if got := srv.Instance(); !reflect.DeepEqual(got, was) {
		t.Errorf("all was taken back, and the instance is\n%+v, not\n%+v", got, was)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{LifeCycle: "spot"})
	at := time.Now().Add(2 * time.Minute).Truncate(time.Second)
	srv.InterruptSpot("terminate", at)
	srv.RecommendRebalance(at)
	stamp := at.UTC().Format("2006-01-02T15:04:05Z")
	expect(t, srv, map[string]string{"meta-data/spot/termination-time": stamp})
	if _, got := get(t, srv, "meta-data/spot/instance-action"); !strings.Contains(got, "terminate") || !strings.Contains(got, stamp) {
		t.Errorf("instance-action is %q", got)
	}
	srv.ClearEvents()
	expect(t, srv, map[string]string{"meta-data/spot/": "[404]", "meta-data/events/recommendations/rebalance": "[404]"})
	srv.Change(func(ctx context.Context, service *control.Service, name string) error {
		_, err := service.TagResource(ctx, name, "", []openimds.Tag{{Key: "a", Value: "b"}})
		return err
	})
	if got := srv.Instance().Tags["a"]; got != "b" {
		t.Errorf("the tag is %q", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{RoleName: "r", UserData: "data"})
	srv.SetFaults(openimds.Faults{Status: 503, On: "data"})
	expect(t, srv, map[string]string{"user-data": "[503]"})
	request(t, "PUT", srv.URL+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if got := srv.Requests(); got[0].Status != 503 || got[1].Status != 200 {
		t.Errorf("the requests are %v", got)
	}
	srv.SetFaults(openimds.Faults{Status: 500, StatusShare: 0.5})
	statuses := map[int]int{}
	for range 10 {
		status, _ := get(t, srv, "user-data")
		statuses[status]++
	}
	if statuses[500] != 5 || statuses[200] != 5 {
		t.Errorf("of half the requests that fail: %v", statuses)
	}
	srv.SetFaults(openimds.Faults{RefuseShare: 1})
	if resp, err := http.Get(srv.URL + "/latest/user-data"); err == nil {
		resp.Body.Close()
		t.Error("a refused request was answered")
	}
	srv.SetFaults(openimds.Faults{})
	expect(t, srv, map[string]string{"user-data": "data"})
}

func TestBadChanges(t *testing.T) {
	for part, change := range map[string]func(*imdstest.Server){
		"session tokens must be": func(s *imdstest.Server) { s.SetOptions(imdstest.Options{Tokens: "on"}) },
		"write it as":            func(s *imdstest.Server) { s.Set("latest/meta-data/ami-id", "x") },
		"begins with a slash":    func(s *imdstest.Server) { s.Remove("/meta-data/ami-id") },
		"limited to 16384 bytes": func(s *imdstest.Server) { s.SetUserData(strings.Repeat("x", openimds.MaxUserData+1)) },
		"without a role":         func(s *imdstest.Server) { s.SetCredentials(keys) },
		"one of":                 func(s *imdstest.Server) { s.InterruptSpot("explode", time.Now().Add(time.Hour)) },
		"in the future":          func(s *imdstest.Server) { s.InterruptSpot("stop", time.Now().Add(-time.Hour)) },
		"shares of failures":     func(s *imdstest.Server) { s.SetFaults(openimds.Faults{Status: 500, RefuseShare: 0.5}) },
		"from 400 to 599":        func(s *imdstest.Server) { s.SetFaults(openimds.Faults{Status: 200}) },
		"no form of signature":   func(s *imdstest.Server) { s.CertificatePEM("x") },
		"out of luck": func(s *imdstest.Server) {
			s.Change(func(context.Context, *control.Service, string) error { return fmt.Errorf("out of luck") })
		},
	} {
		said := failure(&recorder{}, func(tb imdstest.TB) {
			srv := imdstest.Start(tb, imdstest.Instance{})
			change(srv)
		})
		oneLine(t, part, said, part)
	}
}

// TestParallel: many servers at once, each with its own instance and its own requests.
func TestParallel(t *testing.T) {
	for n := range 16 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			data := fmt.Sprint("server ", n)
			srv := imdstest.Start(t, imdstest.Instance{UserData: data})
			var guests sync.WaitGroup
			for range 10 {
				guests.Go(func() { expect(t, srv, map[string]string{"user-data": data}) })
			}
			guests.Wait()
			if got := len(srv.Requests()); got != 10 {
				t.Errorf("%d requests were seen, not 10", got)
			}
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{})
	get(t, srv, "meta-data/ami-id")
	srv.Close()
	srv.Close()
	client := &http.Client{Timeout: time.Minute}
	if resp, err := client.Get(srv.URL); err == nil { // by another program, which has the port now
		resp.Body.Close()
	}
	if len(srv.Requests()) != 1 {
		t.Errorf("it answers after Close: the requests are %v", srv.Requests())
	}
}

// BenchmarkStart is what a server costs a test.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		imdstest.Start(b, imdstest.Instance{}).Close()
	}
}
