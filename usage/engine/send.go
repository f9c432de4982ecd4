package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// refusals are the values that the engine refused for good.
type refusals struct {
	n   int
	why error
}

func (r *refusals) tell(log *slog.Logger) {
	if r.n > 0 {
		log.Warn("the engine of the metrics refused values for good: of their time only this host's own history tells; the engine must take samples that are out of order and late", "values", r.n, "error", r.why)
	}
}

// send has the engine take the points. Those that it refuses for good are found and left out, so that they do not hold up
// the others.
func (w *Writer) send(ctx context.Context, points []point, now time.Time, refusals *refusals) error {
	err := w.post(ctx, points)
	if !isRefusal(err) {
		return err
	}
	refuse := func(n int) error {
		w.refused.Add(uint64(n))
		refusals.n, refusals.why = refusals.n+n, err
		return nil
	}
	if len(points) == 1 {
		return refuse(1)
	}
	if len(points) > 2 {
		tooOld, err := w.tooOld(ctx, points, now)
		if err != nil {
			return err
		}
		if tooOld {
			return refuse(len(points))
		}
	}
	for half := range slices.Chunk(points, (len(points)+1)/2) {
		if err := w.send(ctx, half, now, refusals); err != nil {
			return err
		}
	}
	return nil
}

// tooOld says whether all of the points are old, and the engine refuses each of them that it is asked: the oldest, the
// latest, and one of those between.
func (w *Writer) tooOld(ctx context.Context, points []point, now time.Time) (bool, error) {
	byTime := func(a, b point) int { return cmp.Compare(a.milliseconds, b.milliseconds) }
	latest := slices.MaxFunc(points, byTime)
	if now.Sub(time.UnixMilli(latest.milliseconds)) < tooOldAfter {
		return false, nil
	}
	for _, p := range []point{latest, points[len(points)/2], slices.MinFunc(points, byTime)} {
		if err := w.post(ctx, []point{p}); !isRefusal(err) {
			return false, err
		}
	}
	return true, nil
}

// isRefusal says whether the engine will never take what it was sent.
func isRefusal(err error) bool {
	s, ok := errors.AsType[*statusError](err)
	return ok && (s.status == http.StatusBadRequest || s.status == http.StatusUnprocessableEntity)
}

func (w *Writer) post(ctx context.Context, points []point) error {
	ctx, done := context.WithTimeout(ctx, tellTimeout)
	defer done()
	answer, err := w.caller.post(ctx, w.cfg.URL, http.Header{
		"Content-Encoding": {"snappy"}, "Content-Type": {"application/x-protobuf"}, "X-Prometheus-Remote-Write-Version": {"0.1.0"},
	}, bytes.NewReader(w.encode(points)))
	if err != nil {
		return err
	}
	return answer.Close()
}
