package hostcert_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TestJoin: a machine joins at one replica, is known at another, renews its certificate, and is the same after a start.
func TestJoin(t *testing.T) {
	f := newFixture(t)
	one, two := f.replica(), f.replica()
	dir := t.TempDir()
	invitation := f.invite(one, "host-17")
	id, err := hostcert.Join(t.Context(), dir, invitation, carry(one))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*hostcert.Authority{one, two} {
		host, err := f.hostOf(a, id.ClientTLS())
		if err != nil || host.Name != "host-17" || !host.Ends.Equal(id.Ends()) {
			t.Fatalf("the host is %+v, %v", host, err)
		}
	}
	first := id.Ends()
	id.Now = f.clock
	for _, want := range []bool{false, true} {
		if id.Due() != want {
			t.Errorf("a certificate to %s is to be renewed at %s: %t", first, f.clock(), !want)
		}
		f.step(map[bool]time.Duration{false: 12 * time.Hour}[want])
	}
	client := id.ClientTLS() // made before, and used on
	renew := func(ctx context.Context, request []byte) ([]byte, error) {
		host, err := f.hostOf(two, client)
		if err != nil {
			return nil, err
		}
		issued, err := two.Renew(ctx, host, request)
		return issued.Certificate, err
	}
	if err := id.Renew(t.Context(), renew); err != nil || !id.Ends().After(first) {
		t.Fatalf("renewed to %s from %s: %v", id.Ends(), first, err)
	}
	f.step(13 * time.Hour) // the first one has ended by then
	if _, err := f.hostOf(one, client); err != nil {
		t.Error(err)
	}
	r, err := f.store.Get(t.Context(), records.EnrolledKey("host-17"))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := records.Decode[records.Enrolled](r); err != nil || !e.CertificateEnds.Equal(id.Ends()) {
		t.Errorf("kept of the host is %+v, %v", e, err)
	}
	again, err := hostcert.OpenIdentity(dir)
	if err != nil || again == nil || again.Host() != "host-17" || !again.Ends().Equal(id.Ends()) {
		t.Fatalf("after a start it is %+v, %v", again, err)
	}
	info, err := os.Stat(filepath.Join(dir, hostcert.IdentityFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the identity's file: %v, %v", info, err)
	}
	// A machine that is started again with its join file has joined.
	never := func(context.Context, openimds.JoinToken, []byte) ([]byte, error) {
		t.Error("the used token is sent again")
		return nil, errors.New("used")
	}
	if same, err := hostcert.Join(t.Context(), dir, invitation, never); err != nil || !same.Ends().Equal(id.Ends()) {
		t.Errorf("joining once more: %v", err)
	}
	if none, err := hostcert.OpenIdentity(t.TempDir()); none != nil || err != nil {
		t.Errorf("where nobody has joined: %v, %v", none, err)
	}
}

// TestEvicted: an evicted host is nobody at once and everywhere, what it has begun ends, and it comes back only by
// a new token, under which its former certificate stays void.
func TestEvicted(t *testing.T) {
	f := newFixture(t)
	one, two := f.replica(), f.replica()
	id, other := f.join(one, "host-1"), f.join(two, "host-2")
	first, err := f.hostOf(one, id.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	host, err := f.hostOf(two, id.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	stays, err := f.hostOf(two, other.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	f.evict("host-1")
	for _, begun := range []hostcert.Host{first, host} {
		select {
		case <-begun.Void:
		case <-time.After(patience):
			t.Fatal("what the evicted host has begun goes on")
		}
	}
	for _, a := range []*hostcert.Authority{one, two} {
		_, err := f.hostOf(a, id.ClientTLS())
		refused(t, err, "host-1", "evicted")
	}
	_, err = two.Renew(t.Context(), host, request(t, "host-1", nil))
	refused(t, err, "host-1", "evicted")
	back := f.join(one, "host-1")
	if _, err := f.hostOf(two, back.ClientTLS()); err != nil {
		t.Errorf("with a new token: %v", err)
	}
	_, err = f.hostOf(two, id.ClientTLS())
	refused(t, err, "host-1", "from before")
	_, err = two.Renew(t.Context(), host, request(t, "host-1", nil))
	refused(t, err, "host-1", "joined anew")
	select {
	case <-stays.Void:
		t.Error("another host was evicted with it")
	default:
	}
}

// TestNotEvicted: what the store has lost, or what cannot be read, lets nobody in and says of nobody that it was evicted:
// only an enrolment that was ended on purpose does.
func TestNotEvicted(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	early := f.join(a, "host-1")
	was, err := f.store.Get(t.Context(), records.EnrolledKey("host-1"))
	if err != nil {
		t.Fatal(err)
	}
	late := f.join(a, "host-1")
	is, err := f.store.Get(t.Context(), records.EnrolledKey("host-1"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(c store.Change) {
		t.Helper()
		c.Key, c.If = records.EnrolledKey("host-1"), store.Whatever
		if _, err := f.store.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what    string
		store   store.Change
		id      *hostcert.Identity
		refused bool
		evicted bool
	}{
		{"joined anew", store.Change{Value: is.Value}, early, true, true},
		{"from before it joined", store.Change{Verb: store.Delete}, late, true, false},
		{"from before it joined, evicted since", store.Change{Verb: store.Delete}, early, true, true},
		{"from before it joined anew", store.Change{Value: was.Value}, late, true, false},
		{"of another form", store.Change{Value: []byte(`{"id":5}`)}, late, false, false},
		{"damaged", store.Change{Value: []byte("\x00")}, early, false, false},
		{"mended", store.Change{Value: is.Value}, late, false, false},
	} {
		put(c.store)
		_, err := f.hostOf(f.replica(), c.id.ClientTLS()) // which has seen nothing before
		r, refused := errors.AsType[*hostcert.Refused](err)
		if refused != c.refused || refused && r.Evicted != c.evicted || (err == nil) != (c.what == "mended") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// TestJoinedAnew: the machine that had a name is nobody once another one has joined by it.
func TestJoinedAnew(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	early := f.join(a, "host-1")
	host, err := f.hostOf(a, early.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	late := f.join(a, "host-1")
	if _, err := f.hostOf(a, late.ClientTLS()); err != nil {
		t.Error(err)
	}
	select {
	case <-host.Void:
	case <-time.After(patience):
		t.Error("what the former machine has begun goes on")
	}
	_, err = f.hostOf(a, early.ClientTLS())
	refused(t, err, "host-1", "from before")
}

// request is one for a certificate.
func request(t *testing.T, host string, change func(*x509.CertificateRequest)) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: host}, URIs: []*url.URL{{Scheme: "openimds", Host: "host", Path: "/" + host}}}
	if change != nil {
		change(r)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestTokens: a token lets one machine join, in its time, under its name.
func TestTokens(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	for name, c := range map[string]struct {
		do   func(i openimds.Invitation) (openimds.JoinToken, []byte)
		host string
		why  string
	}{
		"used": {func(i openimds.Invitation) (openimds.JoinToken, []byte) {
			if _, err := a.Redeem(t.Context(), i.Token, request(t, "host-1", nil)); err != nil {
				t.Error(err)
			}
			return i.Token, request(t, "host-1", nil)
		}, "host-1", "was used"},
		"late": {func(i openimds.Invitation) (openimds.JoinToken, []byte) {
			f.step(time.Hour)
			return i.Token, request(t, "host-1", nil)
		}, "host-1", "late"},
		"the clock put back": {func(i openimds.Invitation) (openimds.JoinToken, []byte) {
			f.step(-6 * time.Minute)
			return i.Token, request(t, "host-1", nil)
		}, "host-1", "late"},
		"an earlier one": {func(i openimds.Invitation) (openimds.JoinToken, []byte) {
			f.invite(a, "host-1")
			return i.Token, request(t, "host-1", nil)
		}, "host-1", "not the latest"},
		"a guess": {func(openimds.Invitation) (openimds.JoinToken, []byte) {
			return "host-1/guess", request(t, "host-1", nil)
		}, "host-1", "not the latest"},
		"of nobody": {func(openimds.Invitation) (openimds.JoinToken, []byte) {
			return "host-9/guess", request(t, "host-9", nil)
		}, "host-9", "never made"},
		"no form":          {func(openimds.Invitation) (openimds.JoinToken, []byte) { return "", request(t, "host-1", nil) }, "", "form"},
		"a path":           {func(openimds.Invitation) (openimds.JoinToken, []byte) { return "../x/guess", request(t, "host-1", nil) }, "", "form"},
		"for another name": {func(i openimds.Invitation) (openimds.JoinToken, []byte) { return i.Token, request(t, "host-2", nil) }, "host-1", "another host"},
		"a name in disguise": {func(i openimds.Invitation) (openimds.JoinToken, []byte) {
			return i.Token, request(t, "host-1", func(r *x509.CertificateRequest) { r.URIs[0].Path = "/host-2" })
		}, "host-1", "another host"},
		"two names": {func(i openimds.Invitation) (openimds.JoinToken, []byte) {
			return i.Token, request(t, "host-1", func(r *x509.CertificateRequest) {
				r.URIs = append(r.URIs, &url.URL{Scheme: "openimds", Host: "host", Path: "/host-2"})
			})
		}, "host-1", "another host"},
		"garbage":   {func(i openimds.Invitation) (openimds.JoinToken, []byte) { return i.Token, []byte("garbage") }, "host-1", "cannot be read"},
		"too large": {func(i openimds.Invitation) (openimds.JoinToken, []byte) { return i.Token, make([]byte, 1<<20) }, "host-1", "too large"},
		"not its key": {func(i openimds.Invitation) (openimds.JoinToken, []byte) {
			der := request(t, "host-1", nil)
			der[len(der)-1] ^= 1
			return i.Token, der
		}, "host-1", "not signed"},
		"a weak key": {func(i openimds.Invitation) (openimds.JoinToken, []byte) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "host-1"}}, key)
			if err != nil {
				t.Fatal(err)
			}
			return i.Token, der
		}, "host-1", "P-256"},
	} {
		t.Run(name, func(t *testing.T) {
			token, der := c.do(f.invite(a, "host-1"))
			issued, err := a.Redeem(t.Context(), token, der)
			refused(t, err, c.host, c.why)
			if issued.Certificate != nil {
				t.Error("there is a certificate for it")
			}
		})
	}
}

// TestTokenOnce: of many that come by one token at the same moment, at two replicas, just one gets in.
func TestTokenOnce(t *testing.T) {
	f := newFixture(t)
	replicas := []*hostcert.Authority{f.replica(), f.replica()}
	for round := range 20 {
		i := f.invite(replicas[0], "host-1")
		const machines = 6
		all := make([]error, machines)
		ids := make([]*hostcert.Identity, machines)
		var joining sync.WaitGroup
		for n := range machines {
			dir := t.TempDir()
			joining.Go(func() { ids[n], all[n] = hostcert.Join(t.Context(), dir, i, carry(replicas[n%2])) })
		}
		joining.Wait()
		joined := 0
		for n, err := range all {
			if err != nil {
				if _, ok := errors.AsType[*hostcert.Refused](err); !ok {
					t.Fatal(err)
				}
				continue
			}
			joined++
			if _, err := f.hostOf(replicas[round%2], ids[n].ClientTLS()); err != nil {
				t.Error(err)
			}
		}
		if joined != 1 {
			t.Fatalf("%d machines have joined by one token", joined)
		}
	}
}

// TestLateRead: what a replica has read of a host before it was evicted, and gets after it has heard of that, brings
// nobody back. Whoever has a certificate of an earlier enrolment could have it read at any time.
func TestLateRead(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	before, now := f.join(a, "host-1"), f.join(a, "host-1")
	var host hostcert.Host
	let := func(id *hostcert.Identity) (err error) {
		host, err = f.hostOf(a, id.ClientTLS())
		return err
	}
	if err := let(now); err != nil {
		t.Fatal(err)
	}
	read := false
	f.mu.Lock()
	f.late = func(store.Record) {
		if read {
			return
		}
		read = true
		f.evict("host-1")
		select {
		case <-host.Void:
		case <-time.After(patience):
			t.Error("the replica does not hear of the eviction")
		}
	}
	f.mu.Unlock()
	if err := let(before); err == nil {
		t.Error("a host comes in by an earlier enrolment")
	}
	if !read {
		t.Fatal("nothing was read")
	}
	refused(t, let(now), "host-1", "evicted")
	again := f.join(a, "host-1")
	if err := let(again); err != nil {
		t.Errorf("the host has joined again: %v", err)
	}
}

// TestLateReadBeforeListing: the same where the replica hears of it by a listing, in which the host is not any more.
func TestLateReadBeforeListing(t *testing.T) {
	f := newFixture(t)
	a := f.unfollowing()
	host := f.join(a, "host-1")
	read := false
	f.mu.Lock()
	f.late = func(store.Record) {
		if read {
			return
		}
		read = true
		f.evict("host-1")
		f.follow(a)
		// Once it has heard of another host by its watch, it has listed before.
		other := f.join(a, "host-2")
		got, err := f.hostOf(a, other.ClientTLS())
		if err != nil {
			t.Error(err)
			return
		}
		f.evict("host-2")
		select {
		case <-got.Void:
		case <-time.After(patience):
			t.Error("the replica does not follow")
		}
	}
	f.mu.Unlock()
	_, err := f.hostOf(a, host.ClientTLS())
	if !read {
		t.Fatal("nothing was read")
	}
	if err == nil {
		t.Error("the request that waited for the store is let in")
	}
	_, err = f.hostOf(a, host.ClientTLS())
	refused(t, err, "host-1", "evicted")
}

// TestVoidAsksSeldom: a void certificate costs the store little, however often it is shown, and whoever has joined since
// is let in meanwhile.
func TestVoidAsksSeldom(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	before, now := f.join(a, "host-1"), f.join(a, "host-1")
	if _, err := f.hostOf(a, now.ClientTLS()); err != nil {
		t.Fatal(err)
	}
	reads := 0
	f.mu.Lock()
	f.late = func(store.Record) { reads++ }
	f.mu.Unlock()
	state, err := connect(t, a, before.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	const shown = 5000
	for range shown {
		if _, err := a.HostOf(t.Context(), state); err == nil {
			t.Fatal("a void certificate opens")
		}
	}
	if reads == 0 || reads > shown/10 {
		t.Errorf("a certificate that was shown %d times had the store read %d times", shown, reads)
	}
	if _, err := f.hostOf(a, now.ClientTLS()); err != nil {
		t.Errorf("the host itself: %v", err)
	}
}

// TestRenewedByAWrongClock: a certificate that is not good by this host's clock never takes the place of one that is, of
// which nobody but the replica that is wrong would let it in.
func TestRenewedByAWrongClock(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	id := f.join(a, "host-1")
	id.Now = f.clock
	f.step(12 * time.Hour)
	host, err := f.hostOf(a, id.ClientTLS())
	if err != nil {
		t.Fatal(err)
	}
	before := id.Ends()
	for _, wrong := range []time.Duration{-48 * time.Hour, 6 * time.Hour, 0} {
		elsewhen, err := hostcert.Open(t.Context(), hostcert.Config{Store: f.store, Now: func() time.Time { return f.clock().Add(wrong) }})
		if err != nil {
			t.Fatal(err)
		}
		err = id.Renew(t.Context(), func(ctx context.Context, request []byte) ([]byte, error) {
			issued, err := elsewhen.Renew(ctx, host, request)
			return issued.Certificate, err
		})
		if took := !id.Ends().Equal(before); took != (wrong == 0) || took != (err == nil) {
			t.Errorf("by a replica whose clock is wrong by %s: it has a certificate to %s, had one to %s: %v", wrong, id.Ends(), before, err)
		}
		if _, err := f.hostOf(a, id.ClientTLS()); err != nil {
			t.Errorf("after that it is not let in: %v", err)
		}
	}
}
