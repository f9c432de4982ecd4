package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail"
)

// requireTokens is a change that the tests of attacks ask for.
const requireTokens = `{"instanceName":"demo","httpTokens":"required"}`

// unchanged fails the test if one of its attacks has had an effect.
func (b *browser) unchanged() {
	b.t.Helper()
	if got := b.call("GetInstance", `{"instanceName":"demo"}`); !strings.Contains(got, `"httpTokens":"optional"`) {
		b.t.Errorf("the instance is now %s", got)
	}
}

// TestConsoleForgery: what another page can have a browser send, by a form, fetch, an image, a frame or a worker, changes
// nothing, even where it comes with the cookie.
func TestConsoleForgery(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	b := i.signedIn(t)
	const change = "api/UpdateInstanceMetadataOptions"
	for name, attack := range map[string]struct {
		method, path, body string
		headers            []string
	}{
		"a form of another site":         {"POST", change, requireTokens, []string{"Sec-Fetch-Site: cross-site", "Content-Type: text/plain", "Origin: https://evil.example"}},
		"a form that goes as JSON":       {"POST", change, requireTokens, []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}},
		"another port of this machine":   {"POST", change, requireTokens, []string{"Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:9"}},
		"an old browser's form":          {"POST", change, requireTokens, []string{"Sec-Fetch-Site: ", "Origin: https://evil.example"}},
		"a sandboxed frame":              {"POST", change, requireTokens, []string{"Sec-Fetch-Site: ", "Origin: null"}},
		"a form of no known page":        {"POST", change, requireTokens, []string{"Sec-Fetch-Site: ", "Content-Type: text/plain"}},
		"an urlencoded form":             {"POST", change, requireTokens, []string{"Content-Type: application/x-www-form-urlencoded"}},
		"a form with files":              {"POST", change, requireTokens, []string{"Content-Type: multipart/form-data; boundary=x"}},
		"no content type":                {"POST", change, requireTokens, []string{"Content-Type: "}},
		"an image":                       {"GET", change, "", []string{"Sec-Fetch-Site: cross-site"}},
		"an image of the page":           {"GET", change + "?instanceName=demo&httpTokens=required", "", nil},
		"HEAD":                           {"HEAD", change, "", nil},
		"OPTIONS before fetch":           {"OPTIONS", change, "", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"}},
		"PUT":                            {"PUT", change, requireTokens, nil},
		"a method in a header":           {"GET", change, "", []string{"X-HTTP-Method-Override: POST"}},
		"a sign-in of another site":      {"POST", "session", `{"link":"x"}`, []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}},
		"a sign-out by another site":     {"DELETE", "session", "", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}},
		"a sign-out by an image":         {"GET", "session?_method=DELETE", "", []string{"Sec-Fetch-Site: cross-site"}},
		"the stream for another page":    {"GET", "events", "", []string{"Sec-Fetch-Site: cross-site"}},
		"the stream for another port":    {"GET", "events", "", []string{"Sec-Fetch-Site: same-site"}},
		"the stream by POST":             {"POST", "events", "", nil},
		"a session shown to other ports": {"GET", "session", "", []string{"Sec-Fetch-Site: same-site"}},
	} {
		a := b.do(attack.method, attack.path, attack.body, attack.headers...)
		text, _ := io.ReadAll(a.Body)
		_ = a.Body.Close()
		if a.StatusCode < 400 || a.StatusCode >= 500 {
			t.Errorf("%s: %s %s", name, a.Status, text)
		}
		for header := range a.Header {
			if strings.HasPrefix(header, "Access-Control-") || header == "Set-Cookie" {
				t.Errorf("%s: the answer has %s", name, header)
			}
		}
	}
	b.unchanged()
	b.call("UpdateInstanceMetadataOptions", requireTokens) // which the page itself may
}

