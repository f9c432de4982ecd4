package sigv4_test

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/sigv4"
)

// The access key of the examples in AWS's documentation.
const (
	keyID  = "AKIDEXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func lookup(id string) (accesskeys.Key, bool, error) {
	if id != keyID {
		return accesskeys.Key{}, false, nil
	}
	return accesskeys.Key{ID: keyID, Secret: secret, Profile: "ops", ReadOnly: true}, true, nil
}

func newVerifier(now time.Time) *sigv4.Verifier {
	return sigv4.New(sigv4.Config{
		Regions: []string{"us-east-1"},
		Keys:    lookup,
		Now:     func() time.Time { return now },
	})
}

// call is a request before it is signed. Its fields say what the signer claims, true or not.
type call struct {
	method, target, host, body string
	headers                    []string // "name:value"; those of signed are signed
	signed                     string
	credential, secret         string
	stamp                      string
}

func newCall() call {
	return call{
		method: "POST", target: "/", host: "127.0.0.1:1339", body: `{"instanceName":"demo"}`,
		headers: []string{
			"content-type:application/x-amz-json-1.1",
			"x-amz-date:20261122T120000Z",
			"x-amz-target:Lightsail_20161128.GetInstance",
		},
		signed:     "content-type;host;x-amz-date;x-amz-target",
		credential: keyID + "/20261122/us-east-1/lightsail/aws4_request",
		secret:     secret,
		stamp:      "20261122T120000Z",
	}
}

func hmac256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// authorization signs c as the guide says, for the target "/" with a query that is in order already.
func (c call) authorization() string {
	values := map[string]string{"host": c.host, "content-length": fmt.Sprint(len(c.body))}
	for _, header := range c.headers {
		name, value, _ := strings.Cut(header, ":")
		values[strings.ToLower(name)] = strings.TrimSpace(value)
	}
	path, query, _ := strings.Cut(c.target, "?")
	canonical := c.method + "\n" + path + "\n" + query + "\n"
	for name := range strings.SplitSeq(c.signed, ";") {
		canonical += name + ":" + values[name] + "\n"
	}
	canonical += "\n" + c.signed + "\n" + sum(c.body)
	id, scope, _ := strings.Cut(c.credential, "/")
	key := []byte("AWS4" + c.secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = hmac256(key, part)
	}
	signature := hex.EncodeToString(hmac256(key, "AWS4-HMAC-SHA256\n"+c.stamp+"\n"+scope+"\n"+sum(canonical)))
	return "AWS4-HMAC-SHA256 Credential=" + id + "/" + scope + ", SignedHeaders=" + c.signed + ", Signature=" + signature
}

// raw is the signed request as it goes over the wire.
func (c call) raw() string {
	return c.with("Authorization: " + c.authorization())
}

// with is the request with these header lines, in place of the right Authorization.
func (c call) with(lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", c.method, c.target, c.host, len(c.body))
	for _, line := range slices.Concat(c.headers, lines) {
		b.WriteString(line + "\r\n")
	}
	return b.String() + "\r\n" + c.body
}

// receive reads a request as a server does.
func receive(raw string) (*http.Request, []byte, error) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		return nil, nil, err
	}
	var body bytes.Buffer
	_, err = body.ReadFrom(r.Body)
	return r, body.Bytes(), err
}

func verify(t *testing.T, v *sigv4.Verifier, raw string) (sigv4.Identity, error) {
	t.Helper()
	r, body, err := receive(raw)
	if err != nil {
		t.Fatalf("the request does not even parse: %v\n%s", err, raw)
	}
	return v.Verify(r, "lightsail", body)
}

