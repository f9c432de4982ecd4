// Package hostcert is how a replica and the hosts of a fleet know each other: by certificates of the installation's own
// authority, which live for hours and are renewed, and by tokens with which a machine joins once. It has no network:
// who carries its requests is for others.
package hostcert

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/openimds/openimds"
)

const (
	// DefaultLife is how long a certificate is good unless a [Config] says otherwise: as long as a stolen one that
	// nobody misses opens anything.
	DefaultLife = 24 * time.Hour
	// The shortest life that leaves time to renew, and the longest that is still short.
	MinLife = 10 * time.Minute
	MaxLife = 30 * 24 * time.Hour
	// early is how far a certificate's life begins in the past, for machines whose clocks are late.
	early = 5 * time.Minute
	// authorityLife is that of an authority of our own.
	authorityLife = 10 * 365 * 24 * time.Hour
	// ReplicaName is the DNS name in every replica's certificate. Only the authority, whose certificate a host has
	// from its join file, signs for it, so that an address, a balancer or a NAT decides nothing.
	ReplicaName = "replica.openimds.internal"
	// maxRequest of a certificate, and of a certificate, in bytes.
	maxRequest = 16 << 10
)

// Refused says that somebody is not let in. Why is for the log: whoever asked is not to learn more than that.
type Refused struct {
	// Host is whose name was claimed; it was proved only if the certificate is good and has been voided or is late.
	// Empty: nobody's.
	Host string
	Why  string
	// Evicted says that the certificate is good and that its enrolment has ended: whoever has it is that host no more.
	// Of a certificate that is not good it is never said: anybody could have made it.
	Evicted bool
}

// Error implements error.
func (r *Refused) Error() string {
	if r.Host == "" {
		return "refused: " + r.Why
	}
	return fmt.Sprintf("the host %.253q is refused: %s", r.Host, r.Why)
}

func refuse(host, why string) error {
	if openimds.ValidateHost(host) != nil {
		host = ""
	}
	return &Refused{Host: host, Why: why}
}

// uriOf is how a certificate names its host.
func uriOf(host string) *url.URL { return &url.URL{Scheme: "openimds", Host: "host", Path: "/" + host} }

// named is the host that a certificate is of.
func named(c *x509.Certificate) (string, bool) {
	if len(c.URIs) != 1 {
		return "", false
	}
	host := strings.TrimPrefix(c.URIs[0].Path, "/")
	return host, host != "" && openimds.ValidateHost(host) == nil && c.URIs[0].String() == uriOf(host).String()
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// hostTemplate is a host's certificate.
func hostTemplate(host, enrolment string, now time.Time, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName(host), SerialNumber: enrolment},
		URIs:        []*url.URL{uriOf(host)},
		NotBefore:   now.Add(-early).Truncate(time.Second),
		NotAfter:    now.Add(life).Truncate(time.Second),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// commonName is for people, who see it in tools; X.509 gives it 64 characters.
func commonName(host string) string { return host[:min(len(host), 64)] }

// readRequest reads a certificate request, which proves that who made it has the key.
func readRequest(der []byte) (*x509.CertificateRequest, error) {
	if len(der) > maxRequest {
		return nil, errors.New("its certificate request is too large")
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("its certificate request cannot be read")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, errors.New("its certificate request is not signed by its key")
	}
	if !strong(request.PublicKey) {
		return nil, errors.New("its key is not an ECDSA key of the curve P-256")
	}
	return request, nil
}

// readCertificate reads one certificate in PEM.
func readCertificate(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if len(text) > maxRequest || block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("it is not one certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("the certificate cannot be read")
	}
	return c, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
