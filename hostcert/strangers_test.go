package hostcert_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/records"
)

// forge is the client that shows a certificate made by the test.
func forge(t *testing.T, roots *tls.Config, parent *x509.Certificate, parentKey any, c *x509.Certificate) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(7)
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	client := roots.Clone()
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
	}
	return client
}

// TestStrangers: whoever has not just the certificate that a host has is no host.
func TestStrangers(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	i := f.invite(a, "host-1")
	id, err := hostcert.Join(t.Context(), t.TempDir(), i, carry(a))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := hostcert.JoinTLS(i)
	if err != nil {
		t.Fatal(err)
	}
	other := newFixture(t)
	elsewhere := other.join(other.replica(), "host-1").ClientTLS()
	elsewhere.RootCAs = roots.RootCAs
	r, err := f.store.Get(t.Context(), records.HostAuthorityKey)
	if err != nil {
		t.Fatal(err)
	}
	keyBlock, rest := pem.Decode(r.Value)
	authorityKey, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	certBlock, _ := pem.Decode(rest)
	authority, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := f.store.Get(t.Context(), records.EnrolledKey("host-1"))
	if err != nil {
		t.Fatal(err)
	}
	enrolled, err := records.Decode[records.Enrolled](kept)
	if err != nil {
		t.Fatal(err)
	}
	// like makes what the authority would, but for a change.
	like := func(change func(c *x509.Certificate)) *tls.Config {
		c := &x509.Certificate{
			Subject: pkix.Name{CommonName: "host-1", SerialNumber: enrolled.ID}, URIs: []*url.URL{{Scheme: "openimds", Host: "host", Path: "/host-1"}},
			NotBefore: f.clock().Add(-time.Minute), NotAfter: f.clock().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		change(c)
		return forge(t, roots, authority, authorityKey, c)
	}
	if _, err := f.hostOf(a, like(func(*x509.Certificate) {})); err != nil {
		t.Fatalf("the test's own certificate: %v", err)
	}
	for name, c := range map[string]struct {
		client    *tls.Config
		host, why string
	}{
		"no certificate":    {roots, "", "no certificate"},
		"another authority": {elsewhere, "host-1", "authority"},
		"self-signed": {forge(t, roots, nil, nil, &x509.Certificate{
			Subject: pkix.Name{SerialNumber: enrolled.ID}, URIs: []*url.URL{{Scheme: "openimds", Host: "host", Path: "/host-1"}},
			NotBefore: f.clock().Add(-time.Minute), NotAfter: f.clock().Add(time.Hour),
		}), "host-1", "authority"},
		"of a replica": {like(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "host-1", "not for this use"},
		"no name":      {like(func(c *x509.Certificate) { c.URIs = nil }), "", "not a host's"},
		"two names": {like(func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "openimds", Host: "host", Path: "/host-2"})
		}), "", "not a host's"},
		"another kind of name": {like(func(c *x509.Certificate) { c.URIs[0].Host = "user" }), "", "not a host's"},
		"a name with a query":  {like(func(c *x509.Certificate) { c.URIs[0].RawQuery = "x" }), "", "not a host's"},
		"a name of the DNS":    {like(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"host-1"} }), "", "not a host's"},
		"who never joined":     {like(func(c *x509.Certificate) { c.URIs[0].Path = "/host-2" }), "host-2", "never joined"},
		"another enrolment":    {like(func(c *x509.Certificate) { c.Subject.SerialNumber = openimds.NewUUID() }), "host-1", "never joined"},
		"no enrolment":         {like(func(c *x509.Certificate) { c.Subject.SerialNumber = "" }), "host-1", "never joined"},
		"expired": {like(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = f.clock().Add(-time.Hour), f.clock().Add(-time.Second)
		}), "host-1", "expired"},
		"not yet": {like(func(c *x509.Certificate) { c.NotBefore = f.clock().Add(time.Minute) }), "host-1", "not good yet"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.hostOf(a, c.client)
			refused(t, err, c.host, c.why)
		})
	}
	t.Run("clock steps", func(t *testing.T) {
		for _, c := range []struct {
			step time.Duration
			why  string
		}{{25 * time.Hour, "expired"}, {-25 * time.Hour, ""}, {-10 * time.Minute, "not good yet"}, {10 * time.Minute, ""}} {
			f.step(c.step)
			_, err := f.hostOf(a, id.ClientTLS())
			if c.why != "" {
				refused(t, err, "host-1", c.why)
			} else if err != nil {
				t.Errorf("after a step of %s: %v", c.step, err)
			}
		}
	})
}

// TestReplicaIsKnown: a host talks to a replica of its installation alone; another host is none.
func TestReplicaIsKnown(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	id := f.join(f.replica(), "host-1")
	if _, err := connect(t, other.replica(), id.ClientTLS()); err == nil {
		t.Error("a host talks to a replica of another installation")
	}
	i := f.invite(f.replica(), "host-2")
	client, err := hostcert.JoinTLS(i)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, other.replica(), client); err == nil {
		t.Error("a machine gives its token to a replica of another installation")
	}
	// A host in the place of a replica.
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	own, err := id.ClientTLS().GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = tls.Server(there, &tls.Config{Certificates: []tls.Certificate{*own}, MinVersion: tls.VersionTLS13}).HandshakeContext(t.Context())
	}()
	if err := tls.Client(here, client).HandshakeContext(t.Context()); err == nil {
		t.Error("a host is taken for a replica")
	}
}

// TestReplicaRenews: a replica that runs for long is known as before.
func TestReplicaRenews(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	i := f.invite(a, "host-1")
	serial := func() string {
		client, err := hostcert.JoinTLS(i)
		if err != nil {
			t.Fatal(err)
		}
		client.Time = f.clock
		var seen string
		client.VerifyConnection = func(s tls.ConnectionState) error {
			seen = s.PeerCertificates[0].SerialNumber.String()
			return nil
		}
		if _, err := connect(t, a, client); err != nil {
			t.Fatal(err)
		}
		return seen
	}
	first := serial()
	if again := serial(); again != first {
		t.Error("each connection has another certificate")
	}
	for range 5 {
		f.step(13 * time.Hour)
		if next := serial(); next == first {
			t.Error("the certificate is not renewed")
		} else {
			first = next
		}
	}
}
