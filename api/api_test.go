package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/api/sigv4"
)

// query is a protocol like EC2's: the operation stands in the body, a form.
type query struct {
	service string
	actions map[string]api.Operation
}

func (q query) Service() string { return q.service }
func (q query) Prefix() string  { return q.service }

func (q query) Head(r *http.Request) (string, error) {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return "", errors.New("not a query")
	}
	return q.service, nil
}

func (q query) Read(_ *http.Request, body []byte) (api.Operation, error) {
	form, err := url.ParseQuery(string(body))
	op, known := q.actions[form.Get("Action")]
	if err != nil || !known {
		return api.Operation{}, errors.New("no such action")
	}
	return op, nil
}

func (q query) Encode(_ api.Request, result any, err error) api.Answer {
	a := api.Answer{Status: 200, ContentType: "text/xml", Header: map[string]string{}, Body: fmt.Appendf(nil, "<%s>%v</%s>", q.service, result, q.service)}
	if err != nil {
		a.Status, a.Body = 400, fmt.Appendf(nil, "<%s-Error>%v</%s-Error>", q.service, err, q.service)
		if _, known := errors.AsType[*sigv4.Error](err); known {
			a.Status = 401
		}
		if unread, ok := errors.AsType[*api.Unread](err); ok && errors.Is(unread.Reason, front.ErrTooLarge) {
			a.Status = 413
		}
	}
	return a
}

// side is two protocols on one listener, with a key that may do all and one that only looks.
type side struct {
	t       *testing.T
	url     string
	log     bytes.Buffer
	refused []openimds.AuditEntry
}

func newSide(t *testing.T) *side {
	actions := map[string]api.Operation{
		"Look":   {Name: "Look", Run: func(ctx context.Context) (any, error) { return api.Caller(ctx).Profile, nil }},
		"Change": {Name: "Change", Changes: true, Run: func(context.Context) (any, error) { return "changed", nil }},
		"Panic":  {Name: "Panic", Run: func(context.Context) (any, error) { panic("a fault: secret-canary") }},
		"Wait": {Name: "Wait", Run: func(ctx context.Context) (any, error) {
			_, bounded := ctx.Deadline()
			return bounded, nil
		}},
	}
	s := &side{t: t}
	keys := func(id string) (accesskeys.Key, bool, error) {
		return accesskeys.Key{ID: id, Secret: "secret", Profile: strings.ToLower(id), ReadOnly: id == "LOOKS"}, id == "ALL" || id == "LOOKS", nil
	}
	server := httptest.NewServer(api.New(api.Config{
		Protocols: []api.Protocol{query{"first", actions}, query{"second", actions}},
		Auth:      sigv4.New(sigv4.Config{Regions: []string{"us-east-1"}, Keys: keys}), Account: "123456789012",
		Refused: func(_ context.Context, e openimds.AuditEntry, _ string) { s.refused = append(s.refused, e) },
		Log:     slog.New(slog.NewTextHandler(&s.log, nil)),
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// ask sends a form, signed for a service by a key; without a key it is not signed.
func (s *side) ask(service, key, body string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != "" {
		sum := sha256.Sum256([]byte(body))
		if err := v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: key, SecretAccessKey: "secret"}, r, hex.EncodeToString(sum[:]), service, "us-east-1", time.Now()); err != nil {
			s.t.Fatal(err)
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.Header.Get("X-Amzn-Requestid") == "" {
		s.t.Errorf("%s: %v, request %q", text, err, resp.Header.Get("X-Amzn-Requestid"))
	}
	return fmt.Sprint(resp.StatusCode, " ", string(text))
}

// TestProtocols: a request goes to the protocol whose service it is signed for, and is verified for that
// one; the shared part does the same for each.
func TestProtocols(t *testing.T) {
	s := newSide(t)
	for _, c := range []struct{ service, key, body, want string }{
		{"first", "ALL", "Action=Look", "200 <first>all</first>"},
		{"second", "ALL", "Action=Look", "200 <second>all</second>"},
		{"second", "LOOKS", "Action=Look", "200 <second>looks</second>"},
		{"second", "ALL", "Action=Change", "200 <second>changed</second>"},
		{"second", "LOOKS", "Action=Change", "400 <second-Error>User: arn:aws:iam::123456789012:user/looks is not authorized to perform: second:Change on resource: *</second-Error>"},
		{"second", "NOBODY", "Action=Look", "401 <second-Error>UnrecognizedClientException: "},
		{"third", "ALL", "Action=Look", "401 <first-Error>InvalidSignatureException: Credential should be scoped to correct service: 'first'."},
		{"", "", "Action=Look", "401 <first-Error>MissingAuthenticationTokenException: "},
		{"second", "ALL", "Action=Dance", "400 <second-Error>no such action"},
		{"second", "ALL", "Action=Panic", "400 <second-Error>the handling of the request panicked</second-Error>"},
		{"second", "ALL", "Action=Wait", "200 <second>true</second>"},
		{"second", "ALL", strings.Repeat("a", api.MaxBody+1), "413 <second-Error>the body is too large"},
	} {
		if got := s.ask(c.service, c.key, c.body); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s, %s, %.20s: %s, not %s", c.service, c.key, c.body, got, c.want)
		}
	}
	var refused []string
	for _, e := range s.refused {
		refused = append(refused, e.Who+": "+e.What)
	}
	want := []string{"LOOKS (looks): Change", "unverified caller: second", "unverified caller: first", "unverified caller: first"}
	if strings.Join(refused, "\n") != strings.Join(want, "\n") {
		t.Errorf("refused:\n%s\nnot\n%s", strings.Join(refused, "\n"), strings.Join(want, "\n"))
	}
	if !strings.Contains(s.log.String(), "a control request panicked") {
		t.Errorf("the log does not tell of a panic: %s", &s.log)
	}
}
