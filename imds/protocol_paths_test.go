package imds

import (
	"strings"
	"testing"
)

const (
	everyVersion = "1.0\n2007-01-19\n2007-03-01\n2007-08-29\n2007-10-10\n2007-12-15\n2008-02-01\n2008-09-01\n2009-04-04\n" +
		"2011-01-01\n2011-05-01\n2012-01-12\n2014-02-25\n2014-11-05\n2015-10-20\n2016-04-19\n2016-06-30\n2016-09-02\n" +
		"2018-03-28\n2018-08-17\n2018-09-24\n2019-10-01\n2020-10-27\n2021-01-03\n2021-03-23\n2021-07-15\n2022-09-24\n2024-04-11\nlatest"
	bareTop = "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nevents/\nhostname\ninstance-action\ninstance-id\n" +
		"instance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nmetrics/\nnetwork/\nplacement/\nprofile\n" +
		"reservation-id\nsecurity-groups\nservices/\nsystem"
	fullTop = "ami-id\nami-launch-index\nami-manifest-path\nautoscaling/\nblock-device-mapping/\nevents/\nhibernation/\nhostname\niam/\n" +
		"identity-credentials/\ninstance-action\ninstance-id\ninstance-life-cycle\ninstance-type\nipv6\nlocal-hostname\nlocal-ipv4\nmac\n" +
		"managed-ssh-keys/\nmetrics/\nnetwork/\nplacement/\nprofile\npublic-hostname\npublic-ipv4\npublic-keys/\nreservation-id\n" +
		"security-groups\nservices/\nspot/\nsystem\ntags/"
	fullNIC = "device-number\ninterface-id\nipv4-associations/\nipv4-prefix\nipv6-prefix\nipv6s\nlocal-hostname\nlocal-ipv4s\nmac\nnetwork-card\n" +
		"owner-id\npublic-hostname\npublic-ipv4s\nsecurity-group-ids\nsecurity-groups\nsubnet-id\nsubnet-ipv4-cidr-block\n" +
		"subnet-ipv6-cidr-blocks\nvpc-id\nvpc-ipv4-cidr-block\nvpc-ipv4-cidr-blocks\nvpc-ipv6-cidr-blocks"
	bareNIC = "device-number\ninterface-id\nlocal-hostname\nlocal-ipv4s\nmac\nowner-id\nsecurity-group-ids\nsecurity-groups\nsubnet-id\n" +
		"subnet-ipv4-cidr-block\nvpc-id\nvpc-ipv4-cidr-block\nvpc-ipv4-cidr-blocks"
)

func TestListings(t *testing.T) {
	const meta = "/latest/meta-data/"
	checkRows(t, []row{
		{"the root", "", get("/"), data(launchedText, everyVersion)},
		{"the root with a token", "required", get("/", tokenIs+"{TOKEN}"), left(21600, data(launchedText, everyVersion))},
		{"a version", "", get("/latest/"), text("dynamic\nmeta-data\nuser-data")},
		{"a version without user data", "bare", get("/latest"), text("dynamic\nmeta-data\nuser-data")},
		{"a directory without its slash", "", get("/latest/meta-data"), text(fullTop)},
		{"a directory with its slash", "", get(meta), text(fullTop)},
		{"what has no content is not listed", "bare", get(meta), text(bareTop)},
		{"iam", "", get(meta + "iam/"), text("info\nsecurity-credentials/")},
		{"the role's name, without a line feed", "", get(meta + "iam/security-credentials/"), text("AmazonLightsailInstanceRole")},
		{"iam without a profile", "no role", get(meta + "iam/"), notFound},
		{"below iam without a profile", "no role", get(meta + "iam/security-credentials/"), notFound},
		{"a role that is not the instance's", "", get(meta + "iam/security-credentials/Other"), notFound},
		{"public-keys", "", get(meta + "public-keys/"), text("0=my-key\n1=second")},
		{"public-keys/0", "", get(meta + "public-keys/0/"), text("openssh-key")},
		{"public-keys/0 without a slash", "", get(meta + "public-keys/0"), text("openssh-key")},
		{"public-keys/0=name", "", get(meta + "public-keys/0=my-key"), notFound},
		{"public-keys/2", "", get(meta + "public-keys/2/"), notFound},
		{"no key at launch", "bare", get(meta + "public-keys/"), notFound},
		{"macs", "", get(macsPath), text(fixedMAC + "/")},
		{"an interface", "", get(macsPath + fixedMAC + "/"), text(fullNIC)},
		{"an interface with little", "bare", get(macsPath + fixedMAC), text(bareNIC)},
		{"an interface that is not there", "", get(macsPath + "06:00:00:00:00:00/"), notFound},
		{"ipv4-associations", "", get(macsPath + fixedMAC + "/ipv4-associations/"), text("198.18.7.8")},
		{"placement", "", get(meta + "placement/"), text("availability-zone\navailability-zone-id\ngroup-name\nhost-id\npartition-number\nregion")},
		{"placement without a group", "bare", get(meta + "placement/"), text("availability-zone\navailability-zone-id\nregion")},
		{"block-device-mapping", "", get(meta + "block-device-mapping/"), text("ami\nroot")},
		{"events", "bare", get(meta + "events/"), text("maintenance/")},
		{"events with a recommendation", "", get(meta + "events/"), text("maintenance/\nrecommendations/")},
		{"tags", "", get(meta + "tags/"), text("instance/")},
		{"tags in byte order, not as they were given", "", get(meta + "tags/instance/"), text("Also+-=.,_:@\nName\nempty")},
		{"tags that are not shown", "plain tags", get(meta + "tags/"), notFound},
		{"identity-credentials needs no role", "no role", get(meta + "identity-credentials/ec2/"), text("info\nsecurity-credentials/")},
		{"ec2-instance", "", get(meta + "identity-credentials/ec2/security-credentials/"), text("ec2-instance")},
		{"managed-ssh-keys", "", get(meta + "managed-ssh-keys/active-keys"), text("ec2-user")},
		{"dynamic ends with a line feed", "", get("/latest/dynamic/"), text("instance-identity/\n")},
		{"so does instance-identity", "", get("/latest/dynamic/instance-identity"), text("document\n")},
		{"the unlisted monitoring answers", "", get("/latest/dynamic/fws/instance-monitoring"), text("disabled")},
	})
}

