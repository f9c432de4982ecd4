package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// Whatever is refused at the door for hosts is a line of the audit log, on disk, with the reason and without a secret:
// a join token that was used or is late, a certificate that has expired or is of another authority, none, and a good one
// that is used for what is another host's.
func TestHostsRefusedAreAudited(t *testing.T) {
	t.Parallel()
	cfg := forTest(filepath.Join(t.TempDir(), "data"))
	cfg.HostsListen = "127.0.0.1:0"
	r := openInstallation(t, cfg)
	_, err := r.server.Service().CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{"theirs"}})
	must(t, err)
	client := func(c hostlink.Config) *hostlink.Client {
		c.Replicas, c.Process, c.Log = []string{r.server.HostsAddr().String()}, openimds.NewUUID(), r.server.log
		link := hostlink.NewClient(c)
		t.Cleanup(link.Close)
		return link
	}
	join := func(i openimds.Invitation, dir string) (*hostcert.Identity, error) {
		by, err := hostcert.JoinTLS(i)
		must(t, err)
		return hostcert.Join(t.Context(), dir, i, client(hostlink.Config{TLS: always(by)}).Redeem)
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, hostlink.ErrRefused) && !errors.Is(err, store.ErrNoLease) {
			t.Errorf("%s: %v", what, err)
		}
	}
	keep := func(by *tls.Config) error {
		return client(hostlink.Config{TLS: always(by)}).Region(cfg.Region, false, "").KeepAlive(t.Context(), 5)
	}

	invitation := invite(t, r.server, "host-a")
	a, err := join(*invitation, t.TempDir())
	must(t, err)
	_, err = join(*invitation, t.TempDir())
	refused("a token for the second time", err)
	late := invite(t, r.server, "host-b")
	value, err := records.Encode(records.JoinToken{Sum: late.Token.Sum(), Until: time.Now()})
	must(t, err)
	_, err = r.server.store.Commit(t.Context(), store.Change{Key: records.JoinTokenKey("host-b"), Value: value, If: store.Whatever})
	must(t, err)
	_, err = join(*late, t.TempDir())
	refused("a token that is late", err)

	own := client(hostlink.Config{TLS: a.ClientTLS}).Region(cfg.Region, false, "")
	theirs := &openimds.Instance{Name: "theirs", ID: "i-0123456789abcdef0"}
	theirs.Options.State = openimds.OptionsPending
	must(t, own.MarkApplied(t.Context(), theirs)) // there is nothing more for it to do about it
	refused("a lease that is not its own", own.KeepAlive(t.Context(), 5))

	// certified is how the host connects with a certificate that another authority than the replica's has made.
	certified := func(by hostcert.Config) *tls.Config {
		other, err := hostcert.Open(t.Context(), by)
		must(t, err)
		kept, err := r.server.store.Get(t.Context(), records.EnrolledKey("host-a"))
		must(t, err)
		enrolled, err := records.Decode[records.Enrolled](kept)
		must(t, err)
		_, err = by.Store.Commit(t.Context(), store.Change{Key: kept.Key, Value: kept.Value, If: store.Whatever})
		must(t, err)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: "host-a"}, URIs: []*url.URL{{Scheme: "openimds", Host: "host", Path: "/host-a"}},
		}, key)
		must(t, err)
		issued, err := other.Renew(t.Context(), hostcert.Host{Name: "host-a", Enrolment: enrolled.ID}, request)
		must(t, err)
		block, _ := pem.Decode(issued.Certificate)
		c := a.ClientTLS()
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}, nil
		}
		return c
	}
	expired := certified(hostcert.Config{Store: r.server.store, Now: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
	refused("a certificate that has expired", keep(expired))
	refused("a certificate of another authority", keep(certified(hostcert.Config{Store: mem.New()})))
	naked := a.ClientTLS()
	naked.GetClientCertificate = nil
	refused("no certificate", keep(naked))

	r.stop()
	for what, want := range map[string]struct{ who, what, why string }{
		"a token for the second time":        {"nobody", "JoinByToken", `the host "host-a" is refused: its join token was used, or never made`},
		"a token that is late":               {"nobody", "JoinByToken", `the host "host-b" is refused: its join token is late`},
		"another's instance":                 {"host host-a", "MarkApplied", "it is not this host's"},
		"a lease that is not its own":        {"host host-a", "KeepHost", "the lease has ended, or is none of this host's"},
		"a certificate that has expired":     {"nobody", "KeepHost", `the host "host-a" is refused: its certificate has expired; enroll the host again`},
		"a certificate of another authority": {"nobody", "KeepHost", `the host "host-a" is refused: its certificate is not of this installation's authority, or not for this use`},
		"no certificate":                     {"nobody", "KeepHost", "refused: it has no certificate"},
	} {
		n := 0
		for e, err := range AuditLog(cfg.DataDir) {
			must(t, err)
			if e.Who == want.who && e.What == want.what && e.Failure == want.why && e.Source != "" && !e.When.IsZero() {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s has %d lines", what, n)
		}
	}
	for _, token := range []openimds.JoinToken{invitation.Token, late.Token} {
		if audit := readAudit(t, r); strings.Contains(audit, string(token)) {
			t.Error("a join token is in the audit log")
		}
	}
}
