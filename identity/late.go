package identity

import (
	"log/slog"
	"sync"
	"time"

	"github.com/openimds/openimds"
)

// LateSigner is a [Signer] that gets its keys when somebody first asks for a signature: making keys
// takes longer than a short life needs for all the rest, and few ask.
type LateSigner struct {
	*Signer
	keys func() *Keys
}

// NewLateSigner makes a signer. load is called once; without keys, documents have no signatures.
func NewLateSigner(log *slog.Logger, load func(now time.Time) (*Keys, error)) *LateSigner {
	s := &LateSigner{Signer: NewSigner(log)}
	s.keys = sync.OnceValue(func() *Keys {
		now := time.Now()
		keys, err := load(now)
		if err != nil {
			log.Error("identity documents cannot be signed", "error", err)
			return &Keys{}
		}
		s.Use(keys, now)
		return keys
	})
	return s
}

// Keys are the keys that it signs with.
func (s *LateSigner) Keys() *Keys { return s.keys() }

// Signature is [Signer.Signature].
func (s *LateSigner) Signature(in *openimds.Instance, document []byte) ([]byte, bool) {
	s.keys()
	return s.Signer.Signature(in, document)
}

// PKCS7 is [Signer.PKCS7].
func (s *LateSigner) PKCS7(in *openimds.Instance, document []byte) ([]byte, bool) {
	s.keys()
	return s.Signer.PKCS7(in, document)
}

// RSA2048 is [Signer.RSA2048].
func (s *LateSigner) RSA2048(in *openimds.Instance, document []byte) ([]byte, bool) {
	s.keys()
	return s.Signer.RSA2048(in, document)
}
