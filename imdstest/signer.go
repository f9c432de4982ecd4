package imdstest

import (
	"log/slog"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/identity"
)

// signer signs identity documents. It makes its keys when somebody first asks, since that takes longer
// than all the rest, and few tests ask.
type signer struct {
	*identity.Signer
	keys func() *identity.Keys
}

func newSigner() *signer {
	s := &signer{Signer: identity.NewSigner(slog.New(slog.DiscardHandler))}
	s.keys = sync.OnceValue(func() *identity.Keys {
		from := time.Now()
		keys, err := identity.NewKeys(from)
		if err != nil {
			panic(err) // only a program without randomness gets here
		}
		s.Use(keys, from)
		return keys
	})
	return s
}

func (s *signer) Signature(in *openimds.Instance, document []byte) ([]byte, bool) {
	s.keys()
	return s.Signer.Signature(in, document)
}

func (s *signer) PKCS7(in *openimds.Instance, document []byte) ([]byte, bool) {
	s.keys()
	return s.Signer.PKCS7(in, document)
}

func (s *signer) RSA2048(in *openimds.Instance, document []byte) ([]byte, bool) {
	s.keys()
	return s.Signer.RSA2048(in, document)
}

// CertificatePEM is the certificate that verifies one form of the identity document's signature,
// "signature", "pkcs7" or "rsa2048": what AWS publishes for each region. Every [Server] has its own.
func (s *Server) CertificatePEM(form string) []byte {
	s.t.Helper()
	f, err := identity.ParseForm(form)
	if err != nil {
		s.t.Fatalf("imdstest: %v", err)
		return nil
	}
	return s.signer.keys().All(f)[0].CertificatePEM()
}
