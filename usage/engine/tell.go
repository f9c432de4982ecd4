package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/openimds/openimds/usage/history"
)

// owed is what is to be told of an instance's day.
type owed struct {
	due     slots
	watched slots // those that the engine knows to be there
	marks   int   // how often some was marked
	news    slots // those that were marked since they were told
	// told has, of the two samples that can be under way at a time, by the lowest bit of their numbers, when each was told.
	told [2]toldAt
}

type toldAt struct {
	number int64
	at     time.Time
}

// slots are samples of a day, a bit each.
type slots [(samplesPerDay + 63) / 64]uint64

func (s *slots) has(at int64) bool { return s[at/64]&(1<<(at%64)) != 0 }
func (s *slots) set(at int64)      { s[at/64] |= 1 << (at % 64) }
func (s *slots) clear(at int64)    { s[at/64] &^= 1 << (at % 64) }

// moment is when the engine is told: samples before over are past, and those before closed are in the store as well. Those
// between wait: what they come to has another time than what was said while they were under way.
type moment struct {
	now          time.Time
	over, closed int64
}

// tell tells the engine what is owed, oldest first; all: what is under way too, however lately it was told.
func (w *Writer) tell(ctx context.Context, all bool) error {
	select {
	case w.telling <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.telling }()
	if !w.ready {
		// Before the first word, for afterwards what is older is taken to be told.
		err := w.source.Carry(ctx, func(err error) {
			w.cfg.Log.Warn("samples of a day in the shared store cannot be carried over, and stay there", "error", err)
		})
		if err != nil {
			return fmt.Errorf("what was counted before cannot be carried over from the store: %w", err)
		}
	}
	at := moment{now: w.cfg.Now()}
	at.over = sampleNumber(at.now.Add(-closedAfter))
	at.closed = min(at.over, w.source.StoredBefore())
	refusals := &refusals{of: map[sampleOf]bool{}, from: w.through, until: at.closed}
	defer refusals.tell(w.cfg.Log)
	if !w.ready {
		if err := w.tellStored(ctx, at, refusals); err != nil {
			return err
		}
		w.ready = true
	}
	w.mu.Lock()
	days := make([]int64, 0, len(w.owed))
	for day := range w.owed {
		days = append(days, day)
	}
	w.mu.Unlock()
	slices.Sort(days)
	for _, day := range days {
		if err := w.tellDay(ctx, day, at, all, refusals); err != nil {
			return err
		}
	}
	if err := w.advance(ctx, at.closed, refusals); err != nil {
		return err
	}
	w.finished.Store(at.now.UnixNano())
	return nil
}

// tellStored tells what the store had at the start and the engine was not told. That may be all of two months: it is told
// day by day, so that no more than one is in memory.
func (w *Writer) tellStored(ctx context.Context, at moment, refusals *refusals) error {
	from, last := max(w.through-againFrom, w.source.Oldest()), sampleNumber(at.now)/samplesPerDay
	for day := from / samplesPerDay; day <= last+1; day++ { // another's clock may have been ahead
		until := (day + 1) * samplesPerDay
		if err := w.source.EachStored(ctx, max(from, day*samplesPerDay), until, w.Kept); err != nil {
			return err
		}
		if day >= last {
			continue // it is told with what is under way
		}
		if err := w.tellDay(ctx, day, at, false, refusals); err != nil {
			return err
		}
		if err := w.advance(ctx, min(max(until, w.through), at.closed), refusals); err != nil {
			return err
		}
	}
	return nil
}

// part is what is told of an instance's day at once.
type part struct {
	instanceID string
	due        slots
	marks      int
	watched    []int64 // told to be there
	closed     []int64 // told for good
	open       []int64 // told while under way
}

// tellDay tells what is owed of a day.
func (w *Writer) tellDay(ctx context.Context, day int64, at moment, all bool, refusals *refusals) error {
	var parts []part
	w.mu.Lock()
	for id, o := range w.owed[day] {
		parts = append(parts, part{instanceID: id, due: o.due, marks: o.marks})
	}
	w.mu.Unlock()
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.instanceID, b.instanceID) })
	var points []point
	from := 0
	for i := range parts {
		more, err := w.points(ctx, day, &parts[i], at, all, refusals)
		if err != nil {
			return err
		}
		points = append(points, more...)
		if len(points) < oncePoints && i < len(parts)-1 {
			continue
		}
		for chunk := range slices.Chunk(points, oncePoints) {
			if err := w.send(ctx, chunk, at.now, refusals); err != nil {
				return err
			}
		}
		w.settle(day, parts[from:i+1], at.now)
		points, from = points[:0], i+1
	}
	return nil
}

