package history

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"

	"github.com/openimds/openimds/store"
)

// carriedKey has what was written to the store of what the earlier one has, and may be there still: by key, the revisions.
// The two have no commit in common, and what is carried twice would count twice.
const carriedKey = "usage/carried"

// carryOnce is how many records are carried at once, less than any store's commit takes.
const carryOnce = 50

// Carry carries the samples that this history has in [Config].Earlier over to its store, where it may have some of the same
// days: each call was counted in one of the two. Where it stops, for a failure, the next time goes on. Records that cannot
// be read stay where they are, and are told of. It can go on beside everything else.
func (h *History) Carry(ctx context.Context, unread func(error)) error {
	from := h.cfg.Earlier
	if from == nil {
		return nil
	}
	if err := h.deleteCarried(ctx); err != nil {
		return err
	}
	broken, ended, err := h.earlierBroken(ctx)
	if err != nil {
		return err
	}
	oldest := dayOf(h.cfg.Now()) - sampleDays + 1 // what is older is summed up where it is
	for r := (store.Range{Prefix: samplePrefix, After: samplePrefix + dayText(oldest), Limit: fleetPage, KeysOnly: true}); ; {
		page, err := from.List(ctx, r)
		if err != nil {
			return err
		}
		var keys []string
		for _, record := range page.Records {
			r.After = record.Key
			if day, id, err := parseDayKey(record.Key, samplePrefix); err == nil && record.Key == sampleKey(day, id, h.cfg.EarlierHost) {
				keys = append(keys, record.Key)
			}
		}
		for some := range slices.Chunk(keys, carryOnce) {
			if err := h.carry(ctx, some, broken, unread); err != nil {
				return err
			}
		}
		if !page.More {
			break
		}
	}
	h.carried.Store(true)
	if ended != nil {
		_, err = from.Commit(ctx, *ended)
	}
	return err
}

// earlierBroken are the samples in the earlier store of which a process that was killed may not have written all, by
// instance, and how to note that they are marked; nil: none was killed.
func (h *History) earlierBroken(ctx context.Context) (broken map[string][]int64, ended *store.Change, err error) {
	record, err := h.cfg.Earlier.Get(ctx, openPrefix+h.cfg.EarlierHost)
	if errors.Is(err, store.ErrNoRecord) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	now := sampleNumber(h.cfg.Now())
	from, n := binary.Varint(record.Value)
	if n != len(record.Value) || from > now {
		from = now // as in opened
	}
	broken, err = lastWritten(ctx, h.cfg.Earlier, h.cfg.EarlierHost, from, now)
	return broken, &store.Change{Verb: store.Delete, Key: record.Key, If: record.Revision}, err
}

// carry carries some records over.
func (h *History) carry(ctx context.Context, keys []string, broken map[string][]int64, unread func(error)) error {
	for {
		carried := map[string]int64{}
		var changes []store.Change
		for _, key := range keys {
			r, err := h.cfg.Earlier.Get(ctx, key)
			if errors.Is(err, store.ErrNoRecord) {
				continue
			}
			if err != nil {
				return err
			}
			day, id, err := parseDayKey(key, samplePrefix)
			if err != nil {
				return err
			}
			change, err := h.merged(ctx, r, day, id, broken[id])
			if errors.As(err, new(unreadable)) {
				unread(err)
				continue
			}
			if err != nil {
				return err
			}
			changes = append(changes, change)
			carried[key] = r.Revision
		}
		if len(changes) == 0 {
			return nil
		}
		value, err := json.Marshal(carried)
		if err != nil {
			return err
		}
		changes = append(changes, store.Change{Verb: store.Put, Key: carriedKey, Value: value, If: store.Whatever})
		_, err = h.cfg.Store.Commit(ctx, changes...)
		if errors.Is(err, store.ErrConflict) && ctx.Err() == nil {
			continue // a flush was faster
		}
		if err != nil {
			return err
		}
		for key := range carried {
			if day, id, err := parseDayKey(key, samplePrefix); err == nil {
				h.forget(id, day)
			}
		}
		return h.deleteCarried(ctx)
	}
}

// forget has what memory knows of an instance's day read again.
func (h *History) forget(instanceID string, number int64) {
	if known, ok := h.journals.Load(instanceID); ok {
		j := known.(*journal)
		j.locked(func() {
			for _, d := range j.days {
				if d.number == number {
					d.known = false
				}
			}
		})
	}
	h.kept.changed(number)
}

// unreadable is a record that cannot be put together with another.
type unreadable struct{ error }

// merged is a record of the earlier store put together with what there is of its day.
func (h *History) merged(ctx context.Context, r store.Record, day int64, id string, broke []int64) (store.Change, error) {
	change := store.Change{Verb: store.Put, Key: sampleKey(day, id, h.cfg.Host), Value: r.Value}
	was, err := h.find(ctx, change.Key)
	if err != nil {
		return change, err
	}
	change.If = was.Revision
	cells, err := decodeSamples(r)
	if err != nil && was.Value == nil {
		return change, nil // it is told of where it is looked for
	}
	if err != nil {
		return change, unreadable{err}
	}
	for _, n := range broke {
		if floorDiv(n, samplesPerDay) == day {
			cells = addSample(cells, int(n-day*samplesPerDay), Counts{broken: 1})
		}
	}
	if was.Value != nil {
		if cells, err = addRecord(cells, was, untold{}); err != nil {
			return change, unreadable{err}
		}
	}
	change.Value = encodeCells(cells)
	return change, nil
}

// deleteCarried deletes in the earlier store what was carried over.
func (h *History) deleteCarried(ctx context.Context) error {
	record, err := h.find(ctx, carriedKey)
	if err != nil || record.Value == nil {
		return err
	}
	carried := map[string]int64{}
	if err := json.Unmarshal(record.Value, &carried); err != nil {
		return errors.New("record " + carriedKey + " is damaged; delete it")
	}
	var changes []store.Change
	for key, revision := range carried {
		r, err := h.cfg.Earlier.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNoRecord) {
			return err
		}
		if err == nil && r.Revision == revision { // else it is gone, or new
			changes = append(changes, store.Change{Verb: store.Delete, Key: key, If: revision})
		}
	}
	if len(changes) > 0 {
		if _, err := h.cfg.Earlier.Commit(ctx, changes...); err != nil {
			return err
		}
	}
	_, err = h.cfg.Store.Commit(ctx, store.Change{Verb: store.Delete, Key: carriedKey, If: store.Whatever})
	return err
}
