// Package attest signs reports and tells whether a file is still what was signed. The key signs statements of
// one form, which nothing else that an installation signs has, and nothing but them.
package attest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
)

// Key signs reports. It implements [openimds.ReportSigner].
type Key struct{ private ed25519.PrivateKey }

var _ openimds.ReportSigner = (*Key)(nil)

// maxKeyFile is how large a file with a key may be.
const maxKeyFile = 64 << 10

// Ensure loads the key of a file (PEM, PKCS #8, mode 0600), and makes one if there is none.
func Ensure(path string) (*Key, error) {
	text, _, err := safefile.ReadPrivate(path, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = newKey(); err == nil {
			err = safefile.Write(path, text, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the key that signs reports: %w", err)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("the key that signs reports: %s is not one PEM block PRIVATE KEY", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("the key that signs reports: %s has no Ed25519 key", path) // without the error, which may quote it
	}
	return &Key{private}, nil
}

// New makes a key that no file has, for an installation that keeps none.
func New() (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return &Key{private}, err
}

func newKey() ([]byte, error) {
	key, err := New()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key.private)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// ReportKey implements [openimds.ReportSigner].
func (k *Key) ReportKey() []byte { return k.private.Public().(ed25519.PublicKey) }

// SignReport implements [openimds.ReportSigner].
func (k *Key) SignReport(s openimds.ReportStatement) (openimds.ReportSignature, error) {
	text := textOf(s)
	if _, err := parseStatement(text); err != nil {
		return openimds.ReportSignature{}, err
	}
	return openimds.ReportSignature{Statement: text, PublicKey: k.ReportKey(), Signature: ed25519.Sign(k.private, []byte(text))}, nil
}

// Fingerprint names a public key, as ssh-keygen names one: by its SHA-256.
func Fingerprint(public []byte) string {
	sum := sha256.Sum256(public)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

var fingerprintForm = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// IsFingerprint says whether a text is of the form that [Fingerprint] has.
func IsFingerprint(text string) bool { return fingerprintForm.MatchString(text) }

// Digest is how a statement names what is signed.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// A statement begins with a line that no other signed text of an installation has: identity documents are
// JSON, and signed by other keys.
const statementHead = "openimds migration report, version 1"

var statementForm = regexp.MustCompile(`^` + statementHead + `
sha256: ([0-9a-f]{64})
installation: ([^\n]+)
asked for by: ([^\n]+)
signed at: ([^\n]+)
$`)

func textOf(s openimds.ReportStatement) string {
	return fmt.Sprintf("%s\nsha256: %s\ninstallation: %s\nasked for by: %s\nsigned at: %s\n", statementHead, s.Digest, s.Installation, s.By, s.At.UTC().Format(time.RFC3339))
}

// parseStatement reads a statement; each has one spelling.
func parseStatement(text string) (openimds.ReportStatement, error) {
	parts := statementForm.FindStringSubmatch(text)
	if parts == nil || strings.ContainsAny(text, "\r\x00") {
		return openimds.ReportStatement{}, errors.New("what is signed is no statement about a report")
	}
	at, err := time.Parse(time.RFC3339, parts[4])
	s := openimds.ReportStatement{Digest: parts[1], Installation: parts[2], By: parts[3], At: at}
	if err != nil || textOf(s) != text {
		return s, errors.New("the statement about the report is not spelt as it would be")
	}
	return s, nil
}
