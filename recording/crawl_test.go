package recording_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/recording"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// canaries are in secrets of the services here and must be in no recording.
const canary = "CANARY"

type secrets struct{}

func (secrets) Credentials(*openimds.Instance, openimds.CredentialSet, time.Time) openimds.RoleCredentials {
	return openimds.RoleCredentials{
		Code: openimds.CredentialsSuccess, Type: "AWS-HMAC", AccessKeyID: "ASIA" + canary + "1",
		SecretAccessKey: openimds.Secret(canary + "/2"), Token: openimds.Secret(canary + "+3=="), LastUpdated: noon.Add(-time.Hour), Expiration: noon.Add(time.Hour),
	}
}

// serve runs the guest side with an instance, and returns its address.
func serve(t *testing.T, in *openimds.Instance) string {
	t.Helper()
	s := imds.NewServer(imds.Config{Now: func() time.Time { return noon }, Credentials: secrets{}})
	g := s.NewGuest()
	if err := g.Set(in); err != nil {
		t.Fatal(err)
	}
	listeners, err := imds.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		go func() { _ = s.Serve(l, g) }()
	}
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return listeners[0].Addr().String()
}

// oddInstance has what is easily lost on the way.
func oddInstance() *openimds.Instance {
	in := openimds.NewInstance(openimds.Launch{Name: "web", Region: "us-east-1"}, noon.Add(-24*time.Hour))
	in.Options.Tokens = openimds.TokensOptional
	in.UserData = []byte("#!\x1f\x8b\x00\xff\r\n\r\n")
	in.Options.Tags = openimds.EndpointEnabled
	in.Tags = []openimds.Tag{{Key: "empty"}, {Key: "Z+-=.,_:@", Value: "signs"}, {Key: "A", Value: " ü\n"}}
	in.PublicKeys = []openimds.PublicKey{{Name: "k=1/x", Key: "ssh-rsa AAAA"}}
	in.Overlay = map[string]*string{"meta-data/odd %2f+&?#;name": new("1"), "meta-data/empty": new(""), "meta-data/dir/..x/y": new("2"), "dynamic/new": new("3\n")}
	return in
}

func raw(t *testing.T, addr, request string) []byte {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// A service is recorded, the file is written and read, and a bare instance that has the recording
// answers each request with the same bytes, headers and Date included, for the clock stands still.
func TestReplayedByteForByte(t *testing.T) {
	for name, change := range map[string]func(*openimds.Instance){
		"odd":              func(*openimds.Instance) {},
		"tokens required":  func(in *openimds.Instance) { in.Options.Tokens = openimds.TokensRequired },
		"without a role":   func(in *openimds.Instance) { in.Role = nil },
		"without userdata": func(in *openimds.Instance) { in.UserData = nil },
	} {
		t.Run(name, func(t *testing.T) {
			in := oddInstance()
			change(in)
			original := serve(t, in)
			r, report, err := recording.Crawl(t.Context(), recording.Config{URL: "http://" + original, UserData: true, Rate: 1000})
			if err != nil || len(report.Skipped) > 0 {
				t.Fatal(err, report)
			}
			text, err := recording.Encode(r)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte(canary)) {
				t.Errorf("a secret is in the recording:\n%s", text)
			}
			if r, err = recording.Decode(text); err != nil {
				t.Fatal(err)
			}
			bare := openimds.NewInstance(openimds.Launch{Name: "other", Region: "eu-west-1"}, noon)
			bare.Options, bare.Recording, bare.Role = in.Options, r, in.Role
			bare.TokenKey, bare.ID = in.TokenKey, in.ID // so that both take the same token
			replayed := serve(t, bare)
			_, token, _ := strings.Cut(string(raw(t, original, "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n")), "\r\n\r\n")
			if len(r.Items) < 60 {
				t.Errorf("there are only %d items", len(r.Items))
			}
			for _, it := range r.Items {
				path := strings.NewReplacer("%", "%25", " ", "%20", "?", "%3f", "#", "%23").Replace(it.Path)
				for _, request := range []string{"GET /" + path, "GET /" + path + "/", "HEAD /" + path, "GET /" + path + "/below", "OPTIONS /" + path} {
					for _, header := range []string{"", "X-aws-ec2-metadata-token: " + token + "\r\n", "X-aws-ec2-metadata-token: x\r\n"} {
						send := request + " HTTP/1.1\r\nHost: x\r\n" + header + "\r\n"
						if got, want := raw(t, replayed, send), raw(t, original, send); !bytes.Equal(got, want) {
							t.Errorf("%q is answered\n%q, the original answers\n%q", send, got, want)
						}
					}
				}
			}
		})
	}
}

