package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

const secret = "a-secret-access-key"

func signing(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: secret}, nil
}

// fake answers requests one after the other; the last answer stands for all that follow.
type fake struct {
	answers []any // what a body is, an error, or a refusal
	asked   []*http.Request
}

type refusal struct {
	status int
	body   string
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	f.asked = append(f.asked, r)
	resp := &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{"X-Amzn-Requestid": {"id-1"}}}
	text := ""
	switch a := f.answers[min(len(f.asked), len(f.answers))-1].(type) {
	case error:
		return nil, a
	case refusal:
		resp.StatusCode, resp.Status, text = a.status, fmt.Sprint(a.status, " ", http.StatusText(a.status)), a.body
	case string:
		text = a
	}
	resp.Body = io.NopCloser(strings.NewReader(text))
	if text == "cut" {
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"sta`), failing{io.ErrUnexpectedEOF}))
	}
	return resp, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func newClient(t *testing.T, f *fake) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{
		Endpoint: "https://api.example", Region: "eu-west-1", Credentials: aws.CredentialsProviderFunc(signing), HTTP: &http.Client{Transport: f},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAttempts: what may pass is tried again, and nothing that changes something can happen twice.
func TestAttempts(t *testing.T) {
	const (
		state = `{"state":{"code":16,"name":"running"}}`
		ops   = `{"operations":[]}`
	)
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	broken := &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
	throttled := refusal{400, `{"__type":"ThrottlingException","message":"Rate exceeded"}`}
	internal := refusal{500, `{"__type":"ServiceException","message":"Internal error"}`}
	undone := func(code openimds.Code) refusal {
		return refusal{503, fmt.Sprintf(`{"__type":"ServiceUnavailableException","code":%q,"message":"try again"}`, code)}
	}
	invalid := refusal{400, `{"__type":"InvalidInputException","message":"no"}`}
	for _, c := range []struct {
		name           string
		answers        []any
		looks, changes int // how often each is sent
		fails          string
	}{
		{"at once", []any{"ok"}, 1, 1, ""},
		{"no connection", []any{refused, "ok"}, 2, 2, ""},
		{"never a connection", []any{refused}, 3, 3, "cannot reach the control API: dial tcp: connection refused"},
		{"throttled", []any{throttled, throttled, "ok"}, 3, 3, ""},
		{"throttled by status", []any{refusal{429, ""}, "ok"}, 2, 2, ""},
		{"a fault of the service", []any{internal}, 3, 1, "ServiceException: Internal error"},
		{"not ready, and contended, so nothing was done", []any{undone(openimds.Unready), undone(openimds.Contended), "ok"}, 3, 3, ""},
		{"no API", []any{refusal{502, "<html>"}}, 3, 1, "https://api.example/ answered 502 Bad Gateway; is it a Lightsail control API?"},
		{"a broken connection", []any{broken}, 3, 1, "cannot reach the control API: read tcp: connection reset by peer"},
		{"a cut answer", []any{"cut"}, 3, 1, "the control API's answer broke off: unexpected EOF"},
		{"refused", []any{invalid}, 1, 1, "InvalidInputException: no"},
		{"the caller's time is over", []any{context.DeadlineExceeded}, 1, 1, "cannot reach the control API: context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, changes := range []bool{false, true} {
					good, times := state, c.looks
					if changes {
						good, times = ops, c.changes
					}
					f := &fake{}
					for _, a := range c.answers {
						if a == "ok" {
							a = good
						}
						f.answers = append(f.answers, a)
					}
					begun := time.Now()
					cl, err := newClient(t, f), error(nil)
					if in := (wire.InstanceRequest{InstanceName: "user-data-canary"}); changes {
						_, err = client.Call(t.Context(), cl, wire.RebootInstance, in)
					} else {
						_, err = client.Call(t.Context(), cl, wire.GetInstanceState, in)
					}
					got := ""
					if err != nil {
						got = err.Error()
					}
					if got != c.fails {
						t.Errorf("changes %v: %q, not %q", changes, got, c.fails)
					}
					if strings.Contains(got, secret) || strings.Contains(got, "canary") {
						t.Errorf("the error tells a secret: %s", got)
					}
					if len(f.asked) != times {
						t.Errorf("changes %v: sent %d times, not %d", changes, len(f.asked), times)
					}
					if waited := time.Since(begun); waited > 4*time.Second || times == 1 && waited != 0 {
						t.Errorf("changes %v: waited for %v", changes, waited)
					}
				}
			})
		})
	}
}