// TestPublishedExample verifies the request and the signature that the IAM User Guide works out.
func TestPublishedExample(t *testing.T) {
	v := sigv4.New(sigv4.Config{
		Regions: []string{"us-east-1"}, Keys: lookup,
		Now: func() time.Time { return time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC) },
	})
	const request = "GET /?Action=ListUsers&Version=2010-05-08 HTTP/1.1\r\n" +
		"Host: iam.amazonaws.com\r\n" +
		"Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n" +
		"X-Amz-Date: 20150830T123600Z\r\n" +
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, " +
		"SignedHeaders=content-type;host;x-amz-date, " +
		"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7\r\n\r\n"
	r, body, err := receive(request)
	if err != nil {
		t.Fatal(err)
	}
	if service := sigv4.ClaimedService(r); service != "iam" {
		t.Errorf("the request says to be for %q", service)
	}
	if _, err := v.Verify(r, "iam", body); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify(r, "lightsail", body); err == nil { // nor is it good for another service
		t.Error("a request for IAM passes for one to Lightsail")
	}
	if r, body, err = receive(strings.Replace(request, "ListUsers", "ListRoles", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(r, "iam", body); err == nil {
		t.Error("another action passed with the same signature")
	}
}

func TestIdentity(t *testing.T) {
	got, err := verify(t, newVerifier(noon), newCall().raw())
	if want := (sigv4.Identity{KeyID: keyID, Profile: "ops", ReadOnly: true}); err != nil || got != want {
		t.Fatalf("Verify = %+v, %v; want %+v", got, err, want)
	}
}

func TestAccepted(t *testing.T) {
	tests := map[string]func(*call) string{
		"no blanks between parameters": func(c *call) string {
			return c.with("Authorization: " + strings.ReplaceAll(c.authorization(), ", ", ","))
		},
		"many blanks between parameters": func(c *call) string {
			return c.with("Authorization: " + strings.NewReplacer("256 ", "256   ", ", ", " ,  ").Replace(c.authorization()))
		},
		"parameters in another order": func(c *call) string {
			credential, rest, _ := strings.Cut(strings.TrimPrefix(c.authorization(), "AWS4-HMAC-SHA256 "), ", ")
			return c.with("Authorization: AWS4-HMAC-SHA256 " + rest + ", " + credential)
		},
		"runs of blanks in a signed header": func(c *call) string {
			c.headers[0] = "content-type:application/x-amz-json-1.1; charset=utf-8"
			authorization := c.authorization()
			c.headers[0] = "content-type:  application/x-amz-json-1.1;   charset=utf-8  "
			return c.with("Authorization: " + authorization)
		},
		"signed header several times": func(c *call) string { // SigV4 test suite, get-header-key-duplicate
			c.headers = append(c.headers, "x-amz-meta:value2,value2,value1")
			c.signed = "content-type;host;x-amz-date;x-amz-meta;x-amz-target"
			return strings.Replace(c.raw(), "x-amz-meta:value2,value2,value1", "x-amz-meta:value2\r\nX-Amz-Meta:  value2 \r\nx-amz-meta:value1", 1)
		},
		"content-length signed": func(c *call) string {
			c.signed = "content-length;" + c.signed
			return c.raw()
		},
		"content hash given": func(c *call) string {
			c.headers = append(c.headers, "x-amz-content-sha256:"+sum(c.body))
			c.signed = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target"
			return c.raw()
		},
		"date in the Date header": func(c *call) string {
			c.headers[1] = "date:" + c.stamp
			c.signed = "content-type;date;host;x-amz-target"
			return c.raw()
		},
		"unsigned header that is nobody's business": func(c *call) string {
			return strings.Replace(c.raw(), "\r\n", "\r\nUser-Agent: a\r\nUser-Agent: b\r\nX-Amzn-Trace-Id: Root=1\r\n", 1)
		},
		"slashes in front, signed as they are sent": func(c *call) string {
			c.target = "///service/x"
			return c.raw()
		},
		"slashes in front, signed as one": func(c *call) string { // botocore
			c.target = "/service/x"
			return strings.Replace(c.raw(), "POST /", "POST ///", 1)
		},
		"query": func(c *call) string {
			c.target = "/?a=&a=1&a=2&b%20c=%2F~"
			return strings.Replace(c.raw(), c.target, "/?b+c=%2f%7e&a=2&a&a=1", 1)
		},
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCall()
			if _, err := verify(t, newVerifier(noon), make(&c)); err != nil {
				t.Error(err)
			}
		})
	}
}

const (
	missing      = "MissingAuthenticationTokenException: Request is missing Authentication Token"
	unrecognized = "UnrecognizedClientException: The security token included in the request is invalid."
	mismatch     = "InvalidSignatureException: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	sortedOnce   = "InvalidSignatureException: 'SignedHeaders' must be names in lower case, sorted, each once."
)

