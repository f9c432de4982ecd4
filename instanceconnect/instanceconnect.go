// Package instanceconnect signs SSH keys that are pushed to an instance for a minute, as EC2 Instance Connect does, so
// that the programs of the package ec2-instance-connect in a guest take them for valid: eic_curl_authorized_keys reads
// what is served below managed-ssh-keys/, eic_parse_authorized_keys checks it.
//
// What they demand, in those programs' own order: a certificate named managed-ssh-signer.REGION.DOMAIN, a chain behind it
// that ends in one that the guest has at /etc/ssl/certs/NAME.pem, where NAME is its common name with underscores; a valid
// OCSP answer for each certificate but the last, signed by its issuer and named by the certificate's SHA-1 fingerprint;
// and for each key the lines #Timestamp (its end), #Instance, #Caller and #Request, the key, and an RSA-PSS signature of
// these lines with SHA-256 and 32 bytes of salt.
package instanceconnect

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the name of a certificate, as the guest's programs want it
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
	"golang.org/x/crypto/ocsp"
)

// CAName is the common name of the authority; a guest has its certificate at /etc/ssl/certs under it, with underscores.
const CAName = "openimds EC2 Instance Connect CA"

const (
	keyBits = 2048
	// lasting is how long certificates hold. They open nothing: who has the guest's metadata has its keys.
	lasting = 10 * 365 * 24 * time.Hour
	// stapled is how long an OCSP answer holds, restapled how old one is at most when it is served.
	stapled   = 24 * time.Hour
	restapled = time.Hour
)

// Signer signs pushed keys. Its keys are in a file that is made when the first one is pushed. It is safe for use by many
// goroutines; what guests ask of it waits for nothing.
type Signer struct {
	path   string
	making sync.Mutex
	keys   atomic.Pointer[keys] // nil: none are made yet
	chains sync.Map             // of *chain, by name
}

// keys are those of an installation: of its authority, and of all its signers.
type keys struct {
	ca    *x509.Certificate
	caKey *rsa.PrivateKey
	key   *rsa.PrivateKey
}

// chain is what verifies the signatures of one region.
type chain struct {
	leaf   *x509.Certificate
	pem    []byte
	name   string // of its OCSP answer
	staple atomic.Pointer[staple]
}

type staple struct {
	made time.Time
	text []byte
}

// Open reads the keys in a file, if there is one.
func Open(path string) (*Signer, error) {
	s := &Signer{path: path}
	text, _, err := safefile.ReadPrivate(path, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the keys that sign pushed SSH keys: %w", err)
	}
	k, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("the keys that sign pushed SSH keys, %s: %w; remove the file to have new ones made", path, err)
	}
	s.keys.Store(k)
	return s, nil
}

// CA is the authority's certificate (PEM), which guests have to know; false: none is made yet.
func (s *Signer) CA() ([]byte, bool) {
	k := s.keys.Load()
	if k == nil {
		return nil, false
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.ca.Raw}), true
}

// Prepare makes the keys, if there are none. It takes a second, and writes the file.
func (s *Signer) Prepare(now time.Time) error {
	s.making.Lock()
	defer s.making.Unlock()
	if s.keys.Load() != nil {
		return nil
	}
	k, err := newKeys(now)
	if err != nil {
		return fmt.Errorf("cannot make the keys that sign pushed SSH keys: %w", err)
	}
	if err := safefile.Write(s.path, k.encode(), 0o600); err != nil {
		return fmt.Errorf("cannot write the keys that sign pushed SSH keys: %w", err)
	}
	s.keys.Store(k)
	return nil
}

// Sign makes the lines of a key that guests are served until its end.
func (s *Signer) Sign(p openimds.PushedKey) (string, error) {
	k := s.keys.Load()
	if k == nil {
		return "", errors.New("there are no keys to sign with")
	}
	var lines strings.Builder
	fmt.Fprintf(&lines, "#Timestamp=%d\n#Instance=%s\n", p.Until.Unix(), p.InstanceID)
	if p.Caller != "" {
		fmt.Fprintf(&lines, "#Caller=%s\n", p.Caller)
	}
	fmt.Fprintf(&lines, "#Request=%s\n%s\n", p.Request, p.Key)
	sum := sha256.Sum256([]byte(lines.String()))
	signature, err := rsa.SignPSS(rand.Reader, k.key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 32})
	if err != nil {
		return "", fmt.Errorf("a pushed key cannot be signed: %w", err)
	}
	const width = 76
	for text := base64.StdEncoding.EncodeToString(signature); text != ""; {
		n := min(width, len(text))
		fmt.Fprintln(&lines, text[:n])
		text = text[n:]
	}
	return lines.String() + "\n", nil
}

