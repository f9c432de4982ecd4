package hostdoor

import "maps"

// Paths are those of all requests that a host may make, but for the stream.
func Paths() (all []string) {
	for path := range handlers {
		all = append(all, path)
	}
	return all
}

// Attached are the hosts of the first region's instances, as the door knows by now.
func (d *Door) Attached() map[string]string {
	x := d.indexes[0]
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.hosts)
}
