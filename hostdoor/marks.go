package hostdoor

import (
	"strings"

	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// rewatch has the index know the marks of instances whose refused calls somebody waits for, and no others. x.mu is held.
func (x *index) rewatch(all []store.Record) {
	clear(x.watched)
	for _, r := range all {
		x.watched[strings.TrimPrefix(r.Key, records.WatchedPrefix)] = r
	}
}

// watch takes note of marks that have come or gone, and returns whose they are. x.mu is held.
func (x *index) watch(changes []store.Record) (instances []string) {
	for _, r := range changes {
		instance, ok := strings.CutPrefix(r.Key, records.WatchedPrefix)
		if !ok {
			continue
		}
		instances = append(instances, instance)
		if r.Value == nil {
			delete(x.watched, instance)
		} else {
			x.watched[instance] = r
		}
	}
	return instances
}

// mark is that of an instance as it is now; false: it has none.
func (x *index) mark(instance string) (store.Record, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, there := x.watched[instance]
	return r, there
}

// marked are the instances that have one.
func (x *index) marked() (instances []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for instance := range x.watched {
		instances = append(instances, instance)
	}
	return instances
}

// markOf is what a host is told of the mark of an instance, as that is now: that it is there, as long as the host has the
// instance, or that it is gone.
func (s *stream) markOf(x *index, instance string) []hostlink.Record {
	now, there := x.mark(instance)
	was, has := s.marks[x][instance]
	_, told := s.told[x][instance]
	switch {
	case told && there && was != now.Revision:
		s.marks[x][instance] = now.Revision
		return []hostlink.Record{{Region: x.region.Name, Key: now.Key, Value: now.Value}}
	case has && !(told && there):
		delete(s.marks[x], instance)
		return []hostlink.Record{{Region: x.region.Name, Key: records.WatchedKey(instance)}}
	}
	return nil
}

// allMarks are those of all instances that a host was told of.
func (s *stream) allMarks(x *index) (all []hostlink.Record) {
	for _, instance := range x.marked() {
		all = append(all, s.markOf(x, instance)...)
	}
	return all
}