// SignerCert is the certificate of a region's signer with the authority's behind it (PEM).
func (s *Signer) SignerCert(region, domain string) ([]byte, bool) {
	c := s.chain(region, domain)
	if c == nil {
		return nil, false
	}
	return c.pem, true
}

// SignerOCSP is the OCSP answer about a region's certificate, by the name under which it is served: base64 of DER.
func (s *Signer) SignerOCSP(region, domain string, now time.Time) (name string, answer []byte, ok bool) {
	c := s.chain(region, domain)
	if c == nil {
		return "", nil, false
	}
	kept := c.staple.Load()
	if kept == nil || now.Sub(kept.made) > restapled || now.Before(kept.made) {
		k := s.keys.Load()
		der, err := ocsp.CreateResponse(k.ca, k.ca, ocsp.Response{
			Status: ocsp.Good, SerialNumber: c.leaf.SerialNumber,
			ThisUpdate: now.Add(-time.Minute).UTC(), NextUpdate: now.Add(stapled).UTC(), // clocks are set
		}, k.caKey)
		if err != nil {
			return "", nil, false
		}
		kept = &staple{made: now, text: []byte(base64.StdEncoding.EncodeToString(der))}
		c.staple.Store(kept)
	}
	return c.name, kept.text, true
}

// chain is that of a region, made when it is first asked for: always the same, since all of it follows from the keys.
func (s *Signer) chain(region, domain string) *chain {
	k := s.keys.Load()
	if k == nil {
		return nil
	}
	name := "managed-ssh-signer." + region + "." + domain
	if known, ok := s.chains.Load(name); ok {
		return known.(*chain)
	}
	made, err := k.chain(name)
	if err != nil {
		return nil
	}
	known, _ := s.chains.LoadOrStore(name, made)
	return known.(*chain)
}

func (k *keys) chain(name string) (*chain, error) {
	sum := sha256.Sum256(append([]byte(name+"\x00"), k.ca.Raw...))
	id := sha1.Sum(k.key.PublicKey.N.Bytes()) //nolint:gosec // RFC 5280 section 4.2.1.2 has no other
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(sum[:16]), Subject: pkix.Name{CommonName: name},
		NotBefore: k.ca.NotBefore, NotAfter: k.ca.NotAfter, SubjectKeyId: id[:],
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.ca, &k.key.PublicKey, k.caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	c := &chain{leaf: leaf, name: fmt.Sprintf("%X", sha1.Sum(der))} //nolint:gosec // as the guest's programs name it
	for _, raw := range [][]byte{der, k.ca.Raw} {
		c.pem = append(c.pem, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})...)
	}
	return c, nil
}

func newKeys(now time.Time) (*keys, error) {
	caKey, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	serial := make([]byte, 16)
	_, _ = rand.Read(serial)
	id := sha1.Sum(caKey.PublicKey.N.Bytes()) //nolint:gosec // RFC 5280 section 4.2.1.2 has no other
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: CAName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lasting), SubjectKeyId: id[:], AuthorityKeyId: id[:],
		IsCA: true, MaxPathLenZero: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		// A guest that knows the authority for this must not take its word for web sites.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return &keys{ca: ca, caKey: caKey, key: key}, err
}

// The file has the authority's certificate, its key, and the key of the signers, in this order.
const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "RSA PRIVATE KEY"
)

func (k *keys) encode() []byte {
	var out bytes.Buffer
	for _, b := range []*pem.Block{
		{Type: certificateBlock, Bytes: k.ca.Raw},
		{Type: keyBlock, Bytes: x509.MarshalPKCS1PrivateKey(k.caKey)},
		{Type: keyBlock, Bytes: x509.MarshalPKCS1PrivateKey(k.key)},
	} {
		_ = pem.Encode(&out, b) // a buffer never fails
	}
	return out.Bytes()
}

func parse(text []byte) (*keys, error) {
	var k keys
	for i, want := range []string{certificateBlock, keyBlock, keyBlock} {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != want {
			return nil, fmt.Errorf("block %d is not a %s", i+1, strings.ToLower(want))
		}
		text = rest
		var err error
		switch i {
		case 0:
			k.ca, err = x509.ParseCertificate(block.Bytes)
		case 1:
			k.caKey, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			k.key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("block %d cannot be read", i+1) // what is wrong with a key is nobody's business
		}
	}
	if public, ok := k.ca.PublicKey.(*rsa.PublicKey); !ok || !public.Equal(&k.caKey.PublicKey) {
		return nil, errors.New("the certificate is not of the key behind it")
	}
	return &k, nil
}
