package hostdoor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostdoor"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// putDown is how often a refusal was, for that reason.
func (r *replica) putDown(why string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.refused {
		if strings.Contains(e.Failure, why) {
			n++
		}
	}
	return n
}

// requestOf is a key, and a request for a certificate of a host's name.
func requestOf(t *testing.T, name string) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{{Scheme: "openimds", Host: "host", Path: "/" + name}},
	}, key)
	must(t, err)
	return key, request
}

// intruder is somebody with a certificate that opens nothing, or none.
type intruder struct {
	by      *http.Client
	why     string // so much of the reason that is put down
	evicted bool   // it is told that it is the host no more
}

// intruders are all there can be, of the host's name.
func (r *replica) intruders(name string) map[string]intruder {
	r.t.Helper()
	other := newReplica(r.t)
	h := r.join(name)
	with := func(own tls.Certificate) *http.Client {
		by := h.identity.ClientTLS()
		by.GetClientCertificate = nil
		if own.Certificate != nil {
			by.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
		}
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: by, ForceAttemptHTTP2: true}}
		r.t.Cleanup(c.CloseIdleConnections)
		return c
	}
	of := func(h *host) tls.Certificate {
		own, err := h.identity.ClientTLS().GetClientCertificate(nil)
		must(r.t, err)
		return *own
	}
	// at is a certificate of the host that was made at another time.
	at := func(d time.Duration) tls.Certificate {
		elsewhen, err := hostcert.Open(r.t.Context(), hostcert.Config{Store: r.store, Now: func() time.Time { return time.Now().Add(d) }})
		must(r.t, err)
		kept, err := r.store.Get(r.t.Context(), records.EnrolledKey(name))
		must(r.t, err)
		enrolled, err := records.Decode[records.Enrolled](kept)
		must(r.t, err)
		key, request := requestOf(r.t, name)
		issued, err := elsewhen.Renew(r.t.Context(), hostcert.Host{Name: name, Enrolment: enrolled.ID}, request)
		must(r.t, err)
		block, _ := pem.Decode(issued.Certificate)
		return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	}
	replicas, err := r.authority.ServerTLS().GetCertificate(nil)
	must(r.t, err)
	evicted, forgotten, former := r.join("evicted"), r.join("forgotten"), r.join("twice")
	must(r.t, r.services[home].EvictHost(r.t.Context(), "evicted"))
	r.evict(forgotten) // without a word of it
	r.join("twice")
	for _, of := range []*host{evicted, former} {
		eventually(r.t, "the replica hears of who is the host now", func() bool {
			status, _ := of.ask(hostlink.PathKeep, struct{}{})
			return status == http.StatusForbidden
		})
	}
	return map[string]intruder{
		"no certificate":                     {by: with(tls.Certificate{}), why: "it has no certificate"},
		"a certificate of another CA":        {by: with(of(other.join(name))), why: "not of this installation's authority"},
		"a certificate that has expired":     {by: with(at(-48 * time.Hour)), why: "its certificate has expired"},
		"a certificate that is not good yet": {by: with(at(48 * time.Hour)), why: "its certificate is not good yet"},
		"a replica's certificate":            {by: with(*replicas), why: "its certificate is not a host's"},
		"one that was evicted":               {by: evicted.http, why: "from before it was evicted, or joined anew", evicted: true},
		"one of whom the store has no word":  {by: forgotten.http, why: "it never joined, as far as the store knows"},
		"one whose name another has":         {by: former.http, why: "from before it was evicted, or joined anew", evicted: true},
	}
}

// Whoever has no good certificate of this installation learns nothing by any request, and is put down with the reason.
func TestStrangers(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	secret := r.create("mine", "only for a")
	r.attach("mine", "host-a", "tap0")
	intruders := r.intruders("host-b")
	before := r.everything()
	paths := append(hostdoor.Paths(), hostlink.PathFollow)
	for what, i := range intruders {
		code := map[bool]string{true: hostlink.CodeEvicted, false: hostlink.CodeRefused}[i.evicted]
		h := &host{t: t, replica: r, http: i.by, address: r.address}
		put := r.putDown(i.why)
		for _, path := range paths {
			var body any = struct{}{}
			if of := a.attempts(secret, time.Now(), "none", a.lease)[path]; of != nil {
				body = of
			}
			status, answer := h.ask(path, body)
			var e hostlink.ErrorAnswer
			must(t, json.Unmarshal([]byte(answer), &e))
			if status != http.StatusForbidden || e.Code != code {
				t.Errorf("%s, %s: %d %s", what, path, status, answer)
			}
			for _, leak := range []string{"only for a", "mine", "host-a", secret.ID, "certificate", "expired", "authority"} {
				if strings.Contains(answer, leak) {
					t.Errorf("%s, %s tells %q: %s", what, path, leak, answer)
				}
			}
		}
		if n := r.putDown(i.why) - put; n < len(paths) {
			t.Errorf("%s was refused %d times, and put down %d times", what, len(paths), n)
		}
	}
	if !maps.Equal(before, r.everything()) {
		t.Error("a stranger has changed something")
	}
}

