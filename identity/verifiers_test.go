package identity

import (
	"bytes"
	"crypto"
	//lint:ignore SA1019 AWS signs the pkcs7 form with DSA, and verifiers expect it
	"crypto/dsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/smallstep/pkcs7"
)

// randomInstance makes an instance of whose identity document every member that can vary does.
func randomInstance(r *rand.Rand, i int) *openimds.Instance {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	regions := openimds.Regions()
	region := regions[r.IntN(len(regions))].Name
	zones := openimds.Zones(region)
	in := openimds.NewInstance(openimds.Launch{
		Name: fmt.Sprint("web-", i), Region: region, Zone: zones[r.IntN(len(zones))],
		AddressType: pick(openimds.AddressDual, openimds.AddressIPv4, openimds.AddressIPv6), // the last without a privateIp
		OwnerID:     fmt.Sprintf("%012d", r.Int64N(1e12)>>r.IntN(30)),
	}, noon.Add(-time.Duration(r.Int64N(int64(10*365*24*time.Hour)))))
	in.ImageID = "ami-" + fmt.Sprintf("%017x", r.Uint64()>>1)
	in.InstanceType = pick("t3.nano", "m7g.metal", "u7in-32tb.224xlarge", "p5.48xlarge")
	in.Architecture = pick("x86_64", "arm64")
	in.KernelID, in.RamdiskID = pick("", "aki-0a1b2c3d"), pick("", "ari-0a1b2c3d")
	for range r.IntN(4) {
		in.ProductCodes = append(in.ProductCodes, pick("4i20ezfza3p7xx2kt2g8weu2u", `a"b\c`, "ü<&>\u2028", ""))
	}
	if len(in.NICs[0].PrivateIPv4) > 0 {
		in.NICs[0].PrivateIPv4[0] = netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
	}
	return in
}

// served is what a guest reads of its identity.
type served struct{ document, signature, pkcs7, rsa2048 string }

func serve(t *testing.T, s *Signer, in *openimds.Instance) served {
	t.Helper()
	read := func(name string) string {
		item, ok := metadata.Get(&metadata.View{Instance: in, Now: noon, Identity: s}, "latest/dynamic/instance-identity/"+name)
		if !ok {
			t.Fatalf("%s does not exist", name)
		}
		return string(item.Body)
	}
	return served{read("document"), read("signature"), read("pkcs7"), read("rsa2048")}
}

// sameInstance says whether the members that a verifier goes by are the instance's.
func sameInstance(t *testing.T, who string, doc imds.InstanceIdentityDocument, in *openimds.Instance) {
	t.Helper()
	private := ""
	if len(in.NICs[0].PrivateIPv4) > 0 {
		private = in.NICs[0].PrivateIPv4[0].String()
	}
	if doc.AccountID != in.OwnerID || doc.InstanceID != in.ID || doc.ImageID != in.ImageID || doc.Region != in.Region ||
		doc.AvailabilityZone != in.Zone || doc.InstanceType != in.InstanceType || doc.Architecture != in.Architecture ||
		doc.PrivateIP != private || doc.KernelID != in.KernelID || doc.RamdiskID != in.RamdiskID || doc.Version != "2017-09-30" ||
		!doc.PendingTime.Equal(in.LaunchedAt) || len(doc.MarketplaceProductCodes) != len(in.ProductCodes) {
		t.Fatalf("%s reads %+v of %+v", who, doc, in)
	}
}

// armored parses a message as Vault, SPIRE and Teleport do: between PEM lines, with nothing behind it,
// and AWS's certificate in the place of those that AWS leaves out.
func armored(text string, certificate *x509.Certificate) (*pkcs7.PKCS7, error) {
	block, rest := pem.Decode([]byte("-----BEGIN PKCS7-----\n" + text + "\n-----END PKCS7-----"))
	if block == nil || len(rest) > 0 {
		return nil, errors.New("no PEM block, or more than one")
	}
	message, err := pkcs7.Parse(block.Bytes)
	if err != nil {
		return nil, err
	}
	if len(message.Certificates) != 0 {
		return nil, errors.New("it carries certificates, and AWS's none")
	}
	message.Certificates = []*x509.Certificate{certificate}
	return message, nil
}

