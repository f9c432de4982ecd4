package sigv4_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/openimds/openimds/api/sigv4"
)

// sdkSigned is a request as a client of AWS's SDK for Go puts it on the wire.
func sdkSigned(method, target, host, body string, headers http.Header, secret string) (string, error) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return "", err
	}
	r := &http.Request{Method: method, URL: u, Host: host, Header: headers.Clone(), ContentLength: int64(len(body))}
	u.Host, u.Scheme = host, "http"
	signer := v4.NewSigner()
	keys := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
	if err := signer.SignHTTP(context.Background(), keys, r, sum(body), "lightsail", "us-east-1", noon); err != nil {
		return "", err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", method, target, host, len(body))
	for name, values := range r.Header {
		for _, value := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	return b.String() + "\r\n" + body, nil
}

// pick makes a text of up to n parts.
func pick(random *rand.Rand, n int, parts ...string) string {
	var b strings.Builder
	for range random.IntN(n + 1) {
		b.WriteString(parts[random.IntN(len(parts))])
	}
	return b.String()
}

// randomRequest makes what a client might sign. Two things are left out, in which the SDK for Go
// goes its own way: it sorts query parameters before it encodes them (the guide, and botocore, after),
// so that parameters with special characters come one at a time; and it joins repeated headers,
// which are refused here.
func randomRequest(random *rand.Rand) (method, target, host, body string, headers http.Header) {
	method = []string{"POST", "GET", "PUT", "DELETE"}[random.IntN(4)]
	host = []string{"127.0.0.1:1339", "localhost", "[::1]:1339", "lightsail.us-east-1.amazonaws.com"}[random.IntN(4)]
	target = "/" + pick(random, 6, "a", "Z", "/", "//", "%2F", "%20", "%C3%BC", "%25", "~", "-._", "*", "(", "'", ":", "@", "=", "&", "+", ";", ".", "..", "%7E", "%7e", "$", ",", "!")
	special := []string{"%20", "+", "%2B", "%2f", "%C3%BC", "~", "%7E", "*", "%2A", "'", "(", "=", "%3D", "%26", ":", "@", "/", "?", "!", "$", ","}
	var query []string
	if random.IntN(3) == 0 {
		name := "n" + pick(random, 3, append([]string{"x"}, slices.DeleteFunc(slices.Clone(special), func(s string) bool { return s == "=" })...)...)
		query = append(query, name+"="+pick(random, 4, append([]string{"v"}, special...)...))
	} else {
		for range random.IntN(5) {
			query = append(query, pick(random, 2, "a", "b", "A", "0", "-", "_")+[]string{"", "="}[random.IntN(2)])
			if strings.HasSuffix(query[len(query)-1], "=") {
				query[len(query)-1] += pick(random, 2, "a", "b", "1")
			}
		}
	}
	if len(query) > 0 {
		target += "?" + strings.Join(query, "&")
	}
	if method != "GET" {
		body = pick(random, 8, "{", "}", `"a"`, ":", "ü", "\x00", "\r\n", " ", "\xff")
	}
	blanks := func() string { return pick(random, 4, "a", "b", " ", "  ", "\t", ",", ";", "ü", `"`) }
	headers = http.Header{"X-Amz-Target": {"Lightsail_20161128.GetInstances"}, "Content-Type": {"application/x-amz-json-1.1"}}
	for _, name := range []string{"X-Amz-Meta-A", "Amz-Sdk-Request", "Accept", "X-Custom", "User-Agent", "X-Amzn-Trace-Id"} {
		if random.IntN(2) == 0 {
			headers.Set(name, strings.Trim(blanks(), " \t"))
		}
	}
	return method, target, host, body, headers
}

// TestAgainstSDK has the SDK sign what it likes: everything it signs is understood, with the right
// secret it passes, and with another it does not.
func TestAgainstSDK(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	v := newVerifier(noon)
	const n = 5000
	compared := 0
	for range n {
		method, target, host, body, headers := randomRequest(random)
		if expectLikeSDK(t, v, method, target, host, body, headers) {
			compared++
		}
		if t.Failed() {
			return
		}
	}
	if compared < n*9/10 {
		t.Errorf("only %d requests of %d were good enough to be compared", compared, n)
	}
}

// expectLikeSDK tells whether there was something to compare.
func expectLikeSDK(t *testing.T, v *sigv4.Verifier, method, target, host, body string, headers http.Header) bool {
	t.Helper()
	raw, err := sdkSigned(method, target, host, body, headers, secret)
	if err != nil {
		return false
	}
	r, got, err := receive(raw)
	if err != nil {
		return false // net/http does not take it, so nobody has to verify it
	}
	if string(got) != body {
		t.Fatalf("the test sent %q as %q", body, got)
	}
	if _, err := v.Verify(r, "lightsail", got); err != nil {
		t.Errorf("refused what the SDK signed: %v\n%s", err, raw)
	}
	wrong, err := sdkSigned(method, target, host, body, headers, secret+"x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, v, wrong); err == nil || err.Error() != mismatch {
		t.Errorf("what was signed with another secret: %v\n%s", err, wrong)
	}
	return true
}

// FuzzAgainstSDK lets the fuzzer write path, body and a header.
func FuzzAgainstSDK(f *testing.F) {
	f.Add("/", "{}", "v")
	f.Add("/a b/%2F//..", "", "  a   b ")
	f.Add("/ü%zz", "\x00", "\t")
	v := newVerifier(noon)
	f.Fuzz(func(t *testing.T, path, body, header string) {
		path = (&url.URL{Path: "/" + path}).EscapedPath()
		if strings.ContainsFunc(header, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) || header != strings.TrimSpace(header) {
			return // no header can have it, or it does not come through a server as it is
		}
		headers := http.Header{"X-Amz-Target": {"Lightsail_20161128.GetInstances"}, "X-Custom": {header}}
		expectLikeSDK(t, v, "POST", path, "localhost", body, headers)
	})
}

// TestQueryOrder signs parameters in the order of their encoded names, as the guide says and botocore
// does; there the SDK for Go parts from them.
func TestQueryOrder(t *testing.T) {
	const query, shuffled = "%C3%BC=1&-=2&A=3&a=%2F&a=0&z=4", "z=4&a=0&A=3&a=/&-=2&%C3%BC=1"
	c := newCall()
	c.target = "/?" + query
	if _, err := verify(t, newVerifier(noon), strings.Replace(c.raw(), query, shuffled, 1)); err != nil {
		t.Error(err)
	}
	t.Run("botocore", func(t *testing.T) {
		const script = `
import sys
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
r = AWSRequest(method="POST", url="http://localhost/?" + sys.argv[3], data=b"{}", headers={"X-Amz-Target": "x"})
SigV4Auth(Credentials(sys.argv[1], sys.argv[2]), "lightsail", "us-east-1").add_auth(r)
print("X-Amz-Date: %s\r\nAuthorization: %s\r" % (r.headers["X-Amz-Date"], r.headers["Authorization"]))
`
		if out, err := run(t, nil, "python3", "-c", "import botocore"); err != nil {
			t.Skipf("botocore is not installed: %s", out)
		}
		signed, err := run(t, nil, "python3", "-c", script, keyID, secret, query)
		if err != nil {
			t.Fatalf("%v\n%s", err, signed)
		}
		raw := "POST /?" + shuffled + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nX-Amz-Target: x\r\n" + signed + "\r\n{}"
		if _, err := verify(t, newVerifier(time.Now()), raw); err != nil {
			t.Errorf("%v\n%s", err, raw)
		}
	})
}
