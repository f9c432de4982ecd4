package credentials

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/credentials/generated"
)

// Times of fetching. EC2 has a new set each hour and promises it 5 minutes before the old one ends
// (EC2 user guide, "Retrieve security credentials from instance metadata").
const (
	aheadOfExpiry = 5 * time.Minute
	fetchTime     = 30 * time.Second // one attempt
	endTime       = time.Second      // for one to end that was given up
	firstRetry    = 2 * time.Second
	lastRetry     = 2 * time.Minute
	// lookAtClock is how long a wait goes on without a look whether the clock was set.
	lookAtClock = time.Minute
)

// held is one set that is kept fresh.
type held struct {
	key   key
	users int // instances; under the lock of Sources
	stop  context.CancelFunc
	now   func() time.Time

	tried    chan struct{} // closed after the first attempt
	firstErr error         // of that one

	current atomic.Pointer[openimds.RoleCredentials]
	failed  atomic.Pointer[time.Time] // of the latest attempt, if it failed

	hanging chan struct{} // of an attempt that did not end in its time: closed when it does; only fetch uses it
}

// run fetches the set again and again. What was fetched stands until it ends, whatever fails later.
func (h *held) run(ctx context.Context, in *openimds.Instance, tell *teller) {
	retry := firstRetry
	said := story{key: h.key, instance: in.Name}
	for first := true; ctx.Err() == nil; first = false {
		wait, err := h.fetch(ctx, in)
		if first {
			h.firstErr = err
			close(h.tried)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			now := h.now()
			h.failed.Store(&now)
			said.failed(tell, now, h.current.Load(), err)
			wait, retry = jitter(retry), min(2*retry, lastRetry)
			if c := h.current.Load(); c != nil && now.Before(c.Expiration) {
				wait = min(wait, c.Expiration.Sub(now)) // its end is not noticed late
			}
		default:
			h.failed.Store(nil)
			said.succeeded(tell, h.now())
			retry = firstRetry
		}
		h.wait(ctx, wait)
	}
}

// wait waits for as long as that, or until the clock on the wall says so: a clock that is set forward
// ends a set before its time, and the next one is due then.
func (h *held) wait(ctx context.Context, d time.Duration) {
	due := h.now().Round(0).Add(d) // without the reading that no setting of the clock moves
	for d > 0 && h.now().Round(0).Before(due) {
		step := min(d, lookAtClock)
		select {
		case <-ctx.Done():
			return
		case <-time.After(step):
		}
		d -= step
	}
}

// fetch makes one attempt and says when the next one is due.
func (h *held) fetch(ctx context.Context, in *openimds.Instance) (next time.Duration, err error) {
	fetched, err := h.attempt(ctx, in)
	if err != nil {
		return 0, ownWords(err)
	}
	if err := usable(fetched, h.now()); err != nil {
		return 0, err
	}
	now := h.now().UTC().Truncate(time.Second)
	c := &openimds.RoleCredentials{
		Code:            openimds.CredentialsSuccess,
		Type:            "AWS-HMAC",
		AccountID:       fetched.AccountID,
		AccessKeyID:     fetched.AccessKeyID,
		SecretAccessKey: openimds.Secret(fetched.SecretAccessKey),
		Token:           openimds.Secret(fetched.SessionToken),
		LastUpdated:     now,
		// Keys without an end are dressed as a set that is renewed like all others.
		Expiration: now.Add(generated.Lifetime),
	}
	if fetched.CanExpire {
		c.Expiration = fetched.Expires.UTC()
	}
	h.current.Store(c)
	return refreshIn(c.Expiration.Sub(now)), nil
}

// attempt asks the source. One that obeys no context is left behind: it must hold up neither the end of
// the program nor another attempt, which is not begun before that one has ended.
func (h *held) attempt(ctx context.Context, in *openimds.Instance) (aws.Credentials, error) {
	if h.hanging != nil {
		select {
		case <-h.hanging:
			h.hanging = nil
		default:
			return aws.Credentials{}, said("the attempt before has not ended yet")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	var keys aws.Credentials
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if fault := recover(); fault != nil {
				err = faultWords(fault)
			}
		}()
		keys, err = h.key.source.fetch(ctx, in, h.key.set)
	}()
	select {
	case <-ended:
		return keys, err
	case <-ctx.Done():
	}
	select {
	case <-ended:
		return keys, err
	case <-time.After(endTime):
		h.hanging = ended
		return aws.Credentials{}, ctx.Err()
	}
}

// usable refuses what no guest could use: it must not take the place of what there is.
func usable(c aws.Credentials, now time.Time) error {
	for _, part := range []struct {
		name, text string
		optional   bool
	}{
		{"access key id", c.AccessKeyID, false},
		{"secret access key", c.SecretAccessKey, false},
		{"session token", c.SessionToken, true},
	} {
		if part.text == "" && !part.optional {
			return sayf("the credentials have no %s", part.name)
		}
		if strings.ContainsFunc(part.text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return sayf("the credentials' %s has characters that none can have", part.name)
		}
	}
	if c.CanExpire && !c.Expires.After(now) {
		return sayf("the credentials that it gave ended at %s", c.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// refreshIn is how long a set that lives for life is served before the next one is fetched: about an
// hour, but well before the end, and for sets that live only minutes half their life. It varies, so
// that the hosts of a fleet do not all ask at once.
func refreshIn(life time.Duration) time.Duration {
	wait := min(generated.Rotation, max(life-2*aheadOfExpiry, life/2))
	return max(jitter(wait), time.Second)
}

// jitter takes up to a tenth off a duration.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - rand.N(d/10+1)
}
