package sigv4

import (
	"net/netip"
	"sync"
	"time"

	"github.com/openimds/openimds/api/front"
	"golang.org/x/time/rate"
)

// maxSources bounds the addresses that a limiter remembers.
const maxSources = 4096

// limiter counts wrong signatures by the address that they came from.
type limiter struct {
	perSecond float64 // 0: no limit

	mu      sync.Mutex
	sources map[netip.Addr]*rate.Limiter
}

// allow takes note of a wrong signature, and says whether the address is still within its limit.
func (l *limiter) allow(remoteAddr string, now time.Time) bool {
	if l.perSecond == 0 {
		return true
	}
	source := front.SourceOf(remoteAddr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sources == nil || len(l.sources) >= maxSources {
		// Whoever has that many addresses gains a fresh start; a right signature never waits.
		l.sources = make(map[netip.Addr]*rate.Limiter)
	}
	bucket := l.sources[source]
	if bucket == nil {
		bucket = rate.NewLimiter(rate.Limit(l.perSecond), 1+int(10*l.perSecond))
		l.sources[source] = bucket
	}
	return bucket.AllowN(now, 1)
}
