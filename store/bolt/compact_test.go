package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

// shrunken makes a store that has been larger than it is, and returns its records.
func shrunken(t *testing.T, path string) []store.Record {
	t.Helper()
	s := mustOpen(t, path)
	for i := range 300 {
		size := 3000
		if i%50 == 0 {
			size = 100 << 10
		}
		if _, err := s.Commit(t.Context(), store.Change{Key: fmt.Sprintf("k/%03d", i), Value: []byte(strings.Repeat(fmt.Sprint(i%10), size)), If: store.IfAbsent}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		if i%25 == 0 {
			continue
		}
		if _, err := s.Commit(t.Context(), store.Change{Verb: store.Delete, Key: fmt.Sprintf("k/%03d", i), If: store.Whatever}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.List(t.Context(), store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return page.Records
}

// same says whether a store has just these records, with their revisions, and goes on behind them.
func same(t *testing.T, path string, want []store.Record) {
	t.Helper()
	s := mustOpen(t, path)
	defer s.Close()
	page, err := s.List(t.Context(), store.Range{})
	if err != nil || len(page.Records) != len(want) {
		t.Fatalf("%d records, %v; want %d", len(page.Records), err, len(want))
	}
	for i, r := range page.Records {
		if r.Key != want[i].Key || r.Revision != want[i].Revision || string(r.Value) != string(want[i].Value) {
			t.Errorf("record %s is another", r.Key)
		}
	}
	if revision, err := s.Commit(t.Context(), store.Change{Key: "next", If: store.IfAbsent}); err != nil || revision <= page.Revision {
		t.Errorf("the next commit has revision %d after %d, %v", revision, page.Revision, err)
	}
	if _, err := s.Commit(t.Context(), store.Change{Verb: store.Delete, Key: "next", If: store.Whatever}); err != nil {
		t.Error(err)
	}
}

func TestCompact(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	records := shrunken(t, path)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	owner := os.Geteuid()
	if owner == 0 { // a service's user, for whom root compacts
		owner = 4242
		if err := errors.Join(os.Chown(dir, owner, owner), os.Chown(path, owner, owner)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".store.new-AAAAAAAAAAAAAAAA"), []byte("of a compaction that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	was, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, err := Compact(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if before != was.Size() || after != info.Size() || after > before/2 {
		t.Errorf("it says %d bytes before and %d after; they are %d and %d", before, after, was.Size(), info.Size())
	}
	if info.Mode() != was.Mode() || owned(t, info) != owner {
		t.Errorf("the mode is %v, the owner %d; want %v, %d", info.Mode(), owned(t, info), was.Mode(), owner)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != "store" && e.Name() != "store.reserve" {
			t.Errorf("%s was left", e.Name())
		}
	}
	same(t, path, records)
	if _, again, err := Compact(path); err != nil || again > after+64<<10 {
		t.Errorf("a second time: %d bytes, %v", again, err)
	}
	same(t, path, records)
}

// TestCompactRefused: what cannot be compacted is left as it is.
func TestCompactRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	_, _, err := Compact(path)
	oneLine(t, err, path, "there is no store")
	records := shrunken(t, path)
	s := mustOpen(t, path)
	_, _, err = Compact(path)
	oneLine(t, err, path, "in use by another process; stop that one")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A record whose bytes have changed would be carried into a file that looks whole.
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	err = rewrite(path, func(tx *bbolt.Tx) error {
		sealed := append([]byte{}, tx.Bucket(recordsBucket).Get([]byte("k/025"))...)
		sealed[len(sealed)-1] ^= 1
		return tx.Bucket(recordsBucket).Put([]byte("k/025"), sealed)
	})
	if err != nil {
		t.Fatal(err)
	}
	damaged, _ := os.ReadFile(path)
	_, _, err = Compact(path)
	oneLine(t, err, path, "is damaged")
	if now, _ := os.ReadFile(path); string(now) != string(damaged) {
		t.Error("a store that could not be compacted was changed")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	same(t, path, records)
}

// TestOpenAfterCompact: who waits for the lock while a compaction ends gets the new file, not the one
// that has lost its name.
func TestOpenAfterCompact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	records := shrunken(t, path)
	for range 5 {
		opened := make(chan error, 1)
		lock, err := openFile(path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			s, err := Open(path)
			if err == nil {
				_, err = s.Commit(t.Context(), store.Change{Key: "mine", If: store.Whatever})
				err = errors.Join(err, s.Close())
			}
			opened <- err
		}()
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, path)
		if _, err := s.Get(t.Context(), "mine"); err != nil {
			t.Fatalf("what was committed is in a file without a name: %v", err)
		}
		if _, err := s.Commit(t.Context(), store.Change{Verb: store.Delete, Key: "mine", If: store.Whatever}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	same(t, path, records)
	if _, err := openFile(path + ".none"); err == nil {
		t.Error("a store that is not there was opened")
	}
	if _, err := os.Lstat(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening made a file: %v", err)
	}
}
