package imds

import "testing"

const (
	amiID    = "ami-0123456789abcdef0"
	amiPath  = "/latest/meta-data/ami-id"
	noSuch   = "/latest/meta-data/no-such-thing"
	rolePath = "/latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole"
)

// Who may GET what: the header of a session, and what stands in its way.
func TestAuthorisation(t *testing.T) {
	with := func(token string) string { return get(amiPath, tokenIs+token) }
	checkRows(t, []row{
		{"optional: no token", "", get(amiPath), text(amiID)},
		{"optional: a token", "", with("{TOKEN}"), left(21600, text(amiID))},
		{"optional: what is left of a session", "", with("{OLD}"), left(21583, text(amiID))},
		{"optional: the last second", "", with("{LAST}"), left(1, text(amiID))},
		{"optional: the second after", "", with("{LATE}"), unauthorized},
		{"optional: garbage", "", with("garbage"), unauthorized},
		{"optional: another instance's token", "", with("{FOREIGN}"), unauthorized},
		{"optional: a token of the same key and another id", "", with("{NAMESAKE}"), unauthorized},
		{"optional: an empty token is none", "", with(""), text(amiID)},
		{"optional: a blank token is none", "", with(" \t "), text(amiID)},
		{"optional: no blank and no token", "", get(amiPath, "X-aws-ec2-metadata-token:"), text(amiID)},
		{"optional: an empty token and X-Forwarded-For", "", get(amiPath, tokenIs, "X-Forwarded-For: 10.0.0.1"), text(amiID)},
		{"optional: an empty token gets the credentials of version 1", "", get(rolePath, tokenIs), credentialsAnswer("ROLEV1")},
		{"optional: an empty token where nothing is", "", get(noSuch, tokenIs), notFound},
		{"optional: two empty tokens", "", get(amiPath, tokenIs, tokenIs), unauthorized},
		{"optional: an empty token before a good one", "", get(amiPath, tokenIs, tokenIs+"{TOKEN}"), unauthorized},
		{"optional: a good token before an empty one", "", get(amiPath, tokenIs+"{TOKEN}", tokenIs), unauthorized},
		{"optional: a token of quotes", "", with(`""`), unauthorized},
		{"optional: a token in the query", "", get(amiPath + "?X-aws-ec2-metadata-token={TOKEN}"), text(amiID)},
		{"optional: X-Forwarded-For without a token", "", get(amiPath, "X-Forwarded-For: 10.0.0.1"), text(amiID)},
		{"optional: X-Forwarded-For with a token", "", get(amiPath, tokenIs+"{TOKEN}", "X-Forwarded-For: 10.0.0.1"), forbidden},

		{"required: no token", "required", get(amiPath), unauthorized},
		{"required: no token at the root", "required", get("/"), unauthorized},
		{"required: no token where nothing is", "required", get(noSuch), unauthorized},
		{"required: no token at a directory", "required", get("/latest/meta-data/"), unauthorized},
		{"required: no token for user data", "required", get("/latest/user-data"), unauthorized},
		{"required: no token for an old version", "required", get("/1.0/meta-data/ami-id"), unauthorized},
		{"required: a token", "required", with("{TOKEN}"), left(21600, text(amiID))},
		{"required: what is left of a session", "required", with("{OLD}"), left(21583, text(amiID))},
		{"required: the second after", "required", with("{LATE}"), unauthorized},
		{"required: garbage", "required", with("garbage"), unauthorized},
		{"required: another instance's token", "required", with("{FOREIGN}"), unauthorized},
		{"required: a token of the same key and another id", "required", with("{NAMESAKE}"), unauthorized},
		{"required: an empty token", "required", with(""), unauthorized},
		{"required: a blank token", "required", with("   "), unauthorized},
		{"required: an empty token and X-Forwarded-For", "required", get(amiPath, tokenIs, "X-Forwarded-For: 10.0.0.1"), unauthorized},
		{"required: a token in the query", "required", get(amiPath + "?token={TOKEN}"), unauthorized},
		{"required: a token in Authorization", "required", get(amiPath, "Authorization: Bearer {TOKEN}"), unauthorized},
		{"required: a token in a cookie", "required", get(amiPath, "Cookie: X-aws-ec2-metadata-token={TOKEN}"), unauthorized},
		{"required: a token in somebody else's header", "required", get(amiPath, "X-metadata-token: {TOKEN}"), unauthorized},
		{"required: X-Forwarded-For without a token", "required", get(amiPath, "X-Forwarded-For: 10.0.0.1"), unauthorized},
		{"required: X-Forwarded-For with a token", "required", get(amiPath, tokenIs+"{TOKEN}", "X-Forwarded-For:"), forbidden},

		{"the header's name in lower case", "required", get(amiPath, "x-aws-ec2-metadata-token: {TOKEN}"), left(21600, text(amiID))},
		{"the header's name in capitals", "required", get(amiPath, "X-AWS-EC2-METADATA-TOKEN:{TOKEN}"), left(21600, text(amiID))},
		{"blanks around the token", "required", get(amiPath, tokenIs+" \t{TOKEN} \t"), left(21600, text(amiID))},
		{"two tokens", "", get(amiPath, tokenIs+"{TOKEN}", tokenIs+"{TOKEN}"), unauthorized},
		{"a good token before a bad one", "", get(amiPath, tokenIs+"{TOKEN}", tokenIs+"bad"), unauthorized},
		{"a bad token before a good one", "", get(amiPath, tokenIs+"bad", tokenIs+"{TOKEN}"), unauthorized},
		{"two tokens in one header", "", with("{TOKEN}, {TOKEN}"), unauthorized},
		{"a TTL on a GET is nothing", "", get(amiPath, ttlIs+"60"), text(amiID)},
		{"404 of version 1", "", get(noSuch), notFound},
		{"404 of version 2 says what is left", "", get(noSuch, tokenIs+"{OLD}"), left(21583, notFound)},
	})
}

