package store_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/openimds/openimds/store"
)

// TestChangelogBounds: neither many small records nor few large ones make the log grow beyond its bounds,
// and what is dropped is given back.
func TestChangelogBounds(t *testing.T) {
	for _, row := range []struct {
		name                      string
		records, bytes            int // of the log
		commits, perCommit, value int // of what comes
	}{
		{"large", 1000, 4 << 20, 500, 2, 300 << 10},
		{"one larger than the log", 1000, 1 << 20, 20, 1, 3 << 20},
		{"small", 1000, 4 << 20, 20_000, 3, 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := store.NewChangelog(0, row.records, row.bytes)
			slow, quick := log.Watch("k", 0), log.Watch("k", 0)
			before := heap()
			told, at := 0, int64(0)
			for revision := int64(1); revision <= int64(row.commits); revision++ {
				records := make([]store.Record, row.perCommit)
				for i := range records {
					records[i] = store.Record{Key: fmt.Sprint("k", i), Value: make([]byte, row.value), Revision: revision}
				}
				log.Append(revision, records)
				got, err := quick.Next(t.Context())
				if errors.Is(err, store.ErrCompacted) { // larger than the log: list again, go on from there
					quick, at = log.Watch("k", revision), revision
					continue
				}
				if err != nil || len(got) != row.perCommit || got[0].Revision != at+1 {
					t.Fatalf("revision %d after %d: %d records, %v", revision, at, len(got), err)
				}
				told, at = told+1, revision
			}
			if row.value < row.bytes && told != row.commits {
				t.Errorf("a watcher that keeps up was told of %d of %d commits", told, row.commits)
			}
			if _, err := slow.Next(t.Context()); !errors.Is(err, store.ErrCompacted) {
				t.Errorf("the watcher that fell behind: %v, want ErrCompacted", err)
			}
			if grown := heap() - before; grown > int64(row.bytes)+1<<20 {
				t.Errorf("a log of %d bytes holds %d", row.bytes, grown)
			}
			runtime.KeepAlive(log)
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestChangelogPortions: a watcher that is far behind gets everything, in whole commits, in portions.
func TestChangelogPortions(t *testing.T) {
	log := store.NewChangelog(0, 10_000, 64<<20)
	const commits = 300
	for revision := int64(1); revision <= commits; revision++ {
		log.Append(revision, []store.Record{
			{Key: "a", Value: make([]byte, 20<<10), Revision: revision},
			{Key: "b", Value: make([]byte, 20<<10), Revision: revision},
			{Key: "other", Value: make([]byte, 20<<10), Revision: revision},
		})
	}
	for prefix, per := range map[string]int{"": 3, "a": 1} {
		watch, seen := log.Watch(prefix, 0), int64(0)
		for seen < commits {
			records, err := watch.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(records)%per != 0 || len(records)*20<<10 > 2<<20 {
				t.Fatalf("%d records in one portion", len(records))
			}
			for commit := range slices.Chunk(records, per) {
				seen++
				for _, e := range commit {
					if e.Revision != seen {
						t.Fatalf("revision %d in the place of %d", e.Revision, seen)
					}
				}
			}
		}
	}
}
