package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

var imds = addrs4[0]

func TestParseHead(t *testing.T) {
	for _, row := range []struct {
		head string
		want request
		ok   bool
	}{
		{"GET /latest/meta-data/iam/info HTTP/1.1\r\nHost: x\r\n\r\n", request{method: "GET", path: "/latest/meta-data/iam/info", group: "meta-data/iam"}, true},
		{"GET //latest///meta-data/ HTTP/1.0\n\n", request{method: "GET", path: "/latest/meta-data/", group: "meta-data"}, true},
		{"GET / HTTP/1.1\r\n\r\n", request{method: "GET", path: "/", group: "other"}, true},
		{"GET http://169.254.169.254/2021-07-15/user-data?x HTTP/1.1\r\n\r\n", request{method: "GET", path: "/2021-07-15/user-data", group: "user-data"}, true},
		{"GET http://169.254.169.254 HTTP/1.1\r\n\r\n", request{method: "GET", path: "/", group: "other"}, true},
		{"PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\ncontent-length: 0\r\n\r\n",
			request{method: "PUT", path: "/latest/api/token", group: "api/token", asksToken: true}, true},
		{"GET /latest/api/token HTTP/1.1\r\n\r\n", request{method: "GET", path: "/latest/api/token", group: "api/token"}, true},
		{"GET /latest/dynamic/ HTTP/1.1\r\nX-AWS-EC2-METADATA-TOKEN: canary\r\nUSER-AGENT:  a/1  \r\nx-forwarded-for: 1.2.3.4\r\n\r\n",
			request{method: "GET", path: "/latest/dynamic/", group: "dynamic", userAgent: "a/1", forwarded: true, token: true}, true},
		{"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n", request{method: "POST", path: "/", group: "other", body: 12}, true},
		{"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", request{method: "POST", path: "/", group: "other", body: -1}, true},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", request{method: "POST", path: "/", group: "other", body: -1}, true},
		{"\x16\x03\x01\x02\x00\n\n", request{}, false},
		{"get / HTTP/1.1\n\n", request{}, false},
		{"GET\n\n", request{}, false},
	} {
		if got, ok := parseHead([]byte(row.head), imds, newCleaner()); got != row.want || ok != row.ok {
			t.Errorf("%q:\ngot  %+v, %v\nwant %+v", row.head, got, ok, row.want)
		}
	}
}

// What is a secret, wherever it stands, is not kept.
func TestHeadKeepsNoSecret(t *testing.T) {
	clean := newCleaner()
	const token = "AQAEAF3Yzk1eJ9rXn0pCkQvM8tBwUhL2sGdRfNoPqE7aVxSyTiZbOw=="
	for _, a := range append(addrs4[:len(addrs4):len(addrs4)], addrs6...) {
		for _, head := range []string{
			"GET /latest/ HTTP/1.1\r\nX-aws-ec2-metadata-token: canary\r\nAuthorization: canary\r\nCookie: canary\r\nX-canary: x\r\n\r\n",
			"GET /latest/?token=canary#canary HTTP/1.1\r\n\r\n",
			"GET http://canary@169.254.169.254/latest HTTP/1.1\r\n\r\n",
			"GET /latest/password=canary HTTP/1.1\r\nUser-Agent: x password=canary Authorization: Bearer canary\r\n\r\n",
			"GET /latest/" + token + " HTTP/1.1\r\nUser-Agent: x " + token + "\r\n\r\n",
		} {
			r, ok := parseHead([]byte(head), a, clean)
			if text := fmt.Sprintf("%+v", r); !ok || strings.Contains(text, "canary") || strings.Contains(text, token[:20]) {
				t.Errorf("%s, %q: %s", a, head, text)
			}
		}
	}
	for text := range clean.harmless {
		if strings.Contains(text, "canary") || strings.Contains(text, token[:20]) {
			t.Errorf("%q is remembered", text)
		}
	}
	// The path of a container's credentials is what opens them.
	r, _ := parseHead([]byte("GET /v2/credentials/0a1b-canary HTTP/1.1\r\n\r\n"), netip.MustParseAddr("169.254.170.2"), clean)
	if strings.Contains(fmt.Sprintf("%+v", r), "canary") || r.group != "credentials" {
		t.Errorf("%+v", r)
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte("GET /latest/ HTTP/1.1\r\nUser-Agent: x\r\n\r\n"))
	f.Add([]byte("PUT http://a/latest/api/token HTTP/1.1\nContent-Length: 99999999999\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		end := headEnd(b)
		if end > len(b) || end < 0 {
			t.Fatalf("head of %d bytes in %d", end, len(b))
		}
		r, ok := parseHead(b[:end], imds, newCleaner())
		if !ok && r != (request{}) || len(r.path) > 300 || len(r.userAgent) > 300 || r.body < -1 {
			t.Errorf("%+v, %v", r, ok)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(make([]byte, connectArgsSize))
	f.Add([]byte("\x03\x00\x00\x00\xff\x00\x00\x00" + strings.Repeat("x", 200)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := decode(b); ok && len(e.payload)+len(e.args) > len(b) {
			t.Errorf("%d bytes of %d", len(e.payload)+len(e.args), len(b))
		}
	})
}
