package storelog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// begin is a time that does not hang on the machine's.
var begin = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// commit tells entries as one change.
func commit(t *testing.T, l *Log, entries ...openimds.AuditEntry) {
	t.Helper()
	ahead, within, err := l.Records(entries)
	must(t, err)
	if len(ahead) > 0 {
		_, err = l.store.Commit(t.Context(), ahead...)
		must(t, err)
	}
	_, err = l.store.Commit(t.Context(), within...)
	must(t, err)
}

// pages are all entries that a query finds, page after page, each of which may be asked of another server.
func pages(t *testing.T, q openimds.AuditQuery, logs ...*Log) (found []openimds.AuditEntry) {
	t.Helper()
	for n := 0; ; n++ {
		page, err := logs[n%len(logs)].Entries(t.Context(), q)
		must(t, err)
		if len(page.Entries) > q.Most {
			t.Fatalf("a page of %d has %d entries", q.Most, len(page.Entries))
		}
		found = append(found, page.Entries...)
		if q.Place = page.Next; page.Next == "" {
			return found
		}
	}
}

// whats are the operations of entries.
func whats(entries []openimds.AuditEntry) []string {
	what := make([]string, len(entries))
	for i, e := range entries {
		what[i] = e.What
	}
	return what
}

// TestPages: whatever servers with whatever clocks told, each page size and query has each entry once, the latest first.
func TestPages(t *testing.T) {
	s := mem.New()
	logs := []*Log{New(s, "api-1"), New(s, "api-2")}
	others := []*Others{NewOthers(logs[0], nil), NewOthers(logs[1], nil)}
	r := rand.New(rand.NewPCG(1, 2))
	var all []openimds.AuditEntry
	now := begin
	for n := 0; n < 300; {
		now = now.Add(time.Duration(1+r.IntN(5000)) * time.Millisecond)
		at := r.IntN(2)
		var entries []openimds.AuditEntry
		for range 1 + r.IntN(4) {
			entries = append(entries, openimds.AuditEntry{When: now, Who: fmt.Sprint("key-", r.IntN(3)), What: fmt.Sprint("Op", n), Resource: fmt.Sprint("Instance/web-", r.IntN(3)), Change: "x"})
			n++
		}
		if r.IntN(4) > 0 {
			commit(t, logs[at], entries...)
		} else {
			for i := range entries {
				entries[i].Failure, entries[i].Change = "refused", ""
			}
			must(t, others[at].write(t.Context(), records.NewAuditMark(now), entries))
		}
		for i := range entries {
			entries[i].Server = logs[at].server
		}
		all = append(all, entries...)
	}
	slices.Reverse(all)
	for _, q := range []openimds.AuditQuery{
		{}, {Resource: "Instance/web-1"}, {Resource: "web-2"}, {Who: "key-1"}, {Failed: true}, {Resource: "Instance/web-0", Failed: true},
		{What: "Op7"}, {Since: now.Add(-3 * time.Minute)}, {Resource: "Instance/none"},
	} {
		var want []string
		for i := range all {
			if q.Wants(&all[i]) {
				want = append(want, all[i].What)
			}
		}
		for _, q.Most = range []int{1, 2, 7, 200} {
			found := pages(t, q, logs...)
			if got := whats(found); !slices.Equal(got, want) {
				t.Fatalf("%+v: %q instead of %q", q, got, want)
			}
			for _, e := range found {
				if e.Server != "api-1" && e.Server != "api-2" {
					t.Fatalf("%+v names no server", e)
				}
			}
		}
	}
	for _, place := range []string{"x", "-", strings.Repeat("0", 36) + ".1", "../audit/x.1", "ffffffff-ffff-ffff-ffff-ffffffffffff.123456"} {
		if _, err := logs[0].Entries(t.Context(), openimds.AuditQuery{Most: 1, Place: place}); !errors.Is(err, openimds.ErrNoPlace) {
			t.Errorf("the place %q: %v", place, err)
		}
	}
}

// TestPagesWhileTold: what is told between two pages neither hides nor doubles what was there.
func TestPagesWhileTold(t *testing.T) {
	l := New(mem.New(), "api-1")
	for n := range 20 {
		commit(t, l, openimds.AuditEntry{When: begin.Add(time.Duration(n) * time.Second), What: fmt.Sprint("Op", n)}, openimds.AuditEntry{When: begin.Add(time.Duration(n) * time.Second), What: fmt.Sprint("And", n)})
	}
	q, seen := openimds.AuditQuery{Most: 3}, map[string]int{}
	for n := 0; ; n++ {
		page, err := l.Entries(t.Context(), q)
		must(t, err)
		for _, e := range page.Entries {
			seen[e.What]++
		}
		if q.Place = page.Next; q.Place == "" {
			break
		}
		commit(t, l, openimds.AuditEntry{When: begin.Add(time.Duration(100+n) * time.Second), What: "Later"})
		commit(t, l, openimds.AuditEntry{When: begin.Add(time.Duration(n) * 600 * time.Millisecond), What: "Behind"}) // by a slow clock
	}
	delete(seen, "Behind") // which is seen or not
	for n := range 20 {
		for _, what := range []string{fmt.Sprint("Op", n), fmt.Sprint("And", n)} {
			if seen[what] != 1 {
				t.Errorf("%s was told %d times", what, seen[what])
			}
			delete(seen, what)
		}
	}
	if len(seen) > 0 {
		t.Errorf("the first pages are followed by %v", seen)
	}
}