// fake is a service of which every answer is scripted.
func fake(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// paths answers what the map has: a status, or a body.
func paths(m map[string]any) func(w http.ResponseWriter, r *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		switch body := m[r.URL.EscapedPath()].(type) {
		case nil:
			w.WriteHeader(http.StatusNotFound)
		case int:
			w.Header().Set("Location", "/latest/elsewhere")
			w.WriteHeader(body)
		case string:
			_, _ = io.WriteString(w, body)
		case func(http.ResponseWriter):
			body(w)
		}
	}
}

// with is a small service, and what the test adds.
func with(listing string, more map[string]any) map[string]any {
	m := map[string]any{"/latest/api/token": "token", "/": "latest", "/latest/": "meta-data\nuser-data", "/latest/meta-data/": listing}
	for path, answer := range more {
		m[path] = answer
	}
	return m
}

func TestCrawlIsBounded(t *testing.T) {
	var busy atomic.Int32
	loop := map[string]any{}
	for depth, path := 0, "/latest/meta-data/"; depth < 60; depth++ {
		loop[path] = "a/\nb/"
		path += "a/"
	}
	for name, tt := range map[string]struct {
		answers map[string]any
		has     string   // a path of the recording
		lacks   string   // and one that is not there
		says    []string // of what was skipped
	}{
		"redirect":   {with("a\nb", map[string]any{"/latest/meta-data/a": 301, "/latest/meta-data/b": "x", "/latest/elsewhere": canary}), "latest/meta-data/b", "latest/meta-data/a", []string{"/latest/meta-data/a", "redirect (301)"}},
		"refused":    {with("a\nb", map[string]any{"/latest/meta-data/a": 403, "/latest/meta-data/b": "x"}), "latest/meta-data/b", "latest/meta-data/a", []string{"the answer is 403"}},
		"always 503": {with("a\nb", map[string]any{"/latest/meta-data/a": 503, "/latest/meta-data/b": "x"}), "latest/meta-data/b", "latest/meta-data/a", []string{"the answer is 503"}},
		"503 twice": {with("a", map[string]any{"/latest/meta-data/a": func(w http.ResponseWriter) {
			if busy.Add(1) < 3 {
				w.WriteHeader(503)
			}
		}}), "latest/meta-data/a", "", nil},
		"large": {with("a\nb", map[string]any{"/latest/meta-data/b": "x", "/latest/meta-data/a": func(w http.ResponseWriter) {
			_, _ = w.Write(make([]byte, 10<<20))
		}}), "latest/meta-data/b", "latest/meta-data/a", []string{"more than 65536 bytes"}},
		"endless listing": {with("", map[string]any{"/latest/meta-data/": func(w http.ResponseWriter) {
			for range 1 << 20 {
				if _, err := io.WriteString(w, "name\n"); err != nil {
					return
				}
			}
		}}), "latest", "latest/meta-data", []string{"more than 65536 bytes"}},
		"many names": {with("", map[string]any{"/latest/meta-data/": func(w http.ResponseWriter) {
			for i := range 5000 {
				_, _ = fmt.Fprintf(w, "%d\n", i)
			}
		}}), "latest/meta-data/100", "latest/meta-data/4000", []string{"the recording is full"}},
		"much": {with(strings.Repeat("0\n", 3)+"1\n2\n3\n4\n5\n6", map[string]any{
			"/latest/meta-data/1": strings.Repeat("x", 60<<10), "/latest/meta-data/2": strings.Repeat("x", 60<<10), "/latest/meta-data/3": strings.Repeat("x", 60<<10),
			"/latest/meta-data/4": strings.Repeat("x", 60<<10), "/latest/meta-data/5": strings.Repeat("x", 60<<10),
		}), "latest/meta-data/4", "latest/meta-data/5", []string{"the recording is full"}},
		"loop":      {with("a/\nb/", loop), "latest/meta-data/a/a/a/b", "latest/meta-data" + strings.Repeat("/a", 20), []string{"directories deep"}},
		"CRLF":      {with("a\r\nb\r\n", map[string]any{"/latest/meta-data/a": "x", "/latest/meta-data/b": "y"}), "latest/meta-data/b", "", nil},
		"bad names": {with("..\n.\n\n../x\na//b\n/etc\nx/y\n%2f\na\x00b\n\xff\nok", map[string]any{"/latest/meta-data/ok": "x", "/latest/meta-data/%252f": "y"}), "latest/meta-data/%2f", "latest/meta-data/..", []string{`the name ".."`, `"x/y"`, `"\xff"`}},
		"type":      {with("a", map[string]any{"/latest/meta-data/a": func(w http.ResponseWriter) { w.Header().Set("Content-Type", "nonsense"); _, _ = io.WriteString(w, "x") }}), "latest/meta-data/a", "", []string{`the content type "nonsense"`}},
		"absent":    {with("a\nb/", nil), "latest/meta-data/a", "", nil},
		"secrets": {with("iam/\nother", map[string]any{
			"/latest/meta-data/iam/":                               "security-credentials/",
			"/latest/meta-data/iam/security-credentials/":          "a\nb\nc\nd/\ne",
			"/latest/meta-data/iam/security-credentials/a":         `{"Code":"Success","AccessKeyId":"ASIACANARY","SecretAccessKey":"CANARY","Token":"CANARY","New":"CANARY"}`,
			"/latest/meta-data/iam/security-credentials/b":         `CANARY, not JSON`,
			"/latest/meta-data/iam/security-credentials/c":         `{"Code":"Success","\u0053ecretAccessKey":"CANARY"}`,
			"/latest/meta-data/iam/security-credentials/d/":        "{\"SecretAccessKey\"\n:\"CANARY\"}",
			"/latest/meta-data/iam/security-credentials/e":         `{"x":{"SecretAccessKey":"CANARY"}}`,
			"/latest/meta-data/other":                              `{"secretAccessKey" : "CANARY", "secretAccessKey" : "CANARY2"}`,
			"/latest/meta-data/iam/security-credentials/CANARY":    "CANARY",
			"/latest/meta-data/iam/security-credentials/d/CANARY:": "CANARY",
		}), "latest/meta-data/iam/security-credentials/b", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, report, err := recording.Crawl(t.Context(), recording.Config{URL: fake(t, paths(tt.answers)), Rate: 1000})
			if err != nil {
				t.Fatal(err)
			}
			text, err := recording.Encode(r)
			if err != nil {
				t.Fatal(err)
			}
			has := map[string]bool{}
			for _, it := range r.Items {
				has[it.Path] = true
			}
			skipped := strings.Join(report.Skipped, "\n")
			if !has[tt.has] || tt.lacks != "" && has[tt.lacks] {
				t.Errorf("%s is there: %v, %s is there: %v", tt.has, has[tt.has], tt.lacks, has[tt.lacks])
			}
			for _, word := range tt.says {
				if !strings.Contains(skipped, word) {
					t.Errorf("it does not say %q:\n%s", word, skipped)
				}
			}
			if len(tt.says) == 0 && skipped != "" {
				t.Errorf("skipped: %s", skipped)
			}
			if bytes.Contains(text, []byte(canary)) || strings.Contains(skipped, canary) {
				t.Errorf("a secret is in the recording:\n%s\n%s", text, skipped)
			}
			if _, err := recording.Decode(text); err != nil {
				t.Error(err)
			}
		})
	}
}

