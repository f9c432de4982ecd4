package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	// defaultAttempts is how often a request is sent at most unless the configuration says otherwise, as by
	// AWS's own tools.
	defaultAttempts = 3
	// The n-th pause is anything up to firstPause times 2^n, so that clients who failed together do not
	// come back together.
	firstPause = 100 * time.Millisecond
	// throttledPause is firstPause where the service has asked for patience.
	throttledPause = time.Second
	// longestPause is the most that any of them may be.
	longestPause = 20 * time.Second
)

// persist sends a request until there is an answer that another attempt cannot change for the better, or
// that it must not.
func (c *Client) persist(ctx context.Context, m message) ([]byte, error) {
	for n := 0; ; n++ {
		answer, err := c.send(ctx, m)
		pause, again := pauseAfter(err, m.changes)
		if !again || n == c.attempts-1 {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(rand.N(min(pause<<min(n, 10), longestPause))):
		}
	}
}

// pauseAfter says whether a request is sent once more. One that changes something is only if it was not
// carried out for certain.
func pauseAfter(err error, changes bool) (first time.Duration, again bool) {
	if refused, ok := errors.AsType[*Error](err); ok {
		if refused.Throttled() {
			return throttledPause, true
		}
		return firstPause, refused.Status >= http.StatusInternalServerError && (!changes || refused.nothingDone())
	}
	if lost, ok := errors.AsType[*Unreachable](err); ok && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return firstPause, lost.mayPass() && (!changes || lost.nothingSent())
	}
	return 0, false
}
