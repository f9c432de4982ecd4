package hostnet

import (
	"cmp"
	"maps"
	"slices"

	"github.com/google/nftables"
)

// ledger holds the elements that are wanted against those that are in the tables, so that a change of
// one endpoint among thousands costs what has changed.
type ledger struct {
	refs    map[element]int     // attachments that want it
	wanted  map[element]element // by slot
	there   map[element]element // by slot
	touched map[element]bool    // slots to look at
}

func newLedger() *ledger {
	return &ledger{
		refs: map[element]int{}, wanted: map[element]element{},
		there: map[element]element{}, touched: map[element]bool{},
	}
}

// change replaces what one attachment wants. The wishes of an attachment that comes must be entered
// before those of the one that goes.
func (l *ledger) change(from, to []element) {
	for _, e := range to {
		l.refs[e]++
		l.wanted[e.slot()] = e
		l.touched[e.slot()] = true
	}
	for _, e := range from {
		if l.refs[e]--; l.refs[e] > 0 {
			continue
		}
		delete(l.refs, e)
		if l.wanted[e.slot()] == e {
			delete(l.wanted, e.slot())
		}
		l.touched[e.slot()] = true
	}
}

// forget is told that a table is empty.
func (l *ledger) forget(family nftables.TableFamily) {
	maps.DeleteFunc(l.there, func(slot, _ element) bool { return slot.family == family })
	for slot := range l.wanted {
		if slot.family == family {
			l.touched[slot] = true
		}
	}
}

// guards says whether the element is of those that outlive the process.
func (e element) guards() bool {
	return e.set == interfaces || e.set == names || e.set == uplinks || e.set == backSet
}

// changes lists what has to be done in these tables: first what comes or takes another's slot, then what
// goes.
func (l *ledger) changes(in func(slot element) bool) []change {
	var out []change
	for slot := range l.touched {
		if !in(slot) {
			continue
		}
		wanted, want := l.wanted[slot]
		there, have := l.there[slot]
		var c change
		if want && wanted != there {
			c.add = &wanted
		}
		if have && (!want || wanted != there) {
			c.del = &there
		}
		if c == (change{}) {
			delete(l.touched, slot)
			continue
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b change) int {
		x, y := a.element(), b.element()
		return cmp.Or(cmp.Compare(a.kind(), b.kind()), cmp.Compare(x.family, y.family),
			cmp.Compare(x.set, y.set), cmp.Compare(x.key, y.key))
	})
	return out
}

// done is told that all changes have been made.
func (l *ledger) done(changes []change) {
	for _, c := range changes {
		slot := c.element().slot()
		if c.add != nil {
			l.there[slot] = *c.add
		} else {
			delete(l.there, slot)
		}
		delete(l.touched, slot)
	}
}

// change is one step of an update: an element comes, takes another's slot, or goes.
type change struct{ del, add *element }

func (c change) element() *element { return cmp.Or(c.add, c.del) }

func (c change) kind() int {
	switch {
	case c.del == nil:
		return 0
	case c.add != nil:
		return 1
	}
	return 2
}
