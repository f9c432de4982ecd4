package metadata_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds/metadata"
)

var update = flag.Bool("update", false, "write golden files and docs/CATEGORIES.md anew")

// compare holds got against the file, or writes it there with -update.
func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s line %d differs; if the change is meant, run: go generate ./metadata\n got %s\nwant %s",
				file, i+1, slices.Concat(g, make([]string, len(w)))[i], slices.Concat(w, make([]string, len(g)))[i])
		}
	}
}

func TestGoldenTrees(t *testing.T) {
	for _, f := range fixtures() {
		t.Run(f.name, func(t *testing.T) {
			var b strings.Builder
			for _, p := range crawl(t, f.view, "latest") {
				fmt.Fprintf(&b, "%s %q\n", p.path, p.item.Body)
			}
			compare(t, filepath.Join("testdata", f.name+".golden"), b.String())
		})
	}
}

// A recorded listing of a current instance with a role and a public IPv4 address, but without a key
// pair and IPv6, has 312 bytes.
func TestListingAsRecorded(t *testing.T) {
	v := &metadata.View{Instance: newInstance("ipv4"), Now: now, Credentials: source{}}
	want := "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nevents/\nhostname\niam/\nidentity-credentials/\n" +
		"instance-action\ninstance-id\ninstance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nmetrics/\nnetwork/\n" +
		"placement/\nprofile\npublic-hostname\npublic-ipv4\nreservation-id\nsecurity-groups\nservices/\nsystem"
	if got := get(t, v, "latest/meta-data"); got != want || len(got) != 312 {
		t.Errorf("got %d bytes:\n%s\nwant 312:\n%s", len(got), got, want)
	}
}

func TestRoot(t *testing.T) {
	v := fixtureNamed(t, "plain")
	want := `1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01 2009-04-04 2011-01-01
		2011-05-01 2012-01-12 2014-02-25 2014-11-05 2015-10-20 2016-04-19 2016-06-30 2016-09-02 2018-03-28 2018-08-17
		2018-09-24 2019-10-01 2020-10-27 2021-01-03 2021-03-23 2021-07-15 2022-09-24 2024-04-11 latest`
	if got := get(t, v, ""); got != strings.Join(strings.Fields(want), "\n") {
		t.Errorf("GET /:\n%s", got)
	}
	if got := metadata.Versions(); !slices.Equal(got, strings.Fields(want)) {
		t.Errorf("Versions() = %q", got)
	}
	metadata.Versions()[0] = "changed"
	if metadata.Versions()[0] != "1.0" {
		t.Error("a caller of Versions can change the list")
	}
}

