package hostcert

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
)

const (
	// IdentityFile is where a host has its key and certificate, in its data directory.
	IdentityFile = "host-identity.json"
	// JoiningFile is where it has the key of a join that it has no answer to yet.
	JoiningFile = "host-joining.json"
	// identityVersion of that file.
	identityVersion = 1
	// maxFile in bytes, of a join file too.
	maxFile = 256 << 10
)

// ReadInvitation reads a join file, which nobody else may be able to read.
func ReadInvitation(path string) (openimds.Invitation, error) {
	var i openimds.Invitation
	text, _, err := safefile.ReadPrivate(path, maxFile)
	if err != nil {
		return i, fmt.Errorf("cannot read the join file: %w", err)
	}
	// Its errors do not quote the text, which is secret.
	if json.Unmarshal(text, &i) != nil {
		return i, fmt.Errorf("%s is not a join file; make one with 'openimds host enroll'", path)
	}
	if err := checkInvitation(i); err != nil {
		return i, fmt.Errorf("the join file %s: %w", path, err)
	}
	return i, nil
}

func checkInvitation(i openimds.Invitation) error {
	if i.Version != openimds.InvitationVersion {
		return fmt.Errorf("it has version %d, this program knows %d: run the openimds that made it", i.Version, openimds.InvitationVersion)
	}
	if i.Host == "" || openimds.ValidateHost(i.Host) != nil || i.Token.Host() != i.Host {
		return errors.New("its token is not of its host")
	}
	if _, err := readCertificate([]byte(i.Authority)); err != nil {
		return fmt.Errorf("its authority: %w", err)
	}
	return checkReplicas(i.Replicas)
}

func checkReplicas(all []string) error {
	if len(all) == 0 {
		return errors.New("it names no replica")
	}
	for _, address := range all {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("%.80q is not the address HOST:PORT of a replica", address)
		}
	}
	return nil
}

// storedIdentity is the file.
type storedIdentity struct {
	Version int    `json:"version"`
	Host    string `json:"host"`
	// JoinedBy is what is kept of the token.
	JoinedBy    []byte   `json:"joinedBy"`
	Replicas    []string `json:"replicas"`
	Authority   string   `json:"authority"`
	Key         string   `json:"key"`
	Certificate string   `json:"certificate"`
}

// Identity is by what a host is known. It is safe for use by many goroutines.
type Identity struct {
	// Now is the clock; nil: time.Now. It is set before the identity is used.
	Now func() time.Time

	path  string
	roots *x509.CertPool

	mu     sync.Mutex
	stored storedIdentity
	own    pair
}

// OpenIdentity reads the identity in a data directory; nil: there is none.
func OpenIdentity(dir string) (*Identity, error) {
	path := filepath.Join(dir, IdentityFile)
	text, _, err := safefile.ReadPrivate(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what this host is known by: %w", err)
	}
	id := &Identity{path: path}
	if json.Unmarshal(text, &id.stored) != nil {
		return nil, fmt.Errorf("%s, by which this host is known, is damaged; enroll the host again", path)
	}
	if v := id.stored.Version; v != identityVersion {
		return nil, fmt.Errorf("%s has version %d, this program knows %d: run the newer openimds", path, v, identityVersion)
	}
	if err := id.open(); err != nil {
		return nil, fmt.Errorf("%s, by which this host is known: %w; enroll the host again", path, err)
	}
	return id, nil
}

// open reads what is stored.
func (id *Identity) open() error {
	own, err := parsePair([]byte(id.stored.Key + id.stored.Certificate))
	if err != nil {
		return err
	}
	if host, ok := named(own.certificate); !ok || host != id.stored.Host {
		return errors.New("its certificate is not of this host")
	}
	authority, err := readCertificate([]byte(id.stored.Authority))
	if err != nil {
		return fmt.Errorf("its authority: %w", err)
	}
	if err := own.certificate.CheckSignatureFrom(authority); err != nil {
		return errors.New("its certificate is not of its authority")
	}
	if err := checkReplicas(id.stored.Replicas); err != nil {
		return err
	}
	id.own, id.roots = own, x509.NewCertPool()
	id.roots.AddCert(authority)
	return nil
}