// TestConsoleHosts: a name that anybody may let stand for this machine opens nothing; addresses and the operator's names do.
func TestConsoleHosts(t *testing.T) {
	t.Parallel()
	cfg := forTest(t.TempDir())
	cfg.ConsoleHosts = []string{"metadata.example.org"}
	i := openInstallation(t, cfg)
	b := i.signedIn(t)
	for _, host := range []string{
		"evil.example", "evil.example:1339", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1@evil.example", "[::1].evil.example",
		"xn--localhost", "metadata.example.org.evil.example", "evilmetadata.example.org", "1", "0x7f.1", "127.0.0.1:1339:evil.example",
	} {
		for _, path := range []string{"", "session", "events", "assets/x.js", "api/GetInstances", "../console/"} {
			if status, answer := b.ask("GET", path, "", "Host: "+host); status != http.StatusForbidden || !strings.Contains(answer, "UnknownHost") {
				t.Errorf("%s as %s: %d %s", path, host, status, answer)
			}
		}
		if status, answer := b.ask("POST", "api/UpdateInstanceMetadataOptions", requireTokens, "Host: "+host, "Origin: http://"+host); status != http.StatusForbidden {
			t.Errorf("a change as %s: %d %s", host, status, answer)
		}
	}
	for _, host := range []string{"localhost", "LocalHost:1339", "localhost.", "a.localhost", "127.0.0.1", "[::1]", "[::1]:1339", "192.0.2.1:80", "metadata.example.org", "Metadata.Example.Org.:1339"} {
		if status, answer := b.ask("GET", "session", "", "Host: "+host); status == http.StatusForbidden { // cookies are of one name
			t.Errorf("as %s: %d %s", host, status, answer)
		}
	}
	b.unchanged()
}

// TestConsoleHeaders: no answer of the console can be framed, sniffed, taken from a cache or run anything foreign.
func TestConsoleHeaders(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	b := i.signedIn(t)
	for _, c := range []struct{ method, path, body, host string }{
		{"GET", "", "", ""}, {"GET", "instances/web.1", "", ""}, {"GET", "assets/none.js", "", ""}, {"GET", "favicon.ico", "", ""}, {"GET", "../console", "", ""},
		{"GET", "session", "", ""}, {"GET", "events", "", ""}, {"POST", "session", "{}", ""}, {"DELETE", "session", "", "evil.example"},
		{"POST", "api/GetInstances", "{}", ""}, {"POST", "api/Nothing", "{}", ""}, {"POST", "api/GetInstances", "{", ""}, {"PATCH", "", "", ""},
	} {
		headers := []string{}
		if c.host != "" {
			headers = append(headers, "Host: "+c.host)
		}
		a := b.do(c.method, c.path, c.body, headers...)
		_ = a.Body.Close()
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'",
			"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := a.Header.Get(header); got != want {
				t.Errorf("%s %s (%s): %s is %q", c.method, c.path, a.Status, header, got)
			}
		}
	}
}

