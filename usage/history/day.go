package history

import "github.com/openimds/openimds/store"

// day is what this host counted of one instance on one day: what the store has of it, what is on its
// way there, and what came since.
type day struct {
	number int64
	key    string

	known    bool // stored and revision are what the store has
	stored   []byte
	revision int64

	// sent is a value whose commit has no known outcome, and took the counts that it holds beyond
	// stored. It is sent again, unchanged and on the same condition, until the outcome is known:
	// whichever attempt the store carries out, the counts are in it once.
	sent []byte
	took map[int]*counts

	unsaved map[int]*counts
}

func newDay(instanceID, host string, number int64) *day {
	return &day{number: number, key: sampleKey(number, instanceID, host), unsaved: map[int]*counts{}}
}

func (d *day) dirty() bool { return d.sent != nil || len(d.unsaved) > 0 }

// learn takes up the record that the store has; the zero record is none.
func (d *day) learn(r store.Record) {
	d.known = true
	if d.sent != nil && r.Revision == d.revision {
		return // the attempt may still succeed: send it again
	}
	if string(d.sent) != string(r.Value) {
		// The attempt failed for good, for its condition can hold no more.
		for at, c := range d.took {
			if more := d.unsaved[at]; more != nil {
				c.add(*more)
			}
			d.unsaved[at] = c
		}
	}
	d.sent, d.took = nil, nil
	d.stored, d.revision = r.Value, r.Revision
}

// draft returns the change that brings the store up to date; there is none if ok is false.
func (d *day) draft() (_ store.Change, ok bool, err error) {
	if d.sent == nil {
		cells, err := d.cells()
		if err != nil {
			return store.Change{}, false, err
		}
		value := encodeCells(cells)
		if string(value) == string(d.stored) {
			clear(d.unsaved)
			return store.Change{}, false, nil
		}
		d.sent, d.took, d.unsaved = value, d.unsaved, map[int]*counts{}
	}
	return store.Change{Verb: store.Put, Key: d.key, Value: d.sent, If: d.revision}, true, nil
}

// done notes that the store has what was sent.
func (d *day) done(revision int64) {
	d.stored, d.revision = d.sent, revision
	d.sent, d.took = nil, nil
}

// cells are all that was counted, as far as it is known here.
func (d *day) cells() ([]cell, error) {
	var cells []cell
	if d.revision != store.IfAbsent {
		var err error
		if cells, err = decodeSamples(store.Record{Key: d.key, Value: d.stored}); err != nil {
			return nil, err
		}
	}
	return addCounts(addCounts(cells, d.took), d.unsaved), nil
}