// points are those that are to be told of an instance's day.
func (w *Writer) points(ctx context.Context, day int64, p *part, at moment, all bool, refusals *refusals) ([]point, error) {
	closed := at.closed
	due := func(n int64) bool { return p.due.has(n - day*samplesPerDay) }
	w.mu.Lock()
	o := *w.owed[day][p.instanceID]
	w.mu.Unlock()
	wanted := false // of what is under way there may be nothing to tell, as mostly
	for n := day * samplesPerDay; n < (day+1)*samplesPerDay && !wanted; n++ {
		wanted = due(n) && (n < closed || o.wants(n, at, all))
	}
	if !wanted {
		return nil, nil
	}
	stored, err := w.source.StoredDay(ctx, p.instanceID, day)
	if err != nil {
		if !errors.Is(err, history.ErrUnread) {
			return nil, err
		}
		w.cfg.Log.Warn("samples cannot be read, and are not told to the engine of the metrics", "error", err)
		for n := day * samplesPerDay; n < min((day+1)*samplesPerDay, closed); n++ {
			if due(n) {
				refusals.lose(n)
			}
			p.closed = append(p.closed, n)
		}
		return nil, nil
	}
	for n := day * samplesPerDay; n < min((day+1)*samplesPerDay, closed); n++ {
		if due(n) { // be it that the store has it no more
			p.closed = append(p.closed, n)
		}
	}
	stored = slices.DeleteFunc(stored, func(s history.Stored) bool {
		return !due(s.Number) || s.Number >= closed && !o.wants(s.Number, at, all)
	})
	var points []point
	for m, metric := range countNames {
		for _, s := range stored {
			if s.Counts[m] == 0 {
				continue
			}
			one := point{p.instanceID, metric, s.Number, final(s.Number, s.Counts[m]), s.Counts[m]}
			if s.Number >= closed {
				one.milliseconds = underWay(s.Number, at.now.UnixMilli()-s.Number*periodMillis)
			}
			points = append(points, one)
		}
	}
	for _, s := range stored { // last, for it may say that these were all
		switch {
		case s.Number < closed:
			points = append(points, point{p.instanceID, "", s.Number, watched(s.Number, isClosed), isClosed})
			continue
		case !o.watched.has(s.Number - day*samplesPerDay):
			points = append(points, point{p.instanceID, "", s.Number, watched(s.Number, isThere), isThere})
			p.watched = append(p.watched, s.Number)
		}
		p.open = append(p.open, s.Number)
	}
	return points, nil
}

// wants says whether a sample that is not closed is to be told now: one that is under way.
func (o *owed) wants(number int64, at moment, all bool) bool {
	told := o.told[number&1]
	return number >= at.over && o.news.has(number%samplesPerDay) && (all || told.number != number || at.now.Sub(told.at).Abs() >= againAfter)
}

// settle notes what was told of a day's instances.
func (w *Writer) settle(day int64, parts []part, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range parts {
		o := w.owed[day][p.instanceID]
		for _, n := range p.watched {
			o.watched.set(n - day*samplesPerDay)
		}
		for _, n := range p.open {
			o.told[n&1] = toldAt{n, now}
		}
		if o.marks != p.marks {
			continue // something is new since, and is told next
		}
		for _, n := range p.open {
			o.news.clear(n - day*samplesPerDay)
		}
		for _, n := range p.closed {
			o.due.clear(n - day*samplesPerDay)
		}
		if o.due == (slots{}) {
			delete(w.owed[day], p.instanceID)
		}
	}
	if len(w.owed[day]) == 0 {
		delete(w.owed, day)
	}
}

// advance writes down how far the writer has come, which is at most to the sample of that number, and what the engine will
// never have.
func (w *Writer) advance(ctx context.Context, through int64, refusals *refusals) error {
	w.mu.Lock()
	for day, instances := range w.owed {
		for _, o := range instances {
			for at := range samplesPerDay {
				if o.due.has(at) {
					through = min(through, day*samplesPerDay+at)
					break
				}
			}
		}
	}
	w.mu.Unlock()
	lost := w.lost
	if lost < w.source.Oldest() {
		lost = 0 // nor is it read any more
	}
	if refusals.lost != 0 && (lost == 0 || refusals.lost < lost) {
		lost = refusals.lost
	}
	if through == w.through && lost == w.lost {
		return nil
	}
	if err := w.save(ctx, through, lost); err != nil {
		return fmt.Errorf("how far the engine of the metrics was told cannot be stored: %w", err)
	}
	return nil
}
