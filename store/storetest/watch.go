package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/openimds/openimds/store"
)

func testWatch(t *testing.T, ctx context.Context, s store.Store) {
	before := put(t, ctx, s, "a/1", "old")
	w := s.Watch("a/", before)
	put(t, ctx, s, "a/1", "new")
	put(t, ctx, s, "b/1", "other")
	put(t, ctx, s, "a/2", "")
	mustCommit(t, ctx, s, store.Change{Verb: store.Delete, Key: "a/1", If: store.Whatever})
	mustCommit(t, ctx, s, store.Change{Verb: store.Delete, Key: "a/9", If: store.Whatever})
	put(t, ctx, s, "a/3", "end")
	records := follow(t, ctx, w, 4)
	if got := describe(records); got != "a/1=new a/2= a/1 a/3=end" {
		t.Errorf("the watch told %q", got)
	}
	for i := 1; i < len(records); i++ {
		if records[i].Revision <= records[i-1].Revision {
			t.Errorf("record %d has revision %d after %d", i, records[i].Revision, records[i-1].Revision)
		}
	}
	if r, err := s.Get(ctx, "a/3"); err != nil || r.Revision != records[3].Revision {
		t.Errorf("the record's revision %d is not the record's %d (%v)", records[3].Revision, r.Revision, err)
	}
	// A watch that waits is woken.
	woken := make(chan string, 1)
	go func() {
		more, err := w.Next(ctx)
		woken <- fmt.Sprint(describe(more), " ", err)
	}()
	put(t, ctx, s, "a/4", "late")
	if got := <-woken; got != "a/4=late <nil>" {
		t.Errorf("the waiting watch told %q", got)
	}
}

func testListThenWatch(t *testing.T, ctx context.Context, s store.Store) {
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				put(t, ctx, s, "k", fmt.Sprint(i))
			}
		}
	})
	// A list's revision can be watched at once, while others write.
	for range 50 {
		page, err := s.List(ctx, store.Range{Prefix: "k"})
		if err != nil {
			t.Fatal(err)
		}
		records, err := s.Watch("k", page.Revision).Next(ctx)
		if err != nil {
			t.Fatalf("watching from a list's revision: %v", err)
		}
		if len(page.Records) == 0 {
			continue
		}
		var listed, told int
		fmt.Sscan(string(page.Records[0].Value), &listed)
		fmt.Sscan(string(records[0].Value), &told)
		if told != listed+1 {
			t.Fatalf("the list has %d and the watch goes on with %d", listed, told)
		}
	}
	close(stop)
	writing.Wait()
}

func testWatchAtomic(t *testing.T, ctx context.Context, s store.Store) {
	const commits = 40
	start := put(t, ctx, s, "start", "")
	w := s.Watch("", start)
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range commits {
			mustCommit(t, ctx, s,
				store.Change{Key: "x", Value: fmt.Append(nil, i), If: store.Whatever},
				store.Change{Key: "y", Value: fmt.Append(nil, i), If: store.Whatever})
		}
	})
	for seen := 0; seen < 2*commits; {
		records, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(records)%2 != 0 {
			t.Fatalf("Next returned half a commit: %q", describe(records))
		}
		for i := 0; i < len(records); i += 2 {
			if records[i].Revision != records[i+1].Revision || string(records[i].Value) != string(records[i+1].Value) {
				t.Fatalf("the parts of a commit came apart: %q", describe(records))
			}
		}
		seen += len(records)
	}
	writing.Wait()
}

func testWatchFuture(t *testing.T, ctx context.Context, s store.Store) {
	revision := put(t, ctx, s, "k", "v")
	if _, err := s.Watch("", revision+1000).Next(ctx); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a watch from a revision that never was: %v, want ErrCompacted", err)
	}
}

func testWatchContext(t *testing.T, ctx context.Context, s store.Store) {
	revision := put(t, ctx, s, "k", "v")
	waiting, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	w := s.Watch("", revision)
	go func() {
		_, err := w.Next(waiting)
		ended <- err
	}()
	end()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Next with an ended context: %v", err)
	}
	// The watcher itself is still good.
	put(t, ctx, s, "k", "w")
	if got := describe(follow(t, ctx, w, 1)); got != "k=w" {
		t.Errorf("the watch went on with %q", got)
	}
}

// testReplica lets writers change few keys at random and compares what a watcher makes of it.
func testReplica(t *testing.T, ctx context.Context, s store.Store) {
	const writers, rounds = 4, 40
	revision := put(t, ctx, s, "r/start", "")
	w := s.Watch("r/", revision)
	var writing sync.WaitGroup
	for writer := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(writer), 1))
			for round := range rounds {
				key := fmt.Sprint("r/", random.IntN(6))
				change := store.Change{Key: key, Value: fmt.Append(nil, writer, round), If: store.Whatever}
				if random.IntN(3) == 0 {
					change = store.Change{Verb: store.Delete, Key: key, If: store.Whatever}
				}
				mustCommit(t, ctx, s, change)
			}
		})
	}
	writing.Wait()
	last := put(t, ctx, s, "r/end", "")
	replica := map[string]string{"r/start": ""}
	for reached := int64(0); reached < last; {
		for _, e := range follow(t, ctx, w, 1) {
			reached = e.Revision
			if e.Value == nil {
				delete(replica, e.Key)
			} else {
				replica[e.Key] = string(e.Value)
			}
		}
	}
	page, err := s.List(ctx, store.Range{Prefix: "r/"})
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]string)
	for _, r := range page.Records {
		listed[r.Key] = string(r.Value)
	}
	if !maps.Equal(replica, listed) {
		t.Errorf("the watcher has %v, the store %v", replica, listed)
	}
}
