package credentials

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
)

// Times of fetching. EC2 has a new set each hour and promises it 5 minutes before the old one ends
// (EC2 user guide, "Retrieve security credentials from instance metadata").
const (
	aheadOfExpiry = 5 * time.Minute
	fetchTime     = 30 * time.Second // one attempt
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
}

// run fetches the set again and again. What was fetched stands until it ends, whatever fails later.
func (h *held) run(ctx context.Context, in *openimds.Instance, log *slog.Logger) {
	retry := firstRetry
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
			log.Warn("role credentials cannot be fetched", "source", h.key.source.name, "instance", in.Name, "error", err, "retry", retry)
			wait, retry = jitter(retry), min(2*retry, lastRetry)
		default:
			h.failed.Store(nil)
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
	attempt, done := context.WithTimeout(ctx, fetchTime)
	defer done()
	fetched, err := h.key.source.fetch(attempt, in, h.key.set)
	if err != nil {
		return 0, err
	}
	now := h.now().UTC().Truncate(time.Second)
	c := &openimds.RoleCredentials{
		Code:            openimds.CredentialsSuccess,
		Type:            "AWS-HMAC",
		AccessKeyID:     fetched.AccessKeyID,
		SecretAccessKey: openimds.Secret(fetched.SecretAccessKey),
		Token:           openimds.Secret(fetched.SessionToken),
		LastUpdated:     now,
		// Keys without an end are dressed as a set that is renewed like all others.
		Expiration: now.Add(lifetime),
	}
	if fetched.CanExpire {
		c.Expiration = fetched.Expires.UTC()
	}
	h.current.Store(c)
	return refreshIn(c.Expiration.Sub(now)), nil
}

// refreshIn is how long a set that lives for life is served before the next one is fetched: about an
// hour, but well before the end, and for sets that live only minutes half their life. It varies, so
// that the hosts of a fleet do not all ask at once.
func refreshIn(life time.Duration) time.Duration {
	wait := min(rotation, max(life-2*aheadOfExpiry, life/2))
	return max(jitter(wait), time.Second)
}

// jitter takes up to a tenth off a duration.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - rand.N(d/10+1)
}
