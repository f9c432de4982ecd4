package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
)

// patience bounds every wait of the suite; no test waits for it unless it fails.
const patience = 3 * time.Minute

// Run tests a store against the contract. open makes an empty store, which the suite closes.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, context.Context, store.Store)
	}{
		{"a record that was put is got", testPutGet},
		{"bytes belong to the caller", testOwnership},
		{"a condition that does not hold stops the whole commit", testConflict},
		{"conditions on absence and revision", testConditions},
		{"deleting", testDelete},
		{"a malformed commit is refused", testMalformed},
		{"ranges", testRanges},
		{"revisions of many keys", testRevisions},
		{"a watch tells every change behind its revision once", testWatch},
		{"a watch begins where a list ended", testListThenWatch},
		{"a watch never tells half a commit", testWatchAtomic},
		{"a watch from another life must list again", testWatchFuture},
		{"a watch ends with its context", testWatchContext},
		{"an ended context stops calls", testContext},
		{"writers by compare-and-set lose nothing", testCounters},
		{"a watcher's copy equals the store", testReplica},
		{"what is bound to a lease ends with it", testLease},
		{"a malformed lease is refused", testLeaseMalformed},
		{"a lease lasts while it is kept alive", testLeaseEnds},
		{"one of many has an office", testCampaign},
		{"a closed store says so", testClosed},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			ctx, done := context.WithTimeout(t.Context(), patience)
			defer done()
			s := open(t)
			test.run(t, ctx, s)
			if err := s.Close(); err != nil && test.name != "a closed store says so" {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// RunDurable tests what must outlive a store: open opens the store at a place, again and again.
func RunDurable(t *testing.T, open func(t *testing.T) store.Store) {
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	s := open(t)
	first := put(t, ctx, s, "a/1", "one")
	second := put(t, ctx, s, "a/2", "two")
	mustCommit(t, ctx, s, store.Change{Verb: store.Delete, Key: "a/1", If: first})
	lasting := grant(t, ctx, s, long)
	bind(t, ctx, s, lasting, "b/lasting", "1")
	for err := store.ErrNoLease; errors.Is(err, store.ErrNoLease); { // a busy machine may let it end before it is used
		_, err = s.Commit(ctx, store.Change{Key: "b/short", Value: []byte("1"), If: store.Whatever, Lease: grant(t, ctx, s, store.MinTTL)})
		if err != nil && !errors.Is(err, store.ErrNoLease) {
			t.Fatalf("Commit: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t)
	page, err := s.List(ctx, store.Range{Prefix: "a/"})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Records) != 1 || page.Records[0].Key != "a/2" || string(page.Records[0].Value) != "two" || page.Records[0].Revision != second {
		t.Errorf("after reopening there is %v, not a/2 at revision %d", page.Records, second)
	}
	if err := s.KeepAlive(ctx, lasting); err != nil {
		t.Errorf("a lease after reopening: %v", err)
	}
	for err := error(nil); !errors.Is(err, store.ErrNoRecord); _, err = s.Get(ctx, "b/short") {
		if ctx.Err() != nil {
			t.Fatal("a lease that nobody keeps alive after reopening never ends")
		}
		time.Sleep(time.Millisecond)
	}
	if r, err := s.Get(ctx, "b/lasting"); err != nil || r.Lease != lasting {
		t.Errorf("after reopening the record is bound to %d, %v; want %d", r.Lease, err, lasting)
	}
	if third := put(t, ctx, s, "a/3", "three"); third <= page.Revision || third <= second {
		t.Errorf("revision %d after reopening does not go on behind %d", third, page.Revision)
	}
	if _, err := s.Watch("", first).Next(ctx); !errors.Is(err, store.ErrCompacted) {
		// A store may keep its history across lives; then the records must be the ones that were.
		records := follow(t, ctx, s.Watch("a/", first-1), 3)
		if got := describe(records); got != "a/1=one a/2=two a/1 a/3=three" {
			t.Errorf("the history after reopening is %q", got)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustCommit(t *testing.T, ctx context.Context, s store.Store, changes ...store.Change) int64 {
	t.Helper()
	revision, err := s.Commit(ctx, changes...)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return revision
}

func put(t *testing.T, ctx context.Context, s store.Store, key, value string) int64 {
	t.Helper()
	return mustCommit(t, ctx, s, store.Change{Key: key, Value: []byte(value), If: store.Whatever})
}

// want checks that key has that value, or no record if value is "-".
func want(t *testing.T, ctx context.Context, s store.Store, key, value string) {
	t.Helper()
	r, err := s.Get(ctx, key)
	switch {
	case value == "-" && !errors.Is(err, store.ErrNoRecord):
		t.Errorf("Get(%s) = %q, %v; want ErrNoRecord", key, r.Value, err)
	case value != "-" && (err != nil || string(r.Value) != value || r.Key != key):
		t.Errorf("Get(%s) = %s %q, %v; want %q", key, r.Key, r.Value, err, value)
	}
}

// follow reads at least n records.
func follow(t *testing.T, ctx context.Context, w store.Watcher, n int) []store.Record {
	t.Helper()
	var records []store.Record
	for len(records) < n {
		more, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("Next after %d of %d records: %v", len(records), n, err)
		}
		records = append(records, more...)
	}
	return records
}

func describe(records []store.Record) string {
	var words []string
	for _, e := range records {
		word := e.Key
		if e.Value != nil {
			word += "=" + string(e.Value)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func testPutGet(t *testing.T, ctx context.Context, s store.Store) {
	want(t, ctx, s, "k", "-")
	first := put(t, ctx, s, "k", "v")
	want(t, ctx, s, "k", "v")
	second := put(t, ctx, s, "k", "")
	want(t, ctx, s, "k", "")
	if first <= 0 || second <= first {
		t.Errorf("revisions %d, %d do not rise from above 0", first, second)
	}
	binary := string([]byte{0, 0xff, '\n', 0x80})
	put(t, ctx, s, "binary", binary)
	want(t, ctx, s, "binary", binary)
	large := strings.Repeat("x", 1<<20)
	put(t, ctx, s, "large", large)
	want(t, ctx, s, "large", large)
	if r, err := s.Get(ctx, "k"); err != nil || r.Revision != second {
		t.Errorf("Get: revision %d, %v; want %d", r.Revision, err, second)
	}
}

func testOwnership(t *testing.T, ctx context.Context, s store.Store) {
	value := []byte("mine")
	revision := mustCommit(t, ctx, s, store.Change{Key: "k", Value: value, If: store.Whatever})
	copy(value, "xxxx")
	want(t, ctx, s, "k", "mine")
	r, err := s.Get(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	copy(r.Value, "yyyy")
	page, err := s.List(ctx, store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	copy(page.Records[0].Value, "zzzz")
	records := follow(t, ctx, s.Watch("", revision-1), 1)
	copy(records[0].Value, "wwww")
	want(t, ctx, s, "k", "mine")
	if got := describe(follow(t, ctx, s.Watch("", revision-1), 1)); got != "k=mine" {
		t.Errorf("a watcher's bytes are shared with another: %q", got)
	}
}

func testConflict(t *testing.T, ctx context.Context, s store.Store) {
	revision := put(t, ctx, s, "a", "1")
	_, err := s.Commit(ctx,
		store.Change{Key: "b", Value: []byte("new"), If: store.IfAbsent},
		store.Change{Verb: store.Delete, Key: "a", If: revision},
		store.Change{Verb: store.Check, Key: "c", If: revision},
	)
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Commit: %v, want ErrConflict", err)
	}
	want(t, ctx, s, "a", "1")
	want(t, ctx, s, "b", "-")
	put(t, ctx, s, "d", "end")
	if got := describe(follow(t, ctx, s.Watch("", revision), 1)); got != "d=end" {
		t.Errorf("watchers saw %q of a commit that was refused", got)
	}
}

func testConditions(t *testing.T, ctx context.Context, s store.Store) {
	present := put(t, ctx, s, "present", "1")
	for _, row := range []struct {
		verb store.Verb
		key  string
		cond int64
		ok   bool
	}{
		{store.Check, "present", present, true},
		{store.Check, "present", store.Whatever, true},
		{store.Check, "present", store.IfAbsent, false},
		{store.Check, "present", present + 1, false},
		{store.Check, "absent", store.IfAbsent, true},
		{store.Check, "absent", store.Whatever, true},
		{store.Check, "absent", present, false},
		{store.Put, "present", store.IfAbsent, false},
		{store.Put, "present", present - 1, false},
		{store.Put, "absent", present, false},
		{store.Delete, "present", present + 1, false},
		{store.Delete, "present", store.IfAbsent, false},
		{store.Delete, "absent", present, false},
		{store.Delete, "absent", store.IfAbsent, true},
		{store.Delete, "absent", store.Whatever, true},
	} {
		_, err := s.Commit(ctx, store.Change{Verb: row.verb, Key: row.key, Value: []byte("x"), If: row.cond})
		if row.ok && err != nil || !row.ok && !errors.Is(err, store.ErrConflict) {
			t.Errorf("verb %d of %s if %d: %v", row.verb, row.key, row.cond, err)
		}
	}
	want(t, ctx, s, "present", "1")
	want(t, ctx, s, "absent", "-")
	if next := mustCommit(t, ctx, s, store.Change{Key: "present", Value: []byte("2"), If: present}); next <= present {
		t.Errorf("revision %d does not rise above %d", next, present)
	}
}

func testDelete(t *testing.T, ctx context.Context, s store.Store) {
	revision := put(t, ctx, s, "k", "v")
	mustCommit(t, ctx, s, store.Change{Verb: store.Delete, Key: "k", If: revision})
	want(t, ctx, s, "k", "-")
	again := mustCommit(t, ctx, s, store.Change{Key: "k", Value: []byte("w"), If: store.IfAbsent})
	if again <= revision {
		t.Errorf("a record that was made again has revision %d, not above %d", again, revision)
	}
}

func testMalformed(t *testing.T, ctx context.Context, s store.Store) {
	for _, changes := range [][]store.Change{
		{{Key: "", Value: []byte("x"), If: store.Whatever}},
		{{Key: "a", If: store.Whatever}, {Verb: store.Delete, Key: "a", If: store.Whatever}},
		{{Verb: 9, Key: "a", If: store.Whatever}},
	} {
		if _, err := s.Commit(ctx, changes...); err == nil || errors.Is(err, store.ErrConflict) {
			t.Errorf("Commit(%+v): %v, want a refusal", changes, err)
		}
	}
	want(t, ctx, s, "a", "-")
}

func testRanges(t *testing.T, ctx context.Context, s store.Store) {
	for _, key := range []string{"a", "a/1", "a/2", "a/3", "a/\xff", "a0", "b/1", "\xff\xff", "\xff\xff1"} {
		put(t, ctx, s, key, key)
	}
	for _, row := range []struct {
		r    store.Range
		keys []string
		more bool
	}{
		{store.Range{}, []string{"a", "a/1", "a/2", "a/3", "a/\xff", "a0", "b/1", "\xff\xff", "\xff\xff1"}, false},
		{store.Range{Prefix: "a/"}, []string{"a/1", "a/2", "a/3", "a/\xff"}, false},
		{store.Range{Prefix: "a/", Limit: 4}, []string{"a/1", "a/2", "a/3", "a/\xff"}, false},
		{store.Range{Prefix: "a/", Limit: 2}, []string{"a/1", "a/2"}, true},
		{store.Range{Prefix: "a/", After: "a/1", Limit: 1}, []string{"a/2"}, true},
		{store.Range{Prefix: "a/", After: "a/11"}, []string{"a/2", "a/3", "a/\xff"}, false},
		{store.Range{Prefix: "a/", After: "a/\xff"}, nil, false},
		{store.Range{Prefix: "a/", After: "a"}, []string{"a/1", "a/2", "a/3", "a/\xff"}, false},
		{store.Range{Prefix: "a/", After: "b"}, nil, false},
		{store.Range{Prefix: "none/"}, nil, false},
	} {
		page, err := s.List(ctx, row.r)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, r := range page.Records {
			keys = append(keys, r.Key)
			if string(r.Value) != r.Key {
				t.Errorf("%+v: the record %q has the value %q", row.r, r.Key, r.Value)
			}
		}
		if !slices.Equal(keys, row.keys) || page.More != row.more {
			t.Errorf("%+v: %q, more %v; want %q, %v", row.r, keys, page.More, row.keys, row.more)
		}
		row.r.KeysOnly = true
		same := func(key, whole store.Record) bool { return key.Key == whole.Key && key.Revision == whole.Revision }
		if bare, err := s.List(ctx, row.r); err != nil || !slices.EqualFunc(bare.Records, page.Records, same) || bare.More != page.More || bare.Revision != page.Revision {
			t.Errorf("%+v: %+v, %v; want the keys and revisions of %+v", row.r, bare, err, page)
		}
	}
}

func testCounters(t *testing.T, ctx context.Context, s store.Store) {
	const writers, increments = 8, 25
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			for range increments {
				if err := increment(ctx, s, "counter"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	want(t, ctx, s, "counter", fmt.Sprint(writers*increments))
}

func increment(ctx context.Context, s store.Store, key string) error {
	for {
		n := 0
		r, err := s.Get(ctx, key)
		switch {
		case errors.Is(err, store.ErrNoRecord):
		case err != nil:
			return err
		default:
			if _, err := fmt.Sscan(string(r.Value), &n); err != nil {
				return err
			}
		}
		_, err = s.Commit(ctx, store.Change{Key: key, Value: fmt.Append(nil, n+1), If: r.Revision})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}
