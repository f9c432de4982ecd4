package imds

import "testing"

func TestIAMDocuments(t *testing.T) {
	const infoPath, identityInfo = "/latest/meta-data/iam/info", "/latest/meta-data/identity-credentials/ec2/info"
	const info = `{
  "Code" : "Success",
  "LastUpdated" : "2026-03-01T11:30:00Z",
  "InstanceProfileArn" : "arn:aws:iam::000029643808:instance-profile/AmazonLightsailInstanceRole",
  "InstanceProfileId" : "AIPAABCDEFGHJKLMN2345"
}`
	const unauthorizedRole = `{
  "Code" : "AssumeRoleUnauthorizedAccess",
  "Message" : "EC2 cannot assume the role X.  Please see documentation at <url>.",
  "LastUpdated" : "2026-03-01T11:30:00Z"
}`
	const lostProfile = `{
  "Code" : "InstanceProfileNotFound",
  "Message" : "Instance Profile with Id AIPA cannot be found.  Please see <url>.",
  "LastUpdated" : "2026-03-01T11:30:00Z"
}`
	checkRows(t, []row{
		{"the role's credentials", "", get(rolePath), credentialsAnswer("ROLEV1")},
		{"the role's credentials with a slash", "", get(rolePath + "/"), credentialsAnswer("ROLEV1")},
		{"the profile", "", get(infoPath), data(updatedText, info)},
		{"the profile with a token", "required", get(infoPath, tokenIs+"{TOKEN}"), left(21600, data(updatedText, info))},
		{"the instance's own account", "", get(identityInfo), data(updatedText, `{
  "Code" : "Success",
  "LastUpdated" : "2026-03-01T11:30:00Z",
  "AccountId" : "000029643808"
}`)},
		{"the instance's own credentials", "bare", get(identityPath), notFound},
		{"a role that may not be assumed is a 200", "unauthorized", get(rolePath), data(beforeUpdate, unauthorizedRole)},
		{"its profile is there all the same", "unauthorized", get(infoPath), data(updatedText, info)},
		{"a profile that is gone is a 200", "no profile", get(infoPath), data(updatedText, lostProfile)},
		{"its role's name is listed", "no profile", get("/latest/meta-data/iam/security-credentials/"), text("AmazonLightsailInstanceRole")},
		{"no role, no profile", "no role", get(infoPath), notFound},
	})
}

// The document's signatures are not built yet: what cannot answer is not listed, or cloud-init would
// throw the whole tree away.
func TestIdentityDocument(t *testing.T) {
	const dir = "/latest/dynamic/instance-identity"
	const document = `{
  "accountId" : "000029643808",
  "architecture" : "x86_64",
  "availabilityZone" : "us-east-1a",
  "billingProducts" : null,
  "devpayProductCodes" : null,
  "marketplaceProductCodes" : null,
  "imageId" : "ami-0123456789abcdef0",
  "instanceId" : "i-0123456789abcdef0",
  "instanceType" : "t3.nano",
  "kernelId" : null,
  "pendingTime" : "2026-03-01T10:20:30Z",
  "privateIp" : "172.26.3.4",
  "ramdiskId" : null,
  "region" : "us-east-1",
  "version" : "2017-09-30"
}`
	rows := []row{
		{"the document", "", get(dir + "/document"), data(launchedText, document)},
		{"the document with a token", "required", get(dir+"/document", tokenIs+"{TOKEN}"), left(21600, data(launchedText, document))},
		{"the oldest version that has it", "", get("/2009-04-04/dynamic/instance-identity/document"), data(launchedText, document)},
		{"the listing", "", get(dir + "/"), text("document\n")},
		{"the listing as cloud-init asks for it", "", get("/2021-03-23/dynamic/instance-identity"), text("document\n")},
	}
	for _, name := range []string{"signature", "pkcs7", "rsa2048", "dsa2048"} {
		rows = append(rows, row{name, "", get(dir + "/" + name), notFound},
			row{name + " with a token", "required", get(dir+"/"+name, tokenIs+"{TOKEN}"), left(21600, notFound)})
	}
	checkRows(t, rows)
}
