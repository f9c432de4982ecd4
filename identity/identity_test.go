package identity

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newSigner(t testing.TB) (*Signer, *Keys) {
	t.Helper()
	keys, err := Ensure(filepath.Join(t.TempDir(), "identity"), noon)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSigner(slog.New(slog.DiscardHandler))
	s.Use(keys, noon.Add(time.Minute))
	return s, keys
}

func instance(i int) *openimds.Instance {
	return openimds.NewInstance(openimds.Launch{Name: fmt.Sprint("web-", i), Region: "us-east-1"}, noon)
}

// document stands for an identity document: any bytes can be signed, a final line feed is not added.
func document(in *openimds.Instance) []byte {
	return []byte("{\n  \"instanceId\" : \"" + in.ID + "\"\n}")
}

// texts are the three signatures of one document.
func texts(t testing.TB, s *Signer, in *openimds.Instance) [3]string {
	t.Helper()
	var out [3]string
	for i, sign := range []func(*openimds.Instance, []byte) ([]byte, bool){s.Signature, s.PKCS7, s.RSA2048} {
		text, ok := sign(in, document(in))
		if !ok {
			t.Fatalf("form %v is not signed", Form(i))
		}
		out[i] = string(text)
	}
	return out
}

func TestRecordedShape(t *testing.T) {
	s, _ := newSigner(t)
	all := texts(t, s, instance(1))
	for i, text := range all {
		rows := strings.Split(text, "\n")
		for j, row := range rows {
			if len(row) > 76 || row == "" || j < len(rows)-1 && len(row) != 76 {
				t.Errorf("%v: line %d has %d characters", Form(i), j, len(row))
			}
		}
	}
	if len(strings.ReplaceAll(all[Signature], "\n", "")) != 172 {
		t.Errorf("the signature has %d characters with line feeds, want 172 and 2 of them", len(all[Signature]))
	}
	// The first bytes of AWS's messages, up to the content: lengths are indefinite, the digest has
	// parameters, and the content is an octet string in parts.
	for form, start := range map[Form]string{
		PKCS7:   "MIAGCSqGSIb3DQEHAqCAMIACAQExCzAJBgUrDgMCGgUAMIAGCSqGSIb3DQEHAaCAJIAE",
		RSA2048: "MIAGCSqGSIb3DQEHAqCAMIACAQExDzANBglghkgBZQMEAgEFADCABgkqhkiG9w0BBwGggCSABD",
	} {
		if !strings.HasPrefix(all[form], start[:len(start)-2]) {
			t.Errorf("%v begins with %.76s, want %s", form, all[form], start)
		}
	}
}

func TestSignedOnce(t *testing.T) {
	s, keys := newSigner(t)
	in := instance(1)
	first := texts(t, s, in)
	if again := texts(t, s, in); again != first {
		t.Error("a document was signed again")
	}
	var storm sync.WaitGroup
	storms := make(chan [3]string, 64)
	other := instance(2)
	for range cap(storms) {
		storm.Go(func() { storms <- texts(t, s, other) })
	}
	storm.Wait()
	close(storms)
	seen := map[[3]string]bool{}
	for all := range storms {
		seen[all] = true
	}
	// Two guests may both find nothing and start; from then on there is one.
	if got := texts(t, s, other); !seen[got] {
		t.Error("what a storm was told is not what stands")
	}
	s.Use(keys, noon.Add(time.Hour))
	if texts(t, s, in) != first {
		t.Error("the same keys made a new signature")
	}
	s.Forget(in.ID)
	if texts(t, s, in)[PKCS7] == first[PKCS7] {
		t.Error("a forgotten signature is still there")
	}
	if allocs := testing.AllocsPerRun(100, func() { s.RSA2048(other, document(other)) }); allocs > 4 {
		t.Errorf("%v allocations for a signature that is there", allocs)
	}
}

func TestWithoutKeys(t *testing.T) {
	s := NewSigner(slog.New(slog.DiscardHandler))
	if _, ok := s.RSA2048(instance(1), nil); ok {
		t.Error("a signer without keys signed")
	}
}

func TestRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "identity")
	keys, err := Ensure(dir, noon)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSigner(slog.New(slog.DiscardHandler))
	s.Use(keys, noon)
	in := instance(1)
	before := texts(t, s, in)
	if _, err := Rotate(dir, RSA2048, noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if keys, err = Load(dir); err != nil {
		t.Fatal(err)
	}
	if n := len(keys.All(RSA2048)); n != 2 {
		t.Fatalf("%d certificates to give to verifiers, want the old and the coming one", n)
	}
	s.Use(keys, noon.Add(59*time.Minute))
	if texts(t, s, in) != before {
		t.Error("the coming key signs before its time")
	}
	s.Use(keys, noon.Add(61*time.Minute))
	after := texts(t, s, in)
	if after[RSA2048] == before[RSA2048] || after[Signature] != before[Signature] {
		t.Error("from its time on, the new key and only that one must take over")
	}
	info, err := os.Stat(filepath.Join(dir, "rsa2048.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the keys have mode %v (%v)", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*.new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestImportFromOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("skipped: there is no openssl on this machine")
	}
	dir := t.TempDir()
	keys := filepath.Join(dir, "identity")
	if _, err := Ensure(keys, noon); err != nil {
		t.Fatal(err)
	}
	openssl := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "rsa.key", "-out", "rsa.crt", "-subj", "/O=Ours", "-days", "3650")
	openssl("dsaparam", "-out", "params", "-genkey", "-noout", "1024")
	openssl("pkcs8", "-topk8", "-nocrypt", "-in", "params", "-out", "dsa.key")
	openssl("req", "-x509", "-new", "-key", "dsa.key", "-out", "dsa.crt", "-subj", "/O=Ours", "-days", "3650")
	for form, name := range map[Form]string{RSA2048: "rsa", Signature: "rsa", PKCS7: "dsa"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		certificate, _ := os.ReadFile(filepath.Join(dir, name+".crt"))
		if _, err := Import(keys, form, append(text, certificate...)); err != nil {
			t.Fatalf("%v: %v", form, err)
		}
		loaded, err := Load(keys)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := loaded.Signing(form, time.Now().Add(time.Hour))
		if block, _ := pem.Decode(certificate); !ok || !bytes.Equal(key.Certificate.Raw, block.Bytes) {
			t.Errorf("%v: the imported key does not sign", form)
		}
	}
}

func TestRefusedKeys(t *testing.T) {
	rsaKey, err := NewKey(RSA2048, noon)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKey(Signature, noon)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := rsaKey.encode()
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := Key{rsaKey.Private, other.Certificate}.encode()
	small, _ := other.encode()
	secret, _ := pem.Decode(pair)
	for _, row := range []struct {
		name  string
		form  Form
		text  []byte
		words string
	}{
		{"nothing", RSA2048, nil, "no key"},
		{"text", RSA2048, []byte("hello"), "PEM block 1 cannot be read"},
		{"certificate first", RSA2048, rsaKey.CertificatePEM(), "without a private key"},
		{"no certificate", RSA2048, pem.EncodeToMemory(secret), "no certificate behind it"},
		{"foreign certificate", RSA2048, stranger, "not of this key"},
		{"wrong form", PKCS7, pair, "DSA key"},
		{"too small", RSA2048, small, "1024 bits"},
		{"half a pair", RSA2048, pair[:len(pair)/3], "cannot be read"},
		{"a password", RSA2048, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), "without a password"},
	} {
		_, err := ParseKeys(row.form, row.text)
		if err == nil || !strings.Contains(err.Error(), row.words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q", row.name, err, row.words)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	for _, form := range Forms() {
		key, err := NewKey(form, noon)
		if err != nil {
			f.Fatal(err)
		}
		text, err := key.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(int(form), text)
	}
	f.Fuzz(func(t *testing.T, form int, text []byte) {
		if form < 0 || form > 2 {
			return
		}
		keys, err := ParseKeys(Form(form), text)
		if err != nil {
			return
		}
		for _, key := range keys {
			if err := key.check(Form(form)); err != nil {
				t.Errorf("a key that does not fit was let in: %v", err)
			}
		}
	})
}
