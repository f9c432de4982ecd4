package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds/safefile"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Scheme begins the address of a store in etcd.
const Scheme = "etcd://"

// defaultPrefix and defaultPort are those of an address that has none.
const (
	defaultPrefix = "/openimds"
	defaultPort   = "2379"
)

// Address says where a store is: some members of the cluster, as host:port, and what its keys begin with there. Any
// member leads to all, as long as it is up.
type Address struct {
	Members []string
	Prefix  string // with a slash in front and none at its end
}

// ParseAddress reads etcd://HOST:PORT,HOST:PORT/PREFIX. The port may be left out, for 2379, and the prefix, for
// /openimds.
func ParseAddress(text string) (Address, error) {
	rest, ok := strings.CutPrefix(text, Scheme)
	if !ok {
		return Address{}, fmt.Errorf("%.200q is not of the form %sHOST:PORT,HOST:PORT/PREFIX", text, Scheme)
	}
	hosts, prefix, _ := strings.Cut(rest, "/")
	a := Address{Prefix: defaultPrefix}
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		a.Prefix = "/" + prefix
	}
	if path.Clean(a.Prefix) != a.Prefix || strings.ContainsAny(a.Prefix, "?#%") || strings.ToValidUTF8(a.Prefix, "") != a.Prefix {
		return Address{}, fmt.Errorf("%.200q: the prefix %q is not of plain names with a slash between them", text, a.Prefix)
	}
	for member := range strings.SplitSeq(hosts, ",") {
		if strings.Contains(member, "@") {
			return Address{}, errors.New("the address of a store has no user and no password in it: others can read it")
		}
		host, port, err := net.SplitHostPort(member)
		if err != nil {
			host, port, err = net.SplitHostPort(net.JoinHostPort(strings.Trim(member, "[]"), defaultPort))
		}
		if n, nerr := strconv.ParseUint(port, 10, 16); err != nil || nerr != nil || n == 0 || !plainHost(host) {
			return Address{}, fmt.Errorf("%.200q: the member %q is not of the form HOST:PORT", text, member)
		}
		a.Members = append(a.Members, net.JoinHostPort(host, port))
	}
	return a, nil
}

// plainHost says whether a host is an address or a name.
func plainHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	u, err := url.Parse("//" + host)
	return err == nil && host != "" && u.Host == host && u.Hostname() == host && !strings.ContainsAny(host, " /@,:")
}

// String is the address as [ParseAddress] reads it.
func (a Address) String() string { return Scheme + strings.Join(a.Members, ",") + a.Prefix }

// local says whether all members are on this machine, so that nobody is on the way to them.
func (a Address) local() bool {
	for _, member := range a.Members {
		host, _, _ := net.SplitHostPort(member)
		if addr, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !addr.Unmap().IsLoopback()) {
			return false
		}
	}
	return true
}

// Config says where a store is and who asks for it.
type Config struct {
	Address Address
	// CA is a file (PEM) with the certificates by which the members are known, Cert and Key are files with the
	// certificate of this process and its key, which are read again for each new connection. Others must not be able to read
	// the key, nor to write any of them. With any of them all
	// connections are of TLS; with none they are in the clear.
	CA, Cert, Key string
	// Insecure lets connections in the clear leave this machine.
	Insecure bool
	// User, and the file that has the password, which others must not be able to read; empty: the certificate alone says who asks.
	User, PasswordFile string
	// Timeout is how long the cluster may take to answer one request; 0: [DefaultTimeout].
	Timeout time.Duration
}

// ErrClear says that all that the store has could be read on the way to it.
var ErrClear = errors.New("connections in the clear to other machines can be read and changed on the way: user data and keys of tokens too")

func (c *Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return DefaultTimeout
	}
	return c.Timeout
}

// encrypted says whether connections are of TLS.
func (c *Config) encrypted() bool { return c.CA != "" || c.Cert != "" }

// Validate refuses what cannot be connected to, without reading a file.
func (c *Config) Validate() error {
	switch {
	case len(c.Address.Members) == 0:
		return errors.New("the store's address has no member")
	case (c.Cert == "") != (c.Key == ""):
		return errors.New("the certificate for the store and its key belong together")
	case (c.User == "") != (c.PasswordFile == ""):
		return errors.New("the user of the store and the file of the password belong together")
	case c.Timeout < 0:
		return errors.New("the time for an answer of the store cannot be negative")
	case !c.encrypted() && !c.Insecure && !c.Address.local():
		return ErrClear
	}
	return nil
}

// client is what etcd's client is told.
func (c *Config) client() (clientv3.Config, error) {
	settings := clientv3.Config{}
	if err := c.Validate(); err != nil {
		return settings, err
	}
	scheme := "http://"
	if c.encrypted() {
		scheme = "https://"
		var err error
		if settings.TLS, err = c.tls(); err != nil {
			return settings, err
		}
	}
	for _, member := range c.Address.Members {
		settings.Endpoints = append(settings.Endpoints, scheme+member)
	}
	if c.User != "" {
		password, err := safefile.ReadSecret(c.PasswordFile, maxFile)
		if err != nil {
			return settings, fmt.Errorf("cannot read the password for the store: %w", err)
		}
		settings.Username, settings.Password = c.User, strings.TrimRight(string(password), "\r\n")
		if settings.Password == "" {
			return settings, fmt.Errorf("the file of the password for the store, %s, is empty", c.PasswordFile)
		}
	}
	return settings, nil
}

func (c *Config) tls() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		text, _, err := safefile.ReadLinked(c.CA, maxFile) // whoever could write it would be the store
		if err != nil {
			return nil, fmt.Errorf("cannot read the certificates by which the store is known: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate (PEM)", c.CA)
		}
	}
	if c.Cert == "" {
		return settings, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := c.pair()
		if err != nil {
			return nil, fmt.Errorf("the certificate for the store, %s with %s: %w", c.Cert, c.Key, err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return settings, nil
}

// maxFile is the most bytes of a file with certificates, a key or a password.
const maxFile = 1 << 20

// pair reads the certificate of this process and its key, which others must not be able to read.
func (c *Config) pair() (tls.Certificate, error) {
	cert, _, err := safefile.ReadLinked(c.Cert, maxFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := safefile.ReadSecret(c.Key, maxFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// distrust says which member is not known by the certificates, if one is not: etcd's client only says that it does not
// answer.
func (c *Config) distrust(ctx context.Context, settings *tls.Config) error {
	if settings == nil {
		return nil
	}
	ctx, done := context.WithTimeout(ctx, attemptTime)
	defer done()
	for _, member := range c.Address.Members {
		conn, err := (&tls.Dialer{Config: settings}).DialContext(ctx, "tcp", member)
		if unknown, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return fmt.Errorf("etcd at %s has a certificate that is not accepted: %w", member, unknown.Err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	return nil
}