// TestConsolePaths: what is served is the page and what was built with it, under one spelling.
func TestConsolePaths(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	at := strings.TrimPrefix(i.server.APIURL(), "http://")
	for _, path := range []string{
		"/console/assets/", "/console/assets", "/console/assets/..", "/console/assets/../index.html", "/console/assets/../../console/", "/console/assets/%2e%2e/index.html",
		"/console/assets/..%2findex.html", "/console/assets//index.js", "/console//assets/x", "/console/./index.html", "/console/../../etc/passwd",
		"/console/assets/..\\..\\index.html", "/console/%00", "/console/assets/%00.js", "/console/.env", "/console/index.html%20", "/console/favicon.ico",
		"/console/a/../session", "/console/%73ession", "/console/api/%47etInstances", "/console/assets/x.js.gz", "/console/assets/%252e%252e/x.js", "//console/", "/console%2f",
		"/%63onsole/%2e%2e/", "/consolex", "/console;x/", "/console/session/..", "/console/x\x7f",
	} {
		answer := exchange(t, at, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
		status, _, _ := strings.Cut(strings.TrimPrefix(answer, "HTTP/1.1 "), " ")
		moved := strings.Contains(answer, "\r\nLocation: ") && !strings.Contains(path, "//")
		if status == "200" || moved || strings.Contains(answer, "root:") {
			t.Errorf("%q: %s", path, answer)
		}
	}
	for path, want := range map[string]string{
		"/console/": "200 ", "/console/index.html": "200 ", "/console/instances/web.1/metadata": "200 ", "/console/fleet": "200 ", "/console": "308 ",
	} {
		if answer := exchange(t, at, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 "+want) {
			t.Errorf("%q: %s", path, answer)
		}
	}
}

// TestConsoleSessions: a session is a new one at each sign-in, ends at the sign-out and with its key, and is no other
// server's.
func TestConsoleSessions(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, atOwnAddress(forTest(t.TempDir()), 2))
	key := i.client.key
	b := newBrowser(t, i.server.APIURL())
	name := "openimds-console-" + b.url[strings.LastIndex(b.url, ":")+1:len(b.url)-len("/console/")]
	signIn := func(headers ...string) *http.Cookie {
		t.Helper()
		a := b.do("POST", "session", keyForm(key.AccessKeyID, key.SecretAccessKey), headers...)
		defer func() { _ = a.Body.Close() }()
		cookies := a.Cookies()
		if a.StatusCode != http.StatusOK || len(cookies) != 1 {
			t.Fatalf("sign in: %s, cookies %v", a.Status, cookies)
		}
		c := cookies[0]
		if c.Name != name || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/console" || c.Domain != "" || len(c.Value) != 43 {
			t.Fatalf("the cookie is %q", a.Header["Set-Cookie"])
		}
		return c
	}
	works := func(value string) bool {
		t.Helper()
		status, _ := newBrowser(t, i.server.APIURL()).ask("GET", "session", "", "Cookie: "+name+"="+value)
		return status == http.StatusOK
	}
	// Fixation: a value that was planted before the sign-in stays worthless, and so does one of another session.
	planted := strings.Repeat("A", 43)
	first := signIn("Cookie: " + name + "=" + planted)
	if first.Value == planted || works(planted) || !works(first.Value) {
		t.Error("a planted cookie decides")
	}
	second := signIn("Cookie: " + name + "=" + first.Value)
	if second.Value == first.Value || works(first.Value) || !works(second.Value) {
		t.Error("a second sign-in does not end the first session")
	}
	for what, value := range map[string]string{
		"nothing": "", "another length": second.Value + "A", "a part": second.Value[:42], "its hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "the key": key.AccessKeyID,
	} {
		if works(value) {
			t.Errorf("%s is taken for a session", what)
		}
	}
	// Replay: what was signed out is over, in this process and the next.
	if status, _ := b.ask("DELETE", "session", "", "Cookie: "+name+"="+second.Value); status != http.StatusNoContent || works(second.Value) {
		t.Errorf("the sign-out is answered %d, and the session is there", status)
	}
	third := signIn()
	dir, listen := i.server.DataDir(), i.server.APIAddrs()[0].String()
	kept, err := os.ReadFile(filepath.Join(dir, ConsoleSessionsFile))
	must(t, err)
	if strings.Contains(string(kept), third.Value) || strings.Contains(string(kept), key.SecretAccessKey) {
		t.Errorf("the file of sessions opens one: %s", kept)
	}
	i.stop()
	cfg := forTest(dir)
	cfg.APIListen = listen
	i = openInstallation(t, cfg)
	if !works(third.Value) || works(second.Value) || works(first.Value) {
		t.Error("after a restart other sessions are there than before")
	}
	// A session is its key's.
	_, err = accesskeys.Open(filepath.Join(dir, CredentialsFile)).Create("next", false)
	must(t, err)
	_, err = accesskeys.Open(filepath.Join(dir, CredentialsFile)).Revoke(key.AccessKeyID, false)
	must(t, err)
	if works(third.Value) {
		t.Error("a session outlives its key")
	}
}

// TestConsoleReadOnly: a session of a key that only looks is refused each operation that the table says changes something, or
// tells what is not for it, whatever stands in its body, and none of the others.
func TestConsoleReadOnly(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	key := i.readOnlyKey(t)
	b := newBrowser(t, i.server.APIURL())
	b.signIn(key.ID, key.Secret)
	if _, who := b.ask("GET", "session", ""); !strings.Contains(who, `"readOnly":true`) {
		t.Errorf("the session is %s", who)
	}
	changing := 0
	for operation, listed := range lightsail.Operations() {
		if operation == "WaitForRefusals" {
			continue // it waits
		}
		before := len(readAudit(t, i))
		status, answer := b.ask("POST", "api/"+operation, `{"instanceName":"demo","resourceName":"demo"}`)
		refused := strings.Contains(answer, "AccessDeniedException") && strings.Contains(answer, "is not authorized to perform")
		if listed.Changes || listed.Guarded {
			changing++
			if !refused || status != http.StatusBadRequest || strings.Count(readAudit(t, i)[before:], "\n") != 1 {
				t.Errorf("%s: %d %s", operation, status, answer)
			}
		} else if refused {
			t.Errorf("%s only looks, and is refused: %s", operation, answer)
		}
	}
	if changing < 30 {
		t.Errorf("only %d operations change anything", changing)
	}
	b.unchanged()
}

