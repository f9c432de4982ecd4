package identity

import (
	//lint:ignore SA1019 AWS signs the pkcs7 form with DSA, and verifiers expect it
	"crypto/dsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"time"
)

// parameters of all DSA keys made here: 1024 and 160 bits, as AWS's. They are public and may be shared
// (FIPS 186-4, section 4.3); searching for new ones takes seconds, which the first start should not.
func parameters() dsa.Parameters {
	return dsa.Parameters{
		P: number("b80009565433f1d14a6399844b0e2c5126ad6d262a5f629e3b3add3cd9d9c1a7bb728fbc82c5ea3a23504730dbb7e77a" +
			"0cbc70d699d1be6a0c16d68a9112e15d03337e642be4016ffee8729265ec9ffd5fd14f6a2976bd78ea4c897f2981b0de" +
			"5b6d3b11fbe649b8f84592cd41a8b3ab1090874f8d8cbd4f87b9caf4f13474ed"),
		Q: number("ccea617d1f88e16f2a6618361d2379289543b9af"),
		G: number("4d701252244dee25947abe52f05983b5ff3c73c7fa9008c3331f3e547260de6fe8573baf051a219802b8c364cc5f7f03" +
			"05c7da2126c975643c3b3c0b93b025c98c220176bb64aa914160d98191bd50324f07c28fe4ec926f1d66dceec7c2e607" +
			"5390a1f2f0b863a2d1ae6929b803d8aa8c35f4c399f1c29905a4b2efa3e2898e"),
	}
}

func number(hex string) *big.Int {
	n, _ := new(big.Int).SetString(hex, 16)
	return n
}

// Object identifiers of DSA keys and of DSA signatures with SHA-256 (RFC 3279, RFC 5758).
var (
	oidDSA           = asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}
	oidDSAWithSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 2}
)

type dsaParameters struct{ P, Q, G *big.Int }

// tbsCertificate is what a certificate signs (RFC 5280, section 4.1): crypto/x509 reads DSA
// certificates but does not make them.
type tbsCertificate struct {
	Version      int `asn1:"optional,explicit,default:0,tag:0"`
	SerialNumber *big.Int
	Signature    pkix.AlgorithmIdentifier
	Issuer       asn1.RawValue
	Validity     struct{ NotBefore, NotAfter time.Time }
	Subject      asn1.RawValue
	PublicKey    struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
}

// newDSAKey makes a DSA key and the certificate that the template describes, signed by itself.
func newDSAKey(template *x509.Certificate) (Key, error) {
	private := &dsa.PrivateKey{PublicKey: dsa.PublicKey{Parameters: parameters()}}
	if err := dsa.GenerateKey(private, rand.Reader); err != nil {
		return Key{}, err
	}
	name, err := asn1.Marshal(template.Subject.ToRDNSequence())
	if err != nil {
		return Key{}, err
	}
	params, err := asn1.Marshal(dsaParameters{private.P, private.Q, private.G})
	if err != nil {
		return Key{}, err
	}
	public, err := asn1.Marshal(private.Y)
	if err != nil {
		return Key{}, err
	}
	tbs := tbsCertificate{
		SerialNumber: template.SerialNumber,
		Signature:    pkix.AlgorithmIdentifier{Algorithm: oidDSAWithSHA256},
		Issuer:       asn1.RawValue{FullBytes: name},
		Subject:      asn1.RawValue{FullBytes: name},
	}
	tbs.Validity.NotBefore, tbs.Validity.NotAfter = template.NotBefore, template.NotAfter
	tbs.PublicKey.Algorithm = pkix.AlgorithmIdentifier{Algorithm: oidDSA, Parameters: asn1.RawValue{FullBytes: params}}
	tbs.PublicKey.PublicKey = asn1.BitString{Bytes: public, BitLength: 8 * len(public)}
	der, err := signCertificate(tbs, private)
	if err != nil {
		return Key{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return Key{private, certificate}, err
}

func signCertificate(tbs tbsCertificate, private *dsa.PrivateKey) ([]byte, error) {
	raw, err := asn1.Marshal(tbs)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	// DSA takes as many leading bits of the hash as the subgroup has (FIPS 186-4, section 4.6).
	r, s, err := dsa.Sign(rand.Reader, private, sum[:private.Q.BitLen()/8])
	if err != nil {
		return nil, err
	}
	signature, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: raw}, tbs.Signature, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
}

// dsaPrivate is the form that OpenSSL gives a DSA key in a block "DSA PRIVATE KEY".
type dsaPrivate struct {
	Version       int
	P, Q, G, Y, X *big.Int
}

func marshalDSA(k *dsa.PrivateKey) ([]byte, error) {
	return asn1.Marshal(dsaPrivate{0, k.P, k.Q, k.G, k.Y, k.X})
}

var errNotDSA = errors.New("the private key is of a kind that cannot sign identity documents")

func parseDSA(der []byte) (*dsa.PrivateKey, error) {
	var k dsaPrivate
	if rest, err := asn1.Unmarshal(der, &k); err != nil || len(rest) > 0 {
		return nil, errNotDSA
	}
	return checkDSA(&dsa.PrivateKey{
		PublicKey: dsa.PublicKey{Parameters: dsa.Parameters{P: k.P, Q: k.Q, G: k.G}, Y: k.Y}, X: k.X,
	})
}

// parsePKCS8DSA reads the form that OpenSSL 3 writes by default.
func parsePKCS8DSA(der []byte) (*dsa.PrivateKey, error) {
	var k struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Private   []byte
	}
	var params dsaParameters
	var x *big.Int
	if _, err := asn1.Unmarshal(der, &k); err != nil || !k.Algorithm.Algorithm.Equal(oidDSA) {
		return nil, errNotDSA
	}
	if _, err := asn1.Unmarshal(k.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, errNotDSA
	}
	if _, err := asn1.Unmarshal(k.Private, &x); err != nil {
		return nil, errNotDSA
	}
	if params.P.Sign() <= 0 || params.G.Sign() <= 0 || x.Sign() <= 0 {
		return nil, errNotDSA
	}
	return checkDSA(&dsa.PrivateKey{
		PublicKey: dsa.PublicKey{
			Parameters: dsa.Parameters{P: params.P, Q: params.Q, G: params.G}, Y: new(big.Int).Exp(params.G, x, params.P),
		}, X: x,
	})
}

// checkDSA refuses numbers with which signing would not end or prove nothing.
func checkDSA(k *dsa.PrivateKey) (*dsa.PrivateKey, error) {
	for _, n := range []*big.Int{k.P, k.Q, k.G, k.Y, k.X} {
		if n == nil || n.Sign() <= 0 {
			return nil, errNotDSA
		}
	}
	if k.P.BitLen() < 1024 || k.Q.BitLen() < 160 || k.Q.BitLen()%8 != 0 || k.X.Cmp(k.Q) >= 0 || k.G.Cmp(k.P) >= 0 {
		return nil, errNotDSA
	}
	return k, nil
}
