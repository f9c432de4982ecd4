package history

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds/store"
)

// readOneByOne is of how many records of a day one may be missing in memory before all are listed with their values,
// and fleetPage how many are listed in one go.
const (
	readOneByOne = 16
	fleetPage    = 1000
)

// pastLasts is how long what a past day came to is kept, for another host may tell late of it; pastDays is how many days are.
const (
	pastLasts = 10 * time.Minute
	pastDays  = 15
)

// pastFleet keeps what whole days came to that are past, until something of one changes.
type pastFleet struct {
	latest atomic.Int64 // no later day was ever looked up
	mu     sync.Mutex
	days   map[int64]pastDay
	change int // how often something was forgotten
}

type pastDay struct {
	at  time.Time
	sum dayOfFleet // never changed
}

// find returns what a day came to; nil: it is to be looked up.
func (p *pastFleet) find(number int64, now time.Time) dayOfFleet {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.days[number]
	if age := now.Sub(d.at); !ok || age < 0 || age >= pastLasts {
		return nil
	}
	return d.sum
}

// look is to be asked before a day is looked up that is to be kept.
func (p *pastFleet) look(number int64) int {
	p.mu.Lock()
	p.latest.Store(max(p.latest.Load(), number))
	defer p.mu.Unlock()
	return p.change
}

// keep keeps what a day came to, unless something has changed since look, or there are enough of them.
func (p *pastFleet) keep(number int64, now time.Time, sum dayOfFleet, look int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.days, func(_ int64, d pastDay) bool { return now.Sub(d.at) >= pastLasts })
	if p.change != look || len(p.days) >= pastDays {
		return
	}
	if p.days == nil {
		p.days = map[int64]pastDay{}
	}
	p.days[number] = pastDay{now, sum}
}

// changed is told of each change of a day. It costs nothing but for days that are past.
func (p *pastFleet) changed(number int64) {
	if number > p.latest.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.days, number)
	p.change++
}

// eachRunOfDay passes on what all hosts counted on a day, as runs of equal samples; part says that another run of the
// same instance may have the same samples. damaged is told of instances of which something cannot be read.
func (h *History) eachRunOfDay(ctx context.Context, number int64, pass func(id string, part bool, first *cell, n int), damaged func(id string)) error {
	mine, err := h.fleetMemory(ctx, number)
	if err != nil {
		return err
	}
	records, err := h.fleetRecords(ctx, number, mine)
	if err != nil {
		return err
	}
	hosts := map[string]int{}
	for _, r := range records {
		hosts[r.id]++
	}
	read := func(id string, part bool, value []byte) {
		err := eachRun(value, samplesPerDay, func(first *cell, n int) { pass(id, part, first, n) })
		if err != nil {
			damaged(id)
		}
	}
	for id, m := range mine {
		part := hosts[id] > 0 || len(m.value) > 0 && len(m.added) > 0
		if len(m.value) > 0 {
			read(id, part, m.value)
		}
		for at, c := range m.added {
			one := newCell(at, c)
			pass(id, part, &one, 1)
		}
	}
	for _, r := range records {
		_, own := mine[r.id]
		read(r.id, own || hosts[r.id] > 1, r.value)
	}
	return nil
}

// dayMemory is what this host has in memory of an instance's day: the store's record, or what is on the way there, and
// what was counted since.
type dayMemory struct {
	value []byte // never changed; empty: none
	added map[int]counts
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
	m := dayMemory{value: d.stored, added: make(map[int]counts, len(d.unsaved))}
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
	id    string
	value []byte
}

// fleetRecords reads the records of a day but for this host's that memory knows better. Where memory knows nearly all,
// the others are read one by one.
func (h *History) fleetRecords(ctx context.Context, number int64, mine map[string]dayMemory) ([]fleetRecord, error) {
	prefix := samplePrefix + dayText(number) + "/"
	keys, err := h.cfg.Store.List(ctx, store.Range{Prefix: prefix, KeysOnly: true})
	if err != nil {
		return nil, err
	}
	ids := make(map[string]string, len(keys.Records)-len(mine)+1) // by key, of those to be read
	for _, r := range keys.Records {
		id, host := splitDayKey(r.Key[len(prefix):])
		if _, known := mine[id]; !known || host != h.cfg.Host {
			ids[r.Key] = id
		}
	}
	if len(ids) <= len(keys.Records)/readOneByOne {
		var records []fleetRecord
		for _, key := range slices.Sorted(maps.Keys(ids)) {
			r, err := h.find(ctx, key)
			if err != nil {
				return nil, err
			}
			if r.Value != nil {
				records = append(records, fleetRecord{ids[key], r.Value})
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
				records = append(records, fleetRecord{id, one.Value})
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
