//go:build unix

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

func all(*openimds.AuditEntry) bool { return true }

// pages reads all pages, and the words of all entries.
func pages(t *testing.T, path string, q openimds.AuditQuery) (words []string, whole openimds.AuditPage) {
	t.Helper()
	for n := 0; ; n++ {
		page, err := Page(path, q, all)
		if err != nil || len(page.Entries) > q.Most {
			t.Fatalf("%d entries, %v", len(page.Entries), err)
		}
		for _, e := range page.Entries {
			words = append(words, e.What)
		}
		whole.Damaged += page.Damaged
		whole.Rotated = whole.Rotated || page.Rotated
		whole.Begins = page.Begins
		if q.Place = page.Next; q.Place == "" {
			return words, whole
		}
		if n > 10_000 {
			t.Fatal("the pages have no end")
		}
	}
}

// All pages together are all of the log, once each, the latest first, whatever stands in it and however large the pages are.
func TestPages(t *testing.T) {
	path := place(t)
	if page, err := Page(path, openimds.AuditQuery{Most: 1}, all); err != nil || page.Next != "" || !page.Begins.IsZero() || page.Rotated {
		t.Errorf("of no log: %+v, %v", page, err)
	}
	var text bytes.Buffer
	var want []string
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const lines = 400
	for n := range lines {
		e := entry(fmt.Sprint("change-", n))
		e.When, e.Resource = at.Add(time.Duration(n)*time.Second), fmt.Sprint("Instance/web-", n%3)
		e.Who = "\"}\n{\x1b[2J\u202e<script>" + strings.Repeat("é", n%200)
		if n%100 == 7 { // of the longest that there are
			e.After = map[string]any{}
			for m := range 7 {
				e.After[fmt.Sprint(m)] = strings.Repeat("x", maxMember-20)
			}
		}
		line, err := Line(e)
		must(t, err)
		text.Write(line)
		want = append(want, e.What)
		switch n {
		case 100:
			text.WriteString("torn {\"when\":\n\n") // and an empty line
		case 200:
			text.WriteString(strings.Repeat("y", 3*windowSize) + "\n") // no line is that long
		}
	}
	text.WriteString(`{"when":"2026-11-22T12:`) // in the making
	must(t, os.WriteFile(path, text.Bytes(), 0o600))
	slices.Reverse(want)
	for _, most := range []int{1, 37, lines, lines + 1} {
		got, whole := pages(t, path, openimds.AuditQuery{Most: most})
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %d entries of %d, from %v", most, len(got), len(want), got[:min(len(got), 3)])
		}
		if whole.Damaged != 2 || whole.Rotated || !whole.Begins.Equal(at) {
			t.Errorf("by %d: %d damaged lines, rotated %t, since %v", most, whole.Damaged, whole.Rotated, whole.Begins)
		}
	}
	for name, c := range map[string]struct {
		q    openimds.AuditQuery
		want int
	}{
		"resource":         {openimds.AuditQuery{Resource: "Instance/web-1"}, lines / 3},
		"its name alone":   {openimds.AuditQuery{Resource: "web-1"}, lines / 3},
		"another's part":   {openimds.AuditQuery{Resource: "Instance/web"}, 0},
		"who":              {openimds.AuditQuery{Who: "<script>"}, lines},
		"nobody":           {openimds.AuditQuery{Who: "me"}, 0},
		"what":             {openimds.AuditQuery{What: "change-399"}, 1},
		"since":            {openimds.AuditQuery{Since: at.Add(390 * time.Second)}, 10},
		"failed":           {openimds.AuditQuery{Failed: true}, 0},
		"since the future": {openimds.AuditQuery{Since: at.AddDate(1, 0, 0)}, 0},
	} {
		c.q.Most = 150
		if got, _ := pages(t, path, c.q); len(got) != c.want {
			t.Errorf("%s: %d entries, not %d", name, len(got), c.want)
		}
	}
	// The text that an entry was given is what is read, and not markup of the log.
	page, err := Page(path, openimds.AuditQuery{Most: 1}, all)
	if err != nil || !strings.HasPrefix(page.Entries[0].Who, "\"}\n{\x1b[2J\u202e<script>") {
		t.Errorf("%q, %v", page.Entries[0].Who, err)
	}
	// Of a log in which nothing is found one page does not cost all of it.
	must(t, os.Truncate(path, 0))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	line, err := Line(entry("first"))
	must(t, err)
	for size := 0; size < 3*maxPage; size += 1000 * len(line) {
		_, err = f.Write(bytes.Repeat(line, 1000))
		must(t, err)
	}
	must(t, f.Close())
	page, err = Page(path, openimds.AuditQuery{Most: 1, What: "absent"}, all)
	if err != nil || page.Next == "" || len(page.Entries) > 0 {
		t.Errorf("of a long log: %+v, %v", page, err)
	}
	if got, _ := pages(t, path, openimds.AuditQuery{Most: 1, What: "absent"}); len(got) != 0 {
		t.Errorf("found %v", got)
	}
}

