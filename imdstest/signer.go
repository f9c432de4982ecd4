package imdstest

import (
	"log/slog"

	"github.com/openimds/openimds/identity"
)

// newSigner makes its keys only when somebody asks: few tests do.
func newSigner() *identity.LateSigner {
	return identity.NewLateSigner(slog.New(slog.DiscardHandler), identity.NewKeys)
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
	return s.signer.Keys().All(f)[0].CertificatePEM()
}
