package imds

import (
	"sync"
	"time"

	"github.com/openimds/openimds"
)

// faultCount is how many requests have met faults that end by their number. It belongs to one setting of them
// ([openimds.Faults.CountedFrom]) for one instance, over stops and other changes, and is the guest's own.
type faultCount struct {
	id    string // of the instance
	from  time.Time
	limit int

	mu sync.Mutex
	// here have met them in this process; told of these the store knows, telling are being told to it.
	here, told, telling int
	// elsewhere have met them in other processes, earlier ones too: at least so many.
	elsewhere int
}

// faultCountOf is the count of the instance's faults: the one that the guest has, if they are the same; nil: they
// are not counted.
func (g *Guest) faultCountOf(in *openimds.Instance) *faultCount {
	f := in.Faults
	if f == nil || f.Count == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.faultCount; c == nil || c.id != in.ID || !c.from.Equal(f.CountedFrom) || c.limit != f.Count {
		g.faultCount = &faultCount{id: in.ID, from: f.CountedFrom, limit: f.Count}
	}
	g.faultCount.learn(f.Met)
	return g.faultCount
}

// learn takes in how many have met them by what the store knows. Whether those that are being told are among these
// is not known, so that no more is taken for sure than what others must have met.
func (c *faultCount) learn(met int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elsewhere = max(c.elsewhere, met-c.told-c.telling)
}

// take counts one more; false: there have been enough.
func (c *faultCount) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.here+c.elsewhere >= c.limit {
		return false
	}
	c.here++
	return true
}

func (c *faultCount) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.here+c.elsewhere >= c.limit
}

// FaultsMet are requests that have met counted faults, on their way to the store.
type FaultsMet struct {
	count *faultCount
	// N is how many: more than none.
	N int
}

// FaultsMet begins to tell of the requests that have met the guest's counted faults, and were not told of before;
// false: there are none. [FaultsMet.Told] follows before it is called again.
func (g *Guest) FaultsMet() (FaultsMet, bool) {
	g.mu.Lock()
	c := g.faultCount
	g.mu.Unlock()
	if c == nil {
		return FaultsMet{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.telling = c.here - c.told
	return FaultsMet{c, c.telling}, c.telling > 0
}

// Of is whose faults they have met: the instance's id, and since when they are counted.
func (m FaultsMet) Of() (id string, from time.Time) {
	if m.count == nil {
		return "", time.Time{}
	}
	return m.count.id, m.count.from
}

// Told says that the store knows of them, and how many have met the faults in all; with an error, it does not.
func (m FaultsMet) Told(all int, err error) {
	c := m.count
	c.mu.Lock()
	defer c.mu.Unlock()
	c.telling = 0
	if err != nil {
		return
	}
	c.told += m.N
	c.elsewhere = max(c.elsewhere, all-c.told)
}