// A host has no certificate made but its own.
func TestRenewForAnother(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.join("host-b")
	before := r.everything()
	for _, name := range []string{"host-b", "nobody"} {
		_, request := requestOf(t, name)
		status, answer := a.ask(hostlink.PathRenew, hostlink.RenewRequest{Request: request})
		if want := `{"code":"Refused","message":"refused; the log of the replica says why"}`; status != http.StatusForbidden || strings.TrimSpace(answer) != want {
			t.Errorf("a certificate of %s: %d %s", name, status, answer)
		}
	}
	if n := r.putDown("its certificate request is for another host"); n < 2 {
		t.Errorf("two refusals were put down %d times", n)
	}
	if !maps.Equal(before, r.everything()) {
		t.Error("something was changed")
	}
	_, own := requestOf(t, "host-a")
	if status, answer := a.ask(hostlink.PathRenew, hostlink.RenewRequest{Request: own}); status != http.StatusOK {
		t.Errorf("its own: %d %s", status, answer)
	}
}

// A join token is good once, in time, and for its own host. Whatever else comes is refused and put down, without the token.
func TestRedeemOnce(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	by, err := hostcert.JoinTLS(r.invite("host-b"))
	must(t, err)
	stranger := &host{t: t, replica: r, http: &http.Client{Transport: &http.Transport{TLSClientConfig: by, ForceAttemptHTTP2: true}}, address: r.address}
	t.Cleanup(stranger.http.CloseIdleConnections)
	_, request := requestOf(t, "host-b")
	_, another := requestOf(t, "host-a")
	late := func() openimds.JoinToken {
		token := r.invite("host-b").Token
		value, err := records.Encode(records.JoinToken{Sum: token.Sum(), Until: time.Now()})
		must(t, err)
		_, err = r.store.Commit(t.Context(), store.Change{Key: records.JoinTokenKey("host-b"), Value: value, If: store.Whatever})
		must(t, err)
		return token
	}
	earlier := r.invite("host-b").Token
	good := r.invite("host-b").Token
	redeem := func(token openimds.JoinToken, request []byte) (int, string) {
		return stranger.ask(hostlink.PathRedeem, hostlink.RedeemRequest{Token: token, Request: request})
	}
	refuse := func(what, why string, token openimds.JoinToken, request []byte) {
		t.Helper()
		before, put := r.everything(), r.putDown(why)
		status, answer := redeem(token, request)
		if want := `{"code":"Refused","message":"refused; the log of the replica says why"}`; status != http.StatusForbidden || strings.TrimSpace(answer) != want {
			t.Errorf("%s: %d %s", what, status, answer)
		}
		if n := r.putDown(why) - put; n < 1 {
			t.Errorf("%s was put down %d times as %q", what, n, why)
		}
		if !maps.Equal(before, r.everything()) {
			t.Errorf("%s has changed something", what)
		}
	}
	refuse("no token", "its join token has not the form of one", "", request)
	refuse("a token without a request", "its certificate request cannot be read", good, []byte("no request"))
	refuse("a token for another host", "its join token is for another host than its certificate request", good, another)
	refuse("a token that was never made", "its join token is not the latest one", openimds.NewJoinToken("host-b"), request)
	refuse("a token in whose place another one was made", "its join token is not the latest one", earlier, request)
	if status, answer := redeem(good, request); status != http.StatusOK {
		t.Fatalf("the token: %d %s", status, answer)
	}
	_, others := requestOf(t, "host-b")
	refuse("a token for the second time, by another machine", "its join token was used", good, others)
	refuse("a token that is late", "its join token is late", late(), request)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.refused {
		if e.What != "JoinByToken" || e.Who != "nobody" || e.Source == "" || !e.When.Before(time.Now()) {
			t.Errorf("put down: %+v", e)
		}
		for _, token := range []openimds.JoinToken{good, earlier} {
			if strings.Contains(e.Failure, string(token)) {
				t.Errorf("a token is put down: %s", e.Failure)
			}
		}
	}
}