// TestCallerLeaves: nobody is kept waiting for an attempt that they no longer want.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		leave()
		f := &fake{answers: []any{refusal{500, `{"__type":"ServiceException"}`}}}
		_, err := client.Call(ctx, newClient(t, f), wire.GetInstanceState, wire.InstanceRequest{InstanceName: "demo"})
		if err == nil || len(f.asked) > 1 {
			t.Errorf("%v after %d attempts", err, len(f.asked))
		}
	})
}

func TestError(t *testing.T) {
	f := &fake{answers: []any{refusal{400, `{"__type":"com.amazonaws.lightsail#NotFoundException","code":"DoesNotExist","message":"The Instance does not exist: web"}`}}}
	_, err := client.Call(t.Context(), newClient(t, f), wire.GetInstance, wire.GetInstanceRequest{InstanceName: "web"})
	got, ok := errors.AsType[*client.Error](err)
	want := client.Error{Status: 400, Exception: "NotFoundException", Code: "DoesNotExist", Message: "The Instance does not exist: web", RequestID: "id-1"}
	if !ok || *got != want || !got.NotFound() || got.Throttled() || got.Error() != "NotFoundException: The Instance does not exist: web" {
		t.Errorf("%+v", err)
	}
}

// TestRequest: what is sent is signed for Lightsail, and says nothing of members that were left out.
func TestRequest(t *testing.T) {
	f := &fake{answers: []any{`{"operation":{}}`}}
	in := wire.UpdateInstanceMetadataOptionsRequest{InstanceName: "web", HTTPTokens: new(wire.HTTPTokens("required"))}
	if _, err := client.Call(t.Context(), newClient(t, f), wire.UpdateInstanceMetadataOptions, in); err != nil {
		t.Fatal(err)
	}
	r := f.asked[0]
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != `{"instanceName":"web","httpTokens":"required"}` {
		t.Errorf("%s, %v", body, err)
	}
	if got := r.Header.Get("Authorization"); !strings.Contains(got, "/eu-west-1/lightsail/aws4_request") {
		t.Errorf("signed as %s", got)
	}
	if r.Header.Get("X-Amz-Target") != "Lightsail_20161128.UpdateInstanceMetadataOptions" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Errorf("%v", r.Header)
	}
}

