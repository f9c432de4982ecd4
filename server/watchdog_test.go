package server

import "testing"

func TestWatchdogKnowsTheEnd(t *testing.T) {
	d := newWatchdog(func(string) { t.Error("a program that has stopped is ended") })
	d.start()
	d.end()
	d = newWatchdog(func(string) { t.Error("a program that has stopped is ended") })
	d.end()
	d.start()
	if d.timer != nil {
		t.Error("what has stopped is waited for")
	}
}
