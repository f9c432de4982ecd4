package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds/safefile"
)

const (
	// lookAgain is how often the files are looked at. They are read when they look changed.
	lookAgain = time.Second
	// remindAfter is how often a certificate that ends soon is said to.
	remindAfter = 24 * time.Hour
	maxPEM      = 1 << 20 // bytes of a file
)

// Certificates are a certificate with its chain and its key, from two PEM files. New files are used
// for new connections, those that are open stay. Files that do not fit together change nothing.
type Certificates struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	// Only [Certificates.Run]'s.
	seen     stamps
	failure  string // that was said last
	reminded time.Time
}

// OpenCertificates reads the two files.
func OpenCertificates(certFile, keyFile string, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile, log: log}
	c.seen = c.look()
	loaded, err := LoadCertificate(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	c.current.Store(loaded)
	c.remind(time.Now())
	return c, nil
}

// LoadCertificate reads a certificate with its chain, and its key, which others must not be able to
// read. Either may be a symbolic link, as the managers of certificates make them.
func LoadCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, _, err := safefile.ReadLinked(certFile, maxPEM)
	if err != nil {
		return nil, err
	}
	keyPEM, err := safefile.ReadSecret(keyFile, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil { // it shows nothing of either
		return nil, fmt.Errorf("%s and %s are not a certificate and its key in PEM: %w", certFile, keyFile, err)
	}
	return &pair, nil
}

// config is how TLS is spoken: by Go's defaults, of which version 1.2 is the oldest.
func (c *Certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// Leaf is the certificate that is shown to clients now.
func (c *Certificates) Leaf() *x509.Certificate { return c.current.Load().Leaf }

// KnownBy finds out whether whoever trusts the certificates in a file would accept this one now.
func (c *Certificates) KnownBy(caFile string, now time.Time) error {
	text, _, err := safefile.ReadLinked(caFile, maxPEM)
	if err != nil {
		return err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s has no certificate in PEM", caFile)
	}
	for _, der := range c.current.Load().Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(cert)
		}
	}
	leaf := c.Leaf()
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) { // that it is not valid now is said elsewhere
		now = leaf.NotAfter
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	return err
}

// ReadLeaf reads the certificate at the start of a file, without its key.
func ReadLeaf(certFile string) (*x509.Certificate, error) {
	text, _, err := safefile.ReadLinked(certFile, maxPEM)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, fmt.Errorf("%s has no certificate in PEM", certFile)
}

// SignedByItself says whether a certificate has no other above it: clients know it by itself only.
func SignedByItself(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// Run follows the files until the context ends.
func (c *Certificates) Run(ctx context.Context) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			c.refresh(now)
		}
	}
}

// refresh reads the files again if they look changed.
func (c *Certificates) refresh(now time.Time) {
	if found := c.look(); !found.same(c.seen) {
		loaded, err := LoadCertificate(c.certFile, c.keyFile)
		switch {
		case err == nil:
			if !loaded.Leaf.Equal(c.Leaf()) {
				c.log.Info("the control API has a new certificate", "serial", loaded.Leaf.SerialNumber.Text(16), "until", loaded.Leaf.NotAfter)
				c.reminded = time.Time{}
			}
			c.current.Store(loaded)
			c.failure = ""
		case err.Error() != c.failure:
			c.failure = err.Error()
			c.log.Error("the new certificate of the control API cannot be used; the old one stays", "error", err)
		}
		c.seen = found
	}
	c.remind(now)
}

// remind warns of a certificate that has ended or soon will: within the last sixth of its time, by when
// whatever renews it should long have done so.
func (c *Certificates) remind(now time.Time) {
	leaf := c.Leaf()
	left, life := leaf.NotAfter.Sub(now), leaf.NotAfter.Sub(leaf.NotBefore)
	if left > life/6 || now.Sub(c.reminded) < remindAfter {
		return
	}
	c.reminded = now
	text := "the certificate of the control API ends soon: renew " + c.certFile
	if left <= 0 {
		text = "the certificate of the control API has ended, and clients refuse it: renew " + c.certFile
	}
	c.log.Warn(text, "end", leaf.NotAfter)
}

// stamps are what the file system says of the two files; nil: it is not to be relied on.
type stamps [2]fs.FileInfo

// look follows links: exchanging one is a change.
func (c *Certificates) look() stamps {
	var s stamps
	for i, path := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(path)
		// A file changed a moment ago may change again within one tick of its time stamp, unseen.
		if err == nil && time.Since(info.ModTime()) > 2*time.Second {
			s[i] = info
		}
	}
	return s
}

// same says whether neither file has changed.
func (s stamps) same(other stamps) bool {
	for i, a := range s {
		b := other[i]
		if a == nil || b == nil || !os.SameFile(a, b) || !a.ModTime().Equal(b.ModTime()) || a.Size() != b.Size() || a.Mode() != b.Mode() {
			return false
		}
	}
	return true
}
