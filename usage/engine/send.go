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
	of  map[sampleOf]bool
	// takes says that it takes other requests: else it is none, or one that is out of order.
	takes bool
	// lost is the first of the samples, by their numbers from one on up to before another, that the engine has not and will
	// never have; 0: there is none. What it was told before it may have, whatever it says of a second time.
	lost, from, until int64
}

// sampleOf is one sample of an instance.
type sampleOf struct {
	instanceID string
	number     int64
}

func (r *refusals) add(points []point, why error) {
	r.n, r.why = r.n+len(points), why
	for _, p := range points {
		r.of[sampleOf{p.instanceID, p.number}] = true
		r.lose(p.number)
	}
}

// lose notes a sample that cannot be told.
func (r *refusals) lose(number int64) {
	if number >= r.from && number < r.until && (r.lost == 0 || number < r.lost) {
		r.lost = number
	}
}

// known leaves out the word that all of a sample was told where some of it was refused.
func (r *refusals) known(points []point) []point {
	if len(r.of) == 0 {
		return points
	}
	return slices.DeleteFunc(slices.Clone(points), func(p point) bool {
		return p.metric == "" && p.value == isClosed && r.of[sampleOf{p.instanceID, p.number}]
	})
}

func (r *refusals) tell(log *slog.Logger) {
	if r.n > 0 {
		log.Warn("the engine of the metrics refused values for good: of their time only this host's own history tells; the engine must take samples that are out of order and late", "values", r.n, "error", r.why)
	}
}

// send has the engine take the points. Those that it refuses for good are found and left out, so that they do not hold up
// the others.
func (w *Writer) send(ctx context.Context, points []point, now time.Time, refusals *refusals) error {
	if points = refusals.known(points); len(points) == 0 {
		return nil
	}
	err := w.post(ctx, points)
	refusals.takes = refusals.takes || err == nil
	if !isRefusal(err) {
		return err
	}
	if !refusals.takes {
		// What answers so to a request without a value has nothing against these: a proxy, or a port that is another's.
		if empty := w.post(ctx, nil); empty != nil {
			return err
		}
		refusals.takes = true
	}
	refuse := func() error {
		w.refused.Add(uint64(len(points)))
		refusals.add(points, err)
		return nil
	}
	if len(points) == 1 {
		return refuse()
	}
	if len(points) > 2 {
		tooOld, err := w.tooOld(ctx, points, now)
		if err != nil {
			return err
		}
		if tooOld {
			return refuse()
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
