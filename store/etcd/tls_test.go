package etcd_test

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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// authority signs certificates for loopback, whose files are in its directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.write(t, "ca", must(x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key))(t), a.key)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(t *testing.T, name string, cert []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: cert},
		name + ".key": {Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(t)},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *authority) issue(t *testing.T, name string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	a.write(t, name, must(x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key))(t), key)
}

// A cluster that asks for certificates, and then for users too, is opened by those who have them; whoever has not is
// told so in one line, without any secret.
func TestEncryptedAndAuthorized(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	for _, a := range []*authority{ours, theirs} {
		a.issue(t, "member")
		a.issue(t, "client")
	}
	c := etcdtest.Start(t, 1, "--cert-file="+ours.file("member.pem"), "--key-file="+ours.file("member.key"),
		"--client-cert-auth", "--trusted-ca-file="+ours.file("ca.pem"), "--bcrypt-cost=4")
	with := func(ca, client *authority, change func(*etcd.Config)) etcd.Config {
		config := etcd.Config{
			Address: address(t, etcd.Scheme+c.Addresses()+"/p"), Timeout: patience, CA: ca.file("ca.pem"),
			Cert: client.file("client.pem"), Key: client.file("client.key"),
		}
		change(&config)
		return config
	}
	soon := func(c *etcd.Config) { c.Timeout = 2 * time.Second } // nobody is admitted, however long it waits
	opens(t, with(ours, ours, func(*etcd.Config) {}))
	refuses(t, with(theirs, ours, soon), "has a certificate that is not accepted: x509")
	refuses(t, with(ours, theirs, soon), "does not answer")
	refuses(t, with(ours, ours, func(c *etcd.Config) { soon(c); c.Cert, c.Key = "", "" }), "does not answer")
	refuses(t, with(ours, ours, func(c *etcd.Config) { soon(c); c.CA, c.Cert, c.Key = "", "", "" }), "does not answer")

	authorize(t, c.Addresses(), ours)
	user := func(name, password string) func(*etcd.Config) {
		file := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return func(c *etcd.Config) { c.User, c.PasswordFile = name, file }
	}
	opens(t, with(ours, ours, user("openimds", "s3cr3t")))
	refuses(t, with(ours, ours, user("openimds", "wr0ng-s3cr3t")), "authentication failed")
	refuses(t, with(ours, ours, user("other", "s3cr3t")), "permission denied")
	refuses(t, with(ours, ours, func(*etcd.Config) {}), "refuses")
}

// opens has a store written, read and watched.
func opens(t *testing.T, config etcd.Config) {
	t.Helper()
	s := must(etcd.Open(t.Context(), config))(t)
	defer s.Close()
	page := must(s.List(t.Context(), store.Range{}))(t)
	lease := must(s.Grant(t.Context(), time.Hour))(t)
	must(s.Commit(t.Context(), store.Change{Key: "k", Value: []byte("v"), If: store.Whatever, Lease: lease}))(t)
	told := must(s.Watch("", page.Revision).Next(t.Context()))(t)
	if len(told) != 1 || told[0].Key != "k" {
		t.Errorf("told %+v", told)
	}
	if err := s.Revoke(t.Context(), lease); err != nil {
		t.Error(err)
	}
}

func refuses(t *testing.T, config etcd.Config, want string) {
	t.Helper()
	open := func() error {
		s, err := etcd.Open(t.Context(), config)
		if err == nil {
			s.Close()
		}
		return err
	}
	err := open()
	for err != nil && !strings.Contains(err.Error(), want) && strings.Contains(err.Error(), "does not answer") && config.Timeout < patience {
		config.Timeout *= 2 // a busy machine may take longer to see why
		err = open()
	}
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "\n") {
		t.Errorf("want %q: %v", want, err)
	}
}

// authorize has the cluster ask for users: one who may do all below /p/, and one who may do nothing.
func authorize(t *testing.T, members string, a *authority) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(must(x509.ParseCertificate(must(pemOf(a.file("ca.pem")))(t)))(t))
	pair := must(tls.LoadX509KeyPair(a.file("client.pem"), a.file("client.key")))(t)
	admin := must(clientv3.New(clientv3.Config{
		Endpoints: []string{"https://" + members}, Logger: zap.NewNop(),
		TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
	}))(t)
	defer admin.Close()
	ctx := t.Context()
	must(admin.UserAdd(ctx, "root", "r00t"))(t)
	must(admin.UserGrantRole(ctx, "root", "root"))(t)
	must(admin.RoleAdd(ctx, "servers"))(t)
	must(admin.RoleGrantPermission(ctx, "servers", "/p/", clientv3.GetPrefixRangeEnd("/p/"), clientv3.PermissionType(clientv3.PermReadWrite)))(t)
	must(admin.UserAdd(ctx, "openimds", "s3cr3t"))(t)
	must(admin.UserGrantRole(ctx, "openimds", "servers"))(t)
	must(admin.UserAdd(ctx, "other", "s3cr3t"))(t)
	must(admin.AuthEnable(ctx))(t)
}

func pemOf(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	return block.Bytes, nil
}
