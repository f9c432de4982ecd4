package cloudwatch_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/cloudwatch"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/audit/audittest"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

// server is CloudWatch's API beside Lightsail's, on a store in memory, with a running instance "demo".
type server struct {
	t       testing.TB
	url     string
	service *control.Service
	history *history.History
	store   store.Store
	demo    string // the id of the instance
	audit   audittest.Log
}

var full, looks = accesskeys.Key{ID: "AKIAFULL", Secret: "full"}, accesskeys.Key{ID: "AKIALOOKS", Secret: "looks", Profile: "watcher", ReadOnly: true}

func newServer(t testing.TB) *server {
	t.Helper()
	return newServerAt(t, nil)
}

// newServerAt is one with a clock of its own, which need not go on to the next period in the midst of a test.
func newServerAt(t testing.TB, now func() time.Time) *server {
	t.Helper()
	s := &server{t: t, store: mem.New()}
	t.Cleanup(func() { _ = s.store.Close() })
	s.history = history.New(history.Config{Store: s.store, Now: now})
	s.service = control.New(s.store, control.Config{Region: "us-east-1", AccountID: "123456789012", History: s.history, Audit: s.audit.Tell, Now: now})
	s.demo = s.create("demo")
	lookup := func(id string) (accesskeys.Key, bool, error) {
		for _, key := range []accesskeys.Key{full, looks} {
			if key.ID == id {
				return key, true, nil
			}
		}
		return accesskeys.Key{}, false, nil
	}
	listener := httptest.NewServer(api.New(api.Config{
		Timeout:   api.MaxTimeout, // on a busy machine a key alone can take longer than users wait
		Protocols: []api.Protocol{lightsail.New(lightsail.Config{Service: s.service}), cloudwatch.New(cloudwatch.Config{Service: s.service})},
		Auth:      sigv4.New(sigv4.Config{Regions: []string{"us-east-1"}, Keys: lookup}), Account: "123456789012",
		Refused: func(ctx context.Context, e openimds.AuditEntry, _ string) { _ = s.audit.Tell(ctx, e) },
	}))
	t.Cleanup(listener.Close)
	s.url = listener.URL
	return s
}

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+1P0dyDrHSlHxPCsQWKjCqXgcUJ8HOQ1wLvS0B3c6p me@here"

