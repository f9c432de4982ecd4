package etcd_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/openimds/openimds/store/etcd"
)

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"etcd://10.0.0.1:2379":              "etcd://10.0.0.1:2379/openimds",
		"etcd://10.0.0.1/":                  "etcd://10.0.0.1:2379/openimds",
		"etcd://a:2379,b.example:2380/x/y/": "etcd://a:2379,b.example:2380/x/y",
		"etcd://[::1]:2379/p":               "etcd://[::1]:2379/p",
		"etcd://[::1]/p":                    "etcd://[::1]:2379/p",
	} {
		if a, err := etcd.ParseAddress(text); err != nil || a.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, a, err, want)
		}
	}
	for _, text := range []string{
		"", "etcd:", "etcd://", "http://a:2379", "etcd://a:2379,/p", "etcd://a:0", "etcd://a:65536", "etcd://a:x", "etcd://a b:1", "etcd://a:1/../b",
		"etcd://a:1//b", "etcd://a:1/b?c", "etcd://a:1/\xff", "etcd://u:p@a:1", "etcd://a:1:2",
	} {
		if a, err := etcd.ParseAddress(text); err == nil || strings.Contains(err.Error(), "u:p") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is %s, %v", text, a, err)
		}
	}
}

// What a store cannot be reached by is refused before anything is asked, in one line.
func TestConfigRefused(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "\n", "text": "no certificate"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for want, c := range map[string]etcd.Config{
		"has no member":                    {},
		"can be read and changed":          {Address: address(t, "etcd://192.0.2.1:2379")},
		"certificate for the store and":    {Address: address(t, "etcd://127.0.0.1:1"), Key: "k"},
		"the user of the store and":        {Address: address(t, "etcd://127.0.0.1:1"), User: "u"},
		"cannot be negative":               {Address: address(t, "etcd://127.0.0.1:1"), Timeout: -1},
		"cannot read the certificates":     {Address: address(t, "etcd://192.0.2.1:1"), CA: file("none")},
		"has no certificate (PEM)":         {Address: address(t, "etcd://192.0.2.1:1"), CA: file("text")},
		"the certificate for the store, ":  {Address: address(t, "etcd://192.0.2.1:1"), Cert: file("text"), Key: file("text")},
		"cannot read the password":         {Address: address(t, "etcd://127.0.0.1:1"), User: "u", PasswordFile: file("none")},
		"of the password for the store, /": {Address: address(t, "etcd://127.0.0.1:1"), User: "u", PasswordFile: file("empty")},
	} {
		s, err := etcd.Open(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || s != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
	insecure := etcd.Config{Address: address(t, "etcd://192.0.2.1:2379"), Insecure: true}
	if err := insecure.Validate(); err != nil {
		t.Error(err)
	}
	clear := etcd.Config{Address: address(t, "etcd://192.0.2.1:2379")}
	if err := clear.Validate(); !errors.Is(err, etcd.ErrClear) {
		t.Error(err)
	}
}

// TestSecretsOfOthers: a password or key that other users of the machine can read is refused, as is a certificate that they
// can write: whoever could would be the store.
func TestSecretsOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: its files have no such modes")
	}
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("secret-canary"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open, shared, private := file("open", 0o644), file("shared", 0o666), file("private", 0o600)
	at := address(t, "etcd://127.0.0.1:1")
	for name, c := range map[string]etcd.Config{
		"a password for all to read":     {Address: at, User: "u", PasswordFile: open},
		"a key for all to read":          {Address: at, Cert: private, Key: open},
		"a certificate for all to write": {Address: at, Cert: shared, Key: private},
		"certificates for all to write":  {Address: at, CA: shared},
	} {
		s, err := etcd.Open(t.Context(), c)
		if s != nil || err == nil || !strings.Contains(err.Error(), "is open to others (mode 06") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
