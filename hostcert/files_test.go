package hostcert_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TestOneAuthority: replicas that begin at the same moment are one authority, which a damaged record does not replace.
func TestOneAuthority(t *testing.T) {
	f := newFixture(t)
	all := make([][]byte, 8)
	var opening sync.WaitGroup
	for n := range all {
		opening.Go(func() {
			a, err := hostcert.Open(t.Context(), hostcert.Config{Store: f.store})
			if err != nil {
				t.Error(err)
				return
			}
			all[n] = a.CertificatePEM()
		})
	}
	opening.Wait()
	for _, text := range all[1:] {
		if !bytes.Equal(text, all[0]) {
			t.Error("two replicas are two authorities")
		}
	}
	secret := "-----BEGIN PRIVATE KEY-----\nsecret\n"
	if _, err := f.store.Commit(t.Context(), store.Change{Key: records.HostAuthorityKey, Value: []byte(secret), If: store.Whatever}); err != nil {
		t.Fatal(err)
	}
	_, err := hostcert.Open(t.Context(), hostcert.Config{Store: f.store})
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a damaged authority: %v", err)
	}
}

// TestOperatorsAuthority: an operator's own authority signs, and what is none is refused in one line.
func TestOperatorsAuthority(t *testing.T) {
	f := newFixture(t)
	if _, err := hostcert.Open(t.Context(), hostcert.Config{Store: f.store}); err != nil {
		t.Fatal(err)
	}
	r, err := f.store.Get(t.Context(), records.HostAuthorityKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	good := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(good, r.Value, 0o600); err != nil {
		t.Fatal(err)
	}
	g := newFixture(t)
	a, err := hostcert.Open(t.Context(), hostcert.Config{Store: g.store, CAFile: good})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.store.Get(t.Context(), records.HostAuthorityKey); !errors.Is(err, store.ErrNoRecord) {
		t.Errorf("the operator's key is in the store: %v", err)
	}
	if _, err := g.hostOf(a, g.join(a, "host-1").ClientTLS()); err != nil {
		t.Error(err)
	}
	leaf := filepath.Join(dir, "leaf.pem")
	leafDir := t.TempDir()
	if _, err := hostcert.Join(t.Context(), leafDir, g.invite(a, "host-1"), carry(a)); err != nil {
		t.Fatal(err)
	}
	own, err := hostcert.OpenIdentity(leafDir)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := own.ClientTLS().GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(shown.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shown.Certificate[0]})...)
	keyOnly, _, _ := bytes.Cut(r.Value, []byte("-----BEGIN CERT"))
	for name, c := range map[string]struct {
		text []byte
		mode os.FileMode
		says string
	}{
		"a host's":       {text, 0o600, "not one of an authority"},
		"no key":         {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shown.Certificate[0]}), 0o600, "private key"},
		"no certificate": {keyOnly, 0o600, "behind its private key"},
		"two at odds":    {append(bytes.Clone(keyOnly), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shown.Certificate[0]})...), 0o600, "not of its private key"},
		"readable":       {r.Value, 0o644, "leaf.pem"},
		"empty":          {nil, 0o600, "PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(leaf)
			if err := os.WriteFile(leaf, c.text, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := hostcert.Open(t.Context(), hostcert.Config{Store: g.store, CAFile: leaf})
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v; want %q", err, c.says)
			}
		})
	}
	for _, life := range []time.Duration{time.Second, 365 * 24 * time.Hour, -time.Hour} {
		if _, err := hostcert.Open(t.Context(), hostcert.Config{Store: g.store, Life: life}); err == nil {
			t.Errorf("certificates may live for %s", life)
		}
	}
}

