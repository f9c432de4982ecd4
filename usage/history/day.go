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
	took map[int]*Counts

	unsaved map[int]*Counts
}

func newDay(instanceID, host string, number int64) *day {
	return &day{number: number, key: sampleKey(number, instanceID, host), unsaved: map[int]*Counts{}}
}

func (d *day) dirty() bool { return d.sent != nil || len(d.unsaved) > 0 }

// learn takes up the record that the store has; the zero record is none. It returns which samples turn out to have been
// stored.
func (d *day) learn(r store.Record) (kept []int64) {
	d.known = true
	if d.sent != nil && r.Revision == d.revision {
		return nil // the attempt may still succeed: send it again
	}
	if string(d.sent) == string(r.Value) {
		kept = d.numbers(d.took)
	} else {
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
	return kept
}

// numbers are those of some of the day's samples.
func (d *day) numbers(of map[int]*Counts) []int64 {
	numbers := make([]int64, 0, len(of))
	for at := range of {
		numbers = append(numbers, d.number*samplesPerDay+int64(at))
	}
	return numbers
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
		d.sent, d.took, d.unsaved = value, d.unsaved, map[int]*Counts{}
	}
	return store.Change{Verb: store.Put, Key: d.key, Value: d.sent, If: d.revision}, true, nil
}

// done notes that the store has what was sent, and returns which samples those are.
func (d *day) done(revision int64) []int64 {
	kept := d.numbers(d.took)
	d.stored, d.revision = d.sent, revision
	d.sent, d.took = nil, nil
	return kept
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
