package identity

import (
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/smallstep/pkcs7"
)

// Object identifiers of the messages (RFC 5652; RFC 3279 for DSA).
var (
	oidSHA1          = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidDSAWithSHA1   = asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 3}
	oidRSAEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// message makes the PKCS #7 message of a document as AWS encodes it: the content inside, no
// certificates, and indefinite lengths around what is signed. The library signs; it can only write
// definite lengths and always adds the certificate, so the outer layers are written here. The
// signature does not cover them.
func message(key Key, form Form, document []byte) ([]byte, error) {
	sd, err := pkcs7.NewSignedData(document)
	if err != nil {
		return nil, err
	}
	digest := pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}
	encryption := pkix.AlgorithmIdentifier{Algorithm: oidRSAEncryption, Parameters: asn1.NullRawValue}
	if form == PKCS7 {
		digest.Algorithm = oidSHA1
		encryption = pkix.AlgorithmIdentifier{Algorithm: oidDSAWithSHA1}
	}
	sd.SetDigestAlgorithm(digest.Algorithm)
	if err := sd.AddSigner(key.Certificate, key.Private, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, err
	}
	inner := sd.GetSignedData()
	for i := range inner.SignerInfos {
		inner.SignerInfos[i].DigestAlgorithm = digest
		inner.SignerInfos[i].DigestEncryptionAlgorithm = encryption
	}
	var e encoder
	e.indefinite(tagSequence, func() {
		e.der(pkcs7.OIDSignedData, "")
		e.indefinite(tagExplicit0, func() {
			e.indefinite(tagSequence, func() {
				e.der(1, "") // version
				e.der([]pkix.AlgorithmIdentifier{digest}, "set")
				e.indefinite(tagSequence, func() {
					e.der(pkcs7.OIDData, "")
					e.indefinite(tagExplicit0, func() {
						e.indefinite(tagOctetsInParts, func() { e.der(document, "") })
					})
				})
				e.der(inner.SignerInfos, "set")
			})
		})
	})
	return e.out, e.err
}

// Identifier octets of the constructed values around the content (X.690, section 8.1.2).
const (
	tagSequence      = 0x30
	tagExplicit0     = 0xa0
	tagOctetsInParts = 0x24
)

// encoder writes BER: DER values inside values of indefinite length, which encoding/asn1 cannot write.
type encoder struct {
	out []byte
	err error
}

func (e *encoder) indefinite(tag byte, content func()) {
	e.out = append(e.out, tag, 0x80)
	content()
	e.out = append(e.out, 0, 0)
}

func (e *encoder) der(value any, params string) {
	b, err := asn1.MarshalWithParams(value, params)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.out = append(e.out, b...)
}
