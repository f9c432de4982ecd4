package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/openimds/openimds/api/accesskeys"
)

// browser is one that has a server's console open.
type browser struct {
	t    testing.TB
	url  string // of the console, with a slash at its end
	http *http.Client
}

func newBrowser(t testing.TB, apiURL string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, apiURL + "/console/", &http.Client{
		Transport: transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request, of the page itself unless the headers ("Name: value") say otherwise.
func (b *browser) do(method, path, body string, headers ...string) *http.Response {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	must(b.t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
		} else if r.Header.Set(name, value); value == "" {
			r.Header.Del(name)
		}
	}
	answer, err := b.http.Do(r)
	must(b.t, err)
	return answer
}

// ask is do for an answer that is read whole.
func (b *browser) ask(method, path, body string, headers ...string) (status int, answer string) {
	b.t.Helper()
	a := b.do(method, path, body, headers...)
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	must(b.t, err)
	return a.StatusCode, string(text)
}

// call carries out an operation of the control API, which has to succeed.
func (b *browser) call(operation, body string) (answer string) {
	b.t.Helper()
	status, answer := b.ask("POST", "api/"+operation, body)
	if status != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s", operation, body, status, answer)
	}
	return answer
}

// keyForm is what somebody types who signs in.
func keyForm(id, secret string) string {
	text, _ := json.Marshal(map[string]string{"accessKeyId": id, "secretAccessKey": secret})
	return string(text)
}

// signIn signs in with a key.
func (b *browser) signIn(id, secret string) {
	b.t.Helper()
	if status, answer := b.ask("POST", "session", keyForm(id, secret)); status != http.StatusOK {
		b.t.Fatalf("sign in: %d %s", status, answer)
	}
}

// atOwnAddress has the API listen where no other test does, so that the port is still free for a second start.
func atOwnAddress(cfg Config, n int) Config {
	if runtime.GOOS == "linux" { // which has all of 127/8
		cfg.APIListen = fmt.Sprintf("127.0.77.%d:0", n)
	}
	return cfg
}

// signedIn is a browser of whoever has the installation's own key.
func (i *installation) signedIn(t testing.TB) *browser {
	t.Helper()
	b := newBrowser(t, i.server.APIURL())
	b.signIn(i.client.key.AccessKeyID, i.client.key.SecretAccessKey)
	return b
}

// readOnlyKey makes a key that only looks.
func (i *installation) readOnlyKey(t testing.TB) accesskeys.Key {
	t.Helper()
	key, err := accesskeys.Open(filepath.Join(i.server.DataDir(), CredentialsFile)).Create("reader", true)
	must(t, err)
	return key
}

// event is one of a stream.
type event struct{ name, id, data string }

// events are a stream that stays open until the test ends.
type events struct {
	answer *http.Response
	lines  *bufio.Scanner
}

func (b *browser) events(headers ...string) *events {
	b.t.Helper()
	a := b.do("GET", "events", "", headers...)
	b.t.Cleanup(func() { _ = a.Body.Close() })
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "text/event-stream" {
		text, _ := io.ReadAll(a.Body)
		b.t.Fatalf("events: %s %s", a.Status, text)
	}
	return &events{a, bufio.NewScanner(a.Body)}
}

// next waits for the next event; false: the stream has ended.
func (e *events) next() (got event, ok bool) {
	for e.lines.Scan() {
		field, value, _ := strings.Cut(e.lines.Text(), ": ")
		switch field {
		case "event":
			got.name = value
		case "id":
			got.id = value
		case "data":
			got.data = value
		case "":
			if got.name != "" {
				return got, true
			}
		}
	}
	return got, false
}

// until reads events up to one of that name that has those words, and returns it with the last id.
func (e *events) until(t testing.TB, name, words string) event {
	t.Helper()
	id := ""
	for {
		got, ok := e.next()
		if !ok {
			t.Fatalf("the stream ended before %s %s", name, words)
		}
		if got.id != "" {
			id = got.id
		}
		if got.name == name && strings.Contains(got.data, words) {
			got.id = id
			return got
		}
	}
}

// TestConsole: whoever signs in changes an instance by the control API's own operation; another page sees it at once, the
// guest obeys, and the audit log says who it was. After the sign-out nothing of it works.
func TestConsole(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	page, other := i.signedIn(t), i.signedIn(t)
	changes := other.events()
	changes.until(t, "ping", "")
	_, was := page.ask("GET", "session", "")
	for _, want := range []string{`"accessKeyId":"` + i.client.key.AccessKeyID, `"readOnly":false`, `"regions":["us-east-1"]`, `"region":"us-east-1"`, `"expires":"2`} {
		if !strings.Contains(was, want) {
			t.Errorf("the session is %s, without %s", was, want)
		}
	}
	page.call("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"required"}`)
	changes.until(t, "change", `{"kind":"instance","name":"demo"}`)
	must(t, eventually(func() bool {
		return strings.Contains(other.call("GetInstance", `{"instanceName":"demo"}`), `"state":"applied","httpTokens":"required"`)
	}))
	if got := exchange(t, i.imds, "GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
		t.Errorf("the guest is answered %s", got)
	}
	if status, answer := page.ask("DELETE", "session", ""); status != http.StatusNoContent {
		t.Errorf("sign out: %d %s", status, answer)
	}
	for _, path := range []string{"session", "events"} {
		if status, answer := page.ask("GET", path, ""); status != http.StatusUnauthorized || !strings.Contains(answer, `"__type":"SessionExpired"`) {
			t.Errorf("%s after the sign-out: %d %s", path, status, answer)
		}
	}
	told := readAudit(t, i)
	for _, want := range []string{"ConsoleSignIn", "UpdateInstanceMetadataOptions", "ConsoleSignOut"} {
		if !strings.Contains(told, fmt.Sprintf(`"who":"%s (default)","what":"%s"`, i.client.key.AccessKeyID, want)) {
			t.Errorf("the audit log has no %s:\n%s", want, told)
		}
	}
}

// TestConsoleOff: a server without a console has neither the page nor links to it.
func TestConsoleOff(t *testing.T) {
	t.Parallel()
	cfg := forTest(t.TempDir())
	cfg.Console = false
	i := openInstallation(t, cfg)
	if status, answer := newBrowser(t, i.server.APIURL()).ask("GET", "", ""); status != http.StatusNotFound {
		t.Errorf("the page is answered %d %s", status, answer)
	}
	if err := i.client.call(t.Context(), targetOpenIMDS+"CreateConsoleLink", struct{}{}, nil); err == nil || !strings.Contains(err.Error(), "no console") {
		t.Errorf("a link: %v", err)
	}
}
