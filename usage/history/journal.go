package history

import (
	"errors"
	"slices"
	"sync"

	"github.com/openimds/openimds/store"
)

// journal is what this host has in memory of one instance.
type journal struct {
	instanceID, host string
	kept             func(instanceID string, numbers []int64)

	// Nobody who holds mu waits for the store.
	mu       sync.Mutex
	days     []*day
	released bool  // it is the instance's no more
	broke    int64 // the latest sample that is marked as not known as a whole
}

// unsaved returns the counts of a sample that are not on their way to the store. j.mu is held.
func (j *journal) unsaved(n int64) *Counts {
	d := j.day(floorDiv(n, samplesPerDay))
	at := int(n - d.number*samplesPerDay)
	c := d.unsaved[at]
	if c == nil {
		c = &Counts{}
		d.unsaved[at] = c
	}
	return c
}

// day returns the day of that number, which is begun if it is not in memory. j.mu is held.
func (j *journal) day(number int64) *day {
	for _, d := range j.days {
		if d.number == number {
			return d
		}
	}
	d := newDay(j.instanceID, j.host, number)
	j.days = append(j.days, d)
	return d
}

// unknown tells which days are still to be read.
func (j *journal) unknown() (days []*day) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, d := range j.days {
		if !d.known {
			days = append(days, d)
		}
	}
	return days
}

// draft returns the changes that bring the store up to date. What could not be read is left out.
func (j *journal) draft() ([]store.Write, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var writes []store.Write
	var failures []error
	for _, d := range j.days {
		if !d.known || !d.dirty() {
			continue
		}
		change, ok, err := d.draft()
		failures = append(failures, err)
		if ok {
			writes = append(writes, store.Write{
				Change:   change,
				Done:     func(revision int64) { j.done(d, revision) },
				Conflict: func() { j.locked(func() { d.known = false }) },
			})
		}
	}
	return writes, errors.Join(failures...)
}

// done notes that the store has what was sent of a day.
func (j *journal) done(d *day, revision int64) {
	var kept []int64
	j.locked(func() { kept = d.done(revision) })
	j.kept(j.instanceID, kept) // a guest may wait for j.mu
}

func (j *journal) locked(do func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	do()
}

// drop lets go of past days of which the store has all.
func (j *journal) drop(today int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.days = slices.DeleteFunc(j.days, func(d *day) bool { return d.number != today && !d.dirty() })
}