// create makes instances and returns the id of the first.
func (s *server) create(names ...string) string {
	s.t.Helper()
	ctx := s.t.Context()
	if _, err := s.service.KeyPair(ctx, "key"); err != nil {
		if _, err := s.service.ImportKeyPair(ctx, "key", publicKey); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := s.service.CreateInstances(ctx, control.InstancesLaunch{Names: names, KeyPairName: "key"}); err != nil {
		s.t.Fatal(err)
	}
	in, err := s.service.Instance(ctx, names[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return in.ID
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// sign signs a request and sends it.
func (s *server) sign(r *http.Request, body []byte, key accesskeys.Key, service string) answer {
	s.t.Helper()
	if key.ID != "" {
		sum := sha256.Sum256(body)
		keys := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}
		if err := v4.NewSigner().SignHTTP(r.Context(), keys, r, hex.EncodeToString(sum[:]), service, "us-east-1", time.Now()); err != nil {
			s.t.Fatal(err)
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, text}
}

// forms are the ways to write a request.
var forms = []string{"cbor", "json", "query"}

// request writes a request in a form. Times are [time.Time], numbers float64 or int.
func (s *server) request(form, operation string, args map[string]any) (*http.Request, []byte) {
	s.t.Helper()
	path, media, target := "/", "application/x-amz-json-1.0", "GraniteServiceVersion20100801."+operation
	var body []byte
	switch form {
	case "cbor":
		path, media, target = "/service/GraniteServiceVersion20100801/operation/"+operation, "application/cbor", ""
		body = cbor.Encode(asCBOR(args))
	case "json":
		text, err := json.Marshal(asJSON(args))
		if err != nil {
			s.t.Fatal(err)
		}
		body = text
	default:
		media, target = "application/x-www-form-urlencoded; charset=utf-8", ""
		values := url.Values{"Action": {operation}, "Version": {"2010-08-01"}}
		asQuery(values, "", args)
		body = []byte(values.Encode())
	}
	return s.raw(path, media, target, body), body
}

func (s *server) raw(path, media, target string, body []byte) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.url+path, strings.NewReader(string(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", media)
	if media == "application/cbor" {
		r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	return r
}

func asCBOR(v any) cbor.Value {
	switch v := v.(type) {
	case map[string]any:
		m := cbor.Map{}
		for name, value := range v {
			m[name] = asCBOR(value)
		}
		return m
	case []any:
		list := cbor.List{}
		for _, item := range v {
			list = append(list, asCBOR(item))
		}
		return list
	case time.Time:
		return &cbor.Tag{ID: 1, Value: cbor.Float64(float64(v.UnixMilli()) / 1000)}
	case int:
		if v < 0 {
			return cbor.NegInt(-v)
		}
		return cbor.Uint(v)
	case float64:
		return cbor.Float64(v)
	case bool:
		return cbor.Bool(v)
	case nil:
		return &cbor.Nil{}
	}
	return cbor.String(v.(string))
}

func asJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, value := range v {
			m[name] = asJSON(value)
		}
		return m
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, asJSON(item))
		}
		return list
	case time.Time:
		return float64(v.UnixMilli()) / 1000
	}
	return v
}

func asQuery(values url.Values, at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			asQuery(values, strings.TrimPrefix(at+"."+name, "."), value)
		}
	case []any:
		if len(v) == 0 {
			values.Set(at, "")
		}
		for i, item := range v {
			asQuery(values, fmt.Sprintf("%s.member.%d", at, i+1), item)
		}
	case time.Time:
		values.Set(at, v.UTC().Format("2006-01-02T15:04:05.999Z"))
	default:
		values.Set(at, fmt.Sprint(v))
	}
}

// call asks for an operation with the key that may do everything, and reads what is common to the forms: numbers and
// times are float64, what XML has as text only is text.
func (s *server) call(form, operation string, args map[string]any) (map[string]any, error) {
	s.t.Helper()
	r, body := s.request(form, operation, args)
	return s.read(form, operation, s.sign(r, body, full, "monitoring"))
}

// refusedError is an answer that tells of a failure.
type refusedError struct {
	status        int
	code, message string
}

func (e *refusedError) Error() string { return fmt.Sprint(e.status, " ", e.code, ": ", e.message) }

func (s *server) read(form, operation string, a answer) (map[string]any, error) {
	s.t.Helper()
	var tree any
	switch form {
	case "cbor":
		if a.header.Get("Content-Type") != "application/cbor" || a.header.Get("Smithy-Protocol") != "rpc-v2-cbor" {
			s.t.Fatalf("%s, %s: %d %v %q", form, operation, a.status, a.header, a.body)
		}
		value, err := cbor.Decode(a.body)
		if err != nil {
			s.t.Fatal(err)
		}
		tree = fromCBOR(value)
	case "json":
		if err := json.Unmarshal(a.body, &tree); err != nil || a.header.Get("Content-Type") != "application/x-amz-json-1.0" {
			s.t.Fatalf("%s, %s: %v %v %q", form, operation, err, a.header, a.body)
		}
	default:
		tree = s.fromXML(operation, a)
	}
	members, _ := tree.(map[string]any)
	if a.status == http.StatusOK {
		return members, nil
	}
	if form == "query" {
		return nil, &refusedError{a.status, members["Code"].(string), members["Message"].(string)}
	}
	code, _, _ := strings.Cut(a.header.Get("x-amzn-query-error"), ";")
	message, _ := members["message"].(string)
	if message == "" {
		message, _ = members["Message"].(string)
	}
	return nil, &refusedError{a.status, code, message}
}

