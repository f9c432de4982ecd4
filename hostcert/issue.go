package hostcert

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Issued is a certificate, in PEM, of a host.
type Issued struct {
	Host        string
	Certificate []byte
}

// Redeem lets a machine join by a token and a certificate request (PKCS #10, DER): it is that host from then on, and
// what was that host before is none any more. A token is used up with it: of two that come by one, one joins. Within the
// token's time that one may come again with its key, as it does when the answer was lost. The error is a [Refused], or
// says that the store is away: then the token may be used up.
func (a *Authority) Redeem(ctx context.Context, token openimds.JoinToken, request []byte) (Issued, error) {
	host := token.Host()
	if host == "" || openimds.ValidateHost(host) != nil {
		return Issued{}, refuse("", "its join token has not the form of one")
	}
	csr, err := readRequest(request)
	if err != nil {
		return Issued{}, refuse(host, err.Error())
	}
	if !isOf(csr, host) {
		return Issued{}, refuse(host, "its join token is for another host than its certificate request")
	}
	now := a.cfg.Now()
	kept, err := a.cfg.Store.Get(ctx, records.JoinTokenKey(host))
	switch {
	case errors.Is(err, store.ErrNoRecord):
		return a.again(ctx, host, csr, token, now)
	case err != nil:
		return Issued{}, err
	}
	good, err := records.Decode[records.JoinToken](kept)
	if err != nil {
		return Issued{}, err
	}
	if subtle.ConstantTimeCompare(good.Sum, token.Sum()) != 1 {
		return Issued{}, refuse(host, "its join token is not the latest one that was made for it")
	}
	if late(good, now) {
		return Issued{}, refuse(host, "its join token is late")
	}
	issued, err := a.join(ctx, host, csr, kept, good, now)
	if errors.Is(err, errUsed) {
		return a.again(ctx, host, csr, token, now)
	}
	return issued, err
}

// errUsed says that a token was used, or made anew, at the same moment.
var errUsed = errors.New("the join token is another, or none, by now")

// again makes another certificate for a machine that has joined by that token and key.
func (a *Authority) again(ctx context.Context, host string, csr *x509.CertificateRequest, token openimds.JoinToken, now time.Time) (Issued, error) {
	used := refuse(host, "its join token was used, or never made")
	switch _, err := a.cfg.Store.Get(ctx, records.JoinTokenKey(host)); {
	case err == nil:
		return Issued{}, refuse(host, "its join token was made anew")
	case !errors.Is(err, store.ErrNoRecord):
		return Issued{}, err
	}
	r, err := a.cfg.Store.Get(ctx, records.EnrolledKey(host))
	if errors.Is(err, store.ErrNoRecord) {
		return Issued{}, used
	}
	if err != nil {
		return Issued{}, err
	}
	e, err := records.Decode[records.Enrolled](r)
	by := e.Redeemed
	if err != nil || by == nil || subtle.ConstantTimeCompare(by.Sum, token.Sum()) != 1 || subtle.ConstantTimeCompare(by.Key, sumOf(csr)) != 1 {
		return Issued{}, used
	}
	if late(by.JoinToken, now) {
		return Issued{}, refuse(host, "its join token was used, and is late")
	}
	return a.Renew(ctx, Host{Name: host, Enrolment: e.ID}, csr.Raw)
}

// isOf says whether a request is for a certificate of that host.
func isOf(csr *x509.CertificateRequest, host string) bool {
	return csr.Subject.CommonName == commonName(host) && len(csr.URIs) == 1 && csr.URIs[0].String() == uriOf(host).String()
}

// sumOf is what is kept of a request's public key.
func sumOf(csr *x509.CertificateRequest) []byte {
	sum := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	return sum[:]
}

// late says whether a token is good no more. A clock that was put back since makes it good for no longer than any may be;
// those of two replicas differ a bit.
func late(token records.JoinToken, now time.Time) bool {
	return !now.Before(token.Until) || token.Until.After(now.Add(openimds.MaxJoinTime+early))
}

