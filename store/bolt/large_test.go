package bolt

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

// TestLargeApart: a change writes no large value but its own, be the keys as near as they may.
func TestLargeApart(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "store"))
	put := func(key string, size int) {
		t.Helper()
		if _, err := s.Commit(t.Context(), store.Change{Key: key, Value: make([]byte, size), If: store.Whatever}); err != nil {
			t.Fatal(err)
		}
	}
	put("m", 330<<10)
	const changes = 200
	before := pagesWritten(s)
	for i := range changes {
		put(fmt.Sprintf("l/%04d", i), 300)
		put("n", 300)
	}
	if written := pagesWritten(s) - before; written > 2*changes*64<<10 {
		t.Errorf("%d small changes wrote %d KB", 2*changes, written>>10)
	}
}

func pagesWritten(s *Store) int64 {
	stats := s.db.Stats()
	return stats.TxStats.GetPageAlloc()
}

// TestLarge: large values are read, listed, watched, replaced and deleted like others, and leave nothing.
func TestLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path)
	model := map[string]string{}
	check := func() {
		t.Helper()
		page, err := s.List(t.Context(), store.Range{})
		if err != nil || len(page.Records) != len(model) {
			t.Fatalf("%d records, %v; want %d", len(page.Records), err, len(model))
		}
		for _, r := range page.Records {
			if string(r.Value) != model[r.Key] {
				t.Fatalf("%s has %d bytes, want %d", r.Key, len(r.Value), len(model[r.Key]))
			}
		}
	}
	sizes := []int{0, 1, largeValue - 1, largeValue, largeValue + 1, 300 << 10}
	for round := range 4 * len(sizes) {
		for i := range 5 {
			key := fmt.Sprint("k", i)
			if (round+i)%7 == 0 {
				if _, err := s.Commit(t.Context(), store.Change{Verb: store.Delete, Key: key, If: store.Whatever}); err != nil {
					t.Fatal(err)
				}
				delete(model, key)
				continue
			}
			value := strings.Repeat(fmt.Sprint(round%10), sizes[(round+i)%len(sizes)])
			if _, err := s.Commit(t.Context(), store.Change{Key: key, Value: []byte(value), If: store.Whatever}); err != nil {
				t.Fatal(err)
			}
			model[key] = value
		}
		check()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	check()
	for key := range model {
		if _, err := s.Commit(t.Context(), store.Change{Verb: store.Delete, Key: key, If: store.Whatever}); err != nil {
			t.Fatal(err)
		}
	}
	err := s.db.View(func(tx *bbolt.Tx) error {
		if n := tx.Bucket(largeBucket).Stats().KeyN; n > 0 {
			t.Errorf("%d large values are nobody's", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestEarlierFile opens a file in which all values stand among the records.
func TestEarlierFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 100<<10)
	version := func() (v string) {
		if err := rewrite(path, func(tx *bbolt.Tx) error { v = string(tx.Bucket(metaBucket).Get(versionKey)); return nil }); err != nil {
			t.Fatal(err)
		}
		return v
	}
	err := rewrite(path, func(tx *bbolt.Tx) error {
		for i := range 3 {
			key := fmt.Sprint("k", i)
			if err := tx.Bucket(recordsBucket).Put([]byte(key), seal(key, []byte(large), 7)); err != nil {
				return err
			}
		}
		if err := tx.Bucket(metaBucket).Put(revisionKey, binary.BigEndian.AppendUint64(nil, 7)); err != nil {
			return err
		}
		return tx.Bucket(metaBucket).Put(versionKey, []byte("1"))
	})
	if err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	change := func(key, value string) {
		t.Helper()
		if _, err := s.Commit(t.Context(), store.Change{Key: key, Value: []byte(value), If: 7}); err != nil {
			t.Fatal(err)
		}
	}
	change("k0", "small")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v := version(); v != "1" {
		t.Errorf("the version is %s before there is anything that an earlier program cannot read", v)
	}
	s = mustOpen(t, path)
	change("k1", large+"y")
	for key, want := range map[string]string{"k0": "small", "k1": large + "y", "k2": large} {
		if r, err := s.Get(t.Context(), key); err != nil || string(r.Value) != want {
			t.Errorf("%s has %d bytes, %v", key, len(r.Value), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v := version(); v != "2" {
		t.Errorf("the version is %s", v)
	}
}
