package history

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"github.com/openimds/openimds/store"
)

// readOneByOne is of how many records of a day one may be missing in memory before all are listed with their values,
// and fleetPage how many are listed in one go.
const (
	readOneByOne = 16
	fleetPage    = 1000
)

// readDay puts together what all hosts counted on a day. one says who is in its series.
func (h *History) readDay(ctx context.Context, span daySpan, there *dayThere, one func(id string) bool) (*fleetDay, error) {
	records, err := h.fleetRecords(ctx, there)
	if err != nil {
		return nil, err
	}
	hosts := map[string]int{}
	for _, r := range records {
		hosts[r.id]++
	}
	for one := range there.others {
		hosts[one.id]++
	}
	b := newDayBuilder(span, one, max(len(hosts), len(there.mine)))
	elsewhere := func(id string) *slots { return there.marks.elsewhere(id, span.number) }
	stored := func(id, host string, part bool, value []byte) {
		b.record(id, part, elsewhere(id), func(pass func(*cell, int)) error { return there.marks.runs(value, host, span.number, pass) })
	}
	for id, m := range there.mine {
		part := hosts[id] > 0 || len(m.value) > 0 && len(m.added) > 0
		if len(m.value) > 0 {
			stored(id, h.cfg.Host, part, m.value)
		}
		b.record(id, part, elsewhere(id), func(pass func(*cell, int)) error {
			for at, c := range m.added {
				one := newCell(at, c)
				pass(&one, 1)
			}
			return nil
		})
	}
	for _, r := range records {
		_, own := there.mine[r.id]
		stored(r.id, r.host, own || hosts[r.id] > 1, r.value)
	}
	for one, runs := range there.others {
		_, own := there.mine[one.id]
		b.record(one.id, own || hosts[one.id] > 1, elsewhere(one.id), func(pass func(*cell, int)) error {
			for _, r := range runs {
				one := newCell(r.first, r.Counts)
				pass(&one, r.end-r.first)
			}
			return nil
		})
	}
	return b.done(), nil
}

// dayThere says what there is of a day, without reading it.
type dayThere struct {
	prefix string
	keys   []store.Record
	mine   map[string]dayMemory // what this host knows better, by instance
	others map[otherOne][]otherRun
	number int64
	marks  untold
}

// lookAtDay lists what there is of a day. Memory is asked before the store: what is flushed meanwhile is in both.
func (h *History) lookAtDay(ctx context.Context, number int64) (*dayThere, error) {
	mine, err := h.fleetMemory(ctx, number)
	if err != nil {
		return nil, err
	}
	others, err := h.othersOfDay(ctx, number)
	if err != nil {
		return nil, err
	}
	there := &dayThere{prefix: samplePrefix + dayText(number) + "/", mine: mine, number: number, others: others.runs, marks: others.marks}
	page, err := h.cfg.Store.List(ctx, store.Range{Prefix: there.prefix, KeysOnly: true})
	there.keys = page.Records
	return there, err
}

// open says whether a host has yet to tell of the day.
func (t *dayThere) open() bool {
	if t.marks.elsewhere("", t.number) != nil {
		return true
	}
	for host := range t.marks.from {
		if first, end := t.marks.span(host, t.number); first < end {
			return true
		}
	}
	return false
}

var printSeed = maphash.MakeSeed()

// print is another one when anything of the day is another. Parts are added up, for memory has no order.
func (t *dayThere) print() (sum uint64) {
	type stored struct {
		key      string
		revision int64
	}
	type counted struct {
		id string
		at int
		Counts
	}
	for _, r := range t.keys {
		sum += maphash.Comparable(printSeed, stored{r.Key, r.Revision})
	}
	type other struct {
		otherOne
		otherRun
	}
	for one, runs := range t.others {
		for _, r := range runs {
			sum += maphash.Comparable(printSeed, other{one, r})
		}
	}
	type marked struct {
		host       string
		first, end int
	}
	for host := range t.marks.from {
		if first, end := t.marks.span(host, t.number); first < end {
			sum += maphash.Comparable(printSeed, marked{host, first, end})
		}
	}
	type elsewhere struct {
		id string
		slots
	}
	for _, id := range slices.Concat(slices.Collect(maps.Keys(t.marks.former)), []string{""}) {
		if s := t.marks.elsewhere(id, t.number); s != nil {
			sum += maphash.Comparable(printSeed, elsewhere{id, *s})
		}
	}
	for id, m := range t.mine {
		sum += maphash.Comparable(printSeed, counted{id: id, at: -1})
		if len(m.value) > 0 {
			sum += maphash.Comparable(printSeed, stored{id, int64(maphash.Bytes(printSeed, m.value))})
		}
		for at, c := range m.added {
			sum += maphash.Comparable(printSeed, counted{id, at, c})
		}
	}
	return sum
}

// dayMemory is what this host has in memory of an instance's day: the store's record, or what is on the way there, and
// what was counted since.
type dayMemory struct {
	value []byte // never changed; empty: none
	added map[int]Counts
}

// fleetMemory returns, by instance, what this host knows of a day better than the store does.
func (h *History) fleetMemory(ctx context.Context, number int64) (map[string]dayMemory, error) {
	mine := map[string]dayMemory{}
	for j := range h.all {
		if err := h.know(ctx, j); err != nil {
			return nil, err
		}
		j.mu.Lock()
		for _, d := range j.days {
			if d.number == number {
				mine[j.instanceID] = d.memory()
			}
		}
		j.mu.Unlock()
	}
	return mine, nil
}

// memory is what there is of the day. The journal's mu is held.
func (d *day) memory() dayMemory {
	m := dayMemory{value: d.stored, added: make(map[int]Counts, len(d.unsaved))}
	if d.sent != nil {
		m.value = d.sent // it holds stored and all that it took
	}
	for at, c := range d.unsaved {
		m.added[at] = *c
	}
	return m
}

// fleetRecord is what a host has in the store of an instance's day.
type fleetRecord struct {
	id, host string
	value    []byte
}

// fleetRecords reads the records of a day but for this host's that memory knows better. Where memory knows nearly all,
// the others are read one by one.
func (h *History) fleetRecords(ctx context.Context, there *dayThere) ([]fleetRecord, error) {
	prefix, mine := there.prefix, there.mine
	ids := make(map[string]string, max(len(there.keys)-len(mine), 0)) // by key, of those to be read
	for _, r := range there.keys {
		id, host := splitDayKey(r.Key[len(prefix):])
		if _, known := mine[id]; !known || host != h.cfg.Host {
			ids[r.Key] = id
		}
	}
	if len(ids) <= len(there.keys)/readOneByOne {
		var records []fleetRecord
		for _, key := range slices.Sorted(maps.Keys(ids)) {
			r, err := h.find(ctx, key)
			if err != nil {
				return nil, err
			}
			if r.Value != nil {
				records = append(records, fleetRecord{ids[key], hostOf(key), r.Value})
			}
		}
		return records, nil
	}
	records := make([]fleetRecord, 0, len(ids))
	for r := (store.Range{Prefix: prefix, Limit: fleetPage}); ; {
		page, err := h.cfg.Store.List(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, one := range page.Records {
			r.After = one.Key
			id, host := splitDayKey(one.Key[len(prefix):])
			if _, known := mine[id]; !known || host != h.cfg.Host {
				records = append(records, fleetRecord{id, host, one.Value})
			}
		}
		if !page.More {
			return records, nil
		}
	}
}

// splitDayKey takes the instance and the host of what follows the day in a key.
func splitDayKey(rest string) (id, host string) {
	id, host, _ = strings.Cut(rest, "/")
	return id, host
}
