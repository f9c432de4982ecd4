package hostcert

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"time"
)

// ServerTLS is how a replica lets hosts connect. A client's certificate is asked for and not verified, except that the
// client has its key: every request but one to join has to be given to [Authority.HostOf], which says why it refuses.
func (a *Authority) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequestClientCert,
		// Whoever resumes a session shows no certificate again: each connection begins anew.
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2", "http/1.1"},
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.replica() },
	}
}

// replica is the certificate of this replica, whose key is in its memory alone. It is made anew once half of its life
// is over.
func (a *Authority) replica() (*tls.Certificate, error) {
	a.serving.Lock()
	defer a.serving.Unlock()
	now := a.cfg.Now()
	if s := a.served; s != nil && now.Before(half(s.Leaf)) && now.After(s.Leaf.NotBefore) {
		return s, nil
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	der, err := a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: ReplicaName},
		DNSNames:    []string{ReplicaName},
		NotBefore:   now.Add(-early).Truncate(time.Second),
		NotAfter:    now.Add(a.cfg.Life).Truncate(time.Second),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a.served = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return a.served, nil
}

// half is when half of a certificate's life is over.
func half(c *x509.Certificate) time.Time {
	begin := c.NotBefore.Add(early)
	return begin.Add(c.NotAfter.Sub(begin) / 2)
}
