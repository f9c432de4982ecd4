// Package engine keeps what is counted in an engine that speaks Prometheus: a [Writer] tells it what a history has in its
// store, by remote write, and a [Reader] asks it what all histories counted, by PromQL. Prometheus, VictoriaMetrics and
// Mimir are such engines.
//
// A sample of a history, which is how often something was counted of an instance in one [openimds.MetricPeriod], is told
// as values of the series
//
//	openimds_period_calls{installation, host, writer, instance_id, metric}
//	openimds_period_watched{installation, host, writer, instance_id}
//
// at times within that period: of the first, the count so far while the period is under way, and what it came to
// afterwards, unless it is zero; of the second a 1 when there is a sample, and a 2 when all of it has been told. So the
// largest value of a period is the sample, whichever of them arrive, in which order and how often; a period that nobody
// watched has no sample, which is not a zero, and one that is past and never came to a 2 is not known as a whole. A counter
// that goes on from period to period could not do this: what is lost of it, or comes late, changes the counts of other
// periods, and its growth between two moments is an estimate.
//
// The time of what a period came to is made of the period and the count, so that it is the same however often it is said,
// and a corrected count has another time: engines keep but one value of a time, or refuse the second. There is one time for
// each millisecond of a minute, so a correction by a multiple of 59,999 would find it taken. What is counted anew after a
// crash is another writer's only if its store is another one. Each writer's samples add up.
package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage/history"
)

// Calls and Watched are the names of the series that a [Writer] tells of.
const (
	Calls   = "openimds_period_calls"
	Watched = "openimds_period_watched"
)

// countNames are the values of the label metric, by their places in [history.Counts]: behind the metrics, that a process
// which counted in the sample was killed, so that there may have been more calls.
var countNames = append(openimds.Metrics(), "Incomplete")

const incomplete = len(history.Counts{}) - 1

// What Watched says of a sample: that there is one, and that all of it has been told.
const (
	isThere  = 1
	isClosed = 2
)

const (
	sampleSeconds = int64(openimds.MetricPeriod / time.Second)
	samplesPerDay = 24 * 60 * 60 / sampleSeconds
)

func sampleNumber(t time.Time) int64 { return t.Unix() / sampleSeconds }

// Access says how an engine is reached, and who asks.
type Access struct {
	// CA is a file (PEM) with the certificates by which the engine is known; empty: those of this machine.
	CA string
	// TokenFile has a bearer token, and PasswordFile the password of User; at most one of the two. They are read again for
	// each request.
	TokenFile, User, PasswordFile string
}

// maxSecret is the most that a file with a secret has.
const maxSecret = 64 << 10

// ErrClear says that a secret could be read on the way to the engine.
var ErrClear = errors.New("a token or a password would go to another machine in the clear; use https")

// Validate refuses what cannot be used to reach that URL, without reading a file.
func (a *Access) Validate(target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("it is not a URL; write it as https://host/path") // it may hold a secret
	}
	switch {
	case u.User != nil:
		return errors.New("it has a user in it, which others can read in the list of processes; leave it out")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("it has more than a path; write it as https://host/path")
	case (a.User == "") != (a.PasswordFile == ""):
		return errors.New("the user and the file of the password belong together")
	case a.User != "" && a.TokenFile != "":
		return errors.New("give a token or a user, not both")
	case u.Scheme == "http" && (a.User != "" || a.TokenFile != "") && !loopback(u.Hostname()):
		return ErrClear
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// Check finds out whether the files can be used, as they are now.
func (a *Access) Check() error {
	if _, err := a.tls(); err != nil {
		return err
	}
	return a.authorize(&http.Request{Header: http.Header{}})
}

func (a *Access) tls() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.CA == "" {
		return settings, nil
	}
	text, _, err := safefile.Read(a.CA, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificates by which the engine of the metrics is known: %w", err)
	}
	settings.RootCAs = x509.NewCertPool()
	if !settings.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate (PEM)", a.CA)
	}
	return settings, nil
}

// authorize says in a request who asks.
func (a *Access) authorize(r *http.Request) error {
	file := a.TokenFile
	if a.User != "" {
		file = a.PasswordFile
	}
	if file == "" {
		return nil
	}
	text, _, err := safefile.ReadPrivate(file, maxSecret)
	if err != nil {
		return fmt.Errorf("cannot read the secret for the engine of the metrics: %w", err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return fmt.Errorf("%s has to have one line, the secret for the engine of the metrics", file)
	}
	if a.User != "" {
		r.SetBasicAuth(a.User, secret)
	} else {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	return nil
}

// caller makes requests of one engine.
type caller struct {
	access Access
	client *http.Client
}

func (a *Access) caller() (*caller, error) {
	settings, err := a.tls()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = settings
	return &caller{*a, &http.Client{
		Transport: transport,
		// What a redirect points at was not chosen by the operator, and would be given the secret.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// statusError is an answer that is none.
type statusError struct {
	status int
	after  time.Duration // to wait, if it says so
	said   string
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("it answered %d", e.status)
	if e.said != "" {
		text += fmt.Sprintf(" %q", e.said)
	}
	return text
}

// maxSaid is the most that is repeated of what an engine says is wrong.
const maxSaid = 300

// maxAfter is the longest that an engine can have itself waited for.
const maxAfter = 5 * time.Minute

// post returns the body of a good answer, to be closed.
func (c *caller) post(ctx context.Context, target string, header http.Header, body io.Reader) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, body)
	if err != nil {
		return nil, err
	}
	r.Header = header
	r.Header.Set("User-Agent", "openimds")
	if err := c.access.authorize(r); err != nil {
		return nil, err
	}
	answer, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 == 2 {
		return answer.Body, nil
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxSaid))
	failed := &statusError{status: answer.StatusCode, said: strings.ToValidUTF8(strings.TrimSpace(string(text)), "")}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
		failed.after = min(max(time.Duration(seconds)*time.Second, 0), maxAfter)
	}
	return nil, failed
}

// installationKey has what the writers of one installation have in common, and nobody else.
const installationKey = "usage/installation"

// Installation is the name by which the series of an installation are known, which is made for a new one. The store is
// what its servers share.
func Installation(ctx context.Context, s store.Store) (string, error) {
	r, err := s.Get(ctx, installationKey)
	if errors.Is(err, store.ErrNoRecord) {
		name := NewName()
		_, err = s.Commit(ctx, store.Change{Verb: store.Put, Key: installationKey, Value: []byte(name), If: store.IfAbsent})
		if err == nil {
			return name, nil
		}
		r, err = s.Get(ctx, installationKey) // another server was faster
	}
	return string(r.Value), err
}
