package hostcert

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
)

// pair is a private key and its certificate.
type pair struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

// newKey makes a key as hosts and our own authority have it.
func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// strong says whether a host may have such a key.
func strong(public crypto.PublicKey) bool {
	key, ok := public.(*ecdsa.PublicKey)
	return ok && key.Curve == elliptic.P256()
}

// newAuthority makes an authority of our own.
func newAuthority(now time.Time) (pair, error) {
	key, err := newKey()
	if err != nil {
		return pair{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "openimds hosts", SerialNumber: serial.Text(16)},
		NotBefore: now.Add(-time.Hour).Truncate(time.Second), NotAfter: now.Add(authorityLife).Truncate(time.Second),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return pair{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return pair{key, certificate}, err
}

func (p pair) encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return append(text, encodeCertificate(p.certificate.Raw)...), nil
}

// parsePair reads a private key and, behind it, its certificate. Its errors do not quote the text, which is secret.
func parsePair(text []byte) (pair, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return pair{}, errors.New("it does not begin with a private key in PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return pair{}, errors.New("it does not begin with a private key without a password")
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return pair{}, errors.New("its private key cannot be read")
	}
	certificate, err := readCertificate(rest)
	if err != nil {
		return pair{}, fmt.Errorf("behind its private key: %w", err)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return pair{}, errors.New("its certificate is not of its private key")
	}
	return pair{signer, certificate}, nil
}

// checkAuthority refuses a pair that cannot sign for hosts.
func (p pair) checkAuthority() error {
	c := p.certificate
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("its certificate is not one of an authority, which may sign others")
	}
	return nil
}

// operatorsAuthority reads an authority that the operator has given.
func operatorsAuthority(path string) (pair, error) {
	text, _, err := safefile.ReadPrivate(path, 4*maxRequest)
	if err != nil {
		return pair{}, fmt.Errorf("cannot read the authority of the hosts: %w", err)
	}
	p, err := parsePair(text)
	if err == nil {
		err = p.checkAuthority()
	}
	if err != nil {
		return pair{}, fmt.Errorf("the authority of the hosts, %s: %w; give a private key and its certificate behind it, in PEM", path, err)
	}
	return p, nil
}

// keptAuthority reads the authority that the store has, and gives it one first if it has none. Of two replicas that
// begin at the same moment both have the same.
func keptAuthority(ctx context.Context, s store.Store, now time.Time) (pair, error) {
	for {
		r, err := s.Get(ctx, records.HostAuthorityKey)
		if err == nil {
			p, err := parsePair(r.Value)
			if err == nil {
				err = p.checkAuthority()
			}
			if err != nil {
				return pair{}, fmt.Errorf("record %s is damaged: %w; restore it from a backup: hosts know no other", r.Key, err)
			}
			return p, nil
		}
		if !errors.Is(err, store.ErrNoRecord) {
			return pair{}, err
		}
		p, err := newAuthority(now)
		if err != nil {
			return pair{}, err
		}
		text, err := p.encode()
		if err != nil {
			return pair{}, err
		}
		_, err = s.Commit(ctx, store.Change{Key: records.HostAuthorityKey, Value: text, If: store.IfAbsent})
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return pair{}, err
		}
	}
}