// TestRare: who looks for what is rare is given pages without entries rather than one that takes long.
func TestRare(t *testing.T) {
	l := New(mem.New(), "api-1")
	commit(t, l, openimds.AuditEntry{When: begin, What: "Rare"})
	for n := range maxPage + 10 {
		commit(t, l, openimds.AuditEntry{When: begin.Add(time.Duration(n+1) * time.Second), What: "Often"})
	}
	page, err := l.Entries(t.Context(), openimds.AuditQuery{What: "Rare", Most: 1})
	must(t, err)
	if len(page.Entries) > 0 || page.Next == "" {
		t.Fatalf("%+v", page)
	}
	if found := pages(t, openimds.AuditQuery{What: "Rare", Most: 1}, l); len(found) != 1 {
		t.Errorf("%+v", found)
	}
}

// TestChanges: the changes of one resource are told in their order, of every commit, and nothing else.
func TestChanges(t *testing.T) {
	l := New(mem.New(), "api-1")
	must(t, l.Begin(t.Context(), begin))
	for n := range 3 {
		when := begin.Add(time.Duration(n) * time.Second)
		commit(t, l,
			openimds.AuditEntry{When: when, What: fmt.Sprint("First", n), Resource: "Instance/web", Change: "x"},
			openimds.AuditEntry{When: when, What: "Other", Resource: "Instance/web-1", Change: "x"},
			openimds.AuditEntry{When: when, What: fmt.Sprint("Second", n), Resource: "Instance/web", Change: "x"})
	}
	commit(t, l, openimds.AuditEntry{When: begin.Add(time.Minute), What: "Failed", Resource: "Instance/web", Failure: "not signed"})
	must(t, l.Begin(t.Context(), begin.Add(time.Hour))) // another start
	found, since, err := l.Changes(t.Context(), "Instance/web")
	must(t, err)
	if got := whats(found); !slices.Equal(got, []string{"First0", "Second0", "First1", "Second1", "First2", "Second2"}) || !since.Equal(begin) {
		t.Errorf("%q since %v", got, since)
	}
}

// TestForget: the old and the many go, refusals drive out no change, nothing is left of what is gone, and the log says
// since when it has all.
func TestForget(t *testing.T) {
	const keep = 10
	s := mem.New()
	l := New(s, "api-1")
	must(t, l.Begin(t.Context(), begin))
	o := NewOthers(l, nil)
	for n := range 25 {
		when := begin.Add(time.Duration(n) * time.Hour)
		commit(t, l, openimds.AuditEntry{When: when, What: fmt.Sprint("Op", n), Resource: fmt.Sprint("Instance/web-", n)}, openimds.AuditEntry{When: when, What: "And", Resource: "Instance/all"})
		if n >= 20 {
			for i := range 30 {
				must(t, o.write(t.Context(), records.NewAuditMark(when.Add(time.Duration(i)*time.Second)), []openimds.AuditEntry{{When: when, What: "Refused", Failure: "no"}}))
			}
		}
	}
	now := begin.Add(24 * time.Hour)
	must(t, l.Forget(t.Context(), now, 90*24*time.Hour, keep))
	found, since, err := l.Changes(t.Context(), "Instance/all")
	must(t, err)
	if len(found) != keep || !since.Equal(begin.Add(14*time.Hour)) {
		t.Errorf("%d changes since %v", len(found), since)
	}
	if refused := pages(t, openimds.AuditQuery{Failed: true, Most: 7}, l); len(refused) != keep {
		t.Errorf("%d refusals", len(refused))
	}
	must(t, l.Forget(t.Context(), now, 5*time.Hour, 1000))
	page, err := l.Entries(t.Context(), openimds.AuditQuery{Most: 200})
	must(t, err)
	if found, _, err := l.Changes(t.Context(), "Instance/web-18"); err != nil || len(found) > 0 {
		t.Errorf("what is older is there: %v, %v", found, err)
	}
	if len(page.Entries) != 2*6+keep || !page.Begins.Equal(begin.Add(24*time.Hour+19*time.Second)) {
		t.Errorf("%d entries, from %v", len(page.Entries), page.Begins)
	}
	must(t, l.Forget(t.Context(), now.Add(1000*time.Hour), time.Hour, 1000))
	left, err := s.List(t.Context(), store.Range{})
	must(t, err)
	if len(left.Records) != 2 {
		t.Errorf("%d records are left, of which two say since when", len(left.Records))
	}
}

