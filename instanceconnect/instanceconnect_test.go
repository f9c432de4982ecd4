package instanceconnect_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/instanceconnect"
	"golang.org/x/crypto/ocsp"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, path string) *instanceconnect.Signer {
	t.Helper()
	s, err := instanceconnect.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func certificates(t *testing.T, text []byte) (all []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// TestSigned checks what a guest checks: the chain, the name, the OCSP answer, the signature.
func TestSigned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.pem")
	s := open(t, path)
	if _, ok := s.CA(); ok {
		t.Error("there is an authority before anybody pushed a key")
	}
	if _, err := s.Sign(openimds.PushedKey{}); err == nil {
		t.Error("a key was signed by nobody")
	}
	if _, ok := s.SignerCert("eu-central-1", "amazonaws.com"); ok {
		t.Error("there is a signer before anybody pushed a key")
	}
	if err := s.Prepare(noon); err != nil {
		t.Fatal(err)
	}
	text, _ := s.SignerCert("eu-central-1", "amazonaws.com")
	chain := certificates(t, text)
	if len(chain) != 2 || chain[0].Subject.CommonName != "managed-ssh-signer.eu-central-1.amazonaws.com" || chain[1].Subject.CommonName != instanceconnect.CAName {
		t.Fatalf("the chain is %v", chain)
	}
	roots := x509.NewCertPool()
	ca, _ := s.CA()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("the authority's certificate is none")
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, CurrentTime: noon, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	for _, web := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageCodeSigning} {
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, CurrentTime: noon, KeyUsages: []x509.ExtKeyUsage{web}}); err == nil {
			t.Errorf("the authority vouches for usage %v", web)
		}
	}

	name, answer, ok := s.SignerOCSP("eu-central-1", "amazonaws.com", noon)
	if !ok || name != fmt.Sprintf("%X", sha1.Sum(chain[0].Raw)) {
		t.Errorf("the OCSP answer is named %q", name)
	}
	der, err := base64.StdEncoding.DecodeString(string(answer))
	if err != nil {
		t.Fatal(err)
	}
	status, err := ocsp.ParseResponseForCert(der, chain[0], chain[1])
	if err != nil || status.Status != ocsp.Good || !status.ThisUpdate.Before(noon) || status.NextUpdate.Sub(noon) < time.Hour {
		t.Errorf("%+v, %v", status, err)
	}
	if _, again, _ := s.SignerOCSP("eu-central-1", "amazonaws.com", noon.Add(30*time.Minute)); !bytes.Equal(again, answer) {
		t.Error("the OCSP answer is made for each request")
	}
	_, later, _ := s.SignerOCSP("eu-central-1", "amazonaws.com", noon.Add(100*time.Hour))
	if der, err = base64.StdEncoding.DecodeString(string(later)); err != nil {
		t.Fatal(err)
	}
	if status, err = ocsp.ParseResponseForCert(der, chain[0], chain[1]); err != nil || status.NextUpdate.Before(noon.Add(101*time.Hour)) {
		t.Errorf("days later the OCSP answer is %+v, %v", status, err)
	}

	const key = "ssh-ed25519 AAAA ubuntu"
	lines, err := s.Sign(openimds.PushedKey{InstanceID: "i-0123456789abcdef0", Key: key, Until: noon, Caller: "arn:aws:iam::123456789012:user/me", Request: "r"})
	if err != nil {
		t.Fatal(err)
	}
	signed := fmt.Sprintf("#Timestamp=%d\n#Instance=i-0123456789abcdef0\n#Caller=arn:aws:iam::123456789012:user/me\n#Request=r\n%s\n", noon.Unix(), key)
	rest, ok := strings.CutPrefix(lines, signed)
	if !ok || !strings.HasSuffix(rest, "\n\n") {
		t.Fatalf("the lines are %q", lines)
	}
	signature, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(rest, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(signed))
	if err := rsa.VerifyPSS(chain[0].PublicKey.(*rsa.PublicKey), crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: 32}); err != nil {
		t.Error(err)
	}
	if other, _ := s.SignerCert("us-east-1", "amazonaws.com"); certificates(t, other)[0].SerialNumber.Cmp(chain[0].SerialNumber) == 0 {
		t.Error("two certificates have one number")
	}
}

// TestKept: after a restart the certificates are the same, and so is what they verify; what is damaged is told.
func TestKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.pem")
	first := open(t, path)
	for range 2 {
		if err := first.Prepare(noon); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, path)
	if err := again.Prepare(noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"eu-central-1", "us-east-1"} {
		one, _ := first.SignerCert(region, "amazonaws.com")
		two, ok := again.SignerCert(region, "amazonaws.com")
		if !ok || !bytes.Equal(one, two) {
			t.Errorf("the chain of %s is another one after a restart", region)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{nil, whole[:len(whole)/2], bytes.Replace(whole, []byte("RSA PRIVATE KEY"), []byte("EC PRIVATE KEY"), 2)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := instanceconnect.Open(path); err == nil || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
}