// TestPagesOfAClockThatWasSet: what was written while the clock was behind, by days, hides nothing that was written before.
func TestPagesOfAClockThatWasSet(t *testing.T) {
	path := place(t)
	var text bytes.Buffer
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for n := range 60 {
		e := entry(fmt.Sprint("change-", n))
		if e.When = at.Add(time.Duration(n) * time.Second); n >= 20 && n < 40 {
			e.When = e.When.Add(-72 * time.Hour)
		}
		line, err := Line(e)
		must(t, err)
		text.Write(line)
	}
	must(t, os.WriteFile(path, text.Bytes(), 0o600))
	for since, want := range map[time.Time]int{at: 40, at.Add(10 * time.Second): 30, at.Add(50 * time.Second): 10, at.Add(-100 * time.Hour): 60} {
		for _, most := range []int{1, 7, 100} {
			if words, _ := pages(t, path, openimds.AuditQuery{Since: since, Most: most}); len(words) != want {
				t.Errorf("since %v, pages of %d: %d entries, want %d", since, most, len(words), want)
			}
		}
	}
}

// A place of another log is told apart from the end of this one, and what is no place is refused.
func TestPagesOfAnotherLog(t *testing.T) {
	path := place(t)
	l, _ := open(t, Config{Path: path})
	for n := range 5 {
		must(t, l.Record(t.Context(), entry(fmt.Sprint(n))))
	}
	first, err := l.Entries(t.Context(), openimds.AuditQuery{Most: 2})
	must(t, err)
	for _, no := range []string{"x", "x.y", ".", "x.-1", first.Next + "0x"} {
		if _, err := l.Entries(t.Context(), openimds.AuditQuery{Most: 2, Place: no}); !errors.Is(err, openimds.ErrNoPlace) {
			t.Errorf("%q: %v", no, err)
		}
	}
	must(t, os.Rename(path, path+".1"))
	if page, err := l.Entries(t.Context(), openimds.AuditQuery{Most: 2, Place: first.Next}); err != nil || !page.Rotated {
		t.Errorf("while there is no log: %+v, %v", page, err)
	}
	must(t, l.Record(t.Context(), entry("later")))
	if page, err := l.Entries(t.Context(), openimds.AuditQuery{Most: 2, Place: first.Next}); err != nil || !page.Rotated || len(page.Entries) > 0 {
		t.Errorf("of the log before: %+v, %v", page, err)
	}
	if got, whole := pages(t, path+".1", openimds.AuditQuery{Most: 2}); len(got) != 5 || whole.Rotated {
		t.Errorf("what was rotated away: %v, %+v", got, whole)
	}
	must(t, os.Truncate(path, 0)) // copied and cut off
	if page, err := l.Entries(t.Context(), openimds.AuditQuery{Most: 2, Place: first.Next}); err != nil || !page.Rotated {
		t.Errorf("of a log that was cut off: %+v, %v", page, err)
	}
	must(t, os.Chmod(path, 0o644))
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
	if page, err := l.Entries(t.Context(), openimds.AuditQuery{Most: 2}); err == nil {
		t.Errorf("what cannot be read is told as %+v", page)
	}
}

// While lines are written and the log is rotated and cut off, readers have whole entries in their order, each once, and
// either all that there was or the word that there was more.
func TestPagesWhileRotated(t *testing.T) {
	path := place(t)
	l, _ := open(t, Config{Path: path})
	const rounds, each = 10, 20
	var writing, reading sync.WaitGroup
	over := make(chan struct{})
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				last, seen := int(^uint(0)>>1), map[int]bool{}
				q := openimds.AuditQuery{Most: 3}
				for {
					page, err := l.Entries(t.Context(), q)
					if err != nil {
						t.Error(err)
						return
					}
					if page.Damaged > 0 {
						t.Errorf("%d damaged lines", page.Damaged)
					}
					for _, e := range page.Entries {
						n := 0
						if _, err := fmt.Sscan(e.What, &n); err != nil || n >= last || seen[n] {
							t.Errorf("%q behind %d", e.What, last)
						}
						last, seen[n] = n, true
					}
					if q.Place = page.Next; q.Place == "" || page.Rotated {
						break
					}
				}
			}
		})
	}
	writing.Go(func() {
		for n := range rounds * each {
			if err := l.Record(t.Context(), entry(fmt.Sprint(n))); err != nil {
				t.Error(err)
			}
			if n%each == each-1 {
				if n/each%2 == 0 {
					if err := os.Rename(path, fmt.Sprint(path, ".", n)); err != nil {
						t.Error(err)
					}
				} else if err := os.Truncate(path, 0); err != nil {
					t.Error(err)
				}
			}
		}
	})
	writing.Wait()
	close(over)
	reading.Wait()
}