// join makes the host's certificate and enrols it, in the commit that uses the token up.
func (a *Authority) join(ctx context.Context, host string, csr *x509.CertificateRequest, token store.Record, good records.JoinToken, now time.Time) (Issued, error) {
	e := records.Enrolled{ID: openimds.NewUUID(), JoinedAt: now.UTC(), Redeemed: &records.Redeemed{JoinToken: good, Key: sumOf(csr)}}
	issued, err := a.sign(host, e.ID, csr, now)
	if err != nil {
		return Issued{}, err
	}
	e.CertificateEnds = issued.ends
	value, err := records.Encode(e)
	if err != nil {
		return Issued{}, err
	}
	for {
		changes := []store.Change{{Verb: store.Delete, Key: token.Key, If: token.Revision}}
		former, err := a.cfg.Store.Get(ctx, records.EnrolledKey(host))
		put := store.Change{Key: records.EnrolledKey(host), Value: value, If: store.IfAbsent}
		switch {
		case err == nil:
			put.If = former.Revision
			// Of a record that cannot be read nobody knows whose it was, and it keeps no machine from joining.
			if was, err := records.Decode[records.Enrolled](former); err == nil {
				end, err := was.End(host)
				if err != nil {
					return Issued{}, err
				}
				changes = append(changes, end)
			}
		case !errors.Is(err, store.ErrNoRecord):
			return Issued{}, err
		}
		_, err = a.cfg.Store.Commit(ctx, append(changes, put)...)
		if !errors.Is(err, store.ErrConflict) {
			return issued.Issued, err
		}
		now, err := a.cfg.Store.Get(ctx, token.Key)
		switch {
		case errors.Is(err, store.ErrNoRecord), err == nil && now.Revision != token.Revision:
			return Issued{}, errUsed
		case err != nil:
			return Issued{}, err
		} // else the machine that has the name has renewed its certificate meanwhile
	}
}

// Renew gives a host another certificate, for the key that signs the request (PKCS #10, DER). The error is a
// [Refused], or says that the store is away.
func (a *Authority) Renew(ctx context.Context, host Host, request []byte) (Issued, error) {
	csr, err := readRequest(request)
	if err != nil {
		return Issued{}, refuse(host.Name, err.Error())
	}
	if !isOf(csr, host.Name) {
		return Issued{}, refuse(host.Name, "its certificate request is for another host")
	}
	issued, err := a.sign(host.Name, host.Enrolment, csr, a.cfg.Now())
	if err != nil {
		return Issued{}, err
	}
	for {
		r, err := a.cfg.Store.Get(ctx, records.EnrolledKey(host.Name))
		if err != nil && !errors.Is(err, store.ErrNoRecord) {
			return Issued{}, err
		}
		var e records.Enrolled
		if err == nil {
			if e, err = records.Decode[records.Enrolled](r); err != nil {
				return Issued{}, err
			}
		}
		if e.ID == "" || e.ID != host.Enrolment {
			return Issued{}, refuse(host.Name, "it was evicted, or joined anew, while it renewed its certificate")
		}
		e.CertificateEnds = issued.ends
		value, err := records.Encode(e)
		if err != nil {
			return Issued{}, err
		}
		_, err = a.cfg.Store.Commit(ctx, store.Change{Key: r.Key, Value: value, If: r.Revision})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		return issued.Issued, err
	}
}

// signed is a certificate, and when it ends.
type signed struct {
	Issued
	ends time.Time
}

func (a *Authority) sign(host, enrolment string, csr *x509.CertificateRequest, now time.Time) (signed, error) {
	template := hostTemplate(host, enrolment, now, a.cfg.Life)
	der, err := a.issue(template, csr.PublicKey)
	return signed{Issued{Host: host, Certificate: encodeCertificate(der)}, template.NotAfter.UTC()}, err
}

// issue signs a certificate, which never outlives the authority's.
func (a *Authority) issue(template *x509.Certificate, public any) (der []byte, err error) {
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	template.BasicConstraintsValid = true
	if end := a.own.certificate.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
	}
	if !template.NotAfter.After(template.NotBefore.Add(early)) {
		return nil, errors.New("the certificate of the hosts' authority has expired; give a new one with --hosts-ca and enroll the hosts again")
	}
	return x509.CreateCertificate(rand.Reader, template, a.own.certificate, public, a.own.key)
}
