package imds

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// sequence is what one program asks from its start on, byte for byte, what it gets, and how it stands
// among the callers after that. {TOKEN} is the latest token that it got.
type sequence struct {
	name    string
	guest   string // which of the guests; empty: "optional"
	agent   string
	turns   []turn
	callers map[string]string // by part of the table: its counts
}

type turn struct{ send, want string }

// The counts of callers that have one kind of call.
func v1Calls(n int) string    { return fmt.Sprint(openimds.MetricNoToken, " ", n) }
func v1Refused(n int) string  { return fmt.Sprint(openimds.MetricNoTokenRejected, " ", n) }
func v2Calls(n int) string    { return fmt.Sprint(openimds.MetricWithToken, " ", n) }
func tokenCalls(n int) string { return fmt.Sprint(openimds.MetricTokenRequests, " ", n) }

const noCounts = "" // seen, and nothing that has a metric

const openSSHKey = "ssh-ed25519 AAAA my-key\n"

// Windows PowerShell 5.1 sends by HttpWebRequest: own headers first, a length of 0 on every PUT, and the
// wish to keep the connection. These are the lines of the EC2 user guide.
func windowsPowerShell() []sequence {
	const agent = "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.20348.2760"
	request := func(line, header, length string) string {
		return line + " HTTP/1.1\r\n" + header + "User-Agent: " + agent + "\r\nHost: 169.254.169.254\r\n" + length + "Connection: Keep-Alive\r\n\r\n"
	}
	return powerShell("Windows PowerShell 5.1", agent, request)
}

// PowerShell 7 sends by HttpClient: Host first, compressed answers welcome, a length of 0 on every PUT,
// and the connection is kept without a word.
func powerShell7() []sequence {
	const agent = "Mozilla/5.0 (Windows NT 10.0; Microsoft Windows 10.0.20348; en-US) PowerShell/7.4.6"
	request := func(line, header, length string) string {
		return line + " HTTP/1.1\r\nHost: 169.254.169.254\r\n" + header + "User-Agent: " + agent + "\r\nAccept-Encoding: gzip, deflate, br\r\n" + length + "\r\n"
	}
	return powerShell("PowerShell 7", agent, request)
}

func powerShell(name, agent string, request func(line, header, length string) string) []sequence {
	const empty = "Content-Length: 0\r\n"
	token := request("PUT /latest/api/token", ttlIs+"21600\r\n", empty)
	with := func(path string) string { return request("GET "+path, tokenIs+"{TOKEN}\r\n", "") }
	without := func(path string) string { return request("GET "+path, "", "") }
	return []sequence{
		{name + " with a token", "required", agent, []turn{
			{token, issued(21600)},
			{with("/latest/meta-data/"), left(21600, text(fullTop))},
			{with(amiPath), left(21600, text(amiID))},
			{with("/latest/meta-data/public-keys/0/openssh-key"), left(21600, text(openSSHKey))},
			{with("/latest/user-data"), left(21600, typed("application/octet-stream", modifiedText, "#!/bin/sh\n\x00\xff\n"))},
		}, map[string]string{
			"api/token": tokenCalls(1), "meta-data": v2Calls(2),
			"meta-data/public-keys": v2Calls(1), "user-data": v2Calls(1),
		}},
		{name + " without one", "", agent, []turn{
			{without("/latest/meta-data/"), text(fullTop)},
			{without("/latest/meta-data/public-keys/0/openssh-key"), text(openSSHKey)},
		}, map[string]string{"meta-data": v1Calls(1), "meta-data/public-keys": v1Calls(1)}},
		{name + " without one where tokens are required", "required", agent, []turn{{without("/latest/meta-data/"), unauthorized}},
			map[string]string{"meta-data": v1Refused(1)}},
		// The guide's lines in a shell where the first one failed: $token is empty.
		{name + " with an empty token", "", agent, []turn{{request("GET "+amiPath, "X-aws-ec2-metadata-token: \r\n", ""), text(amiID)}},
			map[string]string{"meta-data": v1Calls(1)}},
		{name + " where the endpoint is off", "disabled", agent, []turn{{token, forbidden}}, map[string]string{"api/token": ""}},
	}
}