// What answers, and how, in the words of the guide and of recordings.
func TestAnswers(t *testing.T) {
	const absent = "(absent)"
	const macs = "latest/meta-data/network/interfaces/macs"
	for _, tt := range []struct{ fixture, path, want string }{
		{"plain", "latest", "dynamic\nmeta-data\nuser-data"},
		{"plain", "2009-04-04", "dynamic\nmeta-data\nuser-data"},
		{"plain", "2008-09-01", "meta-data\nuser-data"},
		{"plain", "latest/user-data", absent},
		{"plain", "latest/api", absent},
		{"plain", "latest/api/token", absent},
		{"plain", "2020-08-24", absent},
		{"plain", "2020-08-24/meta-data/ami-id", absent},
		{"plain", "Latest/meta-data/ami-id", absent},
		{"plain", "latest/meta-data/AMI-id", absent},
		{"plain", "latest/meta-data/ami-id/x", absent},
		{"plain", "latest/meta-data/public-keys", absent},
		{"plain", "latest/meta-data/tags", absent},
		{"plain", "latest/meta-data/tags/instance", absent},
		{"plain", "latest/meta-data/spot", absent},
		{"plain", "latest/meta-data/events", "maintenance/"},
		{"plain", "latest/meta-data/events/maintenance", "history\nscheduled"},
		{"plain", "latest/meta-data/events/maintenance/history", "[]"},
		{"plain", "latest/meta-data/elastic-gpus", absent},
		{"plain", "latest/meta-data/ami-manifest-path", "(unknown)"},
		{"plain", "latest/meta-data/metrics/vhostmd", `<?xml version="1.0" encoding="UTF-8"?>`},
		{"plain", "latest/meta-data/block-device-mapping/ami", "xvda"},
		{"plain", "latest/meta-data/block-device-mapping/root", "/dev/xvda"},
		{"plain", "latest/meta-data/placement", "availability-zone\navailability-zone-id\nregion"},
		{"plain", "2019-10-01/meta-data/placement", "availability-zone\navailability-zone-id"},
		{"plain", "2020-10-27/meta-data/placement/region", "eu-central-1"},
		{"plain", "2019-10-01/meta-data/placement/region", absent},
		{"plain", "2018-03-28/meta-data/identity-credentials", absent},
		{"plain", "2018-08-17/meta-data/identity-credentials", "ec2/"},
		{"plain", "latest/dynamic", "instance-identity/\n"},
		{"plain", "latest/dynamic/instance-identity", "document\n"},
		{"full", "latest/dynamic/instance-identity", "document\npkcs7\nrsa2048\nsignature\n"},
		{"plain", "latest/dynamic/fws/instance-monitoring", "disabled"},
		{"full", "latest/dynamic/fws/instance-monitoring", "enabled"},
		{"plain", "2008-09-01/dynamic/fws/instance-monitoring", absent},
		{"plain", "latest/meta-data/iam", "info\nsecurity-credentials/"},
		{"plain", "latest/meta-data/iam/security-credentials", "AmazonLightsailInstanceRole"},
		{"plain", "latest/meta-data/iam/security-credentials/Other", absent},
		{"without", "latest/meta-data/iam", absent},
		{"without", "latest/meta-data/identity-credentials", absent},
		{"full", "latest/user-data", "#!/bin/sh\n\x00\xff\n"},
		{"full", "latest/meta-data/public-keys", "0=my-key\n1=odd/name_with a line feed"},
		{"full", "latest/meta-data/public-keys/0", "openssh-key"},
		{"full", "latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA my-key\n"},
		{"full", "latest/meta-data/public-keys/0=my-key", absent},
		{"full", "latest/meta-data/public-keys/00", absent},
		{"full", "latest/meta-data/public-keys/{index}", absent},
		{"full", "latest/meta-data/public-keys/-1", absent},
		{"full", "latest/meta-data/public-keys/2", absent},
		{"full", "latest/meta-data/public-keys/3", absent},
		{"full", "latest/meta-data/tags/instance", "+-=.,_:@\nAnother\nName\nempty"},
		{"full", "latest/meta-data/tags/instance/Name", "a b/c"},
		{"full", "latest/meta-data/tags/instance/empty", ""},
		{"full", "latest/meta-data/tags/instance/_index", absent},
		{"full", "latest/meta-data/tags/instance/not allowed", absent},
		{"full", "latest/meta-data/tags/instance/not", absent},
		{"full", "2021-01-03/meta-data/tags", absent},
		{"full", "latest/meta-data/managed-ssh-keys", "active-keys/"},
		{"full", "latest/meta-data/managed-ssh-keys/active-keys", "ec2-user"},
		{"full", "latest/meta-data/managed-ssh-keys/active-keys/expired", absent},
		{"pushed-keys", "latest/meta-data/managed-ssh-keys", "active-keys/\nsigner-cert\nsigner-ocsp/"},
		{"pushed-keys", "latest/meta-data/managed-ssh-keys/active-keys", "ubuntu\nroot"},
		{"pushed-keys", "latest/meta-data/managed-ssh-keys/active-keys/ubuntu", "one\n\ntwo\n\n"},
		{"pushed-keys", "latest/meta-data/managed-ssh-keys/signer-ocsp", "A1B2"},
		{"pushed-keys", "latest/meta-data/managed-ssh-keys/signer-ocsp/x", absent},
		{"pushed-keys", "2019-10-01/meta-data/managed-ssh-keys/active-keys/root", "its\n\n"},
		{"full", "latest/meta-data/events/recommendations/rebalance", `{"noticeTime": "2020-10-27T08:22:00Z"}`},
		{"full", "latest/meta-data/spot/instance-action", `{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`},
		{"full", "latest/meta-data/spot/termination-time", "2017-09-18T08:22:00Z"},
		{"full", "latest/meta-data/product-codes", "code1\ncode2"},
		{"full", macs, "06:01:02:03:04:05/"},
		{"full", macs + "/06:01:02:03:04:05/ipv4-associations", "198.18.7.8\n198.18.7.9"},
		{"full", macs + "/06:01:02:03:04:05/ipv4-associations/198.18.7.9", "172.26.3.4\n172.26.3.5"},
		{"full", macs + "/06:01:02:03:04:05/ipv4-associations/198.18.7.10", absent},
		{"full", macs + "/06:01:02:03:04:05/ipv6s", "2001:db8:1a:2600::1:2\n2001:db8:1a:2600::1:3"},
		{"full", macs + "/06:01:02:03:04:05/subnet-ipv6-cidr-blocks", "2001:db8:1a:2600:0:0:0:0/64"},
		{"full", macs + "/06:01:02:03:04:05/vpc-ipv4-cidr-blocks", "172.26.0.0/16\n10.0.0.0/16"},
		{"full", macs + "/06:01:02:03:04:05/vpc-ipv4-cidr-block", "172.26.0.0/16"},
		{"full", macs + "/06:01:02:03:04:05/network-card", "0"},
		{"several-nics", macs, "06:01:02:03:04:05/\n06:aa:bb:cc:dd:ee/\n02:00:00:00:00:03/"},
		{"several-nics", macs + "/06:aa:bb:cc:dd:ee/mac", "06:aa:bb:cc:dd:ee"},
		{"several-nics", macs + "/06:AA:BB:CC:DD:EE/mac", absent},
		{"several-nics", macs + "/06:aa:bb:cc:dd:ee/ipv4-associations", absent},
		{"several-nics", macs + "/02:00:00:00:00:03/local-ipv4s", absent},
		{"several-nics", macs + "/02:00:00:00:00:03/vpc-ipv6-cidr-blocks", "2001:db8:0:0:0:0:0:0/56\n2001:db8:ff00:0:0:0:0:0/56"},
		{"several-nics", "latest/meta-data/mac", "06:01:02:03:04:05"},
		{"ipv6-only", "latest/meta-data/local-ipv4", absent},
		{"ipv6-only", "latest/meta-data/public-ipv4", absent},
		{"ipv6-only", "latest/meta-data/ipv6", "2001:db8:1a:2600::1:2"},
		{"empty", "latest/meta-data/ami-id", absent},
		{"empty", "latest/meta-data/network", absent},
	} {
		it, ok := metadata.Get(fixtureNamed(t, tt.fixture), tt.path)
		got := string(it.Body)
		if !ok {
			got = absent
		}
		if got != tt.want {
			t.Errorf("%s: GET %s = %q, want %q", tt.fixture, tt.path, got, tt.want)
		}
	}
}

