package server

import (
	"maps"
	"sync"
)

// answered are the requests of operators that were answered, by status.
type answered struct {
	mu       sync.Mutex
	byStatus map[int]uint64
}

func (a *answered) count(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byStatus == nil {
		a.byStatus = map[int]uint64{}
	}
	a.byStatus[status]++
}

// counts tells of successes, refusals and failures even where there were none, so that the first of them is seen to come.
func (a *answered) counts() map[int]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	counts := map[int]uint64{200: 0, 400: 0, 500: 0}
	maps.Copy(counts, a.byStatus)
	return counts
}