// cloudbase-init knows no tokens and asks by the version of 2009.
func cloudbaseInit() []sequence {
	const agent = "python-requests/2.32.3"
	of := func(path string) string {
		return "GET /2009-04-04/" + path + " HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: " + agent +
			"\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n"
	}
	return []sequence{
		{"cloudbase-init", "", agent, []turn{
			{of("meta-data/local-hostname"), text("ip-172-26-3-4.ec2.internal")},
			{of("meta-data/instance-id"), text("i-0123456789abcdef0")},
			{of("meta-data/public-keys"), text("0=my-key\n1=second")},
			{of("meta-data/public-keys/0/openssh-key"), text(openSSHKey)},
			{of("meta-data/public-keys/1/openssh-key"), text("ssh-rsa BBBB\n")},
			{of("user-data"), typed("application/octet-stream", modifiedText, "#!/bin/sh\n\x00\xff\n")},
		}, map[string]string{
			"meta-data": v1Calls(2), "meta-data/public-keys": v1Calls(3), "user-data": v1Calls(1),
		}},
		{"cloudbase-init on an instance with little", "bare", agent, []turn{
			{of("meta-data/local-hostname"), text("ip-172-26-3-4.ec2.internal")},
			{of("meta-data/public-keys"), notFound},
			{of("user-data"), notFound},
		}, map[string]string{"meta-data": v1Calls(1), "meta-data/public-keys": noCounts, "user-data": noCounts}},
		{"cloudbase-init where tokens are required", "required", agent, []turn{
			{of("meta-data/local-hostname"), unauthorized},
			{of("meta-data/local-hostname"), unauthorized}, // it tries again
		}, map[string]string{"meta-data": v1Refused(2)}},
	}
}

// EC2Launch v2 asks by the AWS SDK for Go: names of headers in canonical form, a length of 0 on a PUT.
func ec2Launch() []sequence {
	const agent = "aws-sdk-go/1.44.299 (go1.20.5; windows; amd64)"
	of := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: " + agent +
			"\r\nX-Aws-Ec2-Metadata-Token: {TOKEN}\r\nAccept-Encoding: gzip\r\n\r\n"
	}
	token := "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: " + agent +
		"\r\nContent-Length: 0\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\nAccept-Encoding: gzip\r\n\r\n"
	return []sequence{
		{"EC2Launch v2", "required", agent, []turn{
			{token, issued(21600)},
			{of("/latest/meta-data/instance-id"), left(21600, text("i-0123456789abcdef0"))},
			{of("/latest/user-data"), left(21600, typed("application/octet-stream", modifiedText, "#!/bin/sh\n\x00\xff\n"))},
			{of("/latest/meta-data/public-keys/0/openssh-key"), left(21600, text(openSSHKey))},
			{of("/latest/meta-data/placement/availability-zone"), left(21600, text("us-east-1a"))},
			{of("/latest/meta-data/local-ipv4"), left(21600, text("172.26.3.4"))},
			{of("/latest/meta-data/instance-type"), left(21600, text("t3.nano"))},
			{of("/latest/meta-data/tags/instance"), left(21600, text("Also+-=.,_:@\nName\nempty"))},
		}, map[string]string{
			"api/token": tokenCalls(1), "meta-data": v2Calls(3), "user-data": v2Calls(1),
			"meta-data/public-keys": v2Calls(1), "meta-data/placement": v2Calls(1), "meta-data/tags": v2Calls(1),
		}},
		{"EC2Launch v2 on an instance with little", "bare", agent, []turn{
			{token, issued(21600)},
			{of("/latest/user-data"), left(21600, notFound)},
			{of("/latest/meta-data/public-keys/0/openssh-key"), left(21600, notFound)},
		}, map[string]string{"api/token": tokenCalls(1), "user-data": noCounts, "meta-data/public-keys": noCounts}},
	}
}

