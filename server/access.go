package server

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/openimds/openimds/api/front"
)

// Access is how the clients on this machine reach a server.
type Access struct {
	// IMDS and API are URLs: of the guest side, with a slash at its end, and of the control API, without.
	IMDS, API string
	// Credentials is the AWS shared-credentials file with a key for the API, of the profile that is the default.
	Credentials string
	// Profiles is one without a default profile, so that AWS's clients look on and find the role of the instance.
	Profiles string
	// CA is the file (PEM) by which clients know the API's certificate; empty: they know it anyway.
	CA string
}

// Access is how the clients on this machine reach a server of this Config, whether it runs or not. It reads
// APICert, if there is one, and fails if it cannot. A port 0 stays one.
func (c *Config) Access() (Access, error) {
	var leaf *x509.Certificate
	var err error
	if c.APICert != "" {
		if leaf, err = front.ReadLeaf(c.APICert); err != nil {
			return Access{}, fmt.Errorf("%s: %w", c.named("APICert"), err)
		}
	}
	a := Access{IMDS: "http://" + reachable(c.IMDSListen[0]) + "/", API: urlOfAPI(c.APIListen, leaf)}
	if a.Credentials, err = filepath.Abs(filepath.Join(c.DataDir, CredentialsFile)); err != nil {
		return Access{}, err
	}
	a.Profiles = filepath.Join(filepath.Dir(a.Credentials), ProfilesFile)
	a.CA, err = c.caFile(leaf)
	return a, err
}

// APIURL is where clients on this machine find the control API.
func (s *Server) APIURL() string {
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
func (c *Config) caFile(leaf *x509.Certificate) (string, error) {
	file := c.APICA
	if file == "" && leaf != nil && front.SignedByItself(leaf) {
		file = c.APICert
	}
	if file == "" {
		return "", nil
	}
	return filepath.Abs(file)
}

// reachable is where to find a listener on this machine: the address of all interfaces is none that
// a client can connect to everywhere.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && addr.Is4() && addr.IsUnspecified():
		host = "127.0.0.1"
	case err == nil && addr.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
