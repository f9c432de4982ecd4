package control_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// ed25519Key is a public key that nobody has the private one of: its 32 bytes are 0 to 31.
const ed25519Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

func withColons(b []byte) string { return strings.ReplaceAll(fmt.Sprintf("% x", b), " ", ":") }

func TestCreateKeyPair(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	tags := []openimds.Tag{{Key: "a", Value: "b"}}
	pair, private, op, err := f.CreateKeyPair(ctx, "ops", tags)
	if err != nil {
		t.Fatal(err)
	}
	done(t, []openimds.Operation{op}, nil, "CreateKeyPair ops")
	block, rest := pem.Decode(private)
	if block == nil || block.Type != "RSA PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		t.Fatal("the private key is not one PEM block")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil || key.N.BitLen() != 2048 {
		t.Fatalf("the private key has %d bits, %v", key.N.BitLen(), err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha1.Sum(der); pair.Fingerprint != withColons(sum[:]) {
		t.Errorf("fingerprint %s, want %s", pair.Fingerprint, withColons(sum[:]))
	}
	kept, err := f.KeyPair(ctx, "ops")
	if err != nil || !reflect.DeepEqual(kept, pair) || !reflect.DeepEqual(kept.Tags, tags) || len(kept.PrivateKey) != 0 {
		t.Errorf("kept is %+v, %v", kept, err)
	}
	page, err := f.store.List(ctx, store.Range{})
	for _, r := range page.Records {
		if bytes.Contains(r.Value, []byte("PRIVATE KEY")) || bytes.Contains(r.Value, []byte(base64.StdEncoding.EncodeToString(private)[:64])) {
			t.Errorf("the private key is kept in %s", r.Key)
		}
	}
	if err != nil || len(page.Records) == 0 {
		t.Error(err)
	}
	// What was made here signs for the public key that guests get.
	if got := sshKeygen(t, "-y", writeKey(t, string(private))); !strings.HasPrefix(pair.PublicKey, strings.TrimSpace(got)) || !strings.HasSuffix(pair.PublicKey, " ops") {
		t.Errorf("public key %q, ssh-keygen says %q", pair.PublicKey, got)
	}
	_, _, _, err = f.CreateKeyPair(ctx, "ops", nil)
	refused(t, err, openimds.InvalidInput, openimds.NameTaken, "These names are taken: ops")
	_, _, _, err = f.CreateKeyPair(ctx, openimds.DefaultKeyPairName, nil)
	refused(t, err, openimds.InvalidInput, openimds.NameTaken, "These names are taken: LightsailDefaultKeyPair")
}

func TestDefaultKeyPair(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	pair, err := f.DefaultKeyPair(ctx)
	if err != nil || len(pair.PrivateKey) == 0 || f.get("web").PublicKeys[0].Key != pair.PublicKey {
		t.Fatalf("the default pair is %+v, %v", pair, err)
	}
	for withDefault, want := range map[bool]int{false: 0, true: 1} {
		if pairs, _, err := f.KeyPairs(ctx, withDefault, "", 0); err != nil || len(pairs) != want {
			t.Errorf("%d key pairs listed, %v; want %d", len(pairs), err, want)
		}
	}
	_, err = f.DeleteKeyPair(ctx, pair.Name, "")
	refused(t, err, openimds.InvalidInput, openimds.Incomplete, "To delete the default key pair, give its fingerprint as the expected fingerprint")
	_, err = f.DeleteKeyPair(ctx, pair.Name, "00:11")
	refused(t, err, openimds.InvalidInput, openimds.Mismatch, "The key pair LightsailDefaultKeyPair has another fingerprint than the expected fingerprint")
	op, err := f.DeleteKeyPair(ctx, pair.Name, pair.Fingerprint)
	done(t, []openimds.Operation{op}, err, "DeleteKeyPair LightsailDefaultKeyPair")
	if f.get("web").PublicKeys[0].Key != pair.PublicKey {
		t.Error("the instance lost its key")
	}
	again, err := f.DefaultKeyPair(ctx)
	if err != nil || again.Fingerprint == pair.Fingerprint {
		t.Errorf("made anew: %+v, %v", again, err)
	}
	_, err = f.DeleteKeyPair(ctx, "nobody", "")
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The key pair nobody does not exist")
}

// TestImportKeyPair takes the keys that ssh-keygen makes, in every form that clients send.
func TestImportKeyPair(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	for name, args := range map[string][]string{
		"rsa-1024": {"-t", "rsa", "-b", "1024"}, "rsa-4096": {"-t", "rsa", "-b", "4096"}, "ed25519": {"-t", "ed25519"},
		"ecdsa-256": {"-t", "ecdsa", "-b", "256"}, "ecdsa-384": {"-t", "ecdsa", "-b", "384"}, "ecdsa-521": {"-t", "ecdsa", "-b", "521"},
	} {
		path := filepath.Join(t.TempDir(), "key")
		sshKeygen(t, append(args, "-q", "-N", "", "-C", "somebody@else where", "-f", path)...)
		text, err := os.ReadFile(path + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		for form, sent := range map[string]string{
			"line":    string(text),
			"crlf":    strings.TrimSpace(string(text)) + "\r\n",
			"base64":  base64.StdEncoding.EncodeToString(text),
			"wrapped": wrap(base64.StdEncoding.EncodeToString(text)),
			"bare":    strings.Join(strings.Fields(string(text))[:2], " "),
		} {
			op, err := f.ImportKeyPair(ctx, name+form, sent)
			done(t, []openimds.Operation{op}, err, "ImportKeyPair "+name+form)
			pair, err := f.KeyPair(ctx, name+form)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Join(strings.Fields(string(text))[:2], " ") + " " + name + form; pair.PublicKey != want {
				t.Errorf("%s as %s was kept as %q, want %q", name, form, pair.PublicKey, want)
			}
			if want := fingerprintOf(t, name, path+".pub"); pair.Fingerprint != want {
				t.Errorf("%s has the fingerprint %s, want %s", name, pair.Fingerprint, want)
			}
		}
	}
}

// fingerprintOf asks ssh-keygen: MD5 over the PKIX form for RSA, as AWS has it, else OpenSSH's own.
func fingerprintOf(t *testing.T, name, public string) string {
	t.Helper()
	if strings.HasPrefix(name, "rsa") {
		block, _ := pem.Decode([]byte(sshKeygen(t, "-e", "-m", "PKCS8", "-f", public)))
		sum := md5.Sum(block.Bytes)
		return withColons(sum[:])
	}
	return strings.TrimPrefix(strings.Fields(sshKeygen(t, "-l", "-E", "sha256", "-f", public))[1], "SHA256:") + "="
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s + "\n"
}

func TestImportRefused(t *testing.T) {
	f := newFixture(t, nil)
	rsaKey := func(n, e []byte) string {
		var blob []byte
		for _, part := range [][]byte{[]byte("ssh-rsa"), e, n} {
			blob = append(append(blob, 0, 0, byte(len(part)>>8), byte(len(part))), part...)
		}
		return "ssh-rsa " + base64.StdEncoding.EncodeToString(blob)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	n := append([]byte{0}, key.N.Bytes()...)
	even := bytes.Clone(n)
	even[len(even)-1] &^= 1
	ed := strings.Fields(ed25519Key)[1]
	const damaged = "the RSA key is damaged"
	for name, tt := range map[string]struct{ text, why string }{
		"empty":             {"", "it needs an algorithm and a key"},
		"one word":          {"ssh-ed25519", "it needs an algorithm and a key"},
		"no base64":         {"ssh-ed25519 !!", "the key is not base64"},
		"two lines":         {ed25519Key + "\n" + ed25519Key, "it has more than one line"},
		"two lines encoded": {base64.StdEncoding.EncodeToString([]byte(ed25519Key + "\n" + ed25519Key)), "it has more than one line"},
		"options":           {`command="rm -rf /" ` + ed25519Key, "the key is not base64"},
		"another algorithm": {"ssh-rsa " + ed, "the key is not of the algorithm that the line begins with"},
		"dss":               {"ssh-dss AAAAB3NzaC1kc3M=", "the algorithm must be ssh-rsa, ssh-ed25519 or ecdsa-sha2-nistp256, -384 or -521"},
		"certificate":       {"ssh-ed25519-cert-v01@openssh.com " + base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x20ssh-ed25519-cert-v01@openssh.com")), "the algorithm must be ssh-rsa, ssh-ed25519 or ecdsa-sha2-nistp256, -384 or -521"},
		"short ed25519":     {"ssh-ed25519 " + ed[:64], "the Ed25519 key is damaged"},
		"off the curve":     {"ecdsa-sha2-nistp256 " + base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00\x13ecdsa-sha2-nistp256\x00\x00\x00\x08nistp256\x00\x00\x00\x41\x04"+strings.Repeat("a", 64))), "the ECDSA key is not a point of its curve"},
		"too long":          {"ssh-rsa " + strings.Repeat("A", 16<<10), "it is too long"},
		"exponent 1":        {rsaKey(n, []byte{1}), damaged},
		"exponent even":     {rsaKey(n, []byte{1, 0, 0}), damaged},
		"exponent 0":        {rsaKey(n, nil), damaged},
		"modulus even":      {rsaKey(even, []byte{1, 0, 1}), damaged},
		"modulus negative":  {rsaKey(n[1:], []byte{1, 0, 1}), damaged},
		"modulus padded":    {rsaKey(append([]byte{0}, n...), []byte{1, 0, 1}), damaged},
		"short rsa":         {rsaKey(append([]byte{0}, n[len(n)-64:]...), []byte{1, 0, 1}), ""},
	} {
		before := f.revision()
		_, err := f.ImportKeyPair(t.Context(), "key", tt.text)
		if tt.why == "" { // which of two reasons depends on the key that was made
			if openimds.KindOf(err) != openimds.InvalidInput || f.revision() != before {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		refused(t, err, openimds.InvalidInput, openimds.Malformed, "The public key is not a public key of OpenSSH's one-line form: "+tt.why)
		if f.revision() != before {
			t.Errorf("%s: something was kept", name)
		}
	}
}

// sshKeygen runs OpenSSH's own tool, or skips the test where there is none.
func sshKeygen(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	if args[0] == "-y" {
		args = []string{"-y", "-f", args[1]}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		t.Fatalf("ssh-keygen %v: %v", args, err)
	}
	return string(out)
}

func writeKey(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