func TestNew(t *testing.T) {
	keys := aws.CredentialsProviderFunc(signing)
	for _, c := range []struct {
		cfg  client.Config
		want string // of the error; empty: none
	}{
		{client.Config{Region: "eu-west-1", Credentials: keys}, ""},
		{client.Config{Region: "eu-west-1", Credentials: keys, Endpoint: "http://127.0.0.1:1339"}, ""},
		{client.Config{Region: "eu-west-1", Credentials: keys, Endpoint: "http://[::1]:1339/"}, ""},
		{client.Config{Region: "eu-west-1", Credentials: keys, Endpoint: "http://localhost:1339"}, ""},
		{client.Config{Region: "eu-west-1", Credentials: keys, Endpoint: "http://192.0.2.1:1339"}, "http://192.0.2.1:1339 is another machine's, where plain HTTP can be read on the way: use https"},
		{client.Config{Region: "eu-west-1", Credentials: keys, Endpoint: "http://192.0.2.1:1339", Insecure: true}, ""},
		{client.Config{Region: "eu-west-1", Credentials: keys, Endpoint: "127.0.0.1:1339"}, `"127.0.0.1:1339" is not the URL of a control API; write it as http://host:port`},
		{client.Config{Credentials: keys}, "no region to sign requests for is given"},
		{client.Config{Region: "eu-west-1"}, "no credentials to sign with are given"},
	} {
		if _, err := client.New(c.cfg); err == nil && c.want != "" || err != nil && err.Error() != c.want {
			t.Errorf("%+v: %v, not %q", c.cfg, err, c.want)
		}
	}
	f := &fake{answers: []any{`{}`}}
	c, err := client.New(client.Config{Region: "eu-west-1", Credentials: keys, HTTP: &http.Client{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Call(t.Context(), c, wire.GetRegions, wire.GetRegionsRequest{}); err != nil || f.asked[0].URL.String() != "https://lightsail.eu-west-1.amazonaws.com/" {
		t.Errorf("%v, asked %v", err, f.asked[0].URL)
	}
}

// TestRedirection: whoever a service sends its clients to learns nothing of the request.
func TestRedirection(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request was sent on") }))
	defer elsewhere.Close()
	f := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer f.Close()
	c, err := client.New(client.Config{Endpoint: f.URL, Region: "eu-west-1", Credentials: aws.CredentialsProviderFunc(signing)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Call(t.Context(), c, wire.RebootInstance, wire.InstanceRequest{InstanceName: "demo"})
	if failed, ok := errors.AsType[*client.Error](err); !ok || failed.Status != http.StatusTemporaryRedirect {
		t.Errorf("%v", err)
	}
}

// Nobody waits without an end for what is to sign a request.
func TestKeysAreBounded(t *testing.T) {
	f := &fake{answers: []any{`{}`}}
	asked := aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a source that hangs is waited for without an end")
		}
		return aws.Credentials{}, errors.New("nothing found")
	})
	c, err := client.New(client.Config{Region: "eu-west-1", Credentials: asked, HTTP: &http.Client{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Call(context.Background(), c, wire.GetRegions, wire.GetRegionsRequest{})
	if err == nil || err.Error() != "no credentials to sign with: nothing found" || len(f.asked) > 0 {
		t.Errorf("%v after %d requests", err, len(f.asked))
	}
}

// Many calls fetch what signs them once, and anew when that has ended.
func TestKeysAreFetchedOnce(t *testing.T) {
	f := &fake{answers: []any{`{}`}}
	fetched := 0
	keys := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		ends := time.Now().Add(time.Duration(fetched) * time.Hour)
		fetched++
		return aws.Credentials{AccessKeyID: "AKIAX", SecretAccessKey: "s", CanExpire: true, Expires: ends}, nil
	})
	c, err := client.New(client.Config{Region: "eu-west-1", Credentials: keys, HTTP: &http.Client{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 2, 2} {
		if _, err := client.Call(t.Context(), c, wire.GetRegions, wire.GetRegionsRequest{}); err != nil || fetched != want {
			t.Errorf("%v after %d fetches, not %d", err, fetched, want)
		}
	}
}

func TestPages(t *testing.T) {
	page := func(name, next string) string {
		return fmt.Sprintf(`{"instances":[{"name":%q}],"nextPageToken":%q}`, name, next)
	}
	failed := refusal{400, `{"__type":"InvalidInputException","message":"no"}`}
	for _, c := range []struct {
		answers []any
		want    string
	}{
		{[]any{page("a", "")}, "a"},
		{[]any{page("a", "1"), page("b", "2"), page("c", "")}, "a b c"},
		{[]any{page("a", "1"), failed}, "a InvalidInputException: no"},
		{[]any{page("a", "1"), page("b", "1")}, "a b the list does not end: its next page is the one that was just shown"},
	} {
		f := &fake{answers: c.answers}
		var got []string
		for page, err := range client.Pages(t.Context(), newClient(t, f), wire.GetInstances, wire.GetInstancesRequest{PageToken: "ignored"}) {
			if err != nil {
				got = append(got, err.Error())
				continue
			}
			got = append(got, page.Instances[0].Name)
		}
		if strings.Join(got, " ") != c.want || len(f.asked) != len(c.answers) {
			t.Errorf("%q after %d requests, not %q", got, len(f.asked), c.want)
		}
	}
	f := &fake{answers: []any{page("a", "1"), page("b", "2")}}
	for range client.Pages(t.Context(), newClient(t, f), wire.GetInstances, wire.GetInstancesRequest{}) {
		break
	}
	if len(f.asked) != 1 {
		t.Errorf("whoever has seen enough makes %d requests", len(f.asked))
	}
}