func TestValues(t *testing.T) {
	const meta, nic = "/latest/meta-data/", macsPath + fixedMAC + "/"
	rows := []row{
		{"user data, byte for byte", "", get("/latest/user-data"), typed("application/octet-stream", modifiedText, "#!/bin/sh\n\x00\xff\n")},
		{"no user data", "bare", get("/latest/user-data"), notFound},
		{"an image on /dev/sda1: ami", "sda1", get(meta + "block-device-mapping/ami"), text("/dev/sda1")},
		{"an image on /dev/sda1: root", "sda1", get(meta + "block-device-mapping/root"), text("/dev/sda1")},
		{"no rebalance recommendation", "bare", get(meta + "events/recommendations/rebalance"), notFound},
		{"no interruption", "bare", get(meta + "spot/instance-action"), notFound},
		{"no termination", "bare", get(meta + "spot/termination-time"), notFound},
		{"absent prefixes", "bare", get(nic + "ipv4-prefix"), notFound},
		{"one card only", "bare", get(nic + "network-card"), notFound},
		{"a path below a leaf", "", get(meta + "ami-id/x"), notFound},
		{"a leaf with a slash", "", get(meta + "ami-id/"), text(amiID)},
		{"the zone with botocore's slash", "", get(meta + "placement/availability-zone/"), text("us-east-1a")},
		{"a tag that no path may name", "", get(meta + "tags/instance/not%20allowed"), notFound},
		{"a tag with a slash", "", get(meta + "tags/instance/a/b"), notFound},
		{"the tag _index", "", get(meta + "tags/instance/_index"), notFound},
	}
	for path, want := range map[string]string{
		"ami-manifest-path": "(unknown)", "instance-action": "none", "profile": "default-hvm",
		"metrics/vhostmd": `<?xml version="1.0" encoding="UTF-8"?>`, "services/domain": "amazonaws.com", "services/partition": "aws",
		"events/maintenance/history": "[]", "events/maintenance/scheduled": "[]", "ami-launch-index": "0", "system": "nitro",
		"instance-id": "i-0123456789abcdef0", "mac": fixedMAC, "block-device-mapping/ami": "xvda", "block-device-mapping/root": "/dev/xvda",
		"events/recommendations/rebalance": `{"noticeTime": "2020-10-27T08:22:00Z"}`,
		"spot/instance-action":             `{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`,
		"spot/termination-time":            "2017-09-18T08:22:00Z",
		"public-keys/0/openssh-key":        "ssh-ed25519 AAAA my-key\n",
		"tags/instance/Name":               "web", "tags/instance/empty": "", "tags/instance/Also+-=.,_:@": "signs",
		"managed-ssh-keys/active-keys/ec2-user": "ssh-ed25519 CCCC",
		"local-hostname":                        "ip-172-26-3-4.ec2.internal", "ipv6": "2001:db8:1a:2600::1:2",
		"autoscaling/target-lifecycle-state": "InService", "hibernation/configured": "true",
	} {
		rows = append(rows, row{path, "", get(meta + path), text(want)})
	}
	for leaf, want := range map[string]string{
		"network-card": "1", "local-ipv4s": "172.26.3.4\n172.26.3.5", "ipv4-associations/198.18.7.8": "172.26.3.4\n172.26.3.5",
		"ipv6s": "2001:db8:1a:2600::1:2", "subnet-ipv6-cidr-blocks": "2001:db8:1a:2600:0:0:0:0/64", "vpc-ipv6-cidr-blocks": "2001:db8:1a:2600:0:0:0:0/56",
		"subnet-ipv4-cidr-block": "172.26.0.0/20", "owner-id": "000029643808", "device-number": "0", "mac": fixedMAC,
		"ipv4-prefix": "172.26.3.16/28", "ipv6-prefix": "2001:db8:1a:2600:1::/80",
	} {
		rows = append(rows, row{"macs/" + leaf, "", get(nic + leaf), text(want)})
	}
	checkRows(t, rows)
}

