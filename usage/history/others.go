package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openimds/openimds/store"
)

// Others tells what other histories counted, which are in no store of this one's: an engine for metrics does so. Each
// history has a name, and a sample is its name's alone; of two that counted an instance in the same time, as when it moved,
// the samples add up. An error means that nothing is known, never that there is nothing.
type Others interface {
	// Samples passes on what an instance's samples came to from one number on up to before another, in whatever order, each
	// of a history once.
	Samples(ctx context.Context, instanceID string, from, until int64, pass func(history string, number int64, c Counts)) error
	// Runs passes on what the samples of all instances came to, of all histories but one, as runs of equal ones from first
	// on up to before end: of one instance and history in order, none twice.
	Runs(ctx context.Context, but string, from, until int64, pass func(history, instanceID string, first, end int64, c Counts)) error
}

// elsewhere is what other histories have of an instance, by the day; mine is what they have of this one.
type elsewhere struct{ all, mine map[int64][]cell }

// others asks the other histories, if there are any, for an instance's days.
func (h *History) others(ctx context.Context, instanceID string, first, last int64) (e elsewhere, err error) {
	if h.cfg.Others == nil {
		return e, nil
	}
	e = elsewhere{map[int64][]cell{}, map[int64][]cell{}}
	err = h.cfg.Others.Samples(ctx, instanceID, first*samplesPerDay, (last+1)*samplesPerDay, func(history string, n int64, c Counts) {
		of := e.all
		if history == h.cfg.Name {
			of = e.mine
		}
		day := floorDiv(n, samplesPerDay)
		of[day] = addSample(of[day], int(n-day*samplesPerDay), c)
	})
	return e, err
}

// oldDay puts the hours of an old day together of what is left here and what the others have. They have this history's
// own samples too, unless it was not always told to them: single samples know which ones two histories have in common.
func (e elsewhere) oldDay(number int64, left []cell) []cell {
	all, mine := e.all[number], e.mine[number]
	kept := 0
	for _, c := range left {
		kept += c.samples
	}
	if len(mine) > 0 && len(mine) >= kept {
		for _, c := range mine {
			all = addSample(all, c.at, c.sum)
		}
		return hours(all)
	}
	if len(left) == 0 {
		return hours(all)
	}
	return addHours(hours(all), left)
}

// othersLasts is how long what the others have of all instances is taken for the latest: who looks at many looks often, and
// the others take a while to be told anyway.
const othersLasts = 10 * time.Second

// otherRun are equal samples of an instance that others counted.
type otherRun struct {
	first, end int // in the day
	Counts
}

// otherOne is an instance as one other history has it.
type otherOne struct{ id, history string }

// othersDay is what others counted on a day, and the marks that were read before it.
type othersDay struct {
	at    time.Time
	runs  map[otherOne][]otherRun
	marks untold
}

// othersOfDay asks the other histories, if there are any, for a day of all instances. One asks at a time: the next finds
// the answer, with the marks of that time, since later ones would have it for more than it is.
func (h *History) othersOfDay(ctx context.Context, number int64) (d othersDay, err error) {
	if h.cfg.Others == nil {
		d.marks, err = h.untold(ctx, "")
		return d, err
	}
	select {
	case h.asking <- struct{}{}:
	case <-ctx.Done():
		return d, ctx.Err()
	}
	defer func() { <-h.asking }()
	now := h.cfg.Now()
	if age := now.Sub(h.other[number].at); age >= 0 && age < othersLasts {
		return h.other[number], nil
	}
	if d.marks, err = h.untold(ctx, ""); err != nil {
		return d, err
	}
	d.at, d.runs = now, map[otherOne][]otherRun{}
	err = h.cfg.Others.Runs(ctx, h.cfg.Name, number*samplesPerDay, (number+1)*samplesPerDay, func(history, id string, first, end int64, c Counts) {
		one := otherOne{id, history}
		d.runs[one] = append(d.runs[one], otherRun{int(first - number*samplesPerDay), int(end - number*samplesPerDay), c})
	})
	if err != nil {
		return d, err
	}
	for day, was := range h.other { // past days are kept as what they came to
		if day != number && now.Sub(was.at) >= othersLasts {
			delete(h.other, day)
		}
	}
	h.other[number] = d
	return d, nil
}

// Stored are samples that are in the store.
type Stored struct {
	Number int64
	Counts
}

// ErrUnread says that a record cannot be read, and will not be: it is damaged, or of a later version.
var ErrUnread = errors.New("the record cannot be read")

// StoredDay returns what this history has in the store of an instance's day, counted from the Unix epoch, in order.
//
// Errors: [ErrUnread]; the store's.
func (h *History) StoredDay(ctx context.Context, instanceID string, day int64) ([]Stored, error) {
	r, err := h.find(ctx, sampleKey(day, instanceID, h.cfg.Host))
	if err != nil || r.Value == nil {
		return nil, err
	}
	cells, err := decodeSamples(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnread, err)
	}
	stored := make([]Stored, len(cells))
	for i, c := range cells {
		stored[i] = Stored{day*samplesPerDay + int64(c.at), c.sum}
	}
	return stored, nil
}

// Oldest is the first sample of the days that are not summed up anywhere yet, whatever the clocks of others say.
func (h *History) Oldest() int64 { return oldest(h.cfg.Now()) }

func oldest(now time.Time) int64 { return (dayOf(now) - sampleDays + 1) * samplesPerDay }

// EachStored passes on which samples this history has in the store, from one number on up to before another. A record that
// cannot be read is passed over.
func (h *History) EachStored(ctx context.Context, from, until int64, pass func(instanceID string, numbers []int64)) error {
	after := samplePrefix + dayText(floorDiv(from, samplesPerDay)) // what begins with it comes after it
	for {
		page, err := h.cfg.Store.List(ctx, store.Range{Prefix: samplePrefix, After: after, Limit: fleetPage})
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			after = r.Key
			day, id, err := parseDayKey(r.Key, samplePrefix)
			if err == nil && day*samplesPerDay >= until {
				return nil
			}
			if err != nil || r.Key != sampleKey(day, id, h.cfg.Host) {
				continue
			}
			cells, err := decodeSamples(r)
			if err != nil {
				continue
			}
			var numbers []int64
			for _, c := range cells {
				if n := day*samplesPerDay + int64(c.at); n >= from && n < until {
					numbers = append(numbers, n)
				}
			}
			pass(id, numbers)
		}
		if !page.More {
			return nil
		}
	}
}