// A token that ends midway is renewed; a service that refuses each new one is given up.
func TestCrawlRenews(t *testing.T) {
	for _, lasts := range []int32{3, 0} {
		var issued, used atomic.Int32
		answers := paths(with("a\nb\nc\nd", map[string]any{"/latest/meta-data/a": "1", "/latest/meta-data/b": "2", "/latest/meta-data/c": "3", "/latest/meta-data/d": "4"}))
		url := fake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				used.Store(0)
				_, _ = fmt.Fprintf(w, "token%d", issued.Add(1))
				return
			}
			if used.Add(1) > lasts || r.Header.Get("X-Aws-Ec2-Metadata-Token") != fmt.Sprintf("token%d", issued.Load()) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			answers(w, r)
		})
		r, _, err := recording.Crawl(t.Context(), recording.Config{URL: url, Rate: 1000})
		switch {
		case lasts == 0 && err == nil:
			t.Error("no token was ever good, and there is a recording")
		case lasts > 0 && (err != nil || len(r.Items) != 8):
			t.Errorf("%v, %+v", err, r)
		}
		if n := issued.Load(); n > 20 {
			t.Errorf("%d tokens were asked for", n)
		}
	}
}

func TestCrawlWithoutTokens(t *testing.T) {
	answers := with("a", map[string]any{"/latest/meta-data/a": "1", "/latest/api/token": 403})
	url := fake(t, paths(answers))
	if _, _, err := recording.Crawl(t.Context(), recording.Config{URL: url, Rate: 1000}); !errors.Is(err, recording.ErrNoToken) {
		t.Errorf("without --allow-v1: %v", err)
	}
	r, report, err := recording.Crawl(t.Context(), recording.Config{URL: url, Rate: 1000, AllowV1: true})
	if err != nil || !report.V1 || len(r.Items) != 5 {
		t.Errorf("with it: %v, %+v, %+v", err, report, r)
	}
	for _, bad := range []string{"", "169.254.169.254", "ftp://x", "http://", "http://a@b", "http://x/latest", "http://x?y", "http://x\n"} {
		if _, _, err := recording.Crawl(t.Context(), recording.Config{URL: bad}); !errors.Is(err, recording.ErrBadURL) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	other := fake(t, paths(map[string]any{"/latest/api/token": "t", "/": "<html>", "/latest/": "x"}))
	if _, _, err := recording.Crawl(t.Context(), recording.Config{URL: other, Rate: 1000}); err == nil || !strings.Contains(err.Error(), "does not answer as a metadata service") {
		t.Errorf("a web server: %v", err)
	}
}
