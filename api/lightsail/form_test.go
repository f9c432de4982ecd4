package lightsail_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// wrong is a request that is wrong in one way, and what it is answered with.
type wrong struct {
	name      string
	request   *http.Request
	status    int
	exception string
	body      string // whole, if not empty
}

func (s *server) refuses(requests []wrong) {
	for _, test := range requests {
		a := s.send(test.request)
		if a.status != test.status || a.header.Get("X-Amzn-Errortype") != test.exception {
			s.t.Errorf("%s: %d %s: %s", test.name, a.status, a.header.Get("X-Amzn-Errortype"), a.body)
		}
		if test.body != "" && a.body != test.body {
			s.t.Errorf("%s: body %q", test.name, a.body)
		}
		if strings.Contains(a.body, "172.26.") {
			s.t.Errorf("%s: the answer tells of the instance: %s", test.name, a.body)
		}
		if strings.HasPrefix(a.body, "{") && a.json(s.t)["__type"] != test.exception {
			s.t.Errorf("%s: body %s", test.name, a.body)
		}
	}
	if a := s.call("GetInstance", `{"instanceName":"demo"}`); a.status != 200 {
		s.t.Errorf("a good request: %d %s", a.status, a.body)
	}
}

// with changes a request that was signed already.
func with(r *http.Request, change func(*http.Request)) *http.Request {
	change(r)
	return r
}

// TestForm is about what surrounds the operations.
func TestForm(t *testing.T) {
	s := newServer(t)
	const good = `{"instanceName":"demo"}`
	s.refuses([]wrong{
		{"another method", with(s.request(s.full, "GetInstance", good), func(r *http.Request) {
			r.Method = http.MethodPut
		}), 404, "UnknownOperationException", "<UnknownOperationException/>\n"},
		{"GET", with(s.request(s.full, "GetInstance", ""), func(r *http.Request) {
			r.Method = http.MethodGet
		}), 404, "UnknownOperationException", "<UnknownOperationException/>\n"},
		{"the REST path of the model", with(s.request(s.full, "GetInstance", good), func(r *http.Request) {
			r.URL.Path = "/ls/api/2016-11-28/GetInstance"
		}), 404, "UnknownOperationException", ""},
		{"a form instead of JSON", with(s.request(s.full, "GetInstance", good), func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}), 404, "UnknownOperationException", ""},
		{"another version of the protocol", with(s.request(s.full, "GetInstance", good), func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-amz-json-1.0")
		}), 404, "UnknownOperationException", ""},
		{"no body", s.request(s.full, "GetInstances", ""), 400, malformed, ""},
		{"no JSON", s.request(s.full, "GetInstances", "{"), 400, malformed, ""},
		{"two values", s.request(s.full, "GetInstances", "{}{}"), 400, malformed, ""},
		{"no object", s.request(s.full, "GetInstances", `["a"]`), 400, malformed, ""},
		{"a byte order mark", s.request(s.full, "GetInstances", "\ufeff{}"), 400, malformed, ""},
		{"bytes that are no UTF-8", s.request(s.full, "GetInstances", "{\"a\":\"\xff\"}"), 400, malformed, ""},
		{"half a surrogate pair", s.request(s.full, "GetInstances", `{"a":"\ud83d"}`), 400, malformed, ""},
		{"JSON that nests too deeply", s.request(s.full, "GetInstances", `{"a":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`), 400, malformed, ""},
		{"JSON that nests far too deeply", s.request(s.full, "GetInstances", `{"a":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}`), 400, malformed, ""},
		{"more than a megabyte", s.request(s.full, "GetInstances", `{"a":"`+strings.Repeat("x", 1<<20)+`"}`), 413, "RequestEntityTooLargeException", ""},
		{"no target", with(s.request(s.full, "GetInstances", "{}"), func(r *http.Request) {
			r.Header.Del("X-Amz-Target")
		}), 404, "UnknownOperationException", `{"__type":"UnknownOperationException"}`},
		{"an unknown operation", s.request(s.full, "GetToaster", "{}"), 404, "UnknownOperationException", `{"__type":"UnknownOperationException"}`},
		{"another service's target", s.request(s.full, "Other_20161128.GetInstance", good), 404, "UnknownOperationException", ""},
	})
}

