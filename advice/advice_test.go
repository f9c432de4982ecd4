package advice_test

import (
	"strings"
	"testing"

	"github.com/openimds/openimds/advice"
)

func TestParse(t *testing.T) {
	for agent, want := range map[string]string{
		"curl/8.5.0":                                     "curl 8.5.0",
		"Wget/1.21.3":                                    "Wget 1.21.3",
		"Wget/1.21.3 (linux-gnu)":                        "Wget 1.21.3 (Linux)",
		"Cloud-Init/24.1.3":                              "cloud-init 24.1.3 (Python)",
		"Boto/2.49.0 Python/2.7.18":                      "boto 2 2.49.0 (Python 2.7.18)",
		"Go-http-client/1.1":                             "Go's net/http 1.1 (Go)",
		"python-requests/2.32.3":                         "python-requests 2.32.3 (Python)",
		"Python-urllib/2.7":                              "Python's urllib 2.7 (Python)",
		"Python/3.11 aiohttp/3.9.1":                      "aiohttp 3.9.1 (Python 3.11)",
		"Java/1.8.0_292":                                 "Java's HttpURLConnection 1.8.0_292 (Java 1.8.0_292)",
		"systemd-imdsd/261":                              "systemd-imdsd 261",
		"Ruby":                                           "Ruby's Net::HTTP (Ruby)",
		"Datadog Agent/7.50.1":                           "Datadog Agent 7.50.1",
		"datadog-agent/7.50.1":                           "Datadog Agent 7.50.1",
		"aws-sdk-ruby3/3.191.0":                          "AWS SDK for Ruby 3.191.0 (Ruby)",
		"aws-sdk-java/1.11.600":                          "AWS SDK for Java 1.11.600 (Java)",
		"aws-sdk-java/2.25.1 Linux/6.1":                  "AWS SDK for Java 2.x 2.25.1 (Java, Linux 6.1)",
		"aws-sdk-go/1.44.299 (go1.20.5; windows; amd64)": "AWS SDK for Go 1.44.299 (Go 1.20.5, Windows)",
		"aws-sdk-go/1.44.299 (go1.20.5; linux; amd64) amazon-ssm-agent/3.2.1":                                          "SSM Agent 3.2.1 (Go 1.20.5, Linux)",
		"aws-sdk-go-v2/1.25.0 os/linux lang/go#1.22.0 md/GOOS#linux md/GOARCH#amd64 ft/ec2-imds":                       "AWS SDK for Go v2 1.25.0 (Go 1.22.0, Linux)",
		"Boto3/1.34.46 md/Botocore#1.34.46 ua/2.0 os/linux#6.1.79 md/arch#x86_64 lang/python#3.11.6 md/pyimpl#CPython": "AWS SDK for Python (Boto3) 1.34.46 (Python 3.11.6, Linux 6.1.79)",
		"Boto3/1.9.42 Python/2.7.12 Linux/4.4.0 Botocore/1.12.42":                                                      "AWS SDK for Python (Boto3) 1.9.42 (Python 2.7.12, Linux 4.4.0)",
		"aws-cli/1.16.100 Python/2.7.16 Linux/4.14.181 botocore/1.12.90":                                               "AWS CLI 1.16.100 (Python 2.7.16, Linux 4.14.181)",
		"aws-sdk-nodejs/2.266.1 linux/v12.18.3":                                                                        "AWS SDK for JavaScript 2.266.1 (Node.js 12.18.3, Linux)",
		"aws-sdk-java/1.11.678 Linux/4.14 OpenJDK_64-Bit_Server_VM/25.2 java/1.8.0_232":                                "AWS SDK for Java 1.11.678 (Java 1.8.0_232, Linux 4.14)",
		"aws-sdk-dotnet-coreclr/3.7.101.44 aws-sdk-dotnet-core/3.7.103.6 .NET_Core/6.0.11 OS/Microsoft_Windows":        "AWS SDK for .NET 3.7.101.44 (.NET 6.0.11)",
		"Apache-HttpClient/4.5.13 (Java/11.0.2)":                                                                       "Apache HttpClient 4.5.13 (Java 11.0.2)",
		"MinIO (linux; amd64) minio-go/v7.0.5 mc/DEVELOPMENT":                                                          "minio-go 7.0.5 (Go, Linux)",
		"Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.20348.2760":                            "PowerShell 5.1.20348.2760 (Windows 10.0)",
		"Mozilla/5.0 (Windows NT 10.0; Microsoft Windows 10.0.20348; en-US) PowerShell/7.4.6":                          "PowerShell 7.4.6 (Windows 10.0)",
		"":              "",
		"something":     "",
		"Mozilla/5.0 x": "",
		"(curl/8":       "",
		"/8":            "",
	} {
		if got := advice.Parse(agent).String(); got != want {
			t.Errorf("%q\n is %q\nnot %q", agent, got, want)
		}
	}
}

