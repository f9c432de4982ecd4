package hostdoor

import "testing"

// Who came first has the next turn that is free, also when it comes again; who waits no more holds nobody up.
func TestTurns(t *testing.T) {
	all := turns{free: 1}
	a, b, c, d := all.arrive(), all.arrive(), all.arrive(), all.arrive()
	had := func(one *turn) bool {
		select {
		case <-one.granted:
			return true
		default:
			return false
		}
	}
	first := all.ask(a)
	ofD, ofC, ofB := all.ask(d), all.ask(c), all.ask(b)
	if !had(first) || had(ofB) || had(ofC) || had(ofD) {
		t.Fatal("with one turn, the first that asks has it alone")
	}
	all.end(first)
	again := all.ask(a)
	if !had(ofB) || had(again) || had(ofC) {
		t.Fatal("of those that wait, who came first is next")
	}
	all.end(ofB)
	if !had(again) || had(ofC) {
		t.Fatal("who came first goes before those that waited longer")
	}
	all.end(ofC) // it gives up
	all.end(again)
	if !had(ofD) {
		t.Fatal("who gave up is waited for")
	}
	all.end(ofD)
	if last := all.ask(d); !had(last) {
		t.Error("a turn was lost")
	}
}