func TestHead(t *testing.T) {
	of := func(path string, headers ...string) string { return lines("HEAD "+path+" HTTP/1.1", headers...) }
	checkRows(t, []row{
		{"a value", "", of(amiPath), head(text(amiID))},
		{"a value with a token", "required", of(amiPath, tokenIs+"{TOKEN}"), head(left(21600, text(amiID)))},
		{"a listing", "", of("/latest"), head(text("dynamic\nmeta-data\nuser-data"))},
		{"what EC2 Instance Connect asks", "", of("/latest/meta-data/managed-ssh-keys/active-keys/ec2-user/"), head(text("ssh-ed25519 CCCC"))},
		{"a user without a key", "", of("/latest/meta-data/managed-ssh-keys/active-keys/root/"), head(notFound)},
		{"no keys at all", "bare", of("/latest/meta-data/managed-ssh-keys/"), head(notFound)},
		{"no token where tokens are required", "required", of(amiPath), unauthorized},
		{"a bad token", "", of(amiPath, tokenIs+"bad"), unauthorized},
		{"the endpoint is off", "disabled", of(amiPath), forbidden},
		{"an expectation", "", of(amiPath, "Expect: 100-continue"), head(expectationFailed)},
	})
}

func TestEndpointOff(t *testing.T) {
	var rows []row
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
		for _, path := range []string{"/", "/latest", amiPath, "/latest/user-data", rolePath, tokenPath, "/2021-03-23/api/token", noSuch, "/%zz"} {
			rows = append(rows, row{method + " " + path, "disabled", lines(method+" "+path+" HTTP/1.1", tokenIs+"{TOKEN}", ttlIs+"60"), forbidden})
		}
	}
	rows = append(rows,
		row{"no token", "disabled", get(amiPath), forbidden},
		row{"a bad token", "disabled", get(amiPath, tokenIs+"bad"), forbidden},
		row{"an expectation", "disabled", put(tokenPath, ttlIs+"60", "Expect: 100-continue"), forbidden},
		row{"HTTP/1.0", "disabled", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.0" + forbidden[len("HTTP/1.0"):]},
	)
	checkRows(t, rows)
}

// A request's version decides which of the role's two sets it gets.
func TestTwoSetsOfCredentials(t *testing.T) {
	role := func(set string) string { return credentialsAnswer("ROLE" + set) }
	checkRows(t, []row{
		{"version 1", "", get(rolePath), role("V1")},
		{"version 2", "", get(rolePath, tokenIs+"{TOKEN}"), left(21600, role("V2"))},
		{"version 2 where it is required", "required", get(rolePath, tokenIs+"{TOKEN}"), left(21600, role("V2"))},
		{"the instance's own set has no versions", "", get(identityPath), credentialsAnswer("IDENTITY")},
		{"the instance's own set with a token", "", get(identityPath, tokenIs+"{TOKEN}"), left(21600, credentialsAnswer("IDENTITY"))},
	})
}

const identityPath = "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance"

func credentialsAnswer(set string) string {
	return data(beforeUpdate, `{
  "Code" : "Success",
  "LastUpdated" : "2026-03-01T11:30:00Z",
  "Type" : "AWS-HMAC",
  "AccessKeyId" : "ASIA`+set+`",
  "SecretAccessKey" : "secret/`+set+`",
  "Token" : "token+`+set+`==",
  "Expiration" : "2026-03-01T17:47:01Z"
}`)
}
