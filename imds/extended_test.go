package imds

import (
	"strings"
	"testing"

	"github.com/openimds/openimds"
)

// extendedAnswer is the document of a set with its account.
func extendedAnswer(set string) string {
	plain := strings.TrimSuffix(credentialsAnswer(set), "\n}")
	_, body, _ := strings.Cut(plain, "\r\n\r\n")
	return data(beforeUpdate, body+",\n  \"AccountId\" : \"000029643808\"\n}")
}

// SDKs that know accounts of credentials ask for the extended path first, and go on with the one of before after a
// 404: by the list of roles, or by the name of a profile that they were given.
func sdkSequences() []sequence {
	const list, extended = "/latest/meta-data/iam/security-credentials/", "/latest/meta-data/iam/security-credentials-extended/"
	const role = "AmazonLightsailInstanceRole"
	var all []sequence
	for _, sdk := range []struct{ name, agent, head, ttl string }{
		{"SDK for Java 2", "aws-sdk-java/2.33.4 md/io#sync ua/2.1", "Accept: */*\r\n", "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"},
		{"SDK for Ruby", "aws-sdk-ruby3/3.230.0", "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\nAccept: */*\r\n", "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Type: application/x-www-form-urlencoded\r\n"},
		{"SDK for JavaScript 3", "", "Connection: keep-alive\r\n", "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0\r\n"},
	} {
		agent := ""
		if sdk.agent != "" {
			agent = "User-Agent: " + sdk.agent + "\r\n"
		}
		request := func(line, header string) string {
			return line + " HTTP/1.1\r\nHost: 169.254.169.254\r\n" + sdk.head + agent + header + "\r\n"
		}
		token := turn{request("PUT /latest/api/token", sdk.ttl), issued(21600)}
		of := func(path, want string) turn {
			return turn{request("GET "+path, tokenIs+"{TOKEN}\r\n"), left(21600, want)}
		}
		all = append(all,
			sequence{sdk.name, "extended", sdk.agent, []turn{token, of(extended, text(role)), of(extended+role, extendedAnswer("ROLEV2"))},
				map[string]string{"api/token": tokenCalls(1), "meta-data/iam": v2Calls(2)}},
			sequence{sdk.name + " where it is off", "required", sdk.agent, []turn{token, of(extended, notFound), of(list, text(role)), of(list+role, credentialsAnswer("ROLEV2"))},
				map[string]string{"api/token": tokenCalls(1), "meta-data/iam": v2Calls(2)}},
			sequence{sdk.name + " with the name of a profile", "required", sdk.agent, []turn{token, of(extended+role, notFound), of(list+role, credentialsAnswer("ROLEV2"))},
				map[string]string{"api/token": tokenCalls(1), "meta-data/iam": v2Calls(1)}},
			sequence{sdk.name + " without a role", "extended without a role", sdk.agent, []turn{token, of(extended, notFound), of(list, notFound)},
				map[string]string{"api/token": tokenCalls(1), "meta-data/iam": noCounts}})
	}
	return all
}

func TestSDKsThatKnowAccounts(t *testing.T) {
	for _, s := range sdkSequences() {
		t.Run(s.name, func(t *testing.T) { s.run(t, (*wire).raw) })
	}
}

// The extended path is listed and answers where it is on, with either set; a failure and a fault are as on the path of
// before; a source that does not know the account gives none.
func TestExtendedCredentials(t *testing.T) {
	const extended = "/latest/meta-data/iam/security-credentials-extended"
	const role = extended + "/AmazonLightsailInstanceRole"
	for _, on := range []bool{false, true} {
		w := withPatience(t, false, patient(), func(_ *Config, in *openimds.Instance) { in.ExtendedCredentials = on })
		want := map[string]string{
			get("/latest/meta-data/iam/"): text("info\nsecurity-credentials/\nsecurity-credentials-extended/"),
			get(extended):                 text("AmazonLightsailInstanceRole"),
			get(extended + "/"):           text("AmazonLightsailInstanceRole"),
			get(role):                     extendedAnswer("ROLEV1"),
			get(role + "/"):               extendedAnswer("ROLEV1"),
			get(extended + "/another"):    notFound,
			get("/1.0/meta-data/iam/"):    notFound,
			get(rolePath):                 credentialsAnswer("ROLEV1"),
			"HEAD" + get(role)[3:]:        head(extendedAnswer("ROLEV1")),
			get(strings.Replace(role, "-ext", "_ext", 1)): notFound,
		}
		if !on {
			want[get("/latest/meta-data/iam/")] = text("info\nsecurity-credentials/")
			for _, path := range []string{extended, extended + "/", role, role + "/"} {
				want[get(path)] = notFound
			}
			want["HEAD"+get(role)[3:]] = head(notFound)
		}
		for send, answer := range want {
			if got := w.raw(t, send); got != answer {
				t.Errorf("on %v: %q\ngot  %q\nwant %q", on, send, got, answer)
			}
		}
	}
	failing := withPatience(t, false, patient(), func(c *Config, in *openimds.Instance) {
		c.Credentials, in.ExtendedCredentials = failingCredentials{openimds.CredentialsUnauthorized, "no"}, true
	})
	if got, want := failing.raw(t, get(role)), failing.raw(t, get(rolePath)); got != want || !strings.Contains(got, "AssumeRoleUnauthorizedAccess") {
		t.Errorf("a failure is %q, not %q", got, want)
	}
	unknown := withPatience(t, false, patient(), func(c *Config, in *openimds.Instance) {
		c.Credentials, in.ExtendedCredentials = secretCredentials{}, true
	})
	if got, want := unknown.raw(t, get(role)), unknown.raw(t, get(rolePath)); got != want {
		t.Errorf("without an account: %q, not %q", got, want)
	}
	late := serveFaulty(t, false, openimds.Faults{ExpiredCredentials: true})
	in := *late.in
	in.ExtendedCredentials = true
	if err := late.guest.Set(&in); err != nil {
		t.Fatal(err)
	}
	if got := late.raw(t, get(role)); !strings.Contains(got, `"Expiration" : "2026-03-01T11:30:00Z"`) || !strings.Contains(got, `"AccountId" : "000029643808"`) {
		t.Errorf("expired on purpose: %q", got)
	}
}
