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

// What hangs is told with its name.
func TestWatchdogNamesWhatHangs(t *testing.T) {
	var told []string
	d := newWatchdog(func(stage string) { told = append(told, stage) })
	d.bite()
	d.at("the store")
	d.bite()
	newWatchdog(nil).bite() // nobody wants to know
	if len(told) != 2 || told[0] != "the start" || told[1] != "the store" {
		t.Errorf("told of %q", told)
	}
}
