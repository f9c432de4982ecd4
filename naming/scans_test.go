package naming

import (
	"testing"
	"time"
)

// However many ask, all processes are looked at ten times a second or for a tenth of the time.
func TestScansAreBounded(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for took, want := range map[time.Duration]int{time.Millisecond: 100, 10 * time.Millisecond: 100, 50 * time.Millisecond: 20, time.Second: 1} {
		var s scans
		at, n := noon, 0
		for at.Sub(noon) < 10*time.Second {
			for range 50 { // listeners that ask at that moment
				s.do(func() time.Time { return at }, func() { at = at.Add(took); n++ })
			}
			at = at.Add(time.Millisecond)
		}
		if n > want || n < want*9/10 {
			t.Errorf("looks of %v: %d in ten seconds, want %d", took, n, want)
		}
	}
}

// Who asks while somebody looks does not wait.
func TestScansWaitForNobody(t *testing.T) {
	var s scans
	within := false
	s.do(time.Now, func() { s.do(time.Now, func() { within = true }) })
	if within {
		t.Error("two look at once")
	}
}