// vault logs in as Vault's aws auth does for type ec2: with the pkcs7 form, or with document and
// signature. It goes by these members, and takes the pending time for a text of RFC 3339.
func vault(of served, keys *Keys) (doc imds.InstanceIdentityDocument, err error) {
	message, err := armored(strings.ReplaceAll(of.pkcs7, "\n", ""), keys.All(PKCS7)[0].Certificate) // users are told to strip it
	if err != nil {
		return doc, err
	}
	if err := verifyDSA(message); err != nil {
		return doc, err
	}
	if string(message.Content) != of.document {
		return doc, errors.New("the message holds something else")
	}
	var members struct{ InstanceID, ImageID, AccountID, Region, PendingTime string }
	if err := json.Unmarshal(message.Content, &members); err != nil {
		return doc, err
	}
	if _, err := time.Parse(time.RFC3339, members.PendingTime); err != nil {
		return doc, err
	}
	raw, err := base64.StdEncoding.DecodeString(of.signature)
	if err != nil {
		return doc, err
	}
	if err := keys.All(Signature)[0].Certificate.CheckSignature(x509.SHA256WithRSA, []byte(of.document), raw); err != nil {
		return doc, err
	}
	return doc, json.Unmarshal(message.Content, &doc)
}

// verifyDSA does what Vault's fork of the library does and crypto/x509 no longer does: it finds the
// certificate by issuer and serial number, checks the digest and the signing time among the signed
// attributes, and the DSA signature over their DER.
func verifyDSA(message *pkcs7.PKCS7) error {
	if len(message.Signers) != 1 {
		return fmt.Errorf("%d signers", len(message.Signers))
	}
	signer, certificate := message.Signers[0], message.Certificates[0]
	if signer.IssuerAndSerialNumber.SerialNumber.Cmp(certificate.SerialNumber) != 0 ||
		!bytes.Equal(signer.IssuerAndSerialNumber.IssuerName.FullBytes, certificate.RawIssuer) {
		return errors.New("the message names another certificate")
	}
	if !signer.DigestAlgorithm.Algorithm.Equal(oidSHA1) || !signer.DigestEncryptionAlgorithm.Algorithm.Equal(oidDSAWithSHA1) {
		return errors.New("other algorithms than AWS's")
	}
	var digest []byte
	var at time.Time
	err := errors.Join(message.UnmarshalSignedAttribute(pkcs7.OIDAttributeMessageDigest, &digest),
		message.UnmarshalSignedAttribute(pkcs7.OIDAttributeSigningTime, &at))
	if err != nil {
		return err
	}
	if at.Before(certificate.NotBefore) || at.After(certificate.NotAfter) {
		return fmt.Errorf("signed at %v, outside of the certificate's time", at)
	}
	signed, err := asn1.MarshalWithParams(signer.AuthenticatedAttributes, "set")
	if err != nil {
		return err
	}
	var pair struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(signer.EncryptedDigest, &pair); err != nil || len(rest) > 0 || pair.R.Sign() <= 0 || pair.S.Sign() <= 0 {
		return fmt.Errorf("no DSA signature: %v", err)
	}
	content, attributes := sha1.Sum(message.Content), sha1.Sum(signed)
	if !bytes.Equal(digest, content[:]) || !dsa.Verify(certificate.PublicKey.(*dsa.PublicKey), attributes[:], pair.R, pair.S) {
		return errors.New("the DSA signature does not verify")
	}
	return nil
}

// spire attests as SPIRE's aws_iid does: the document comes as a text, by RSA-1024 over it or, in
// recent versions, with the rsa2048 message; its members are read as the AWS SDK reads them.
func spire(of served, keys *Keys) (doc imds.InstanceIdentityDocument, err error) {
	payload, err := json.Marshal(map[string]string{"document": of.document, "signature": of.signature, "rsa2048": of.rsa2048})
	if err != nil {
		return doc, err
	}
	var data struct{ Document, Signature, RSA2048 string }
	if err := json.Unmarshal(payload, &data); err != nil {
		return doc, err
	}
	raw, err := base64.StdEncoding.DecodeString(data.Signature)
	if err != nil {
		return doc, err
	}
	sum := sha256.Sum256([]byte(data.Document))
	if err := rsa.VerifyPKCS1v15(keys.All(Signature)[0].Certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, sum[:], raw); err != nil {
		return doc, err
	}
	message, err := armored(data.RSA2048, keys.All(RSA2048)[0].Certificate)
	if err != nil {
		return doc, err
	}
	if err := message.Verify(); err != nil {
		return doc, err
	}
	if string(message.Content) != data.Document {
		return doc, errors.New("the message holds something else")
	}
	return doc, json.Unmarshal([]byte(data.Document), &doc)
}