// digestOf is how a refusal shows an Authorization header.
func digestOf(authorization string) string {
	digest := sha256.Sum256([]byte(authorization))
	return base64.StdEncoding.EncodeToString(digest[:])
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name string
		make func(*call) string
		want string
	}{
		{"no Authorization", func(c *call) string { return c.with() }, missing},
		{"empty Authorization", func(c *call) string { return c.with("Authorization:") }, missing},
		{"presigned", func(c *call) string {
			c.target = "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"
			return c.with()
		}, missing},
		{"header and query", func(c *call) string { c.target = "/?X-Amz-Signature=00"; return c.raw() },
			"InvalidSignatureException: A request is signed by its Authorization header or by its query, not by both."},
		{"two Authorizations", func(c *call) string {
			return c.with("Authorization: "+c.authorization(), "Authorization: "+c.authorization())
		}, "IncompleteSignatureException: A request has one Authorization header, not 2."},
		{"one word", func(c *call) string { return c.with("Authorization: word") },
			"IncompleteSignatureException: Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. (Hashed with SHA-256 and encoded with Base64) Authorization=DIGEST"},
		{"bearer", func(c *call) string { return c.with("Authorization: Bearer word") },
			"IncompleteSignatureException: Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): 'DIGEST'."},
		{"no date either", func(c *call) string {
			c.headers = nil
			return c.with("Authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host")
		}, "IncompleteSignatureException: Authorization header requires 'Signature' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. (Hashed with SHA-256 and encoded with Base64) Authorization=DIGEST"},
		{"parameter twice", func(c *call) string { return c.with("Authorization: " + c.authorization() + ", Signature=00") },
			"IncompleteSignatureException: Authorization header has a parameter twice. (Hashed with SHA-256 and encoded with Base64) Authorization=DIGEST"},
		{"date of another form", func(c *call) string { c.headers[1] = "x-amz-date:Sun, 22 Nov 2026 12:00:00 GMT"; return c.raw() },
			"IncompleteSignatureException: Date must be in ISO-8601 'basic format'. Got 'Sun, 22 Nov 2026 12:00:00 GMT'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"date with a fraction", func(c *call) string {
			c.stamp = "20261122T120000.5Z"
			c.headers[1] = "x-amz-date:" + c.stamp
			return c.raw()
		},
			"IncompleteSignatureException: Date must be in ISO-8601 'basic format'. Got '20261122T120000.5Z'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"host not signed", func(c *call) string { c.signed = "x-amz-date;x-amz-target"; return c.raw() },
			"InvalidSignatureException: 'Host' must be a 'SignedHeader' in the AWS Authorization."},
		{"target not signed", func(c *call) string { c.signed = "host;x-amz-date"; return c.raw() },
			"InvalidSignatureException: 'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization."},
		{"date not signed", func(c *call) string { c.signed = "host;x-amz-target"; return c.raw() },
			"InvalidSignatureException: 'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization."},
		{"Date not signed", func(c *call) string { c.headers[1] = "date:" + c.stamp; c.signed = "host;x-amz-target"; return c.raw() },
			"InvalidSignatureException: 'Date' must be a 'SignedHeader' in the AWS Authorization."},
		{"other x-amz header not signed", func(c *call) string { c.headers = append(c.headers, "X-Amz-Query-Mode:true"); return c.raw() },
			"InvalidSignatureException: 'X-Amz-Query-Mode' must be a 'SignedHeader' in the AWS Authorization."},
		{"signed twice", func(c *call) string { c.signed = "host;host;x-amz-date;x-amz-target"; return c.raw() }, sortedOnce},
		{"signed unsorted", func(c *call) string { c.signed = "x-amz-date;host;x-amz-target"; return c.raw() }, sortedOnce},
		{"signed upper case", func(c *call) string { c.signed = "Host;x-amz-date;x-amz-target"; return c.raw() }, sortedOnce},
		{"signed nothing between", func(c *call) string { c.signed = "host;;x-amz-date;x-amz-target"; return c.raw() }, sortedOnce},
		{"target twice", func(c *call) string {
			return strings.Replace(c.raw(), "x-amz-target", "x-amz-target:x\r\nx-amz-target", 1)
		},
			"InvalidSignatureException: The signed header 'x-amz-target' must be in the request once, not 2 times."},
		{"content type twice", func(c *call) string {
			return strings.Replace(c.raw(), "content-type", "content-type:x\r\ncontent-type", 1)
		},
			"InvalidSignatureException: The signed header 'content-type' must be in the request once, not 2 times."},
		{"signed header several times in another order", func(c *call) string {
			c.headers = append(c.headers, "x-amz-meta:value1,value2")
			c.signed = "host;x-amz-date;x-amz-meta;x-amz-target"
			return strings.Replace(c.raw(), "x-amz-meta:value1,value2", "x-amz-meta:value2\r\nx-amz-meta:value1", 1)
		}, mismatch},
		{"signed header absent", func(c *call) string { c.signed = "accept;host;x-amz-date;x-amz-target"; return c.raw() },
			"InvalidSignatureException: The signed header 'accept' must be in the request once, not 0 times."},
		{"algorithm", func(c *call) string {
			return c.with("Authorization: " + strings.Replace(c.authorization(), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1))
		}, "IncompleteSignatureException: Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now)."},
		{"credential short", func(c *call) string { c.credential = keyID + "/20261122/us-east-1/lightsail"; return c.raw() },
			"IncompleteSignatureException: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 4"},
		{"secret as key id", func(c *call) string {
			c.credential = secret + "/20261122/us-east-1/lightsail/aws4_request"
			return c.raw()
		},
			"IncompleteSignatureException: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 6"},
		{"region", func(c *call) string {
			c.credential = keyID + "/20261122/eu-west-1/lightsail/aws4_request"
			return c.raw()
		},
			"InvalidSignatureException: Credential should be scoped to a valid region, not 'eu-west-1'."},
		{"all of the scope", func(c *call) string { c.credential = "a/b/c/d/e"; return c.raw() },
			"InvalidSignatureException: Credential should be scoped to a valid region, not 'c'. " +
				"Credential should be scoped to correct service: 'lightsail'. " +
				"Credential should be scoped with a valid terminator: 'aws4_request', not 'e'. " +
				"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: 'b' != '20261122', from '20261122T120000Z'."},
		{"scope of yesterday", func(c *call) string {
			c.credential = keyID + "/20261121/us-east-1/lightsail/aws4_request"
			return c.raw()
		},
			"InvalidSignatureException: Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261121' != '20261122', from '20261122T120000Z'."},
		{"unknown key", func(c *call) string {
			c.credential = strings.Replace(c.credential, keyID, "AKIDOTHER", 1)
			return c.raw()
		}, unrecognized},
		{"no key", func(c *call) string { c.credential = strings.Replace(c.credential, keyID, "", 1); return c.raw() }, unrecognized},
		{"wrong secret", func(c *call) string { c.secret += "x"; return c.raw() }, mismatch},
		{"empty secret", func(c *call) string { c.secret = ""; return c.raw() }, mismatch},
		{"signature in upper case", func(c *call) string {
			head, signature, _ := strings.Cut(c.authorization(), "Signature=")
			return c.with("Authorization: " + head + "Signature=" + strings.ToUpper(signature))
		}, mismatch},
		{"session token", func(c *call) string {
			c.headers = append(c.headers, "x-amz-security-token:t")
			c.signed = "host;x-amz-date;x-amz-security-token;x-amz-target"
			return c.raw()
		}, unrecognized},
		{"session token and wrong secret", func(c *call) string {
			c.headers = append(c.headers, "x-amz-security-token:t")
			c.signed, c.secret = "host;x-amz-date;x-amz-security-token;x-amz-target", "x"
			return c.raw()
		}, mismatch},
		{"malformed query", func(c *call) string { c.target = "/?a;b"; return c.raw() },
			"InvalidSignatureException: The request's URL is malformed."},
	}
	for _, hash := range []string{"UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", sum("other"), ""} {
		tests = append(tests, struct {
			name string
			make func(*call) string
			want string
		}{"content hash " + hash, func(c *call) string {
			c.headers = append(c.headers, "x-amz-content-sha256:"+hash)
			c.signed = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target"
			return c.raw()
		}, "InvalidSignatureException: The provided 'x-amz-content-sha256' header does not match what was computed."})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCall()
			raw := tt.make(&c)
			identity, err := verify(t, newVerifier(noon), raw)
			e, ok := errors.AsType[*sigv4.Error](err)
			if !ok || e.Status != http.StatusBadRequest || identity != (sigv4.Identity{}) {
				t.Fatalf("Verify = %+v, %v; want an Error of status 400 and nobody", identity, err)
			}
			want := tt.want
			if r, _, _ := receive(raw); r != nil {
				want = strings.Replace(want, "DIGEST", digestOf(r.Header.Get("Authorization")), 1)
			}
			if err.Error() != want {
				t.Errorf("refused with\n%s\nwant\n%s", err, want)
			}
			for _, part := range strings.Split(secret, "/") {
				if strings.Contains(err.Error(), part) {
					t.Errorf("the error shows a secret: %s", err)
				}
			}
		})
	}
}

