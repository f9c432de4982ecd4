// Package identity signs instance identity documents in the three forms that AWS serves them in, with
// keys of the installation's own in place of AWS's (EC2 user guide, "Verify the instance identity
// document").
package identity

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
)

// Signer signs identity documents and keeps what it has signed. It is safe for use by many goroutines;
// no guest waits for another's signature.
type Signer struct {
	log    *slog.Logger
	active atomic.Pointer[active]
	signed sync.Map // instance id → *signed
}

// active are the keys that sign now. A new value voids all that was signed with an earlier one.
type active struct {
	keys map[Form]Key
}

// signed holds the signatures of one document by one set of keys.
type signed struct {
	by       *active
	document [sha256.Size]byte
	forms    [3]once
}

type once struct {
	sync.Once
	text []byte
}

// NewSigner makes a signer without keys; [Signer.Use] gives it some. Until then nothing is signed.
func NewSigner(log *slog.Logger) *Signer { return &Signer{log: log} }

// Use lets the signer sign with those of the keys that are valid now. Keys that it uses already change
// nothing.
func (s *Signer) Use(keys *Keys, now time.Time) {
	next := &active{keys: make(map[Form]Key, len(Forms()))}
	for _, form := range Forms() {
		if key, ok := keys.Signing(form, now); ok {
			next.keys[form] = key
		}
	}
	if was := s.active.Load(); was != nil && was.same(next) {
		return
	}
	s.active.Store(next)
}

func (a *active) same(b *active) bool {
	if len(a.keys) != len(b.keys) {
		return false
	}
	for form, key := range a.keys {
		if !key.Certificate.Equal(b.keys[form].Certificate) {
			return false
		}
	}
	return true
}

// Keys tells which keys sign now: what was signed when it said something else is of no use any more. Empty: none do.
func (s *Signer) Keys() string {
	by := s.active.Load()
	if by == nil {
		return ""
	}
	sum := sha256.New()
	for _, form := range Forms() {
		if key, ok := by.keys[form]; ok {
			sum.Write(key.Certificate.Raw)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Forget drops the signatures of an instance that is no longer served.
func (s *Signer) Forget(instanceID string) { s.signed.Delete(instanceID) }

// Signature is the base64 of an RSA PKCS #1 v1.5 signature with SHA-256.
func (s *Signer) Signature(in *openimds.Instance, document []byte) ([]byte, bool) {
	return s.text(in, document, Signature)
}

// PKCS7 is the base64 of a PKCS #7 message with the document, signed with DSA and SHA-1.
func (s *Signer) PKCS7(in *openimds.Instance, document []byte) ([]byte, bool) {
	return s.text(in, document, PKCS7)
}

// RSA2048 is the base64 of a PKCS #7 message with the document, signed with RSA and SHA-256.
func (s *Signer) RSA2048(in *openimds.Instance, document []byte) ([]byte, bool) {
	return s.text(in, document, RSA2048)
}

func (s *Signer) text(in *openimds.Instance, document []byte, form Form) ([]byte, bool) {
	by := s.active.Load()
	if by == nil {
		return nil, false
	}
	sum := sha256.Sum256(document)
	entry, _ := s.signed.Load(in.ID)
	of, _ := entry.(*signed)
	if of == nil || of.by != by || of.document != sum {
		of = &signed{by: by, document: sum}
		s.signed.Store(in.ID, of)
	}
	made := &of.forms[form]
	made.Do(func() { made.text = s.sign(by, form, in.ID, document) })
	return made.text, made.text != nil
}

// sign returns nil when it cannot: the form then does not exist, and the log says why.
func (s *Signer) sign(by *active, form Form, instanceID string, document []byte) []byte {
	key, ok := by.keys[form]
	if !ok {
		return nil
	}
	var raw []byte
	var err error
	if form == Signature {
		raw, err = signDigest(key, document)
	} else {
		raw, err = message(key, form, document)
	}
	if err != nil {
		s.log.Error("an identity document cannot be signed", "instance", instanceID, "form", form.String(), "error", err)
		return nil
	}
	return lines(raw)
}

func signDigest(key Key, document []byte) ([]byte, error) {
	sum := sha256.Sum256(document)
	return rsa.SignPKCS1v15(nil, key.Private.(*rsa.PrivateKey), crypto.SHA256, sum[:])
}

// lineLength is how AWS breaks base64: the last line has no line feed.
const lineLength = 76

func lines(raw []byte) []byte {
	text := base64.StdEncoding.EncodeToString(raw)
	out := make([]byte, 0, len(text)+len(text)/lineLength)
	for ; len(text) > lineLength; text = text[lineLength:] {
		out = append(append(out, text[:lineLength]...), '\n')
	}
	return append(out, text...)
}
