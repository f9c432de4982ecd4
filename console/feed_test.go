package console

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// TestFeed: from every revision that it remembers a feed tells each thing that was changed after it, once; of all others it
// says that it cannot. A commit is never cut in two.
func TestFeed(t *testing.T) {
	t.Parallel()
	s := mem.New()
	defer func() { _ = s.Close() }()
	f := newFeed(s, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.run(ctx) }()
	<-f.ready
	first := f.now()
	name := func(commit, n int) string { return fmt.Sprintf("%d-%d", commit, n) }
	const commits, each = 6000, 2
	at := make([]int64, 0, commits) // their revisions
	for n := range commits {
		changes := []store.Change{{Key: "name/" + name(n, 0), Value: []byte("Instance"), If: store.Whatever}} // no page's affair
		for i := range each {
			changes = append(changes, store.Change{Key: "instance/" + name(n, i), Value: []byte("x"), If: store.Whatever})
		}
		revision, err := s.Commit(t.Context(), changes...)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, revision)
	}
	last := at[commits-1]
	for {
		_, reached, _, moved := f.since(f.now())
		if reached == last {
			break
		}
		<-moved
	}
	known := 0
	for n := -1; n < commits; n += 97 {
		after := first
		if n >= 0 {
			after = at[n]
		}
		changed, reached, ok, _ := f.since(after)
		if !ok {
			continue
		}
		known++
		if reached != last || len(changed) != (commits-n-1)*each {
			t.Fatalf("after commit %d there are %d changes up to %d", n, len(changed), reached)
		}
		for i, c := range changed {
			if c.Kind != "instance" || c.Name != name(n+1+i/each, i%each) {
				t.Fatalf("after commit %d change %d is %+v", n, i, c)
			}
		}
	}
	if most := feedKeeps / each / 97; known > most+1 || known < most*3/4-1 {
		t.Errorf("%d places are remembered", known)
	}
	for _, revision := range []int64{0, first, last + 1, -1} {
		if _, _, ok, _ := f.since(revision); ok {
			t.Errorf("the revision %d is taken for one that is remembered", revision)
		}
	}
	cancel()
	<-ended
}

// TestSubjects: a page knows things by the names that operations take, and hears of nothing else.
func TestSubjects(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"instance/web.1": "instance web.1", "seat/web-1/local": "instance web-1", "recording/web-1/x": "instance web-1", "transition/web-1": "instance web-1",
		"rehearsal/web-1": "instance web-1", "attachment/web-1": "attachment web-1", "attachment-status/web-1": "attachment web-1",
		"operation-of/web-1/fe5e": "operation web-1", "operation/fe5e": " ", "alarm/a": "alarm a", "defaults/us-east-1": "defaults us-east-1", "host/local": "host local",
		"usage/300/123": "usage ", "usage/callers/i-1/local": "usage ", "name/web-1": " ", "layout": " ", "office": " ", "region/eu-west-1/instance/web-1": " ", "": " ",
	} {
		kind, name := subject(key)
		if kind == "" {
			name = ""
		}
		if got := kind + " " + name; got != want {
			t.Errorf("%q is %q, want %q", key, got, want)
		}
	}
}
