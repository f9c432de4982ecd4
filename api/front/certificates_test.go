package front

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// pair is a certificate, signed by itself, and its key.
type pair struct{ cert, key []byte }

func makePair(t *testing.T, host string, end time.Time) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "openimds test"}, IPAddresses: []net.IP{net.ParseIP(host)}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

// write puts the pair at two paths as managers of certificates do: beside, and then renamed.
func (p pair) write(t *testing.T, cert, key string) {
	t.Helper()
	for path, text := range map[string][]byte{key: p.key, cert: p.cert} {
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

// shown is the certificate that a new connection is shown.
func (p pair) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.cert)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// aged makes files look as if they had been there for a while, so that only a change tells.
func aged(t *testing.T, paths ...string) {
	t.Helper()
	old := time.Now().Add(-time.Minute)
	for _, path := range paths {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	end := time.Now().Add(24 * time.Hour)
	first := makePair(t, "127.0.0.1", end)
	first.write(t, cert, key)
	aged(t, cert, key)
	log := new(lines)
	c, err := OpenCertificates(cert, key, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, p pair) {
		t.Helper()
		for range 2 {
			c.refresh(time.Now())
		}
		if !c.Leaf().Equal(p.leaf(t)) {
			t.Errorf("%s: another certificate is shown", what)
		}
	}
	expect("unchanged", first)
	second := makePair(t, "127.0.0.1", end)
	second.write(t, cert, key)
	expect("renamed over", second)
	third := makePair(t, "127.0.0.1", end)
	must(t, os.WriteFile(key, third.key, 0o600)) // in place, and at first only one of them
	expect("a key that does not fit", second)
	must(t, os.WriteFile(cert, third.cert, 0o600))
	expect("written in place", third)
	must(t, os.WriteFile(cert, []byte("-----BEGIN CERTIFICATE-----\ngarbage"), 0o600))
	expect("garbage", third)
	must(t, os.Remove(cert))
	expect("gone", third)
	if n := strings.Count(log.String(), "cannot be used"); n != 3 { // once for each kind, not each second
		t.Errorf("%d complaints:\n%s", n, log)
	}
	if strings.Contains(log.String(), "PRIVATE") || strings.Contains(log.String(), "garbage") {
		t.Errorf("the log shows what is in the files:\n%s", log)
	}

	// As Kubernetes has it: ..data is a link to a directory, and is exchanged.
	fourth, fifth := makePair(t, "127.0.0.1", end), makePair(t, "127.0.0.1", end)
	for name, p := range map[string]pair{"one": fourth, "two": fifth} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		p.write(t, filepath.Join(dir, name, "tls.crt"), filepath.Join(dir, name, "tls.key"))
		aged(t, filepath.Join(dir, name, "tls.crt"), filepath.Join(dir, name, "tls.key"))
	}
	must(t, os.Remove(key))
	must(t, os.Symlink("one", filepath.Join(dir, "data")))
	must(t, os.Symlink("data/tls.crt", cert))
	must(t, os.Symlink("data/tls.key", key))
	expect("by links", fourth)
	must(t, os.Symlink("two", filepath.Join(dir, "data.new")))
	must(t, os.Rename(filepath.Join(dir, "data.new"), filepath.Join(dir, "data")))
	expect("a link exchanged", fifth)
	must(t, os.Chmod(filepath.Join(dir, "two", "tls.key"), 0o644))
	expect("a key open to others", fifth)
	if !strings.Contains(log.String(), "is open to others (mode 0644)") {
		t.Errorf("nobody was told:\n%s", log)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRenewalUnderWay: a connection that is open stays, a new one is shown the new certificate.
func TestRenewalUnderWay(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	end := time.Now().Add(time.Hour)
	first, second := makePair(t, "127.0.0.1", end), makePair(t, "127.0.0.1", end)
	first.write(t, cert, key)
	c, err := OpenCertificates(cert, key, slog.New(slog.DiscardHandler))
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { c.Run(ctx); close(ran) }()
	defer func() { stop(); <-ran }()
	l, err := tls.Listen("tcp4", "127.0.0.1:0", c.config())
	must(t, err)
	defer func() { _ = l.Close() }()
	go func() {
		for {
			s, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = bytes.NewBuffer(nil).ReadFrom(s); _ = s.Close() }()
		}
	}()
	shown := func() *x509.Certificate {
		//nolint:gosec // which certificate it is, is what is asked
		d, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		must(t, err)
		defer func() { _ = d.Close() }()
		return d.ConnectionState().PeerCertificates[0]
	}
	if !shown().Equal(first.leaf(t)) {
		t.Fatal("not the first")
	}
	open, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	defer func() { _ = open.Close() }()
	second.write(t, cert, key)
	for deadline := time.Now().Add(limit); !shown().Equal(second.leaf(t)); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate never came")
		}
	}
	if _, err := open.Write([]byte("x")); err != nil {
		t.Errorf("the open connection: %v", err)
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if state := open.ConnectionState(); state.Version < tls.VersionTLS12 || state.NegotiatedProtocol == "h2" {
		t.Errorf("%x %s", state.Version, state.NegotiatedProtocol)
	}
}

func TestCertificateRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing here")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	end := time.Now().Add(time.Hour)
	makePair(t, "127.0.0.1", end).write(t, path("cert"), path("key"))
	makePair(t, "127.0.0.1", end).write(t, path("cert2"), path("key2"))
	for _, mode := range []os.FileMode{0o604, 0o640, 0o644, 0o660, 0o602} {
		must(t, os.Chmod(path("key"), mode))
		if _, err := LoadCertificate(path("cert"), path("key")); err == nil || !strings.Contains(err.Error(), "open to others") {
			t.Errorf("a key of mode %o: %v", mode, err)
		}
	}
	must(t, os.Chmod(path("key"), 0o400))
	must(t, os.Chmod(path("cert"), 0o644))
	if _, err := LoadCertificate(path("cert"), path("key")); err != nil {
		t.Error(err)
	}
	for name, files := range map[string][2]string{
		"another's key": {"cert", "key2"}, "exchanged": {"key", "cert"}, "absent": {"nowhere", "key"}, "a directory": {".", "key"},
	} {
		_, err := LoadCertificate(path(files[0]), path(files[1]))
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReminder(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	now := time.Now()
	makePair(t, "127.0.0.1", now.Add(89*24*time.Hour)).write(t, cert, key)
	log := new(lines)
	c, err := OpenCertificates(cert, key, slog.New(slog.NewTextHandler(log, nil)))
	must(t, err)
	for hour := range 90 * 24 {
		c.remind(now.Add(time.Duration(hour) * time.Hour))
	}
	soon, over := strings.Count(log.String(), "ends soon"), strings.Count(log.String(), "has ended")
	if soon < 13 || soon > 16 || over != 1 {
		t.Errorf("%d reminders before the end, %d after", soon, over)
	}
}
