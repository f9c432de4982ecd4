package naming

import (
	"testing"
	"time"
)

// Who calls somebody else is left after a while, and looked at again; a guest's namespace is never left.
func TestTheirs(t *testing.T) {
	const guest, other = 7, 8
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var all theirs
	all.replace(nil, []uint64{guest})
	for i := range 2 * mostUnclaimed {
		if got, want := all.may(other, noon), i < mostUnclaimed; got != want {
			t.Fatalf("after %d calls that nobody claims: %v", i, got)
		}
		all.unclaimed(other, noon)
		all.unclaimed(guest, noon) // more than a listener tells of
		if !all.may(guest, noon) {
			t.Fatalf("a guest is left after %d calls", i)
		}
	}
	if !all.may(other, noon.Add(theirsFor)) {
		t.Error("it is left for good")
	}
	for name, change := range map[string]func(){
		"a guest is there":        func() { all.replace(nil, []uint64{other}) },
		"a call of it is claimed": func() { all.claimed(other) },
	} {
		for range mostUnclaimed {
			all.unclaimed(other, noon)
		}
		if all.may(other, noon) {
			t.Fatalf("%s: before, it may be a guest's", name)
		}
		if change(); !all.may(other, noon) {
			t.Errorf("%s: it is left", name)
		}
		all.replace([]uint64{other}, nil)
	}
	all.replace([]uint64{guest}, nil) // it has gone
	for range mostUnclaimed {
		all.unclaimed(guest, noon)
	}
	if all.may(guest, noon) {
		t.Error("what was a guest's is looked at for ever")
	}
}

// However many namespaces call somebody else, what is remembered of them is bounded.
func TestTheirsAreBounded(t *testing.T) {
	var all theirs
	for netns := range uint64(3 * mostTheirs) {
		all.unclaimed(netns, time.Time{})
		if len(all.other) > mostTheirs {
			t.Fatalf("%d are remembered", len(all.other))
		}
	}
}
