package attest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/attest"
)

var bodies = map[string]string{
	"html": "<!DOCTYPE html>\n<p>a &lt;!-- openimds-signature x --&gt;</p>\n</html>\n",
	"json": "{\n  \"a\": \"x,\\n  \\\"signature\\\": \",\n  \"b\": {\n    \"signature\": 1\n  }\n}\n",
}

func signed(t *testing.T, key *attest.Key, body string) []byte {
	t.Helper()
	s, err := key.SignReport(openimds.ReportStatement{
		Digest: attest.Digest([]byte(body)), Installation: "us-east-1 123456789012", By: "AKIDEXAMPLE", At: time.Date(2026, 11, 22, 12, 1, 2, 3, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	file, err := attest.Seal([]byte(body), s)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func newKey(t *testing.T) (*attest.Key, string) {
	t.Helper()
	key, err := attest.New()
	if err != nil {
		t.Fatal(err)
	}
	return key, attest.Fingerprint(key.ReportKey())
}

// Whatever is done to any byte of a sealed file is told, as is a key that is not the pinned one.
func TestTampering(t *testing.T) {
	for form, body := range bodies {
		key, pinned := newKey(t)
		other, elsewhere := newKey(t)
		file := signed(t, key, body)
		stated, err := attest.Verify(file, pinned)
		if err != nil || stated.By != "AKIDEXAMPLE" || stated.Installation != "us-east-1 123456789012" || !stated.At.Equal(time.Date(2026, 11, 22, 12, 1, 2, 0, time.UTC)) {
			t.Fatalf("%s: %+v, %v\n%s", form, stated, err, file)
		}
		if !strings.HasPrefix(string(file), body[:len(body)-3]) {
			t.Errorf("%s: the body is not there as it was: %s", form, file)
		}
		refused := func(what string, tampered []byte) {
			t.Helper()
			if _, err := attest.Verify(tampered, pinned); err == nil {
				t.Errorf("%s: %s is not told:\n%s", form, what, tampered)
			}
		}
		for at := range file {
			for _, b := range []byte{file[at] ^ 1, file[at] ^ 0x20, file[at] ^ 0x80, ' ', '\n', 0} {
				if b != file[at] {
					tampered := bytes.Clone(file)
					tampered[at] = b
					refused("a byte that is another", tampered)
				}
			}
			refused("a byte that is missing", append(bytes.Clone(file[:at]), file[at+1:]...))
			refused("a blank more", append(append(bytes.Clone(file[:at]), ' '), file[at:]...))
			refused("an end that is missing", file[:at])
		}
		refused("a line behind it", append(bytes.Clone(file), '\n'))
		refused("a second seal", append(bytes.Clone(file), file...))
		if _, err := attest.Verify([]byte(body), pinned); !errors.Is(err, attest.ErrUnsigned) {
			t.Errorf("%s without a signature: %v", form, err)
		}
		if _, err := attest.Verify(signed(t, other, body), pinned); !errors.Is(err, attest.ErrKey) {
			t.Errorf("%s by another key: %v", form, err)
		}
		if named, err := attest.Named(signed(t, other, body)); named != elsewhere || err != nil {
			t.Errorf("%s names %s, %v", form, named, err)
		}
	}
}

// The key signs statements of one form: nothing that is put into one makes it another.
func TestStatementsHaveOneForm(t *testing.T) {
	key, _ := newKey(t)
	good := openimds.ReportStatement{Digest: attest.Digest(nil), Installation: "us-east-1 123456789012", By: "me", At: time.Now()}
	for what, change := range map[string]func(*openimds.ReportStatement){
		"a digest that is none":  func(s *openimds.ReportStatement) { s.Digest = "x" },
		"a long digest":          func(s *openimds.ReportStatement) { s.Digest += "0" },
		"a line more":            func(s *openimds.ReportStatement) { s.By = "me\nsigned at: 2020-01-01T00:00:00Z" },
		"nobody":                 func(s *openimds.ReportStatement) { s.By = "" },
		"an installation of two": func(s *openimds.ReportStatement) { s.Installation = "a\nb" },
		"a carriage return":      func(s *openimds.ReportStatement) { s.By = "me\r" },
		"a year of five digits":  func(s *openimds.ReportStatement) { s.At = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		s := good
		change(&s)
		if signature, err := key.SignReport(s); err == nil {
			t.Errorf("%s is signed: %q", what, signature.Statement)
		}
	}
	if _, err := key.SignReport(good); err != nil {
		t.Error(err)
	}
}

// The key is made once, for its owner alone, and what is no key is told without being shown.
func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reports.pem")
	first, err := attest.Ensure(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := attest.Ensure(path)
	if err != nil || !bytes.Equal(first.ReportKey(), again.ReportKey()) {
		t.Errorf("the key is another one at the second start: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
	for _, text := range []string{"", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := attest.Ensure(path); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "c2Vj") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