// Join makes this machine a host by an invitation: send carries a request for a certificate (PKCS #10, DER) with the
// token to a replica, and returns the certificate in PEM. Its key never leaves the machine. Who has joined by the
// invitation already has done so. A machine that is a host already becomes that of the invitation. Where no answer comes,
// which may have been lost when it had joined, it is to be called again: it asks with the same key then, which is let in.
func Join(ctx context.Context, dir string, i openimds.Invitation, send func(ctx context.Context, token openimds.JoinToken, request []byte) ([]byte, error)) (*Identity, error) {
	if err := checkInvitation(i); err != nil {
		return nil, fmt.Errorf("the invitation: %w", err)
	}
	had, err := OpenIdentity(dir)
	if err == nil && had != nil && had.stored.Host == i.Host && subtle.ConstantTimeCompare(had.stored.JoinedBy, i.Token.Sum()) == 1 {
		_ = os.Remove(filepath.Join(dir, JoiningFile)) // of a process that was killed between the two files
		return had, nil
	}
	key, err := joiningKey(dir, i.Token)
	if err != nil {
		return nil, err
	}
	id := &Identity{path: filepath.Join(dir, IdentityFile)}
	id.stored = storedIdentity{Version: identityVersion, Host: i.Host, JoinedBy: i.Token.Sum(), Replicas: i.Replicas, Authority: i.Authority}
	if err := id.obtain(ctx, key, func(ctx context.Context, request []byte) ([]byte, error) { return send(ctx, i.Token, request) }); err != nil {
		return nil, err
	}
	_ = os.Remove(filepath.Join(dir, JoiningFile)) // its key is that of the identity
	return id, nil
}

// joining is the file.
type joining struct {
	// By is what is kept of the token.
	By  []byte `json:"by"`
	Key []byte `json:"key"` // PKCS #8
}

// joiningKey is the key by which a machine joins with a token: the same one each time, also in a later process.
func joiningKey(dir string, token openimds.JoinToken) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, JoiningFile)
	if text, _, err := safefile.ReadPrivate(path, maxFile); err == nil {
		var kept joining
		if json.Unmarshal(text, &kept) == nil && subtle.ConstantTimeCompare(kept.By, token.Sum()) == 1 {
			if key, err := x509.ParsePKCS8PrivateKey(kept.Key); err == nil {
				if key, ok := key.(*ecdsa.PrivateKey); ok {
					return key, nil
				}
			}
		}
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(joining{token.Sum(), der})
	if err != nil {
		return nil, err
	}
	if err := safefile.Write(path, append(text, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("cannot keep the key by which this host is to be known: %w", err)
	}
	return key, nil
}

// Renew has a replica make another certificate, for another key.
func (id *Identity) Renew(ctx context.Context, send func(ctx context.Context, request []byte) ([]byte, error)) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	return id.obtain(ctx, key, send)
}

// obtain has a key certified, and keeps both: all of it or nothing.
func (id *Identity) obtain(ctx context.Context, key *ecdsa.PrivateKey, send func(ctx context.Context, request []byte) ([]byte, error)) error {
	host := id.Host()
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: commonName(host)}, URIs: []*url.URL{uriOf(host)},
	}, key)
	if err != nil {
		return err
	}
	certificate, err := send(ctx, request)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	next := &Identity{Now: id.Now, path: id.path, stored: id.stored}
	next.stored.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	next.stored.Certificate = string(certificate)
	if err := next.open(); err != nil {
		return fmt.Errorf("a replica's answer is no certificate for this host: %w", err)
	}
	// Where a clock is wrong, this one's or the replica's, what the host is known by stays: it may be good by the others'.
	if now := id.now(); id.own.certificate != nil && (now.Before(next.own.certificate.NotBefore) || !now.Before(next.own.certificate.NotAfter)) {
		return errors.New("a replica has made a certificate that is not good now: compare its clock with this host's")
	}
	text, err := json.MarshalIndent(next.stored, "", "  ")
	if err != nil {
		return err
	}
	if err := safefile.Write(next.path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot keep what this host is known by: %w", err)
	}
	id.stored, id.own, id.roots = next.stored, next.own, next.roots
	return nil
}

func (id *Identity) now() time.Time {
	if id.Now != nil {
		return id.Now()
	}
	return time.Now()
}

// Host is the name.
func (id *Identity) Host() string {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.stored.Host
}

// Replicas are where hosts are let in, as the invitation said.
func (id *Identity) Replicas() []string {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.stored.Replicas
}

// Due says whether the certificate is to be renewed: half of its life is over. The clock decides, which may be put
// forward: ask again and again, not once for a time far away.
func (id *Identity) Due() bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	return !id.now().Before(half(id.own.certificate))
}

// Ends is when the certificate does.
func (id *Identity) Ends() time.Time {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.own.certificate.NotAfter
}

// ClientTLS is how this host connects to replicas: with the certificate that it has by then.
func (id *Identity) ClientTLS() *tls.Config {
	id.mu.Lock()
	defer id.mu.Unlock()
	c := replicasTLS(id.roots)
	c.Time = id.Now
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		id.mu.Lock()
		defer id.mu.Unlock()
		return &tls.Certificate{Certificate: [][]byte{id.own.certificate.Raw}, PrivateKey: id.own.key, Leaf: id.own.certificate}, nil
	}
	return c
}

// JoinTLS is how a machine that is no host yet connects to the replicas of an invitation.
func JoinTLS(i openimds.Invitation) (*tls.Config, error) {
	authority, err := readCertificate([]byte(i.Authority))
	if err != nil {
		return nil, fmt.Errorf("the invitation's authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	return replicasTLS(roots), nil
}

func replicasTLS(roots *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: ReplicaName}
}