// samples is how many random instances a test looks at.
func samples() int {
	if testing.Short() {
		return 50
	}
	return 1000
}

func TestVerifiers(t *testing.T) {
	s, keys := newSigner(t)
	r := rand.New(rand.NewPCG(1, 2))
	var last served
	for i := range samples() {
		in := randomInstance(r, i)
		of := serve(t, s, in)
		for name, verify := range map[string]func(served, *Keys) (imds.InstanceIdentityDocument, error){"Vault": vault, "SPIRE": spire} {
			doc, err := verify(of, keys)
			if err != nil {
				t.Fatalf("%s does not believe %s: %v", name, of.document, err)
			}
			sameInstance(t, name, doc, in)
			if i == 0 || i%10 > 0 {
				continue
			}
			forged := of
			forged.document = strings.Replace(of.document, in.ID, "i-0fedcba9876543210", 1)
			mixed := last
			mixed.document = of.document
			if _, err := verify(forged, keys); err == nil {
				t.Fatalf("%s believes a document that was changed", name)
			}
			if _, err := verify(mixed, keys); err == nil {
				t.Fatalf("%s believes signatures of another document", name)
			}
		}
		last = of
	}
	_, others := newSigner(t)
	if _, err := vault(last, others); err == nil {
		t.Error("Vault believes another installation's signature")
	}
	if _, err := spire(last, others); err == nil {
		t.Error("SPIRE believes another installation's signature")
	}
}

// TestVerifiedByOpenSSL runs the commands of AWS's guide on each of the random instances: one of them
// on most, since starting a program a thousand times takes its time.
func TestVerifiedByOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("skipped: there is no openssl on this machine")
	}
	t.Parallel()
	s, keys := newSigner(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
		return p
	}
	run := func(args ...string) string {
		var stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "openssl", args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out)
	}
	certificates := map[Form]string{}
	for _, form := range Forms() {
		certificates[form] = write(form.String()+".crt", string(keys.All(form)[0].CertificatePEM()))
	}
	public := write("key", run("x509", "-pubkey", "-noout", "-in", certificates[Signature]))
	// Made by hand, this one must stand behind itself.
	run("verify", "-CAfile", certificates[PKCS7], "-check_ss_sig", "-partial_chain", certificates[PKCS7])

	r := rand.New(rand.NewPCG(3, 4))
	var workers sync.WaitGroup
	work := make(chan int)
	instances := make([]*openimds.Instance, samples())
	for i := range instances {
		instances[i] = randomInstance(r, i)
	}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range work {
				of := serve(t, s, instances[i])
				raw, err := base64.StdEncoding.DecodeString(of.signature)
				if err != nil {
					t.Error(err)
				}
				name := func(what string) string { return fmt.Sprint(i, what) }
				all := i < 20
				if all || i%3 == 0 {
					doc := write(name("document"), of.document)
					run("dgst", "-sha256", "-verify", public, "-signature", write(name("signature"), string(raw)), doc)
				}
				for form, text := range map[Form]string{PKCS7: of.pkcs7, RSA2048: of.rsa2048} {
					if !all && i%3 != int(form) {
						continue
					}
					file := write(name(form.String()), "-----BEGIN PKCS7-----\n"+text+"\n-----END PKCS7-----\n")
					if got := run("smime", "-verify", "-in", file, "-inform", "PEM", "-certfile", certificates[form], "-noverify"); got != of.document {
						t.Errorf("%v: openssl found %q inside, not %q", form, got, of.document)
					}
				}
			}
		})
	}
	for i := 0; i < len(instances) && !t.Failed(); i++ {
		work <- i
	}
	close(work)
	workers.Wait()
}
