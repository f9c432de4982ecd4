package naming

import (
	"sync"
	"time"
)

// All processes, of which there may be thousands, are looked at at most every scanEvery for all listeners together, and
// for one part of scanShare of the time.
const (
	scanEvery = 100 * time.Millisecond
	scanShare = 10
)

// scans bounds the looks at all processes.
type scans struct {
	mu   sync.Mutex
	next time.Time
}

// do looks, unless somebody does or has only just done. It waits for nobody.
func (s *scans) do(now func() time.Time, look func()) {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	began := now()
	if began.Before(s.next) {
		return
	}
	look()
	s.next = began.Add(max(scanEvery, scanShare*now().Sub(began)))
}
