package lightsail_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/audit"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials/generated"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/migrate/board"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// server is the API on a store in memory, with a running instance "demo".
type server struct {
	t           testing.TB
	url         string
	credentials string // the file that clients find their keys in
	full, looks accesskeys.Key
	service     *control.Service
	store       store.Store
	log, audit  *lines
	refusals    *audit.Refusals
}

// lines is a log that many goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newServer(t testing.TB, adapt ...func(*control.Config)) *server {
	t.Helper()
	return newServerOn(t, mem.New(), adapt...)
}

func newServerOn(t testing.TB, store store.Store, adapt ...func(*control.Config)) *server {
	t.Helper()
	s := &server{t: t, store: store, log: new(lines), audit: new(lines)}
	t.Cleanup(func() { _ = s.store.Close() })
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	record := func(_ context.Context, entries ...openimds.AuditEntry) error {
		for _, e := range entries {
			line, err := audit.Line(e)
			if err != nil {
				t.Error(err)
			}
			_, _ = s.audit.Write(line)
		}
		return nil
	}
	signs, err := attest.New()
	if err != nil {
		t.Fatal(err)
	}
	cfg := control.Config{Region: "us-east-1", AccountID: "123456789012", AllowIMDSIPv6: true, Audit: record, Reports: signs, Changes: s, KeySigner: keySigner{},
		Guests: imds.NewServer(imds.Config{Credentials: generated.Source{}})}
	for _, f := range adapt {
		f(&cfg)
	}
	s.service = control.New(s.store, cfg)
	if _, err := s.service.EnsureInstance(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
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
	verifier := sigv4.New(sigv4.Config{Regions: []string{cfg.Region}, Keys: keys.Lookup})
	s.refusals = audit.NewRefusals(record, cfg.Now)
	t.Cleanup(s.refusals.Close)
	speaks := lightsail.Config{Service: s.service, Links: links{}, Version: "1.2.3", Now: cfg.Now}
	judge, err := board.New(board.Config{Protocol: lightsail.New(speaks), Region: cfg.Region, Account: cfg.AccountID, Log: log, Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(judge.Close)
	speaks.Migration = judge
	handler := api.New(api.Config{
		Timeout:   api.MaxTimeout, // on a busy machine a key alone can take longer than users wait
		Protocols: []api.Protocol{lightsail.New(speaks)},
		Auth:      verifier, Account: cfg.AccountID, Refused: s.refusals.Tell, Log: log, Now: cfg.Now,
	})
	http := httptest.NewServer(handler)
	t.Cleanup(http.Close)
	s.url = http.URL
	return s
}

// links makes links to a console that is not there.
type links struct{}

func (links) Link(context.Context, sigv4.Identity) (string, time.Time, error) {
	return "link", time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), nil
}

// Changes implements [openimds.ChangeLog].
func (s *server) Changes(_ context.Context, resource string) (found []openimds.AuditEntry, since time.Time, err error) {
	for i, e := range s.entries() {
		if i == 0 {
			since = e.When
		}
		if e.Resource == resource && e.Change != "" {
			found = append(found, e)
		}
	}
	return found, since, nil
}

// Entries implements [openimds.ChangeLog], by the file that a server would have.
func (s *server) Entries(_ context.Context, q openimds.AuditQuery) (openimds.AuditPage, error) {
	path := filepath.Join(s.t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(s.audit.String()), 0o600); err != nil {
		return openimds.AuditPage{}, err
	}
	return audit.Page(path, q, func(*openimds.AuditEntry) bool { return true })
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// request makes a signed request of that operation; without a key it is not signed.
func (s *server) request(key accesskeys.Key, target, body string) *http.Request {
	s.t.Helper()
	if !strings.Contains(target, ".") {
		target = "Lightsail_20161128." + target
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.url+"/", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	if key.ID != "" {
		sum := sha256.Sum256([]byte(body))
		keys := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}
		if err := v4.NewSigner().SignHTTP(r.Context(), keys, r, hex.EncodeToString(sum[:]), "lightsail", s.service.Region(), time.Now()); err != nil {
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

// call asks for an operation with the key that may do everything.
func (s *server) call(target, body string) answer {
	s.t.Helper()
	return s.send(s.request(s.full, target, body))
}

// must is call for what has to succeed; it returns the answer's JSON.
func (s *server) must(target, body string) map[string]any {
	s.t.Helper()
	a := s.call(target, body)
	if a.status != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", target, body, a.status, a.body)
	}
	return a.json(s.t)
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}

// differs tells where got is not what want describes: objects may have further members, "*" stands
// for any value, "!" for none, "#" for a number, and all else for itself.
func differs(want, got any, path string) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v, not an object", path, got)
		}
		for name, value := range w {
			member, there := g[name]
			if value == "!" {
				if there {
					return fmt.Sprintf("%s.%s is there: %v", path, name, member)
				}
				continue
			}
			if !there {
				return path + "." + name + " is missing"
			}
			if d := differs(value, member, path+"."+name); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s is %v, not a list of %d", path, got, len(w))
		}
		for i := range w {
			if d := differs(w[i], g[i], fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
		return ""
	}
	_, isNumber := got.(float64)
	if want == "*" && got != nil && got != "" || want == "#" && isNumber || reflect.DeepEqual(want, got) {
		return ""
	}
	return fmt.Sprintf("%s is %v, not %v", path, got, want)
}