// TestLarge: a change of much is told within bounds, and says so.
func TestLarge(t *testing.T) {
	l := New(mem.New(), "api-1")
	var entries []openimds.AuditEntry
	for n := range 40 {
		entries = append(entries, openimds.AuditEntry{When: begin, What: fmt.Sprint("Op", n), Resource: "Instance/web", After: map[string]any{"tags": strings.Repeat("x", 4000)}})
	}
	_, told, err := l.Records(entries)
	must(t, err)
	size := 0
	for _, c := range told {
		size += len(c.Value)
	}
	if len(told) != 2 || size > 4*maxLines {
		t.Errorf("%d records of %d bytes", len(told), size)
	}
	commit(t, l, entries...)
	found := pages(t, openimds.AuditQuery{Most: 200}, l)
	if len(found) != 40 || found[0].After["omitted"] == nil || found[39].After["tags"] == nil {
		t.Errorf("%d entries: %v, %v", len(found), found[0].After, found[39].After)
	}
}

// TestManyResources: what is told of each of many resources tells of a change that was made, and of no other one.
func TestManyResources(t *testing.T) {
	l := New(mem.New(), "api-1")
	var entries []openimds.AuditEntry
	for n := range maxOf + 1 {
		entries = append(entries, openimds.AuditEntry{When: begin, What: "Made", Resource: fmt.Sprint("Instance/web-", n), Change: "x"})
	}
	commit(t, l, entries...)
	for i := range entries {
		entries[i].What = "Not made"
	}
	ahead, within, err := l.Records(entries)
	must(t, err)
	if len(ahead) != maxOf+1 || len(within) != 1 {
		t.Fatalf("%d ahead, %d within", len(ahead), len(within))
	}
	_, err = l.store.Commit(t.Context(), ahead...)
	must(t, err)
	found, _, err := l.Changes(t.Context(), "Instance/web-3")
	must(t, err)
	page, err := l.Entries(t.Context(), openimds.AuditQuery{Resource: "Instance/web-3", Most: 10})
	must(t, err)
	if got := slices.Concat(whats(found), whats(page.Entries)); !slices.Equal(got, []string{"Made", "Made"}) || page.Damaged > 0 {
		t.Errorf("%q, %d damaged", got, page.Damaged)
	}
}

// TestDamaged: a record that cannot be read hides no other one.
func TestDamaged(t *testing.T) {
	l := New(mem.New(), "api-1")
	commit(t, l, openimds.AuditEntry{When: begin, What: "Op"})
	_, err := l.store.Commit(t.Context(), store.Change{Key: records.AuditPrefix + records.NewAuditMark(begin.Add(time.Second)), Value: []byte("{")})
	must(t, err)
	page, err := l.Entries(t.Context(), openimds.AuditQuery{Most: 2})
	must(t, err)
	if len(page.Entries) != 1 || page.Damaged != 1 {
		t.Errorf("%+v", page)
	}
}

// away is a store that refuses commits for a time.
type away struct {
	store.Store
	until atomic.Pointer[time.Time]
}

func (a *away) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if time.Now().Before(*a.until.Load()) {
		return 0, errors.New("away")
	}
	return a.Store.Commit(ctx, changes...)
}

// TestOthers: refusals wait for a store that is away, those that there is no room for are counted, and the end waits for
// what is left.
func TestOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &away{Store: mem.New()}
		back := time.Now().Add(time.Hour)
		s.until.Store(&back)
		l := New(s, "api-1")
		o := NewOthers(l, nil)
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); o.Run(ctx) }()
		const told = maxWaiting + 100
		for n := range told {
			o.Tell(openimds.AuditEntry{When: time.Now(), What: fmt.Sprint("Op", n), Failure: "no"})
			synctest.Wait()
		}
		time.Sleep(2 * time.Hour)
		o.Tell(openimds.AuditEntry{When: time.Now(), What: "Last", Failure: "no"})
		end()
		<-ended
		found := pages(t, openimds.AuditQuery{Most: 200}, l)
		missed := slices.IndexFunc(found, func(e openimds.AuditEntry) bool { return e.What == "Refusals" })
		if missed < 0 || found[missed].Failure != fmt.Sprintf("%d lines of the log of api-1 could not be told to the store", told-(len(found)-2)) || found[0].What != "Last" {
			t.Errorf("%d were told, %d are there: %q", told, len(found), whats(found))
		}
	})
}
