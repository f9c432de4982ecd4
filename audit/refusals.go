package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/front"
	"golang.org/x/time/rate"
)

// How much whoever has no key may have written of their refusals, in bytes: from one address, and in all
// (22 MB a day). The owners of keys have a measure of their own, so that nobody can hide what they try.
const (
	sourceBytes, sourceBytesAtOnce = 64, 16 << 10
	allBytes, allBytesAtOnce       = 256, 256 << 10
	keyBytes, keyBytesAtOnce       = 1 << 10, 64 << 10
)

// maxSources bounds the addresses and keys that are told apart, namedSources those that a line names.
const (
	maxSources   = 1024
	namedSources = 8
)

// missedTime is how long refusals without a line of their own wait for the line about them.
const missedTime = time.Minute

// Refusals tells the audit of requests that were refused for who asked, within bounds. What is beyond
// them is counted, and told in one line.
type Refusals struct {
	audit func(context.Context, ...openimds.AuditEntry) error
	now   func() time.Time

	mu      sync.Mutex
	all     *rate.Limiter
	sources map[string]*rate.Limiter
	missed  map[string]int
	more    int // missed, of sources that there was no room for
	timer   *time.Timer
	closed  bool
}

// NewRefusals makes refusals that are told to the function; the clock is time.Now unless one is given.
func NewRefusals(audit func(context.Context, ...openimds.AuditEntry) error, now func() time.Time) *Refusals {
	if now == nil {
		now = time.Now
	}
	return &Refusals{
		audit: audit, now: now, all: rate.NewLimiter(allBytes, allBytesAtOnce),
		sources: map[string]*rate.Limiter{}, missed: map[string]int{},
	}
}

// Tell tells of one refusal, of a request from e.Source. key is the verified key that signed it; empty:
// nobody knows who did.
func (r *Refusals) Tell(ctx context.Context, e openimds.AuditEntry, key string) {
	line, err := Line(e)
	if err != nil {
		return
	}
	source := sourceName(e.Source)
	if key != "" {
		source = "the key " + key
	}
	if r.allow(source, key != "", len(line)) {
		_ = r.audit(ctx, e) // refused it is, with or without a line
	}
}

func (r *Refusals) allow(source string, known bool, bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	bucket := r.sources[source]
	if bucket == nil {
		if len(r.sources) >= maxSources {
			clear(r.sources) // whoever has that many addresses gains a fresh start, within what all have
		}
		bucket = rate.NewLimiter(sourceBytes, sourceBytesAtOnce)
		if known {
			bucket = rate.NewLimiter(keyBytes, keyBytesAtOnce)
		}
		r.sources[source] = bucket
	}
	if bucket.AllowN(now, bytes) && (known || r.all.AllowN(now, bytes)) {
		return true
	}
	if _, there := r.missed[source]; there || len(r.missed) < maxSources {
		r.missed[source]++
	} else {
		r.more++
	}
	if r.timer == nil && !r.closed {
		r.timer = time.AfterFunc(missedTime, r.Flush)
	}
	return false
}

// Flush tells of the refusals that had no line until now.
func (r *Refusals) Flush() {
	r.mu.Lock()
	missed, more := r.missed, r.more
	r.missed, r.more = map[string]int{}, 0
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	now := r.now().UTC()
	r.mu.Unlock()
	if len(missed) == 0 {
		return
	}
	ctx, done := context.WithTimeout(context.Background(), missedTime)
	defer done()
	_ = r.audit(ctx, openimds.AuditEntry{When: now, Who: "openimds", What: "Refusals", Failure: summary(missed, more)})
}

// summary says how many refusals from where were not written, the most first.
func summary(missed map[string]int, more int) string {
	sources := slices.SortedFunc(maps.Keys(missed), func(a, b string) int {
		return cmp.Or(missed[b]-missed[a], strings.Compare(a, b))
	})
	var parts []string
	for _, source := range sources[:min(len(sources), namedSources)] {
		parts = append(parts, fmt.Sprintf("%d more refusals from %s", missed[source], source))
	}
	if others := sources[len(parts):]; len(others) > 0 {
		n := more
		for _, source := range others {
			n += missed[source]
		}
		parts = append(parts, fmt.Sprintf("%d from %d or more others", n, len(others)))
	}
	return strings.Join(parts, ", ") + " were not written"
}

// Close tells of what is left.
func (r *Refusals) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.Flush()
}

// sourceName is whom requests are counted to, as a line names them.
func sourceName(remoteAddr string) string {
	switch source := front.SourceOf(remoteAddr); {
	case !source.IsValid():
		return "elsewhere"
	case source.Is6():
		return source.String() + "/64"
	default:
		return source.String()
	}
}
