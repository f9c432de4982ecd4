package hostcert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"golang.org/x/time/rate"
)

// Config is what an [Authority] works with.
type Config struct {
	// Store is that of all regions: a host is one for all of them.
	Store store.Store
	// CAFile has the operator's own authority, a private key and its certificate in PEM; empty: the store keeps one,
	// which is made when there is none.
	CAFile string
	// Life of certificates; 0: [DefaultLife].
	Life time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Authority signs the certificates of hosts and replicas, and says whose one is. All replicas of a store are one
// authority; it is safe for use by many goroutines.
type Authority struct {
	cfg   Config
	own   pair
	roots *x509.CertPool

	mu sync.Mutex
	// enrolled is what the store last told of hosts, by their names, also of those that it told are enrolled no more:
	// what was read before that may come after it.
	enrolled map[string]enrolment
	// asks bounds how often the store is asked, by host, each of which has had a certificate of ours.
	asks map[string]*rate.Limiter
	// listed is the revision of the last listing, which told of all there was then.
	listed int64

	serving sync.Mutex
	served  *tls.Certificate // the replica's own
}

// enrolment is one that is known, and void once it ends; without an id it says since which revision there is none.
type enrolment struct {
	id       string
	revision int64
	void     chan struct{}
}

// Open makes the authority of an installation.
func Open(ctx context.Context, cfg Config) (*Authority, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Life == 0 {
		cfg.Life = DefaultLife
	}
	if cfg.Life < MinLife || cfg.Life > MaxLife {
		return nil, fmt.Errorf("the life of hosts' certificates is %s to %s, not %s", openimds.Brief(MinLife), openimds.Brief(MaxLife), openimds.Brief(cfg.Life))
	}
	a := &Authority{cfg: cfg, roots: x509.NewCertPool(), enrolled: map[string]enrolment{}, asks: map[string]*rate.Limiter{}}
	var err error
	if cfg.CAFile != "" {
		a.own, err = operatorsAuthority(cfg.CAFile)
	} else {
		a.own, err = keptAuthority(ctx, cfg.Store, cfg.Now())
	}
	if err != nil {
		return nil, err
	}
	a.roots.AddCert(a.own.certificate)
	return a, nil
}

// CertificatePEM is by what hosts know the replicas.
func (a *Authority) CertificatePEM() []byte { return encodeCertificate(a.own.certificate.Raw) }

// Run follows who is enrolled until the context ends, so that an enrolment that ends anywhere is void here.
func (a *Authority) Run(ctx context.Context) {
	store.Follow(ctx, a.cfg.Store, store.Follower{
		Prefix: records.EnrolledPrefix,
		Listed: func(_ context.Context, page store.Page) error {
			a.begin(page.Revision)
			there := make(map[string]bool, len(page.Records))
			for _, r := range page.Records {
				there[hostOf(r)] = true
				a.see(r)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			for host, e := range a.enrolled {
				if !there[host] && e.revision <= page.Revision {
					a.forget(host)
				}
			}
			a.listed = page.Revision
			return nil
		},
		Changed: func(_ context.Context, changes []store.Record) error {
			for _, r := range changes {
				a.see(r)
			}
			return nil
		},
		Log:  a.cfg.Log,
		Away: "who is a host cannot be followed; going by what was known last",
	})
}

func hostOf(r store.Record) string { return strings.TrimPrefix(r.Key, records.EnrolledPrefix) }

// see takes note of what the store says of one host, and returns what is known then. A record that cannot be read
// enrols nobody.
func (a *Authority) see(r store.Record) enrolment {
	host, id := hostOf(r), ""
	if r.Value != nil {
		if e, err := records.Decode[records.Enrolled](r); err == nil {
			id = e.ID
		} else if a.cfg.Log != nil {
			a.cfg.Log.Error("what is kept of a host cannot be read; it is not let in", "host", host, "error", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	known, was := a.enrolled[host]
	switch {
	case was && known.revision > r.Revision:
		return known // it was read since
	case !was && r.Revision <= a.listed:
		return enrolment{} // it was read before a listing in which it was not any more
	case id == "":
		a.forget(host)
		known = enrolment{revision: r.Revision}
	case was && known.id == id:
		known.revision = r.Revision
	default:
		a.forget(host)
		known = enrolment{id: id, revision: r.Revision, void: make(chan struct{})}
	}
	a.enrolled[host] = known
	return known
}

// begin forgets all if the store is back at an earlier state than was told last: its revisions count anew.
func (a *Authority) begin(revision int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if revision >= a.listed {
		return
	}
	for host := range a.enrolled {
		a.forget(host)
	}
	a.listed = 0
}

// forget ends what is known of a host. a.mu is held.
func (a *Authority) forget(host string) {
	if void := a.enrolled[host].void; void != nil {
		close(void)
	}
	delete(a.enrolled, host)
}

// Host is one that has proved that it is.
type Host struct {
	Name string
	// Void is closed when the enrolment ends by which it was let in.
	Void <-chan struct{}
	// Ends is when its certificate does: nothing that was begun by it goes on for longer.
	Ends time.Time

	// Enrolment is the id of that by which it was let in.
	Enrolment string
}

// HostOf says which host is at the other end of a connection, by its certificate. The error is a [Refused], or says
// that the store is away.
func (a *Authority) HostOf(ctx context.Context, state tls.ConnectionState) (Host, error) {
	if len(state.PeerCertificates) == 0 {
		return Host{}, refuse("", "it has no certificate")
	}
	c := state.PeerCertificates[0]
	host, ok := named(c)
	if !ok {
		return Host{}, refuse("", "its certificate is not a host's")
	}
	if err := a.verify(c); err != nil {
		return Host{}, refuse(host, err.Error())
	}
	// Last, so that nobody without a certificate of ours has the store asked.
	e, err := a.enrolment(ctx, host, c.Subject.SerialNumber)
	if err != nil {
		return Host{}, err
	}
	return Host{Name: host, Void: e.void, Ends: c.NotAfter, Enrolment: e.id}, nil
}

// verify says what is wrong with a certificate, for the log.
func (a *Authority) verify(c *x509.Certificate) error {
	now := a.cfg.Now()
	_, err := c.Verify(x509.VerifyOptions{Roots: a.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	invalid, known := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case err == nil:
		return nil
	case known && invalid.Reason == x509.Expired && now.Before(c.NotBefore):
		return errors.New("its certificate is not good yet; compare the clocks")
	case known && invalid.Reason == x509.Expired:
		return errors.New("its certificate has expired; enroll the host again")
	}
	return errors.New("its certificate is not of this installation's authority, or not for this use")
}

// enrolment is that of a host by whose id it has come. The store is asked where that is not what was known last: it
// may have joined a moment ago, at another replica.
func (a *Authority) enrolment(ctx context.Context, host, id string) (enrolment, error) {
	a.mu.Lock()
	e := a.enrolled[host]
	a.mu.Unlock()
	if id != "" && e.id == id {
		return e, nil
	}
	if !a.mayAsk(host) {
		return enrolment{}, ErrAskedTooOften
	}
	r, err := a.cfg.Store.Get(ctx, records.EnrolledKey(host))
	absent := errors.Is(err, store.ErrNoRecord)
	if err != nil && !absent {
		return enrolment{}, err
	}
	if !absent {
		if _, err := records.Decode[records.Enrolled](r); err != nil {
			return enrolment{}, fmt.Errorf("what is kept of the host %s cannot be read, so that it is not let in: %w", host, err)
		}
		if e = a.see(r); id != "" && e.id == id {
			return e, nil
		}
	}
	return enrolment{}, a.ended(ctx, host, id)
}

// How often the store is asked who a host is, a second and at once: by a void certificate that could be at each request.
const askRate, askBurst = 1, 20

// ErrAskedTooOften says that it is not known now who a host is.
var ErrAskedTooOften = errors.New("it was asked too often who this host is; ask again in a moment")

func (a *Authority) mayAsk(host string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.asks[host]
	if l == nil {
		l = rate.NewLimiter(askRate, askBurst)
		a.asks[host] = l
	}
	return l.Allow()
}

// ended is why an enrolment is none that is kept. That it was ended on purpose is said only where that stands: what the
// host has is deleted then, and that a store has no word of it may be the store's own loss.
func (a *Authority) ended(ctx context.Context, host, id string) error {
	if id != "" {
		_, err := a.cfg.Store.Get(ctx, records.EndedKey(host, id))
		if err == nil {
			return &Refused{Host: host, Why: "its certificate is from before it was evicted, or joined anew", Evicted: true}
		}
		if !errors.Is(err, store.ErrNoRecord) {
			return err
		}
	}
	return refuse(host, "it never joined, as far as the store knows; if that was put back to an earlier state, enroll the host again")
}
