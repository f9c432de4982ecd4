package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errUnseen means that a provider tells nobody of refused calls.
var errUnseen = errors.New("this service has no metric of refused calls, so nobody would see whom the change breaks")

// metricWatch looks at the metric of refused calls, as soon as it tells of them.
type metricWatch struct {
	// rejections are the samples of refused calls of an instance in a time, if there is such a metric.
	rejections func(ctx context.Context, of Ref, from, to time.Time) (points []point, known bool, err error)
	every      time.Duration
	mu         sync.Mutex
	on         map[Ref]*metricSeen
	last       time.Time
}

type metricSeen struct {
	since   time.Time
	samples map[time.Time]float64
	until   time.Time
}

// Watch is [Provider].
func (l *Lightsail) Watch() Watch { return newMetricWatch(l.rejections, l.every) }

func newMetricWatch(rejections func(context.Context, Ref, time.Time, time.Time) ([]point, bool, error), every time.Duration) *metricWatch {
	return &metricWatch{rejections: rejections, every: every, on: map[Ref]*metricSeen{}}
}

// Add is [Watch]. The samples before are remembered, so that only what is counted from then on is news. An
// instance that is watched again from an earlier time has been required all that time.
func (w *metricWatch) Add(ctx context.Context, of Ref, since time.Time) (time.Time, error) {
	now := time.Now()
	seen := &metricSeen{since: since, samples: map[time.Time]float64{}}
	if since.IsZero() {
		seen.since = now
	}
	seen.since = seen.since.Truncate(metricPeriod)
	points, known, err := w.rejections(ctx, of, seen.since, now)
	switch {
	case err != nil:
		return time.Time{}, err
	case !known:
		return time.Time{}, errUnseen
	}
	if since.IsZero() {
		for _, p := range points {
			seen.samples[p.start] = p.sum
		}
	}
	seen.until = seen.since
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on[of] = seen
	return now, nil
}

// Remove is [Watch].
func (w *metricWatch) Remove(of Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.on, of)
}

// Next is [Watch]. All is told up to where the samples of each instance follow each other without a gap.
func (w *metricWatch) Next(ctx context.Context) ([]Refusal, time.Time, error) {
	select {
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	case <-time.After(time.Until(w.last.Add(w.every))):
	}
	w.last = time.Now()
	w.mu.Lock()
	on := make(map[Ref]*metricSeen, len(w.on))
	for of, seen := range w.on {
		on[of] = seen
	}
	w.mu.Unlock()
	var refused []Refusal
	var failures []error
	until := time.Now()
	for of, seen := range on {
		points, known, err := w.rejections(ctx, of, seen.since, time.Now())
		if err == nil && !known {
			err = errUnseen
		}
		if errors.Is(err, ErrGone) {
			w.Remove(of)
			continue
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", of, err))
			continue
		}
		if n := seen.learn(points, time.Now()); n > 0 {
			refused = append(refused, Refusal{Instance: of, Count: n})
		}
		if seen.until.Before(until) {
			until = seen.until
		}
	}
	return refused, until, errors.Join(failures...)
}

// learn takes samples in, and says how many more calls they have than those before. A sample tells of its time
// when it is over for long enough not to grow any more.
func (s *metricSeen) learn(points []point, now time.Time) (more int64) {
	for _, p := range points {
		if p.sum > s.samples[p.start] {
			more += int64(p.sum - s.samples[p.start])
		}
		s.samples[p.start] = p.sum
		end := p.start.Add(metricPeriod)
		if !p.start.After(s.until) && end.After(s.until) && !end.Add(metricPeriod).After(now) {
			s.until = end
		}
	}
	return more
}
