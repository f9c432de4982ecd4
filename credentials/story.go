package credentials

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"golang.org/x/time/rate"
)

// How often the log is told that credentials still cannot be fetched, of one set and of all.
const (
	reminder  = 10 * time.Minute
	tellEvery = 10 * time.Second
	tellBurst = 20
)

// story is what the log was told of one set: the beginning of a failure, the end of the set, from time
// to time that it is still so, and that it is over.
type story struct {
	key      key
	instance string

	since   time.Time // of the first failure in a row; zero: none
	told    time.Time
	expired bool
}

// failed tells of a failed attempt what has not been told. current is what there still is; nil: nothing.
func (s *story) failed(tell *teller, now time.Time, current *openimds.RoleCredentials, err error) {
	ended := current != nil && !now.Before(current.Expiration)
	first := s.since.IsZero()
	if first {
		s.since = now
	}
	if !first && (s.expired || !ended) && now.Sub(s.told) < reminder {
		return
	}
	s.told, s.expired = now, ended
	switch {
	case ended:
		tell.say(now, slog.LevelError, "role credentials have expired and cannot be renewed: guests get none until they can",
			s.attributes("error", err, "expired", current.Expiration, "failing_since", s.since)...)
	case current != nil:
		tell.say(now, slog.LevelWarn, "role credentials cannot be renewed; guests have the last ones until they expire",
			s.attributes("error", err, "expire", current.Expiration)...)
	default:
		tell.say(now, slog.LevelWarn, "role credentials cannot be fetched: guests get none until they can",
			s.attributes("error", err, "failing_since", s.since)...)
	}
}

// succeeded tells that a failure that was told of is over.
func (s *story) succeeded(tell *teller, now time.Time) {
	if s.since.IsZero() {
		return
	}
	tell.say(now, slog.LevelInfo, "role credentials are fetched again", s.attributes("after", now.Sub(s.since).Round(time.Second))...)
	s.since = time.Time{}
}

func (s *story) attributes(more ...any) []any {
	return append([]any{"source", s.key.source.name, "instance", s.instance}, more...)
}

// teller bounds what the log is told of all sets: thousands may hang on one source.
type teller struct {
	log *slog.Logger

	mu       sync.Mutex
	limit    *rate.Limiter
	withheld int
}

func newTeller(log *slog.Logger) *teller {
	return &teller{log: log, limit: rate.NewLimiter(rate.Every(tellEvery), tellBurst)}
}

func (t *teller) say(now time.Time, level slog.Level, message string, attributes ...any) {
	t.mu.Lock()
	if !t.limit.AllowN(now, 1) {
		t.withheld++
		t.mu.Unlock()
		return
	}
	if t.withheld > 0 {
		attributes = append(attributes, "withheld", t.withheld)
		t.withheld = 0
	}
	t.mu.Unlock()
	t.log.Log(context.Background(), level, message, attributes...)
}
