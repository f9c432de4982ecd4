package imds

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/openimds/openimds"
)

func tokensRequired(_ *Config, in *openimds.Instance) { in.Options.Tokens = openimds.TokensRequired }

// Software in the guest that fetches whatever address it is given, by GET alone: where tokens are required
// it gets nothing, however the address is spelt and whatever sends it there.
func TestForgedGET(t *testing.T) {
	w := newWire(t, tokensRequired)
	for _, host := range []string{
		"169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]",
		"[fd00:ec2::254]", "[fd00:ec2:0:0:0:0:0:254]", "instance-data", "instance-data.ec2.internal", "169.254.169.254.nip.io", "metadata", "localhost", "",
	} {
		for _, path := range []string{"/latest/user-data", rolePath, "//latest//user-data", tokenPath, "/%6catest/user%2ddata", "/latest/user-data?x=http://y", "/2009-04-04/user-data"} {
			got := w.raw(t, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			if s := statusOf(got); s != "401" && s != "403" && s != "405" {
				t.Errorf("Host %q, path %s: %q", host, path, got)
			}
		}
	}
	service := "http://" + w.addr + "/latest/user-data"
	sender := httptest.NewServer(http.RedirectHandler(service, http.StatusTemporaryRedirect))
	defer sender.Close()
	victim := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		answer, err := http.Get(r.URL.Query().Get("url"))
		if err != nil {
			return
		}
		defer func() { _ = answer.Body.Close() }()
		out.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(out, answer.Body)
	}))
	defer victim.Close()
	for _, target := range []string{service, sender.URL} {
		status, body := ask(t, http.MethodGet, victim.URL+"?url="+url.QueryEscape(target))
		if status != http.StatusUnauthorized || body != "" {
			t.Errorf("by %s: %d %q", target, status, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A reverse proxy in the guest that tells for whom it asks gives nobody a session, and opens none.
func TestProxyGivesNoSession(t *testing.T) {
	w := newWire(t, nil)
	token := w.token(t)
	service, err := url.Parse("http://" + w.addr)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(service); r.SetXForwarded() }})
	defer front.Close()
	behind := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		front, _ := url.Parse(front.URL)
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
		r.SetURL(front)
	}})
	defer behind.Close()
	for _, proxy := range []string{front.URL, behind.URL} {
		for _, headers := range [][]string{nil, {"X-Forwarded-For", ""}, {"Connection", "X-Forwarded-For"}} {
			if status, body := ask(t, http.MethodPut, proxy+tokenPath, append(headers, "X-aws-ec2-metadata-token-ttl-seconds", "60")...); status != http.StatusForbidden || body != "" {
				t.Errorf("PUT with %q: %d %q", headers, status, body)
			}
			if status, body := ask(t, http.MethodGet, proxy+amiPath, append(headers, "X-aws-ec2-metadata-token", token)...); status != http.StatusForbidden || body != "" {
				t.Errorf("GET with %q: %d %q", headers, status, body)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// ask sends a request with those headers, name and value in turns, by the standard library's client.
func ask(t *testing.T, method, address string, headers ...string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}