// TestConsoleLinks: a link is good once, for a minute, and with the rights of its key; a session makes none.
func TestConsoleLinks(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	link := func(by operator) string {
		t.Helper()
		var made struct {
			Token     string
			ExpiresAt float64
		}
		must(t, by.call(t.Context(), targetOpenIMDS+"CreateConsoleLink", struct{}{}, &made))
		if left := time.Until(time.UnixMilli(int64(made.ExpiresAt * 1000))); left <= 0 || left > time.Minute {
			t.Errorf("a link lasts %v", left)
		}
		return made.Token
	}
	follow := func(token string) (status int, answer string) {
		return newBrowser(t, i.server.APIURL()).ask("POST", "session", fmt.Sprintf(`{"link":%q}`, token))
	}
	token := link(i.client)
	if status, answer := follow(token); status != http.StatusOK || !strings.Contains(answer, `"readOnly":false`) {
		t.Errorf("a link: %d %s", status, answer)
	}
	for _, token := range []string{token, "", "x", strings.Repeat("A", 43)} {
		if status, _ := follow(token); status != http.StatusUnauthorized {
			t.Errorf("%q is answered %d", token, status)
		}
	}
	// Of many at once one is let in.
	token = link(i.client)
	answers := make(chan int)
	for range 8 {
		go func() {
			status, _ := follow(token)
			answers <- status
		}()
	}
	let := 0
	for range 8 {
		if <-answers == http.StatusOK {
			let++
		}
	}
	if let != 1 {
		t.Errorf("%d browsers are let in by one link", let)
	}
	reader := i.readOnlyKey(t)
	by := i.client
	by.key.AccessKeyID, by.key.SecretAccessKey = reader.ID, reader.Secret
	if status, answer := follow(link(by)); status != http.StatusOK || !strings.Contains(answer, `"readOnly":true`) {
		t.Errorf("a link of a key that only looks: %d %s", status, answer)
	}
	if status, answer := i.signedIn(t).ask("POST", "api/CreateConsoleLink", "{}"); status != http.StatusBadRequest || !strings.Contains(answer, "AccessDenied") {
		t.Errorf("a session makes a link: %d %s", status, answer)
	}
}

// TestConsoleGuesses: wrong keys and links are throttled by address and told to the audit log without what was guessed; who
// has the right key is never held back.
func TestConsoleGuesses(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	b := newBrowser(t, i.server.APIURL())
	const guess = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	var mu sync.Mutex
	seen := map[int]int{}
	texts := map[string]bool{}
	guesses := 0
	guessing := func() { // until somebody is throttled
		g := newBrowser(t, i.server.APIURL())
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			mu.Lock()
			guesses++
			n, over := guesses, seen[http.StatusTooManyRequests] > 0
			mu.Unlock()
			body := keyForm(i.client.key.AccessKeyID, guess)
			switch n % 4 {
			case 1:
				body = keyForm("AKIAIOSFODNN7EXAMPLE", guess)
			case 2:
				body = keyForm(guess, guess)
			case 3:
				body = `{"link":"` + guess + `"}`
			}
			status, answer := g.ask("POST", "session", body)
			mu.Lock()
			seen[status]++
			if status == http.StatusUnauthorized && n%4 != 3 {
				texts[answer] = true
			}
			mu.Unlock()
			if over {
				return
			}
		}
	}
	var running sync.WaitGroup
	for range 16 { // at once, for a busy machine answers none of them fast
		running.Go(guessing)
	}
	running.Wait()
	if seen[http.StatusUnauthorized] == 0 || seen[http.StatusTooManyRequests] == 0 || seen[http.StatusUnauthorized]+seen[http.StatusTooManyRequests] != guesses {
		t.Errorf("the answers to %d guesses are %v", guesses, seen)
	}
	if len(texts) != 1 {
		t.Errorf("an unknown key can be told from a wrong secret: %v", texts)
	}
	b.signIn(i.client.key.AccessKeyID, i.client.key.SecretAccessKey)
	if told := readAudit(t, i); strings.Contains(told, guess) || !strings.Contains(told, `"who":"unverified AKIAIOSFODNN7EXAMPLE","what":"ConsoleSignIn"`) {
		t.Errorf("the audit log says %s", told)
	}
}

