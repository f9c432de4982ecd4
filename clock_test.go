package openimds_test

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// TestClockSetBack: what ends by itself lasts no longer because the clock was turned back meanwhile, by hours or days: that it
// began in the future says so. A turn of less than hosts' clocks may be apart moves its end by as much.
func TestClockSetBack(t *testing.T) {
	began := time.Date(2026, 11, 27, 22, 0, 0, 0, time.UTC)
	faults := &openimds.Faults{Since: began, Until: began.Add(time.Minute), AbsentSeconds: 60, AbsentUntil: began.Add(time.Minute)}
	for name, is := range map[string]func(now time.Time) bool{
		"faults":       func(now time.Time) bool { return !faults.Over(now) },
		"an absence":   faults.Absent,
		"a pushed key": (&openimds.ManagedKey{Until: began.Add(openimds.PushedKeyTime)}).Active,
		"a rehearsal":  (&openimds.Rehearsal{Since: began, Until: began.Add(time.Minute)}).UnderWay,
	} {
		for after, want := range map[time.Duration]bool{
			-365 * 24 * time.Hour: false, -26 * time.Hour: false, -time.Hour: false, -time.Minute: false,
			-30 * time.Second: true, 0: true, time.Minute - 1: true, time.Minute: false, 26 * time.Hour: false,
		} {
			if got := is(began.Add(after)); got != want {
				t.Errorf("%s, %v after it began: %v, want %v", name, after, got, want)
			}
		}
	}
	// What earlier releases have stored does not say when it began.
	if (&openimds.Faults{Until: began}).Over(began.Add(-24 * time.Hour)) {
		t.Error("faults of which is not known when they began are over before their end")
	}
	if (&openimds.Faults{}).Over(began) || (&openimds.Faults{}).Absent(began) {
		t.Error("faults without an end are over, or without an absence absent")
	}
}