func fromCBOR(v cbor.Value) any {
	switch v := v.(type) {
	case cbor.Map:
		m := map[string]any{}
		for name, value := range v {
			m[name] = fromCBOR(value)
		}
		return m
	case cbor.List:
		list := []any{}
		for _, item := range v {
			list = append(list, fromCBOR(item))
		}
		return list
	case *cbor.Tag:
		return fromCBOR(v.Value)
	case cbor.Uint:
		return float64(v)
	case cbor.NegInt:
		return -float64(v)
	case cbor.Float64:
		return float64(v)
	case cbor.Float32:
		return float64(v)
	case cbor.Bool:
		return bool(v)
	case cbor.String:
		return string(v)
	case *cbor.Nil:
		return nil
	}
	return math.NaN()
}

// element is any element of XML.
type element struct {
	XMLName xml.Name
	Text    string    `xml:",chardata"`
	Inner   []element `xml:",any"`
}

// lists are the elements that have members.
var lists = map[string]bool{"Datapoints": true, "MetricDataResults": true, "Timestamps": true, "Values": true, "Metrics": true, "Dimensions": true,
	"MetricAlarms": true, "OKActions": true, "AlarmActions": true, "InsufficientDataActions": true, "Tags": true, "Messages": true}

func (s *server) fromXML(operation string, a answer) any {
	s.t.Helper()
	var root element
	if err := xml.Unmarshal(a.body, &root); err != nil || a.header.Get("Content-Type") != "text/xml" || root.XMLName.Space != "http://monitoring.amazonaws.com/doc/2010-08-01/" {
		s.t.Fatalf("%s: %v %v %s", operation, err, a.header, a.body)
	}
	want := operation + "Response"
	if a.status != http.StatusOK {
		want = "ErrorResponse"
	}
	id := a.header.Get("X-Amzn-Requestid")
	if root.XMLName.Local != want || id == "" || !strings.Contains(string(a.body), "<RequestId>"+id+"</RequestId>") {
		s.t.Fatalf("%s: %s, request %s", operation, a.body, id)
	}
	if name := root.Inner[0].XMLName.Local; name != "ResponseMetadata" && name != operation+"Result" && name != "Error" {
		s.t.Fatalf("%s: %s", operation, a.body)
	}
	if root.Inner[0].XMLName.Local == "ResponseMetadata" {
		return map[string]any{}
	}
	return treeOf(root.Inner[0])
}

func treeOf(e element) any {
	switch {
	case lists[e.XMLName.Local]:
		list := []any{}
		for _, item := range e.Inner {
			list = append(list, treeOf(item))
		}
		return list
	case len(e.Inner) > 0:
		m := map[string]any{}
		for _, member := range e.Inner {
			m[member.XMLName.Local] = treeOf(member)
		}
		return m
	}
	return e.Text
}

// flat is a tree as XML would have it: all values texts.
func flat(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, value := range v {
			m[name] = flat(value)
			if seconds, ok := value.(float64); ok && strings.HasSuffix(name, "Timestamp") {
				m[name] = moment(seconds)
			}
			if items, ok := value.([]any); ok && name == "Timestamps" {
				times := []any{}
				for _, item := range items {
					times = append(times, moment(item.(float64)))
				}
				m[name] = times
			}
		}
		return m
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, flat(item))
		}
		return list
	}
	return fmt.Sprint(v)
}

func moment(seconds float64) string {
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC().Format("2006-01-02T15:04:05.999Z")
}

// must is call for what has to succeed.
func (s *server) must(form, operation string, args map[string]any) map[string]any {
	s.t.Helper()
	result, err := s.call(form, operation, args)
	if err != nil {
		s.t.Fatalf("%s, %s %v: %v", form, operation, args, err)
	}
	return result
}

// code is how an error is called.
func code(err error) string {
	if e, ok := errors.AsType[*refusedError](err); ok {
		return e.code
	}
	return fmt.Sprint(err)
}
