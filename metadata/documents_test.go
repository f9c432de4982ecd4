package metadata_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// lines joins the lines of a document, which ends without a line feed.
func lines(l ...string) string { return strings.Join(l, "\n") }

func TestDocuments(t *testing.T) {
	for _, tt := range []struct{ name, path, want string }{
		{"plain", "latest/meta-data/iam/info", lines(
			`{`,
			`  "Code" : "Success",`,
			`  "LastUpdated" : "2026-03-01T11:30:00Z",`,
			`  "InstanceProfileArn" : "arn:aws:iam::437521954154:instance-profile/AmazonLightsailInstanceRole",`,
			`  "InstanceProfileId" : "AIPAFIXED"`,
			`}`)},
		{"plain", "latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole", lines(
			`{`,
			`  "Code" : "Success",`,
			`  "LastUpdated" : "2026-03-01T11:30:00Z",`,
			`  "Type" : "AWS-HMAC",`,
			`  "AccessKeyId" : "ASIAROLEV2",`,
			`  "SecretAccessKey" : "secret/ROLEV2",`,
			`  "Token" : "token+ROLEV2==",`,
			`  "Expiration" : "2026-03-01T17:47:01Z"`,
			`}`)},
		{"plain", "latest/meta-data/identity-credentials/ec2/info", lines(
			`{`,
			`  "Code" : "Success",`,
			`  "LastUpdated" : "2026-03-01T11:30:00Z",`,
			`  "AccountId" : "437521954154"`,
			`}`)},
		{"plain", "latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance", lines(
			`{`,
			`  "Code" : "Success",`,
			`  "LastUpdated" : "2026-03-01T11:30:00Z",`,
			`  "Type" : "AWS-HMAC",`,
			`  "AccessKeyId" : "ASIAIDENTITY",`,
			`  "SecretAccessKey" : "secret/IDENTITY",`,
			`  "Token" : "token+IDENTITY==",`,
			`  "Expiration" : "2026-03-01T17:47:01Z"`,
			`}`)},
		{"plain", "latest/dynamic/instance-identity/document", lines(
			`{`,
			`  "accountId" : "437521954154",`,
			`  "architecture" : "x86_64",`,
			`  "availabilityZone" : "eu-central-1a",`,
			`  "billingProducts" : null,`,
			`  "devpayProductCodes" : null,`,
			`  "marketplaceProductCodes" : null,`,
			`  "imageId" : "ami-0aaaabbbbccccdddd",`,
			`  "instanceId" : "i-0123456789abcdef0",`,
			`  "instanceType" : "t3.nano",`,
			`  "kernelId" : null,`,
			`  "pendingTime" : "2026-03-01T10:20:30Z",`,
			`  "privateIp" : "172.26.3.4",`,
			`  "ramdiskId" : null,`,
			`  "region" : "eu-central-1",`,
			`  "version" : "2017-09-30"`,
			`}`)},
		{"full", "latest/dynamic/instance-identity/document", lines(
			`{`,
			`  "accountId" : "437521954154",`,
			`  "architecture" : "x86_64",`,
			`  "availabilityZone" : "eu-central-1a",`,
			`  "billingProducts" : null,`,
			`  "devpayProductCodes" : null,`,
			`  "marketplaceProductCodes" : [ "code1", "code2" ],`,
			`  "imageId" : "ami-0aaaabbbbccccdddd",`,
			`  "instanceId" : "i-0123456789abcdef0",`,
			`  "instanceType" : "t3.nano",`,
			`  "kernelId" : "aki-1",`,
			`  "pendingTime" : "2026-03-01T10:20:30Z",`,
			`  "privateIp" : "172.26.3.4",`,
			`  "ramdiskId" : "ari-1",`,
			`  "region" : "eu-central-1",`,
			`  "version" : "2017-09-30"`,
			`}`)},
		{"full", "latest/meta-data/events/maintenance/scheduled", lines(
			`[`,
			`  {`,
			`    "NotBefore" : "21 Jan 2019 09:00:43 GMT",`,
			`    "Code" : "system-reboot",`,
			`    "Description" : "scheduled reboot",`,
			`    "EventId" : "instance-event-0d59937288b749b32",`,
			`    "NotAfter" : "21 Jan 2019 09:17:23 GMT",`,
			`    "State" : "active"`,
			`  }`,
			`]`)},
		{"full", "latest/meta-data/events/maintenance/history", lines(
			`[`,
			`  {`,
			`    "NotBefore" : "2 Jan 2019 09:00:43 GMT",`,
			`    "Code" : "instance-stop",`,
			`    "Description" : "[Canceled] \"quoted\"",`,
			`    "EventId" : "instance-event-2",`,
			`    "NotBeforeDeadline" : "3 Jan 2019 00:00:00 GMT",`,
			`    "State" : "canceled"`,
			`  },`,
			`  {`,
			`    "NotBefore" : "31 Dec 2018 23:59:59 GMT",`,
			`    "Code" : "system-reboot",`,
			`    "Description" : "[Completed] scheduled reboot",`,
			`    "EventId" : "instance-event-3",`,
			`    "State" : "completed"`,
			`  }`,
			`]`)},
	} {
		v := fixtureNamed(t, tt.name)
		v.Instance.ImageID = "ami-0aaaabbbbccccdddd"
		v.Instance.Role.ProfileID = "AIPAFIXED"
		got := get(t, v, tt.path)
		if got != tt.want {
			t.Errorf("%s: GET %s:\n%s\nwant\n%s", tt.name, tt.path, got, tt.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: GET %s is not JSON", tt.name, tt.path)
		}
	}
}

// Recorded documents have 467 to 474 bytes, and iam/info had 200 in one recording.
func TestDocumentLengths(t *testing.T) {
	v := fixtureNamed(t, "plain")
	if n := len(get(t, v, "latest/dynamic/instance-identity/document")); n < 467 || n > 480 {
		t.Errorf("the identity document has %d bytes", n)
	}
	v.Instance.Role = &openimds.Role{ProfileARN: "arn:aws:iam::123456789012:instance-profile/some-profile-name", ProfileID: "AIPA" + strings.Repeat("X", 17)}
	// A profile's ARN of 60 characters and its id of 21.
	if n := len(get(t, v, "latest/meta-data/iam/info")); n != 204 {
		t.Errorf("iam/info has %d bytes", n)
	}
}

func TestIPv6OnlyHasNoPrivateIP(t *testing.T) {
	if got := get(t, fixtureNamed(t, "ipv6-only"), "latest/dynamic/instance-identity/document"); !strings.Contains(got, `"privateIp" : null,`) {
		t.Error(got)
	}
}

// The document is what gets signed: it may not change from one request to the next.
func TestIdentityDocumentIsConstant(t *testing.T) {
	v := fixtureNamed(t, "full")
	before := get(t, v, "latest/dynamic/instance-identity/document")
	v.Now, v.V2 = v.Now.Add(100*time.Hour), false
	v.Instance.ModifiedAt = v.Now
	if after := get(t, v, "latest/dynamic/instance-identity/document"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// Requests with and without a token get sets of their own.
func TestRoleDelivery(t *testing.T) {
	v := fixtureNamed(t, "plain")
	for v2, id := range map[bool]string{false: `"ASIAROLEV1"`, true: `"ASIAROLEV2"`} {
		v.V2 = v2
		if got := get(t, v, "latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole"); !strings.Contains(got, id) {
			t.Errorf("with token %v: %s", v2, got)
		}
	}
}

func TestCredentialFailures(t *testing.T) {
	failure := func(code, message string) source {
		c := openimds.RoleCredentials{Code: code, Message: message, LastUpdated: time.Date(2026, 3, 1, 11, 30, 0, 0, time.UTC), AccessKeyID: "ASIALEFTOVER"}
		return source{openimds.RoleForV2: c}
	}
	const role = "latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole"
	v := fixtureNamed(t, "plain")

	v.Credentials = failure("AssumeRoleUnauthorizedAccess", `EC2 cannot assume the role R.  Please see "documentation".`)
	want := lines(
		`{`,
		`  "Code" : "AssumeRoleUnauthorizedAccess",`,
		`  "Message" : "EC2 cannot assume the role R.  Please see \"documentation\".",`,
		`  "LastUpdated" : "2026-03-01T11:30:00Z"`,
		`}`)
	if got := get(t, v, role); got != want {
		t.Errorf("role:\n%s\nwant\n%s", got, want)
	}
	if got := get(t, v, "latest/meta-data/iam/info"); !strings.Contains(got, `"Code" : "Success"`) {
		t.Errorf("a role that cannot be assumed takes iam/info along:\n%s", got)
	}

	v.Credentials = failure("InstanceProfileNotFound", "gone")
	want = lines(
		`{`,
		`  "Code" : "InstanceProfileNotFound",`,
		`  "Message" : "gone",`,
		`  "LastUpdated" : "2026-03-01T11:30:00Z"`,
		`}`)
	for _, path := range []string{role, "latest/meta-data/iam/info"} {
		if got := get(t, v, path); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
	}
}

// What an operator writes into a name must not break out of its JSON string.
func TestJSONStrings(t *testing.T) {
	v := fixtureNamed(t, "plain")
	odd := "\"\\\x00\x1f\x7f\n<&>\u2028é😀\xff"
	v.Instance.Role.ProfileARN = odd
	var info struct{ InstanceProfileArn string }
	if err := json.Unmarshal([]byte(get(t, v, "latest/meta-data/iam/info")), &info); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToValidUTF8(odd, "\ufffd"); info.InstanceProfileArn != want {
		t.Errorf("read back %q, want %q", info.InstanceProfileArn, want)
	}
}

func TestModified(t *testing.T) {
	v := fixtureNamed(t, "full")
	updated := time.Date(2026, 3, 1, 11, 30, 0, 0, time.UTC)
	for path, want := range map[string]time.Time{
		"":                          launched,
		"latest":                    modified,
		"latest/meta-data":          modified,
		"latest/meta-data/ami-id":   modified,
		"latest/user-data":          modified,
		"latest/meta-data/iam/info": updated,
		"latest/meta-data/iam/security-credentials":                                   modified,
		"latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole":       updated.Add(-2 * time.Second),
		"latest/meta-data/identity-credentials/ec2/info":                              updated,
		"latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance": updated.Add(-2 * time.Second),
		"latest/dynamic/instance-identity/document":                                   launched,
		"latest/dynamic/instance-identity/pkcs7":                                      launched,
	} {
		it, ok := metadata.Get(v, path)
		if !ok || !it.Modified.Equal(want) {
			t.Errorf("GET %s: modified %v, want %v", path, it.Modified, want)
		}
	}
	v.Now = launched.Add(-time.Hour) // a clock that was set back
	for _, p := range crawl(t, v, "latest") {
		if p.item.Modified.After(v.Now) {
			t.Errorf("GET %s: modified %v, which is to come", p.path, p.item.Modified)
		}
	}
}
