package lightsail_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/accesskeys"
	"github.com/openimds/openimds/lightsail"
	"github.com/openimds/openimds/sigv4"
)

// TestForm is about what surrounds the operations: one request that is wrong in one way each.
func TestForm(t *testing.T) {
	s := newServer(t)
	const good = `{"instanceName":"demo"}`
	for _, test := range []struct {
		name      string
		request   func() *http.Request
		status    int
		exception string
		body      string // whole, if not empty
	}{
		{"another method", func() *http.Request {
			r := s.request(s.full, "GetInstance", good)
			r.Method = http.MethodPut
			return r
		}, 404, "UnknownOperationException", "<UnknownOperationException/>\n"},
		{"GET", func() *http.Request {
			r := s.request(s.full, "GetInstance", "")
			r.Method = http.MethodGet
			return r
		}, 404, "UnknownOperationException", "<UnknownOperationException/>\n"},
		{"the REST path of the model", func() *http.Request {
			r := s.request(s.full, "GetInstance", good)
			r.URL.Path = "/ls/api/2016-11-28/GetInstance"
			return r
		}, 404, "UnknownOperationException", ""},
		{"a form instead of JSON", func() *http.Request {
			r := s.request(s.full, "GetInstance", good)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return r
		}, 404, "UnknownOperationException", ""},
		{"another version of the protocol", func() *http.Request {
			r := s.request(s.full, "GetInstance", good)
			r.Header.Set("Content-Type", "application/x-amz-json-1.0")
			return r
		}, 404, "UnknownOperationException", ""},
		{"no body", func() *http.Request { return s.request(s.full, "GetInstances", "") }, 400, malformed, ""},
		{"no JSON", func() *http.Request { return s.request(s.full, "GetInstances", "{") }, 400, malformed, ""},
		{"two values", func() *http.Request { return s.request(s.full, "GetInstances", "{}{}") }, 400, malformed, ""},
		{"no object", func() *http.Request { return s.request(s.full, "GetInstances", `["a"]`) }, 400, malformed, ""},
		{"a byte order mark", func() *http.Request { return s.request(s.full, "GetInstances", "\ufeff{}") }, 400, malformed, ""},
		{"bytes that are no UTF-8", func() *http.Request { return s.request(s.full, "GetInstances", "{\"a\":\"\xff\"}") }, 400, malformed, ""},
		{"half a surrogate pair", func() *http.Request { return s.request(s.full, "GetInstances", `{"a":"\ud83d"}`) }, 400, malformed, ""},
		{"JSON that nests too deeply", func() *http.Request {
			return s.request(s.full, "GetInstances", `{"a":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`)
		}, 400, malformed, ""},
		{"JSON that nests far too deeply", func() *http.Request {
			return s.request(s.full, "GetInstances", `{"a":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}`)
		}, 400, malformed, ""},
		{"more than a megabyte", func() *http.Request {
			return s.request(s.full, "GetInstances", `{"a":"`+strings.Repeat("x", 1<<20)+`"}`)
		}, 413, "RequestEntityTooLargeException", ""},
		{"no target", func() *http.Request {
			r := s.request(s.full, "GetInstances", "{}")
			r.Header.Del("X-Amz-Target")
			return r
		}, 404, "UnknownOperationException", `{"__type":"UnknownOperationException"}`},
		{"an unknown operation", func() *http.Request { return s.request(s.full, "GetToaster", "{}") }, 404, "UnknownOperationException", `{"__type":"UnknownOperationException"}`},
		{"another service's target", func() *http.Request { return s.request(s.full, "Other_20161128.GetInstance", good) }, 404, "UnknownOperationException", ""},
		{"no signature", func() *http.Request { return s.request(accesskeys.Key{}, "GetInstance", good) }, 400, "MissingAuthenticationTokenException", ""},
		{"no signature, for an operation of our own", func() *http.Request { return s.request(accesskeys.Key{}, "OpenIMDS_20261122.DescribeService", "{}") }, 400, "MissingAuthenticationTokenException", ""},
		{"no signature, for an operation that is not built", func() *http.Request { return s.request(accesskeys.Key{}, "CreateDisk", "{}") }, 400, "MissingAuthenticationTokenException", ""},
		{"an unknown key", func() *http.Request {
			return s.request(accesskeys.Key{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "x"}, "GetInstance", good)
		}, 400, "UnrecognizedClientException", ""},
		{"a wrong secret", func() *http.Request {
			return s.request(accesskeys.Key{ID: s.full.ID, Secret: "wrong"}, "GetInstance", good)
		}, 400, "InvalidSignatureException", ""},
		{"another operation than was signed", func() *http.Request {
			r := s.request(s.full, "GetInstance", good)
			r.Header.Set("X-Amz-Target", "Lightsail_20161128.DeleteInstance")
			return r
		}, 400, "InvalidSignatureException", ""},
		{"another body than was signed", func() *http.Request {
			r := s.request(s.full, "DeleteInstance", `{"instanceName":"other"}`)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"instanceName":"demo1"}`)), 24
			return r
		}, 400, "InvalidSignatureException", ""},
		{"wrong types without a signature", func() *http.Request { return s.request(accesskeys.Key{}, "GetInstance", `{"instanceName":7}`) }, 400, "MissingAuthenticationTokenException", ""},
		{"no JSON without a signature", func() *http.Request { return s.request(accesskeys.Key{}, "GetInstance", `{`) }, 400, malformed, ""},
		{"an unknown operation without a signature", func() *http.Request { return s.request(accesskeys.Key{}, "GetToaster", `{}`) }, 404, "UnknownOperationException", ""},
		{"a content type with a parameter", func() *http.Request {
			r := s.request(s.full, "GetInstance", good)
			r.Header.Set("Content-Type", "application/x-amz-json-1.1; charset=utf-8")
			return r
		}, 400, "InvalidSignatureException", ""}, // past the form, but the type was signed
	} {
		t.Run(test.name, func(t *testing.T) {
			a := s.send(test.request())
			if a.status != test.status || a.header.Get("X-Amzn-Errortype") != test.exception {
				t.Errorf("%d %s: %s", a.status, a.header.Get("X-Amzn-Errortype"), a.body)
			}
			if test.body != "" && a.body != test.body {
				t.Errorf("body %q", a.body)
			}
			if strings.Contains(a.body, "172.26.") {
				t.Errorf("the answer tells of the instance: %s", a.body)
			}
			if strings.HasPrefix(a.body, "{") && a.json(t)["__type"] != test.exception {
				t.Errorf("body %s", a.body)
			}
		})
	}
	if a := s.call("GetInstance", good); a.status != 200 {
		t.Errorf("the good request: %d %s", a.status, a.body)
	}
}

// TestHeaders reads an answer as bytes.
func TestHeaders(t *testing.T) {
	s := newServer(t)
	for _, body := range []string{`{"instanceName":"demo"}`, `{"instanceName":"absent"}`} {
		r := s.request(s.full, "GetInstance", body)
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		r.Close = true
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(bufio.NewReader(conn))
		if err != nil {
			t.Fatal(err)
		}
		head, content, _ := strings.Cut(string(raw), "\r\n\r\n")
		for _, line := range []string{
			`Content-Type: application/x-amz-json-1\.1`, `x-amzn-RequestId: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
			`Server: Server`, `Date: \w{3}, .* GMT`, "Content-Length: " + strconv.Itoa(len(content)),
		} {
			if !regexp.MustCompile(`(?m)^` + line + `\r?$`).MatchString(head) {
				t.Errorf("no line %s in\n%s", line, head)
			}
		}
		if strings.HasSuffix(content, "\n") {
			t.Error("the body ends with a line feed")
		}
	}
}

// TestTimestamps holds an answer's numbers against the form of the real service.
func TestTimestamps(t *testing.T) {
	s := newServer(t)
	a := s.call("GetOperations", `{}`)
	if !regexp.MustCompile(`"createdAt":\d{10}\.\d{3},`).MatchString(a.body) {
		t.Errorf("no epoch seconds with a fraction: %s", a.body)
	}
}

// failingStore is a store that is away.
type failingStore struct{ openimds.Store }

type fixedAuth struct{ err error }

func (a fixedAuth) Verify(r *http.Request, _ []byte) (sigv4.Identity, error) {
	if r.Header.Get("Panic") != "" {
		panic("a fault: secret-canary")
	}
	return sigv4.Identity{KeyID: "AKIAIOSFODNN7EXAMPLE", Profile: "test"}, a.err
}

func TestInternalFailures(t *testing.T) {
	const internal = `{"__type":"ServiceException","message":"Internal error"}`
	for _, test := range []struct {
		name  string
		auth  fixedAuth
		panic string
		want  string
	}{
		{"the store is away", fixedAuth{}, "", `{"__type":"ServiceException","message":"The store is not available; try again"}`},
		{"the keys cannot be read", fixedAuth{errors.New("open /secret/path: no")}, "", internal},
		{"a panic", fixedAuth{}, "yes", internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			full := newServer(t)
			_ = full.store.Close()
			service := openimds.NewService(failingStore{full.store}, openimds.ServiceConfig{Region: "us-east-1", AccountID: "123456789012"})
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"instanceName":"demo"}`))
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			r.Header.Set("X-Amz-Target", "Lightsail_20161128.GetInstance")
			r.Header.Set("Panic", test.panic)
			lightsail.New(lightsail.Config{Service: service, Auth: test.auth}).ServeHTTP(w, r)
			if w.Code != 500 || w.Body.String() != test.want {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