// TestFiles: a join file and an identity that make no sense are refused in one line that has nothing of them.
func TestFiles(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	i := f.invite(a, "host-1")
	path := filepath.Join(t.TempDir(), "host-1.join")
	good := fmt.Sprintf(`{"version":1,"host":"host-1","token":%q,"until":"2026-01-01T00:00:00Z","authority":%q,"replicas":["127.0.0.1:1"]}`, string(i.Token), i.Authority)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		"good":          {good, 0o600, true},
		"readable":      {good, 0o644, false},
		"not JSON":      {"secret" + good, 0o600, false},
		"newer":         {strings.Replace(good, `"version":1`, `"version":2`, 1), 0o600, false},
		"another host":  {strings.Replace(good, `"host":"host-1"`, `"host":"host-2"`, 1), 0o600, false},
		"no authority":  {strings.Replace(good, "BEGIN CERTIFICATE", "BEGIN SECRET", 1), 0o600, false},
		"no replica":    {strings.Replace(good, `["127.0.0.1:1"]`, `[]`, 1), 0o600, false},
		"not a replica": {strings.Replace(good, `127.0.0.1:1`, `secret host`, 1), 0o600, false},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(path)
			if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
				t.Fatal(err)
			}
			got, err := hostcert.ReadInvitation(path)
			switch {
			case c.ok && (err != nil || got.Token != i.Token):
				t.Errorf("it is %+v, %v", got, err)
			case !c.ok && (err == nil || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), string(i.Token))):
				t.Errorf("the error is %v", err)
			}
		})
	}
	dir := t.TempDir()
	if _, err := hostcert.Join(t.Context(), dir, i, carry(a)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, hostcert.IdentityFile)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"cut": text[:len(text)/2], "empty": {}, "newer": bytes.Replace(text, []byte(`"version": 1`), []byte(`"version": 2`), 1),
		"another host": bytes.Replace(text, []byte(`"host": "host-1"`), []byte(`"host": "host-2"`), 1),
		"another key":  bytes.Replace(text, []byte(`BEGIN PRIVATE`), []byte(`BEGIN PUBLIC`), 1),
	} {
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := hostcert.OpenIdentity(dir)
		if err == nil || id != nil || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v, %v", name, id, err)
		}
	}
	// A replica that answers something else leaves what was there.
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := hostcert.OpenIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.Redeem(t.Context(), f.invite(a, "host-2").Token, request(t, "host-2", nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range [][]byte{nil, []byte("garbage"), other.Certificate, []byte(i.Authority)} {
		if err := id.Renew(t.Context(), func(context.Context, []byte) ([]byte, error) { return answer, nil }); err == nil {
			t.Errorf("the answer %.30q is taken", answer)
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, text) {
			t.Error("the identity was changed")
		}
	}
	if _, err := f.hostOf(a, id.ClientTLS()); err != nil {
		t.Error(err)
	}
}

// TestNothingSecretIsPrinted: a token is in no text that fmt or slog makes of what holds it.
func TestNothingSecretIsPrinted(t *testing.T) {
	i := openimds.Invitation{Token: openimds.NewJoinToken("host-1")}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", i.Token, "all", i)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", i.Token, "all", i)
	for _, text := range []string{fmt.Sprint(i), fmt.Sprintf("%v %+v %#v %s %q %x", i, i, i, i.Token, i.Token, i.Token), log.String()} {
		if strings.Contains(text, string(i.Token)) || strings.Contains(text, fmt.Sprintf("%x", string(i.Token))) {
			t.Errorf("it is in %q", text)
		}
	}
}

// TestStoreAway: where the store does not answer nobody is refused for good, and nobody new let in.
func TestStoreAway(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	id := f.join(a, "host-1")
	i := f.invite(a, "host-2")
	if _, err := f.hostOf(a, id.ClientTLS()); err != nil {
		t.Fatal(err)
	}
	fresh, err := hostcert.Open(t.Context(), hostcert.Config{Store: f.store, Now: f.clock})
	if err != nil {
		t.Fatal(err)
	}
	_ = f.store.Close()
	if _, err := f.hostOf(a, id.ClientTLS()); err != nil {
		t.Errorf("a host that is known: %v", err)
	}
	_, unknown := f.hostOf(fresh, id.ClientTLS())
	_, late := a.Redeem(t.Context(), i.Token, request(t, "host-2", nil))
	for _, err := range []error{unknown, late} {
		if _, is := errors.AsType[*hostcert.Refused](err); is || err == nil {
			t.Errorf("the error is %v", err)
		}
	}
}
