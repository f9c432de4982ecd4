package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/imds"
)

// openCertificates reads the certificate of the control API, if it is to have one.
func (s *server) openCertificates() error {
	if s.cfg.apiCert == "" {
		return nil
	}
	var err error
	if s.certificates, err = front.OpenCertificates(s.cfg.apiCert, s.cfg.apiKey, s.log); err != nil {
		return fmt.Errorf("--api-cert, --api-key: %w", err)
	}
	if s.cfg.apiCA == "" {
		return nil
	}
	if err := s.certificates.KnownBy(s.cfg.apiCA, time.Now()); err != nil {
		return fmt.Errorf("--api-ca: clients would not know the certificate of --api-cert by it: %w", err)
	}
	return nil
}

// checkExposure refuses to offer the control API to other machines in the clear: whoever is on the way
// could read all that it answers, and send a signed request once more while its signature holds.
func (c *serveConfig) checkExposure(ctx context.Context) error {
	host, _, err := net.SplitHostPort(c.apiListen)
	if err != nil || c.apiCert != "" || c.apiInsecure || onlyHere(ctx, host) {
		return err
	}
	return c.exposed()
}

func (c *serveConfig) exposed() error {
	return usagef("--api-listen %s is open to other machines, where plain HTTP can be read and sent again: give --api-cert and --api-key, or --api-insecure if the network is safe", c.apiListen)
}

// onlyHere says whether only this machine can reach a host that is listened on. What a name stands for
// is looked at once more when it is listened on.
func onlyHere(ctx context.Context, host string) bool {
	if host == "" {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	ctx, done := context.WithTimeout(ctx, 2*time.Second)
	defer done()
	addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for _, addr := range addrs {
		if !addr.Unmap().IsLoopback() {
			return false
		}
	}
	return true
}

func (s *server) listenAPI(ctx context.Context) error {
	open, err := imds.ListenTCP(ctx, s.cfg.apiListen)
	if err != nil {
		return cannotListen("--api-listen", s.cfg.apiListen, err)
	}
	here := true
	for _, l := range open {
		s.apiL = append(s.apiL, l)
		here = here && l.Addr().(*net.TCPAddr).IP.IsLoopback()
	}
	switch {
	case here || s.certificates != nil:
	case !s.cfg.apiInsecure:
		return s.cfg.exposed()
	default:
		s.log.Warn("the control API is open to other machines without TLS: requests can be read on the way, and sent again for 15 minutes", "address", s.cfg.apiListen)
	}
	return nil
}

// apiURL is where clients on this machine find the control API.
func (s *server) apiURL() string {
	if s.certificates == nil {
		return "http://" + s.apiL[0].Addr().String()
	}
	return urlOfAPI(s.apiL[0].Addr().String(), s.certificates.Leaf())
}

// nameBytes are what a name of a certificate may have, to be printed: anybody may have written it.
const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:"

// urlOfAPI is the URL of a control API that listens there and shows that certificate; nil: it speaks
// no TLS. A client has to call it by a name that the certificate has.
func urlOfAPI(listen string, leaf *x509.Certificate) string {
	at := reachable(listen)
	if leaf == nil {
		return "http://" + at
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return "https://" + at
	}
	names := []string{host}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() {
		names = append(names, "localhost")
	}
	names = append(names, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, name := range names {
		if strings.Trim(name, nameBytes) == "" && leaf.VerifyHostname(name) == nil {
			return "https://" + net.JoinHostPort(name, port)
		}
	}
	return "https://" + at
}

// caFile is the file by which clients know the server's certificate; empty: they know it anyway.
func (c *serveConfig) caFile(leaf *x509.Certificate) (string, error) {
	file := c.apiCA
	if file == "" && leaf != nil && front.SignedByItself(leaf) {
		file = c.apiCert
	}
	if file == "" {
		return "", nil
	}
	return filepath.Abs(file)
}