// TestConsoleSecrets: neither the log at its finest nor any file of the server has what somebody has signed in by or with.
func TestConsoleSecrets(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	cfg := forTest(t.TempDir())
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	i := openInstallation(t, cfg)
	key := i.client.key
	b := newBrowser(t, i.server.APIURL())
	a := b.do("POST", "session", keyForm(key.AccessKeyID, key.SecretAccessKey))
	answer, err := io.ReadAll(a.Body)
	must(t, err)
	_ = a.Body.Close()
	var link struct{ Token string }
	must(t, i.client.call(t.Context(), targetOpenIMDS+"CreateConsoleLink", struct{}{}, &link))
	secrets := []string{key.SecretAccessKey, a.Cookies()[0].Value, link.Token}
	if bytes.Contains(answer, []byte(key.SecretAccessKey)) || bytes.Contains(answer, []byte(secrets[1])) {
		t.Errorf("the page is told a secret: %s", answer)
	}
	newBrowser(t, i.server.APIURL()).ask("POST", "session", fmt.Sprintf(`{"link":%q}`, link.Token))
	b.ask("POST", "session", keyForm(key.AccessKeyID, "x"+key.SecretAccessKey))
	b.ask("POST", "session", `{"secretAccessKey":"`+key.SecretAccessKey) // broken off
	b.ask("GET", "api/"+secrets[1], "")
	b.ask("POST", "api/GetInstance", `{"instanceName":"demo"}`)
	i.stop()
	must(t, filepath.WalkDir(i.server.DataDir(), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		for n, secret := range secrets {
			if own := n == 0 && filepath.Base(path) == CredentialsFile; !own && bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s has a secret (%d)", path, n)
			}
		}
		return err
	}))
	for n, secret := range secrets {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has a secret (%d)", n)
		}
	}
}

// TestConsoleBodies: a sign-in and an operation take no more than they may.
func TestConsoleBodies(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	b := i.signedIn(t)
	for path, body := range map[string]string{
		"session":          `{"link":"` + strings.Repeat("x", 1<<20) + `"}`,
		"api/GetInstance":  `{"instanceName":"` + strings.Repeat("x", 2<<20) + `"}`,
		"api/GetInstances": strings.Repeat(`{"a":`, 100_000),
	} {
		if status, answer := b.ask("POST", path, body); status < 400 || status >= 500 || !json.Valid([]byte(answer)) {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}

// TestConsoleInTheClear: a page that came from another machine by plain HTTP is let in by a link only; from this machine, or
// by a proxy that speaks TLS, by a key too.
func TestConsoleInTheClear(t *testing.T) {
	t.Parallel()
	cfg := forTest(t.TempDir())
	cfg.ConsoleHosts = []string{"metadata.example.org"}
	i := openInstallation(t, cfg)
	form := keyForm(i.client.key.AccessKeyID, i.client.key.SecretAccessKey)
	for origin, want := range map[string]int{
		"http://metadata.example.org": http.StatusForbidden, "http://192.0.2.1:1339": http.StatusForbidden, "https://metadata.example.org": http.StatusOK,
		"http://localhost:1339": http.StatusOK, "http://127.0.0.1:1339": http.StatusOK, "http://[::1]:1339": http.StatusOK,
	} {
		_, host, _ := strings.Cut(origin, "://")
		b := newBrowser(t, i.server.APIURL())
		if status, answer := b.ask("POST", "session", form, "Origin: "+origin, "Host: "+host); status != want {
			t.Errorf("a key from %s: %d %s", origin, status, answer)
		}
		var link struct{ Token string }
		must(t, i.client.call(t.Context(), targetOpenIMDS+"CreateConsoleLink", struct{}{}, &link))
		if status, answer := b.ask("POST", "session", fmt.Sprintf(`{"link":%q}`, link.Token), "Origin: "+origin, "Host: "+host); status != http.StatusOK {
			t.Errorf("a link from %s: %d %s", origin, status, answer)
		}
	}
}

// TestConsoleAssets: what a page loads has the hash of its content in its name, may be kept for ever, and comes packed.
func TestConsoleAssets(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	b := newBrowser(t, i.server.APIURL())
	_, index := b.ask("GET", "", "")
	for _, loaded := range regexp.MustCompile(`(?:src|href)="/console/([^"#]*\.[^"#]*)"`).FindAllStringSubmatch(index, -1) {
		a := b.do("GET", loaded[1], "", "Accept-Encoding: br, gzip;q=0.5")
		_ = a.Body.Close()
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Encoding") != "gzip" || a.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %s %v", loaded[1], a.Status, a.Header)
		}
		if strings.HasPrefix(loaded[1], "assets/") && a.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %v", loaded[1], a.Header)
		}
		a = b.do("GET", loaded[1], "", "Accept-Encoding: gzip;q=0")
		_ = a.Body.Close()
		if a.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s is packed for who does not want it", loaded[1])
		}
	}
}