func TestFor(t *testing.T) {
	for name, c := range map[string]struct {
		seen advice.Seen
		want string // codes
		text string
	}{
		"done with it":  {advice.Seen{UserAgent: "aws-sdk-go/1.1"}, "", ""},
		"an early SDK":  {advice.Seen{UserAgent: "Boto3/1.12.5 Python/3", WithoutToken: true}, "Upgrade", "update AWS SDK for Python (Boto3) 1.12.5 to 1.12.6 or later"},
		"the first one": {advice.Seen{UserAgent: "Boto3/1.12.6 Python/3", WithoutToken: true}, "FindFallback", "Boto3) 1.12.6 knows IMDSv2 and yet"},
		"two digits":    {advice.Seen{UserAgent: "Boto3/1.9.99", WithoutToken: true}, "Upgrade", "1.9.99"},
		"no version":    {advice.Seen{UserAgent: "Boto3", WithoutToken: true}, "CheckVersion", "1.12.6"},
		"other numbers": {advice.Seen{UserAgent: "aws-sdk-dotnet-core/3.3.1.0", WithoutToken: true}, "CheckVersion", "3.3.634.1"},
		"both of Java":  {advice.Seen{UserAgent: "aws-sdk-java/2.10.20", WithoutToken: true}, "Upgrade", "2.10.21"},
		"never":         {advice.Seen{UserAgent: "Boto/2.49.0", WithoutToken: true}, "Replace", "boto3"},
		"cloud-init":    {advice.Seen{UserAgent: "Cloud-Init/18.3-9-g2e62cb8a-0ubuntu1", WithoutToken: true}, "Upgrade", "19.4"},
		"a library":     {advice.Seen{UserAgent: "Go-http-client/1.1", WithoutToken: true}, "ChangeProgram", "minio-go before 7.0.11"},
		"nobody knows":  {advice.Seen{UserAgent: "in-house", WithoutToken: true}, "FindProgram", "find the program"},
		"only its file": {advice.Seen{UserAgent: "in-house", Executable: "/srv/app", WithoutToken: true}, "FindProgram", "update this program"},
		"nothing said":  {advice.Seen{WithoutToken: true}, "FindProgram", "find the program"},
		"curl":          {advice.Seen{UserAgent: "curl/8.5.0", WithoutToken: true}, "Rewrite", `; curl -H "X-aws-ec2-metadata-token: $TOKEN" -s http://169.254.169.254/latest/meta-data/`},
		"curl's own line": {advice.Seen{UserAgent: "curl/8", Arguments: []string{"curl", "-fs", "http://[fd00:ec2::254]/latest/user-data?it's", "-o", "a b"}, WithoutToken: true}, "Rewrite",
			`TOKEN=$(curl -s -X PUT 'http://[fd00:ec2::254]/latest/api/token' -H "X-aws-ec2-metadata-token-ttl-seconds: 300"); curl -H "X-aws-ec2-metadata-token: $TOKEN" -fs 'http://[fd00:ec2::254]/latest/user-data?it'\''s' -o 'a b'`},
		"wget":                       {advice.Seen{UserAgent: "Wget/1.21", Arguments: []string{"wget", "-qO-", "http://169.254.169.254/latest/user-data"}, WithoutToken: true}, "Rewrite", `; wget --header="X-aws-ec2-metadata-token: $TOKEN" -qO- http://169.254.169.254/latest/user-data`},
		"PowerShell":                 {advice.Seen{UserAgent: "x WindowsPowerShell/5.1", WithoutToken: true}, "Rewrite", "1.3.2002730"},
		"a program behind a library": {advice.Seen{UserAgent: "Go-http-client/1.1", Executable: "/usr/local/bin/minio", WithoutToken: true}, "CheckVersion", "minio-go"},
		"a script behind a library":  {advice.Seen{UserAgent: "python-requests/2", Executable: "/usr/bin/python3.11", Arguments: []string{"/usr/bin/python3", "/usr/bin/cloud-init", "init"}, WithoutToken: true}, "CheckVersion", "19.4"},
		"a program with an SDK":      {advice.Seen{UserAgent: "aws-sdk-go/1.20.0", Executable: "/usr/bin/curl", WithoutToken: true}, "Upgrade", "1.25.38"},
		"not its name":               {advice.Seen{UserAgent: "Go-http-client/1.1", Executable: "/srv/app", Arguments: []string{"app", "mc"}, WithoutToken: true}, "ChangeProgram", ""},
		"behind a hop":               {advice.Seen{UserAgent: "Boto3/1.34.0", WithoutToken: true, Lost: &advice.Lost{HopLimit: 1, Needed: 2, Current: 1}}, "RaiseHopLimit", "raise the hop limit to 2: with 1,"},
		"behind some hops":           {advice.Seen{UserAgent: "Boto3/1.34.0", Lost: &advice.Lost{HopLimit: 1, Current: 1}}, "RaiseHopLimit", "above 1"},
		"raised":                     {advice.Seen{UserAgent: "Boto3/1.34.0", WithoutToken: true, Lost: &advice.Lost{HopLimit: 1, Needed: 2, Current: 2}}, "FindFallback", ""},
		"lost for another reason":    {advice.Seen{UserAgent: "Boto3/1.34.0", Lost: &advice.Lost{HopLimit: 2, Needed: 2, Current: 2}}, "", ""},
		"perhaps behind a hop":       {advice.Seen{UserAgent: "curl/8.5.0", WithoutToken: true, Unsure: true, Lost: &advice.Lost{HopLimit: 1, Needed: 2, Current: 1}}, "RaiseHopLimit Rewrite", "if it is this that asks for tokens there, raise the hop limit to 2"},
		"perhaps, and raised":        {advice.Seen{UserAgent: "curl/8.5.0", WithoutToken: true, Unsure: true, Lost: &advice.Lost{HopLimit: 1, Needed: 2, Current: 2}}, "Rewrite", ""},
		"through a proxy":            {advice.Seen{UserAgent: "Boto3/1.34.0", WithoutToken: true, Forwarded: true}, "StopForwarding", "X-Forwarded-For"},
		"through a proxy and a hop":  {advice.Seen{UserAgent: "Boto3/1.34.0", Forwarded: true, Lost: &advice.Lost{HopLimit: 1, Needed: 3, Current: 1}}, "RaiseHopLimit StopForwarding", ""},
	} {
		var codes, texts []string
		for _, a := range advice.For(c.seen) {
			codes, texts = append(codes, string(a.Code)), append(texts, a.Text)
			if strings.ContainsAny(a.Text, "\n\t") || a.Text == "" {
				t.Errorf("%s: no line: %q", name, a.Text)
			}
		}
		if got := strings.Join(codes, " "); got != c.want || !strings.Contains(strings.Join(texts, "\n"), c.text) {
			t.Errorf("%s: %s: %q, want %s with %q", name, got, texts, c.want, c.text)
		}
	}
}

