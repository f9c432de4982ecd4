package identity

import (
	"bytes"
	"crypto"
	//lint:ignore SA1019 AWS signs the pkcs7 form with DSA, and verifiers expect it
	"crypto/dsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Form is one of the three forms of a signature.
type Form int

// The forms, by the names of their categories.
const (
	Signature Form = iota
	PKCS7
	RSA2048
)

// Forms lists all forms.
func Forms() []Form { return []Form{Signature, PKCS7, RSA2048} }

func (f Form) String() string { return [...]string{"signature", "pkcs7", "rsa2048"}[f] }

// ParseForm finds a form by its name.
func ParseForm(name string) (Form, error) {
	for _, f := range Forms() {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("there is no form of signature %q; it is signature, pkcs7 or rsa2048", name)
}

// Key is a private key and the certificate that verifies what it signs.
type Key struct {
	Private     crypto.PrivateKey
	Certificate *x509.Certificate
}

// validity of a certificate that this package makes: as long as AWS's, which verifiers pin.
const validity = 30 * 365 * 24 * time.Hour

// NewKey makes a key of the kind that AWS uses for form, and its certificate, which holds from then on.
func NewKey(form Form, from time.Time) (Key, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return Key{}, err
	}
	name := pkix.Name{
		Country: []string{"US"}, Province: []string{"Washington State"}, Locality: []string{"Seattle"},
		Organization: []string{"openimds"},
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: name, Issuer: name,
		NotBefore: from.UTC().Truncate(time.Second), NotAfter: from.UTC().Truncate(time.Second).Add(validity),
	}
	if form == PKCS7 {
		return newDSAKey(template)
	}
	bits := 1024 // the size of the recorded signatures: 172 characters of base64
	if form == RSA2048 {
		bits = 2048
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.BasicConstraintsValid, template.IsCA, template.MaxPathLenZero = true, true, true
	}
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return Key{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return Key{private, certificate}, err
}

// check says whether a key can sign that form, and its certificate verify it.
func (k Key) check(form Form) error {
	switch private := k.Private.(type) {
	case *rsa.PrivateKey:
		if form == PKCS7 {
			return errors.New("the pkcs7 form is signed with a DSA key, not with an RSA key")
		}
		if bits := private.N.BitLen(); form == RSA2048 && bits != 2048 || bits < 1024 {
			return fmt.Errorf("an RSA key of %d bits does not fit the form %s", bits, form)
		}
		if public, ok := k.Certificate.PublicKey.(*rsa.PublicKey); !ok || !private.PublicKey.Equal(public) {
			return errors.New("the certificate is not of this key")
		}
	case *dsa.PrivateKey:
		if form != PKCS7 {
			return fmt.Errorf("the form %s is signed with an RSA key, not with a DSA key", form)
		}
		if public, ok := k.Certificate.PublicKey.(*dsa.PublicKey); !ok || public.Y.Cmp(private.Y) != 0 || public.P.Cmp(private.P) != 0 {
			return errors.New("the certificate is not of this key")
		}
	default:
		return fmt.Errorf("a key of the type %T cannot sign identity documents", private)
	}
	return nil
}

// encode writes a key and its certificate as PEM.
func (k Key) encode() ([]byte, error) {
	block := &pem.Block{Type: "PRIVATE KEY"}
	var err error
	if private, ok := k.Private.(*dsa.PrivateKey); ok {
		block.Type = "DSA PRIVATE KEY" // PKCS #8 would do, but crypto/x509 does not know DSA there
		block.Bytes, err = marshalDSA(private)
	} else {
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(k.Private)
	}
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(block), k.CertificatePEM()...), nil
}

// CertificatePEM is the certificate in the form that AWS's guide prints it.
func (k Key) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Certificate.Raw})
}

// ParseKeys reads pairs of a private key and its certificate, one behind the other. Its errors do not
// quote the text, which holds secrets.
func ParseKeys(form Form, text []byte) ([]Key, error) {
	var keys []Key
	var private crypto.PrivateKey
	for at := 1; len(bytes.TrimSpace(text)) > 0; at++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, fmt.Errorf("PEM block %d cannot be read", at)
		}
		if block.Type != "CERTIFICATE" {
			var err error
			if private, err = parsePrivate(block); err != nil {
				return nil, fmt.Errorf("PEM block %d: %w", at, err)
			}
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d is not a certificate: %w", at, err)
		}
		if private == nil {
			return nil, fmt.Errorf("PEM block %d is a certificate without a private key before it", at)
		}
		key := Key{private, certificate}
		if err := key.check(form); err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", at, err)
		}
		keys, private = append(keys, key), nil
	}
	if private != nil {
		return nil, errors.New("the last private key has no certificate behind it")
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in it")
	}
	return keys, nil
}

func parsePrivate(block *pem.Block) (crypto.PrivateKey, error) {
	switch block.Type {
	case "PRIVATE KEY":
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		return parsePKCS8DSA(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "DSA PRIVATE KEY":
		return parseDSA(block.Bytes)
	}
	return nil, fmt.Errorf("a block of the type %.40q is neither a private key without a password nor a certificate", block.Type)
}