// How a path is spelt: never a redirect, never another node than the one that is meant.
func TestPathSpellings(t *testing.T) {
	ami, listing := text(amiID), text(fullTop)
	var rows []row
	for path, want := range map[string]string{
		"//latest/meta-data/ami-id":                      ami,
		"/latest//meta-data///ami-id":                    ami,
		"/latest/./meta-data/./ami-id/.":                 ami,
		"/latest/meta-data/x/../ami-id":                  ami,
		"/latest/meta-data/ami-id/../ami-id":             ami,
		"/../../latest/meta-data/ami-id":                 ami,
		"/%2e%2e/latest/meta-data/ami-id":                ami,
		"/latest/%2E/meta-data/ami-id":                   ami,
		"/latest%2fmeta-data%2Fami-id":                   ami,
		"/%6Catest/meta-data/%61mi-id":                   ami,
		"/latest/meta-data/ami-id?":                      ami,
		"/latest/meta-data/ami-id?/../../x=%zz":          ami,
		"http://169.254.169.254/latest/meta-data/ami-id": ami,
		"http://localhost:80/latest/meta-data/ami-id?x":  ami,
		"/latest/meta-data/placement/..":                 listing,
		"/..":                                            data(launchedText, everyVersion),
		"//":                                             data(launchedText, everyVersion),
		"/?latest/meta-data":                             data(launchedText, everyVersion),
		"http://169.254.169.254":                         data(launchedText, everyVersion),
		"/latest/meta-data/ami%252did":                   notFound, // decoded once only
		"/latest/%252e%252e/latest/meta-data/ami-id":     notFound,
		"/latest/meta-data/ami-id%00":                    notFound,
		"/latest/meta-data/%c0%afami-id":                 notFound,
		"/latest/meta-data\\ami-id":                      notFound,
		"/latest/meta-data/ami-id;x=1":                   notFound,
		"/latest/meta-data/ami-id#x":                     notFound,
		"/latest/meta-data/AMI-ID":                       notFound,
		"/Latest/meta-data/ami-id":                       notFound,
		"/latest/meta-data/ami-id.":                      notFound,
		"/latest/meta-data/ami-i":                        notFound,
		"/latest/meta-data/.../ami-id":                   notFound,
		"/latest/meta-data/%20ami-id":                    notFound,
		"/meta-data/ami-id":                              notFound,
		"/2020-08-24/meta-data/ami-id":                   notFound, // documented, but not in the served list
		"/2022-07-09/":                                   notFound,
		"/1.1/":                                          notFound,
		"/tootles/instanceID/i-0123456789abcdef0":        notFound,
		"*":                       notFound,
		"latest/meta-data/ami-id": notFound,
		"https://169.254.169.254/latest/meta-data/": notFound,
		"/latest/meta-data/ami-id%":                 badRequest,
		"/latest/meta-data/ami-id%2":                badRequest,
		"/latest/meta-data/%zzami-id":               badRequest,
		"http://user@169.254.169.254/latest/":       badRequest,
	} {
		rows = append(rows, row{path, "", get(path), want})
	}
	for _, target := range []string{"*", "foo:80", "latest/meta-data/ami-id", "https://169.254.169.254/latest/meta-data/"} {
		rows = append(rows,
			row{target + " with a token", "required", get(target, tokenIs+"{TOKEN}"), left(21600, notFound)},
			row{target + " where tokens are required", "required", get(target), unauthorized})
	}
	checkRows(t, rows)
}

// Older versions show what they always did.
func TestVersionGate(t *testing.T) {
	const launch = "ami-id\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nlocal-ipv4\npublic-keys/\nreservation-id\nsecurity-groups"
	checkRows(t, []row{
		{"the oldest version", "", get("/1.0/"), text("meta-data\nuser-data")},
		{"the oldest categories", "", get("/1.0/meta-data/"), text(launch)},
		{"what came next", "", get("/2007-01-19/meta-data/"), text(strings.NewReplacer(
			"local-ipv4", "local-hostname\nlocal-ipv4\npublic-hostname\npublic-ipv4").Replace(launch))},
		{"a leaf before its version", "", get("/2022-07-09/meta-data/system"), notFound},
		{"a leaf one version early", "", get("/2021-07-15/meta-data/system"), notFound},
		{"a leaf at its version", "", get("/2022-09-24/meta-data/system"), text("nitro")},
		{"a directory before its version", "", get("/2021-01-03/meta-data/tags/"), notFound},
		{"a version that only the guide names: one listed before", "", get("/2019-10-01/meta-data/placement/region"), notFound},
		{"a version that only the guide names: the next listed", "", get("/2020-10-27/meta-data/placement/region"), text("us-east-1")},
		{"dynamic came in 2009", "", get("/2008-09-01/dynamic/"), notFound},
		{"what cloud-init pins", "", get("/2021-03-23/meta-data/instance-id"), text("i-0123456789abcdef0")},
		{"what cloud-init falls back to", "", get("/2009-04-04/meta-data/instance-id"), text("i-0123456789abcdef0")},
	})
}
