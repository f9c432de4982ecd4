package ec2_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/ec2"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/audit/audittest"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// server is EC2's API beside Lightsail's on a store in memory, with a running instance "demo".
type server struct {
	t           testing.TB
	url         string
	credentials string
	full, looks accesskeys.Key
	service     *control.Service
	store       store.Store
	demo        string // the id of the instance
	audit       audittest.Log
}

func newServer(t testing.TB, adapt ...func(*control.Config)) *server {
	t.Helper()
	return newServerOn(t, mem.New(), adapt...)
}

func newServerOn(t testing.TB, kept store.Store, adapt ...func(*control.Config)) *server {
	t.Helper()
	s := &server{t: t, store: kept}
	t.Cleanup(func() { _ = s.store.Close() })
	cfg := control.Config{Region: "us-east-1", AccountID: "123456789012", AllowIMDSIPv6: true, Audit: s.audit.Tell}
	for _, f := range adapt {
		f(&cfg)
	}
	s.service = control.New(s.store, cfg)
	demo, err := s.service.EnsureInstance(context.Background(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	s.demo = demo.ID
	s.credentials = filepath.Join(t.TempDir(), "credentials")
	keys, err := accesskeys.Ensure(s.credentials)
	if err != nil {
		t.Fatal(err)
	}
	if s.full, err = keys.Create("operator", false); err != nil {
		t.Fatal(err)
	}
	if s.looks, err = keys.Create("watcher", true); err != nil {
		t.Fatal(err)
	}
	handler := api.New(api.Config{
		Timeout:   api.MaxTimeout, // on a busy machine a key alone can take longer than users wait
		Protocols: []api.Protocol{lightsail.New(lightsail.Config{Service: s.service}), ec2.New(ec2.Config{Service: s.service})},
		Auth:      sigv4.New(sigv4.Config{Regions: []string{cfg.Region}, Keys: keys.Lookup}), Account: cfg.AccountID, Log: slog.New(slog.DiscardHandler),
		Refused: func(ctx context.Context, e openimds.AuditEntry, _ string) { _ = s.audit.Tell(ctx, e) },
	})
	listener := httptest.NewServer(handler)
	t.Cleanup(listener.Close)
	s.url = listener.URL
	return s
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// request makes a request with that body, signed for a service; without a key it is not signed.
func (s *server) request(key accesskeys.Key, service, contentType, body string, header ...string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.url+"/", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if key.ID != "" {
		sum := sha256.Sum256([]byte(body))
		keys := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}
		if err := v4.NewSigner().SignHTTP(r.Context(), keys, r, hex.EncodeToString(sum[:]), service, s.service.Region(), time.Now()); err != nil {
			s.t.Fatal(err)
		}
	}
	return r
}

func (s *server) send(r *http.Request) answer {
	s.t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

const form = "application/x-www-form-urlencoded; charset=utf-8"

// call asks for an action, with parameters as of a URL's query; the version is added.
func (s *server) call(parameters string) answer {
	s.t.Helper()
	return s.send(s.request(s.full, "ec2", form, parameters+"&Version=2016-11-15"))
}

// must is call for what has to succeed; it returns the answer.
func (s *server) must(parameters string) string {
	s.t.Helper()
	a := s.call(parameters)
	if a.status != http.StatusOK {
		s.t.Fatalf("%s: %d %s", parameters, a.status, a.body)
	}
	if err := xml.Unmarshal([]byte(a.body), new(struct{})); err != nil {
		s.t.Errorf("%s: %v in %s", parameters, err, a.body)
	}
	return a.body
}

// lightsail asks for an operation of Lightsail's, and openimds for one that it does not have; it has to succeed.
func (s *server) lightsail(operation, body string) map[string]any {
	s.t.Helper()
	return s.json("Lightsail_20161128."+operation, body)
}

func (s *server) openimds(operation, body string) {
	s.t.Helper()
	s.json("OpenIMDS_20261122."+operation, body)
}

func (s *server) json(target, body string) map[string]any {
	s.t.Helper()
	a := s.send(s.request(s.full, "lightsail", "application/x-amz-json-1.1", body, "X-Amz-Target", target))
	var answer map[string]any
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", target, body, a.status, a.body)
	}
	return answer
}

// failure is an error as EC2 answers it.
type failure struct {
	XMLName xml.Name `xml:"Response"`
	Errors  []struct {
		Code, Message string
	} `xml:"Errors>Error"`
	RequestID string
}

// refused checks that an answer is an error of EC2's, whole and in its shape.
func (a answer) refused(t testing.TB, code, message string) {
	t.Helper()
	var f failure
	err := xml.Unmarshal([]byte(a.body), &f)
	status := map[string]int{"DryRunOperation": 412, "UnauthorizedOperation": 403, "AuthFailure": 401, "InternalError": 500, "RequestEntityTooLarge": 413}[code]
	if status == 0 {
		status = http.StatusBadRequest
	}
	switch {
	case err != nil || len(f.Errors) != 1 || f.RequestID == "" || f.RequestID != a.header.Get("x-amzn-RequestId") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/xml"):
		t.Errorf("no error of EC2's shape: %v %s %v", err, a.body, a.header)
	case f.Errors[0].Code != code || a.status != status || !strings.Contains(f.Errors[0].Message, message) || strings.Contains(f.Errors[0].Message, "\n"):
		t.Errorf("%d %s: %q, want %d %s: %q", a.status, f.Errors[0].Code, f.Errors[0].Message, status, code, message)
	}
}

// values are the texts of all elements of a name, in their order.
func values(body, name string) (found []string) {
	for _, m := range regexp.MustCompile(`<`+name+`>([^<]*)</`+name+`>`).FindAllStringSubmatch(body, -1) {
		found = append(found, m[1])
	}
	return found
}

// value is the only text of an element of that name.
func value(t testing.TB, body, name string) string {
	t.Helper()
	found := values(body, name)
	if len(found) != 1 {
		t.Fatalf("%d elements %s in %s", len(found), name, body)
	}
	return found[0]
}

// list makes the parameters of a list.
func list(name string, items ...string) string {
	var b strings.Builder
	for i, item := range items {
		fmt.Fprintf(&b, "&%s.%d=%s", name, i+1, url.QueryEscape(item))
	}
	return b.String()
}

// image is the id of a blueprint's image.
func (s *server) image(blueprint string) string {
	s.t.Helper()
	return value(s.t, s.must("Action=DescribeImages&Filter.1.Name=name&Filter.1.Value.1="+blueprint), "imageId")
}

// run launches so many instances and returns their ids.
func (s *server) run(n int, parameters string) []string {
	s.t.Helper()
	return values(s.must(fmt.Sprintf("Action=RunInstances&ImageId=%s&MinCount=%d&MaxCount=%d%s", s.image("ubuntu_24_04"), n, n, parameters)), "instanceId")
}

// endTransitions ends what instances are in the middle of, once its time has come.
func (s *server) endTransitions(ctx context.Context) {
	page, err := s.store.List(ctx, store.Range{Prefix: records.TransitionKey("")})
	if err != nil {
		return
	}
	for _, r := range page.Records {
		if of, err := records.Decode[records.Transition](r); err == nil && time.Since(of.Begun) > of.Lasts {
			_ = s.service.EndTransition(ctx, strings.TrimPrefix(r.Key, records.TransitionKey("")), of.Begun) // again in a moment
		}
	}
}
