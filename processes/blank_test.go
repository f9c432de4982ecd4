package processes

import (
	"slices"
	"strings"
	"testing"
)

// canary stands where secrets do. It has what no rule for their look finds.
const canary = "canary"

func TestBlankHides(t *testing.T) {
	const token = "AQAEAF3Yzk1eJ9rXn0pCkQvM8tBwUhL2sGdRfNoPqE7aVxSyTiZbOw=="
	const key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for _, row := range []struct {
		args   []string
		secret string
	}{
		{[]string{"curl", "-H", "X-aws-ec2-metadata-token: " + canary, "http://169.254.169.254/"}, canary},
		{[]string{"curl", "-HX-aws-ec2-metadata-token:" + canary}, canary},
		{[]string{"curl", "--header=Authorization: Bearer " + canary}, canary},
		{[]string{"curl", "-H", "Authorization: Basic " + canary}, canary},
		{[]string{"curl", "-H", "authorization: AWS4-HMAC-SHA256 Credential=x, Signature=" + canary}, canary},
		{[]string{"curl", "-H", "X-Api-Key: " + canary}, canary},
		{[]string{"curl", "-H", "Cookie: a=b; c=" + canary}, canary},
		{[]string{"curl", "-u", "me:" + canary}, canary},
		{[]string{"curl", "-ume:" + canary}, canary},
		{[]string{"/usr/bin/curl", "--user", "me:" + canary}, canary},
		{[]string{"curl", "https://me:" + canary + "@example.com/x"}, canary},
		{[]string{"git", "clone", "https://" + canary + "@example.com/x"}, canary},
		{[]string{"curl", "https://s3/x?X-Amz-Signature=" + canary + "&y=1"}, canary},
		{[]string{"curl", "https://s3/x?X-Amz-Security-Token=" + canary}, canary},
		{[]string{"app", "--password", canary}, canary},
		{[]string{"app", "--password=" + canary}, canary},
		{[]string{"app", "-db-passwd", canary}, canary},
		{[]string{"app", "--api-key", canary}, canary},
		{[]string{"app", "--apikey=" + canary}, canary},
		{[]string{"mysql", "-p" + canary}, canary},
		{[]string{"sshpass", "-p", canary, "ssh", "x"}, canary},
		{[]string{"env", "AWS_SECRET_ACCESS_KEY=" + canary, "app"}, canary},
		{[]string{"env", "DB_PASSWORD=" + canary}, canary},
		{[]string{"sh", "-c", "curl -H 'X-aws-ec2-metadata-token: " + canary + "' http://x/"}, canary},
		{[]string{"sh", "-c", `curl -H "X-aws-ec2-metadata-token: ` + canary + `" http://x/`}, canary},
		{[]string{"sh", "-c", "export TOKEN=" + canary + "; app"}, canary},
		{[]string{"sh", "-c", "app --password " + canary + " x"}, canary},
		{[]string{"sh", "-c", "app --password '" + canary + " two'"}, "two"},
		{[]string{"java", "-Ddb.pass=" + canary}, canary},
		{[]string{"java", "-DdbPass=" + canary}, canary},
		{[]string{"app", "--db-pass", canary}, canary},
		{[]string{"app", "--key", canary}, canary},
		{[]string{"plink", "-pw", canary}, canary},
		{[]string{"env", "DB_PASS=" + canary, "app"}, canary},
		{[]string{"env", "PW=" + canary, "app"}, canary},
		{[]string{"curl", "-d", "user=a&pass=" + canary}, canary},
		{[]string{"curl", "-d", `{"pass": "` + canary + `"}`}, canary},
		{[]string{"openssl", "rsa", "-passin", "pass:" + canary}, canary},
		{[]string{"openssl", "enc", "-k", canary}, canary},
		{[]string{"curl", "-su", "a:" + canary}, canary},
		{[]string{"curl", "-sSLua:" + canary}, canary},
		{[]string{"curl", "-skU", "a:" + canary}, canary},
		{[]string{"curl", "--pass", canary}, canary},
		{[]string{"curl", "--cert", "f:" + canary}, canary},
		{[]string{"curl", "-E", "f:" + canary}, canary},
		{[]string{"curl", "-x", canary + ":x@proxy:3128"}, canary},
		{[]string{"sudo", "-u", "root", "curl", "-u", "a:" + canary}, canary},
		{[]string{"timeout", "5", "/usr/bin/curl", "-su", "a:" + canary}, canary},
		{[]string{"sh", "-c", "curl -u a:" + canary + " http://x/"}, canary},
		{[]string{"sh", "-c", "x=$(curl -su 'a:" + canary + "' http://x/)"}, canary},
		{[]string{"sh", "-c", "set -e\nmysqldump -p" + canary + " db"}, canary},
		{[]string{"sudo", "sh", "-c", `bash -c "curl -su a:` + canary + ` http://x/"`}, canary},
		{[]string{"sudo", "mysql", "-uroot", "-p" + canary}, canary},
		{[]string{"sudo", "sshpass", "-p", canary, "ssh", "x"}, canary},
		{[]string{"sshpass", "-p" + canary}, canary},
		{[]string{"ldapsearch", "-xw", canary}, canary},
		{[]string{"docker", "login", "-u", "a", "-p", canary}, canary},
		{[]string{"smbclient", "//h/s", "-U", "a%" + canary}, canary},
		{[]string{"python3", "-c", `login(password="` + canary + `")`}, canary},
		{[]string{"app", `{"secretAccessKey": "` + canary + `"}`}, canary},
		{[]string{"app", token}, token},
		{[]string{"app", "x=" + token + ";"}, token},
		{[]string{"app", key}, key},
		{[]string{"app", "key:" + key}, key},
		{[]string{"app", "AKIAIOSFODNN7EXAMPLE"}, "AKIAIOSFODNN7EXAMPLE"},
		{[]string{"app", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"}, "dozjgNryP4J3jVmNHl0w5N"},
		{[]string{"app", "/x/ghp_16C7e42F292c6912E7710c838347Ae178B4a"}, "16C7e42F"},
		{[]string{"app", "d41d8cd98f00b204e9800998ecf8427e"}, "d41d8cd98f"},
	} {
		got := strings.Join(Blank(row.args), " ")
		if strings.Contains(got, row.secret) {
			t.Errorf("%q: %q", row.args, got)
		}
		if !strings.Contains(got, hidden) {
			t.Errorf("%q: %q does not say that something is hidden", row.args, got)
		}
	}
}

// What helps to find the caller is not hidden.
func TestBlankKeeps(t *testing.T) {
	for _, args := range [][]string{
		{"curl", "-s", "-H", "Accept: text/html", "http://169.254.169.254/latest/meta-data/iam/security-credentials/"},
		{"curl", "-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 21600", "http://169.254.169.254/latest/dynamic/instance-identity/document"},
		{"/usr/lib/jvm/java-17-openjdk-amd64/bin/java", "-jar", "/opt/app/lib/Application-1.2.3-SNAPSHOT.jar", "-Xmx512m"},
		{"python3", "/usr/local/lib/python3.12/site-packages/awscli/__main__.py", "s3", "ls"},
		{"/usr/bin/amazon-cloudwatch-agent", "-config", "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.toml"},
		{"ssh", "-p", "2222", "host"},
		{"nc", "fd00:ec2::254", "80"},
		{"curl", "http://169.254.169.254/latest/meta-data/public-keys/0/openssh-key"},
		{"curl", "-sX", "PUT", "-so", "/dev/null", "-x", "proxy:3128", "http://169.254.169.254/latest/"},
		{"app", "--bypass=on", "--monkey", "x", "--compass=n", "--keyboard", "us"},
		{"mysql", "-p", "database"},
		{"sudo", "-u", "web", "python3", "app.py"},
		{"sh", "-c", "curl -s 'http://169.254.169.254/latest/meta-data/' | grep -u \"a b\"  it's"},
	} {
		if got := Blank(args); !slices.Equal(got, args) {
			t.Errorf("%q became %q", args, got)
		}
	}
}

func FuzzBlank(f *testing.F) {
	f.Add("curl", "-u", "a:b")
	f.Add("app", "--token", "x")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		once := Blank([]string{a, b, c})
		if len(once) != 3 {
			t.Fatalf("%q", once)
		}
		if secretFlag.MatchString(b) && c != "" && once[2] != hidden {
			t.Errorf("%q after %q", once[2], b)
		}
	})
}