// systemd-imdsd, of systemd 261, imports what a system boots with. It takes a 404 for an answer and a 403
// for the end, gets another token after a 401, and tries again after a 503.
func systemdIMDSD() []sequence {
	const agent = "systemd-imdsd/261"
	request := func(line, header string) string {
		return line + " HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: " + agent + "\r\nAccept: */*\r\n" + header + "\r\n\r\n"
	}
	token := request("PUT /latest/api/token", ttlIs+"900")
	with := func(path, token string) string { return request("GET "+path, tokenIs+token) }
	of := func(path string) string { return with(path, "{TOKEN}") }
	const meta = "/latest/meta-data/"
	return []sequence{
		{"systemd-imdsd", "required", agent, []turn{
			{token, issued(900)},
			{of(meta + "hostname"), left(900, text("ip-172-26-3-4.ec2.internal"))},
			{of(meta + "placement/region"), left(900, text("us-east-1"))},
			{of(meta + "placement/availability-zone"), left(900, text("us-east-1a"))},
			{of(meta + "public-ipv4"), left(900, text("198.18.7.8"))},
			{of(meta + "ipv6"), left(900, text("2001:db8:1a:2600::1:2"))},
			{of(meta + "public-keys/0/openssh-key"), left(900, text(openSSHKey))},
			{of("/latest/user-data"), left(900, typed("application/octet-stream", modifiedText, "#!/bin/sh\n\x00\xff\n"))},
		}, map[string]string{
			"api/token": tokenCalls(1), "meta-data": v2Calls(3), "meta-data/placement": v2Calls(2),
			"meta-data/public-keys": v2Calls(1), "user-data": v2Calls(1),
		}},
		{"systemd-imdsd on an instance with little", "bare", agent, []turn{
			{token, issued(900)},
			{of(meta + "public-ipv4"), left(900, notFound)},
			{of(meta + "ipv6"), left(900, notFound)},
			{of(meta + "public-keys/0/openssh-key"), left(900, notFound)},
			{of("/latest/user-data"), left(900, notFound)},
		}, map[string]string{"api/token": tokenCalls(1), "meta-data": noCounts, "meta-data/public-keys": noCounts, "user-data": noCounts}},
		{"systemd-imdsd with a token of before", "required", agent, []turn{
			{with(meta+"hostname", "{LATE}"), unauthorized},
			{token, issued(900)},
			{of(meta + "hostname"), left(900, text("ip-172-26-3-4.ec2.internal"))},
		}, map[string]string{"api/token": tokenCalls(1), "meta-data": v2Calls(1)}},
		{"systemd-imdsd where the endpoint is off", "disabled", agent, []turn{{token, forbidden}}, map[string]string{"api/token": ""}},
		{"systemd-imdsd above the rate", "throttled", agent, []turn{{token, refused("503 Service Unavailable")}}, map[string]string{"api/token": ""}},
	}
}

// What guests of Windows and of current Linux ask at their boot.
func TestSequences(t *testing.T) {
	for _, s := range slices.Concat(windowsPowerShell(), powerShell7(), cloudbaseInit(), ec2Launch(), systemdIMDSD()) {
		t.Run(s.name, func(t *testing.T) { s.run(t, (*wire).raw) })
	}
}

// systemd-imdsd sends from ports below 1024, which no other program of its machine can without privileges.
func TestSequencesFromLowPorts(t *testing.T) {
	for _, s := range systemdIMDSD() {
		t.Run(s.name, func(t *testing.T) { s.run(t, (*wire).rawFromLowPort) })
	}
}

func (s *sequence) run(t *testing.T, send func(*wire, testing.TB, string) string) {
	w, recorder := newCounted(t, func(c *Config, in *openimds.Instance) {
		name := s.guest
		if name == "" {
			name = "optional"
		}
		c.Credentials = fixedCredentials{}
		*in = *guests()[name](c)
	})
	tokens, token := standIns(t), "none"
	for _, a := range s.turns {
		request := tokens.Replace(strings.ReplaceAll(a.send, "{TOKEN}", token))
		got := send(w, t, request)
		if strings.HasSuffix(a.want, "{NEW}") {
			token = got[max(0, len(got)-56):]
			got = hideToken(t, w, got)
		}
		if got != a.want {
			t.Errorf("%q\ngot  %q\nwant %q", request, got, a.want)
		}
	}
	callers, err := recorder.Callers(t.Context(), w.in.ID, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range callers {
		var counts []string
		for _, metric := range openimds.Metrics() {
			if n := c.Counts[metric]; n > 0 {
				counts = append(counts, fmt.Sprint(metric, " ", n))
			}
		}
		found[c.PathGroup] = strings.Join(counts, ", ")
		if c.UserAgent != s.agent {
			t.Errorf("a caller is called %q, not %q", c.UserAgent, s.agent)
		}
	}
	if len(callers) != len(found) || !maps.Equal(found, s.callers) {
		t.Errorf("the callers are\n%v\nwant\n%v", found, s.callers)
	}
}

// rawFromLowPort is raw from a port of those who have privileges.
func (w *wire) rawFromLowPort(t testing.TB, send string) string {
	t.Helper()
	for port := 1023; port > 0; port-- {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, Timeout: patienceOfTests}
		c, err := from.Dial("tcp", w.addr)
		if errors.Is(err, os.ErrPermission) {
			t.Skip("this user may not send from a port below 1024")
		}
		if err != nil {
			continue // somebody else has the port
		}
		_ = c.SetDeadline(time.Now().Add(patienceOfTests))
		if _, err := io.WriteString(c, send); err != nil {
			t.Fatal(err)
		}
		return readAll(t, c)
	}
	t.Fatal("no port below 1024 is free")
	return ""
}
