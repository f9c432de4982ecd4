package engine_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/engine"
	"github.com/openimds/openimds/usage/history"
)

// private writes a file that nobody else can read.
func private(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// An engine is known by its certificate and told who asks; a secret is read anew for each request, and goes nowhere else.
func TestAccess(t *testing.T) {
	var wants string
	var seen int
	engineOf := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != wants {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		seen++
		_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"matrix","result":[]}}`))
	}))
	defer engineOf.Close()
	ca := private(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: engineOf.Certificate().Raw})))
	token, password := private(t, "first\n"), private(t, "word\n")
	reads := func(a engine.Access) error {
		r, err := engine.NewReader(engine.ReaderConfig{URL: engineOf.URL, Access: a})
		must(t, err)
		return r.Samples(t.Context(), "i-1", 0, 1, func(string, int64, history.Counts) {})
	}
	writes := func(a engine.Access) error {
		kept := mem.New()
		w, err := engine.OpenWriter(t.Context(), engine.WriterConfig{URL: engineOf.URL, Access: a, Store: kept})
		must(t, err)
		h := history.New(history.Config{Store: kept, Kept: w.Kept})
		w.From(h)
		h.Add("i-1", newClock(engineOf.Certificate().NotBefore).now(), openimds.MetricNoToken, 1)
		flush(t, h)
		return w.Close(t.Context())
	}
	both := func(a engine.Access) error {
		if err := reads(a); err != nil {
			return err
		}
		return writes(a)
	}
	if err := both(engine.Access{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an engine that is not known: %v", err)
	}
	must(t, both(engine.Access{CA: ca}))
	wants = "Bearer first"
	with := engine.Access{CA: ca, TokenFile: token}
	must(t, both(with))
	must(t, os.WriteFile(token, []byte("second"), 0o600))
	if err := both(with); err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), "second") {
		t.Errorf("another token: %v", err)
	}
	wants = "Bearer second"
	must(t, both(with))
	wants = "Basic bWU6d29yZA=="
	must(t, both(engine.Access{CA: ca, User: "me", PasswordFile: password}))
	if seen != 8 {
		t.Errorf("%d requests were answered", seen)
	}
	must(t, os.WriteFile(token, []byte("two\nlines"), 0o600))
	for what, a := range map[string]engine.Access{
		"no certificate":     {CA: token},
		"cannot read the ce": {CA: "/nowhere"},
		"cannot read the se": {TokenFile: "/nowhere"},
		"one line":           {TokenFile: token},
	} {
		if err := a.Check(); err == nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "two") {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, os.Chmod(password, 0o644))
	if err := (&engine.Access{User: "me", PasswordFile: password}).Check(); err == nil {
		t.Error("a password that all can read is taken")
	}
	must(t, (&engine.Access{TokenFile: "t"}).Validate("http://[::1]:9090/api/v1/write"))
}

// A redirect is not followed: it would be given the secret.
func TestNoRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked, with %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer other.Close()
	engineOf := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer engineOf.Close()
	r, err := engine.NewReader(engine.ReaderConfig{URL: engineOf.URL, Access: engine.Access{TokenFile: private(t, "secret")}})
	must(t, err)
	if err := r.Samples(t.Context(), "i-1", 0, 1, func(string, int64, history.Counts) {}); err == nil {
		t.Error("a redirect was taken for an answer")
	}
}