// TestSignatures is about who asks, and what is looked at before that.
func TestSignatures(t *testing.T) {
	s := newServer(t)
	const good = `{"instanceName":"demo"}`
	s.refuses([]wrong{
		{"no signature", s.request(accesskeys.Key{}, "GetInstance", good), 400, "MissingAuthenticationTokenException", ""},
		{"no signature, for an operation of our own", s.request(accesskeys.Key{}, "OpenIMDS_20261122.DescribeService", "{}"), 400, "MissingAuthenticationTokenException", ""},
		{"no signature, for an operation that is not built", s.request(accesskeys.Key{}, "CreateDisk", "{}"), 400, "MissingAuthenticationTokenException", ""},
		{"an unknown key", s.request(accesskeys.Key{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "x"}, "GetInstance", good), 400, "UnrecognizedClientException", ""},
		{"a wrong secret", s.request(accesskeys.Key{ID: s.full.ID, Secret: "wrong"}, "GetInstance", good), 400, "InvalidSignatureException", ""},
		{"another operation than was signed", with(s.request(s.full, "GetInstance", good), func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "Lightsail_20161128.DeleteInstance")
		}), 400, "InvalidSignatureException", ""},
		{"another body than was signed", with(s.request(s.full, "DeleteInstance", `{"instanceName":"other"}`), func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"instanceName":"demo1"}`)), 24
		}), 400, "InvalidSignatureException", ""},
		{"wrong types without a signature", s.request(accesskeys.Key{}, "GetInstance", `{"instanceName":7}`), 400, "MissingAuthenticationTokenException", ""},
		{"no JSON without a signature", s.request(accesskeys.Key{}, "GetInstance", `{`), 400, "MissingAuthenticationTokenException", ""}, // nobody has read it
		{"an unknown operation without a signature", s.request(accesskeys.Key{}, "GetToaster", `{}`), 404, "UnknownOperationException", ""},
		{"a content type with a parameter", with(s.request(s.full, "GetInstance", good), func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-amz-json-1.1; charset=utf-8")
		}), 400, "InvalidSignatureException", ""}, // past the form, but the type was signed
	})
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

// TestLengthRequired: a body whose length nobody says is not read.
func TestLengthRequired(t *testing.T) {
	s := newServer(t)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{}`))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Lightsail_20161128.GetInstances")
	r.ContentLength = -1
	handlerOf(s.service, fixedAuth{}).ServeHTTP(w, r)
	if w.Code != http.StatusLengthRequired || !strings.Contains(w.Body.String(), `"__type":"MissingContentLength"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func handlerOf(service *control.Service, auth api.Authenticator) http.Handler {
	return api.New(api.Config{Protocols: []api.Protocol{lightsail.New(lightsail.Config{Service: service})}, Auth: auth})
}

// failingStore is a store that is away.
type failingStore struct{ store.Store }

type fixedAuth struct{ err error }

func (a fixedAuth) CheckHead(*http.Request, string) (bool, error) { return true, a.err }

func (a fixedAuth) Verify(r *http.Request, _ string, _ []byte) (sigv4.Identity, error) {
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
			service := control.New(failingStore{full.store}, control.Config{Region: "us-east-1", AccountID: "123456789012"})
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"instanceName":"demo"}`))
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			r.Header.Set("X-Amz-Target", "Lightsail_20161128.GetInstance")
			r.Header.Set("Panic", test.panic)
			handlerOf(service, test.auth).ServeHTTP(w, r)
			if w.Code != 500 || w.Body.String() != test.want {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// lateSigner has the client's time end while it makes its keys.
type lateSigner struct{ end func() }

func (s lateSigner) Prepare(time.Time) error { s.end(); return nil }

func (lateSigner) Sign(openimds.PushedKey) (string, error) { return "", errors.New("not asked") }

// TestUnready: a client is told by the code that nothing was done, so that it may send a change again.
func TestUnready(t *testing.T) {
	full := newServer(t)
	ctx, end := context.WithCancel(t.Context())
	service := control.New(full.store, control.Config{Region: "us-east-1", AccountID: "123456789012", KeySigner: lateSigner{end}})
	body := `{"instanceName":"demo","instanceOSUser":"ubuntu","publicKeyBase64":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHWgsd+4qVBKGNwhDEHWMHaBaRNtTtvTRvHsr0gEVFAK"}`
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "OpenIMDS_20261122.SendSSHPublicKey")
	handlerOf(service, fixedAuth{}).ServeHTTP(w, r)
	if want := `{"__type":"ServiceException","code":"Unready","message":"The key is not made yet, since the machine is busy; try again"}`; w.Code != 500 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