// TestAltered changes one thing in a signed request.
func TestAltered(t *testing.T) {
	c := newCall()
	c.target = "/?a=1&b=2"
	raw := c.raw()
	for from, to := range map[string]string{
		"POST /":                  "PUT /",
		"POST /?":                 "POST //x?",
		"POST /?a":                "POST /.//?a",
		"/?a":                     "/%2F?a",
		"a=1&b":                   "a=1&a=1&b",
		"a=1&b=2":                 "a=1",
		"b=2 ":                    "b=2&c ",
		"Host: 127.0.0.1:1339":    "Host: 127.0.0.1",
		"Host: 127":               "Host: x127",
		"x-amz-json-1.1":          "x-amz-json-1.0",
		"GetInstance\r":           "DeleteInstance\r",
		"x-amz-date:20261122T120": "x-amz-date:20261122T121",
		`"demo"`:                  `"dema"`,
		"/us-east-1/":             "/us-east-2/",
		"Credential=AKID":         "Credential=AKIE",
		"content-type;host":       "host",
	} {
		altered := strings.Replace(raw, from, to, 1)
		if altered == raw {
			t.Fatalf("%q is not in the request", from)
		}
		if _, err := verify(t, newVerifier(noon), altered); err == nil {
			t.Errorf("passed with %q in place of %q", to, from)
		}
	}
	r, body, err := receive(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(noon).Verify(r, "lightsail", append(body, ' ')); err == nil {
		t.Error("passed with a longer body than was signed")
	}
}

func TestClock(t *testing.T) {
	skews := map[time.Duration]string{
		-15*time.Minute - time.Second:    "InvalidSignatureException: Signature expired: %s is now earlier than %s (%s - 15 min.)",
		-15 * time.Minute:                "",
		-14*time.Minute - 59*time.Second: "",
		14*time.Minute + 59*time.Second:  "",
		15 * time.Minute:                 "",
		15*time.Minute + time.Second:     "InvalidSignatureException: Signature not yet current: %s is still later than %s (%s + 15 min.)",
	}
	const layout = "20060102T150405Z"
	for _, now := range []time.Time{
		noon,
		noon.Add(999 * time.Millisecond),
		time.Date(2028, 2, 29, 0, 5, 0, 0, time.UTC),
		time.Date(2028, 3, 1, 0, 5, 0, 0, time.UTC),
		time.Date(2026, 12, 31, 23, 55, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 30, 0, 0, time.UTC),
		time.Date(2026, 11, 22, 20, 0, 0, 0, time.FixedZone("elsewhere", 8*3600)),
	} {
		for skew, want := range skews {
			c := newCall()
			server := now.UTC().Truncate(time.Second)
			c.stamp = server.Add(skew).Format(layout)
			c.headers[1] = "x-amz-date:" + c.stamp
			c.credential = keyID + "/" + c.stamp[:8] + "/us-east-1/lightsail/aws4_request"
			_, err := verify(t, newVerifier(now), c.raw())
			if want == "" {
				if err != nil {
					t.Errorf("at %s, %s: %v", server, skew, err)
				}
				continue
			}
			bound := server.Add(15 * time.Minute)
			if skew < 0 {
				bound = server.Add(-15 * time.Minute)
			}
			want = fmt.Sprintf(want, c.stamp, bound.Format(layout), server.Format(layout))
			if err == nil || err.Error() != want {
				t.Errorf("at %s, %s:\n%v\nwant\n%s", server, skew, err, want)
			}
		}
	}
	for _, stamp := range []string{"00000101T000000Z", "99991231T235959Z", "20270229T120000Z", "20261122T250000Z", "20261122T120060Z", "20261122T120000", "20261122"} {
		c := newCall()
		c.stamp, c.headers[1] = stamp, "x-amz-date:"+stamp
		if _, err := verify(t, newVerifier(noon), c.raw()); err == nil {
			t.Errorf("passed with the date %s", stamp)
		}
	}
}

func TestKeysUnavailable(t *testing.T) {
	away := errors.New("open: permission denied")
	v := sigv4.New(sigv4.Config{
		Regions: []string{"us-east-1"}, Now: func() time.Time { return noon },
		Keys: func(string) (accesskeys.Key, bool, error) { return accesskeys.Key{}, true, away },
	})
	c := newCall()
	c.secret = ""
	_, err := verify(t, v, c.raw())
	if _, ok := errors.AsType[*sigv4.Error](err); ok || !errors.Is(err, away) {
		t.Fatalf("Verify = %v, want the keeper's error", err)
	}
}

// FuzzVerify alters a signed request at will. What passes must mean what was signed.
func FuzzVerify(f *testing.F) {
	c := newCall()
	c.target = "/?a=1&b=2"
	f.Add([]byte(c.raw()))
	f.Add([]byte(strings.Replace(c.raw(), "a=1&b=2", "b=2&a=%31", 1)))
	f.Add([]byte(strings.Replace(c.raw(), "/?", "http://127.0.0.1:1339/?", 1)))
	f.Add([]byte(strings.Replace(c.raw(), ";", ",", 1)))
	f.Add([]byte(c.with("Authorization: AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;, Signature==")))
	signed, signedBody, err := receive(c.raw())
	if err != nil {
		f.Fatal(err)
	}
	v := newVerifier(noon)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, body, err := receive(string(raw))
		if err != nil {
			return
		}
		identity, err := v.Verify(r, "lightsail", body)
		if err != nil {
			if _, ok := errors.AsType[*sigv4.Error](err); !ok || identity != (sigv4.Identity{}) {
				t.Fatalf("Verify = %+v, %v", identity, err)
			}
			return
		}
		same := r.Method == signed.Method && r.Host == signed.Host && cmp.Or(r.URL.Path, "/") == signed.URL.Path &&
			reflect.DeepEqual(r.URL.Query(), signed.URL.Query()) && bytes.Equal(body, signedBody)
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Amz-") {
				same = same && reflect.DeepEqual(r.Header[name], signed.Header[name])
			}
		}
		if !same || r.Header.Get("X-Amz-Target") == "" {
			t.Fatalf("passed, though it was altered:\n%s", raw)
		}
	})
}