func TestAlike(t *testing.T) {
	seen := func(exe string, args ...string) advice.Seen { return advice.Seen{Executable: exe, Arguments: args} }
	says := func(agent string, s advice.Seen) advice.Seen { s.UserAgent = agent; return s }
	in := func(place string, s advice.Seen) advice.Seen { s.Place = place; return s }
	const python, curl = "/usr/bin/python3.11", "/usr/bin/curl"
	const put, header = "X-aws-ec2-metadata-token-ttl-seconds: 60", "X-aws-ec2-metadata-token: "
	asks := seen(curl, "curl", "-X", "PUT", "-H", put, "a")
	for name, c := range map[string]struct {
		asked, without advice.Seen
		want           advice.Likeness
	}{
		"an SDK of which nobody knows":     {says("Boto3/1", seen("")), says("Boto3/1", seen(python, "python3", "app.py")), advice.Same},
		"an SDK that nobody knows":         {says("Boto3/1", seen("")), says("Boto3/1", seen("")), advice.Same},
		"two files":                        {asks, seen(python, "python3", "x"), advice.Different},
		"a script of curls":                {asks, seen(curl, "curl", "-H", header, "b"), advice.Same},
		"a curl without a header":          {asks, seen(curl, "curl", "b"), advice.Perhaps},
		"a curl without a header, unknown": {says("curl/8", seen("")), says("curl/8", seen(curl, "curl", "b")), advice.Perhaps},
		"a curl with one, unknown":         {says("curl/8", seen("")), says("curl/8", seen(curl, "curl", "-H", header, "b")), advice.Same},
		"curls that nobody knows":          {says("curl/8", seen("")), says("curl/8", seen("")), advice.Perhaps},
		"curls of two units":               {in("a.service", asks), in("b.service", seen(curl, "curl", "-H", header, "b")), advice.Different},
		"two scripts":                      {seen(python, "python3", "proxy.py"), seen(python, "python3", "-u", "app.py"), advice.Different},
		"one script":                       {seen(python, "python3", "app.py", "a"), seen(python, "python3", "-u", "app.py", "b"), advice.Same},
		"one script in two containers":     {in("a", seen(python, "python3", "app.py")), in("b", seen(python, "python3", "app.py")), advice.Different},
		"a program of its own":             {seen("/srv/app"), seen("/srv/app", "app"), advice.Same},
	} {
		if got := advice.Alike(c.asked, c.without); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// FuzzParse: whatever a caller says, it gets a line of advice, and what is told of it was said by it.
func FuzzParse(f *testing.F) {
	f.Add("Boto3/1.9.42 Python/2.7.12 (x; Linux) lang/go#1")
	f.Add("((((curl//1 ) )")
	f.Add(strings.Repeat("Datadog Agent/", 200))
	f.Fuzz(func(t *testing.T, agent string) {
		a := advice.Parse(agent)
		if !strings.Contains(agent, a.Version) {
			t.Errorf("%q has no version %q", agent, a.Version)
		}
		if all := advice.For(advice.Seen{UserAgent: agent, WithoutToken: true}); len(all) != 1 || all[0].Text == "" {
			t.Errorf("%q: %v", agent, all)
		}
	})
}