// A termination has a time of its own; a stop and a hibernation do not.
func TestSpotTerminationTime(t *testing.T) {
	for action, want := range map[string]bool{"terminate": true, "stop": false, "hibernate": false} {
		v := fixtureNamed(t, "full")
		v.Instance.Events.Spot.Action = action
		if _, ok := metadata.Get(v, "latest/meta-data/spot/termination-time"); ok != want {
			t.Errorf("%s: termination-time exists: %v, want %v", action, ok, want)
		}
		if got, want := get(t, v, "latest/meta-data/spot/instance-action"), `{"action": "`+action+`", "time": "2017-09-18T08:22:00Z"}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPartitions(t *testing.T) {
	for region, want := range map[string]string{
		"us-east-1": "aws amazonaws.com", "cn-north-1": "aws-cn amazonaws.com.cn",
		"us-gov-west-1": "aws-us-gov amazonaws.com", "us-isob-east-1": "aws-iso-b sc2s.sgov.gov",
	} {
		v := fixtureNamed(t, "plain")
		v.Instance.Region = region
		if got := get(t, v, "latest/meta-data/services/partition") + " " + get(t, v, "latest/meta-data/services/domain"); got != want {
			t.Errorf("%s: %s, want %s", region, got, want)
		}
	}
}

// A signature that cannot be had is neither listed nor served.
func TestSignaturesThatFail(t *testing.T) {
	v := fixtureNamed(t, "full")
	document := get(t, v, "latest/dynamic/instance-identity/document")
	for _, name := range []string{"signature", "pkcs7", "rsa2048"} {
		want, _ := sign(name, []byte(document), false)
		if got := get(t, v, "latest/dynamic/instance-identity/"+name); got != string(want) {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	v.Identity = signer{noPKCS7: true}
	if got := get(t, v, "latest/dynamic/instance-identity"); got != "document\nrsa2048\nsignature\n" {
		t.Errorf("listing %q", got)
	}
	if _, ok := metadata.Get(v, "latest/dynamic/instance-identity/pkcs7"); ok {
		t.Error("pkcs7 answers")
	}
}

func TestContentTypes(t *testing.T) {
	v := fixtureNamed(t, "full")
	for _, p := range crawl(t, v, "latest") {
		want := "text/plain"
		if p.path == "latest/user-data" {
			want = "application/octet-stream"
		}
		if p.item.ContentType != want {
			t.Errorf("%s: %s, want %s", p.path, p.item.ContentType, want)
		}
	}
}