// TestCheckHead: what the head shows to be wrong is refused before there is a body, as Verify would; a
// signature over a body that nobody has seen is neither refused nor proven.
func TestCheckHead(t *testing.T) {
	withHash := func(hash string, c *call) string {
		c.headers = append(c.headers, "x-amz-content-sha256:"+hash)
		c.signed = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target"
		return c.raw()
	}
	for name, test := range map[string]struct {
		make   func(*call) string
		proven bool
		want   string
	}{
		"right":                    {func(c *call) string { return c.raw() }, false, ""},
		"right, with the hash":     {func(c *call) string { return withHash(sum(c.body), c) }, true, ""},
		"wrong secret":             {func(c *call) string { c.secret = "wrong"; return c.raw() }, false, ""},
		"wrong secret, with hash":  {func(c *call) string { c.secret = "wrong"; return withHash(sum(c.body), c) }, false, mismatch},
		"another hash than signed": {func(c *call) string { return strings.Replace(withHash(sum(c.body), c), sum(c.body), sum("other"), 1) }, false, mismatch},
		"no hash":                  {func(c *call) string { return withHash("UNSIGNED-PAYLOAD", c) }, false, "InvalidSignatureException: The provided 'x-amz-content-sha256' header does not match what was computed."},
		"in chunks":                {func(c *call) string { return withHash("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", c) }, false, "InvalidSignatureException: The provided 'x-amz-content-sha256' header does not match what was computed."},
		"unknown key": {func(c *call) string {
			c.credential = strings.Replace(c.credential, keyID, "AKIDOTHER", 1)
			return c.raw()
		}, false, unrecognized},
		"no signature": {func(c *call) string { return c.with() }, false, missing},
	} {
		c := newCall()
		r, body, err := receive(test.make(&c))
		if err != nil {
			t.Fatal(err)
		}
		v := newVerifier(noon)
		proven, err := v.CheckHead(r, "lightsail")
		got := ""
		if err != nil {
			got = err.Error()
		}
		if proven != test.proven || got != test.want {
			t.Errorf("%s: %v, %q", name, proven, got)
		}
		if _, err := v.Verify(r, "lightsail", body); proven && err != nil || test.want != "" && err == nil {
			t.Errorf("%s: Verify says %v", name, err)
		}
	}
}
