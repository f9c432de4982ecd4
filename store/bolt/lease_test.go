package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

// TestLeaseVersion: a file is one that earlier programs refuse with its first lease, and stays one with its
// first large value; a compaction takes leases along.
func TestLeaseVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	version := func(set string) (v string) {
		if err := rewrite(path, func(tx *bbolt.Tx) error {
			if v = string(tx.Bucket(metaBucket).Get(versionKey)); set != "" {
				return tx.Bucket(metaBucket).Put(versionKey, []byte(set))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return v
	}
	version("2")
	s := mustOpen(t, path)
	l, err := s.Grant(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), store.Change{Key: "k", Value: largeText(1), If: store.Whatever, Lease: l}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v := version(""); v != "4" {
		t.Errorf("a file with a lease has version %s", v)
	}
	if _, _, err := Compact(path); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	if r, err := s.Get(t.Context(), "k"); err != nil || r.Lease != l || s.KeepAlive(t.Context(), l) != nil {
		t.Errorf("after a compaction the record is bound to %d, %v; want %d", r.Lease, err, l)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBoundOfEarlier: in a file in which it does not stand what is bound to each lease, each ends with what it has, and
// with that alone.
func TestBoundOfEarlier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path)
	var leases []store.Lease
	for n := range 3 {
		l, err := s.Grant(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
		for i := range 3 {
			if _, err := s.Commit(t.Context(), store.Change{Key: fmt.Sprint(n, "/", i), If: store.Whatever, Lease: l}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := rewrite(path, func(tx *bbolt.Tx) error {
		return errors.Join(tx.DeleteBucket(boundBucket), tx.Bucket(metaBucket).Put(versionKey, []byte("3")))
	})
	if err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	defer s.Close()
	// One is bound to another lease, one to none any more.
	for key, l := range map[string]store.Lease{"0/1": leases[1], "0/2": store.NoLease} {
		if _, err := s.Commit(t.Context(), store.Change{Key: key, If: store.Whatever, Lease: l}); err != nil {
			t.Fatal(err)
		}
	}
	for n, want := range [][]string{
		{"0/1", "0/2", "1/0", "1/1", "1/2", "2/0", "2/1", "2/2"}, {"0/2", "2/0", "2/1", "2/2"}, {"0/2"},
	} {
		if err := s.Revoke(t.Context(), leases[n]); err != nil {
			t.Fatal(err)
		}
		page, err := s.List(t.Context(), store.Range{})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, r := range page.Records {
			keys = append(keys, r.Key)
		}
		if !slices.Equal(keys, want) {
			t.Errorf("after the end of lease %d there are %q, not %q", n, keys, want)
		}
	}
}

// TestRevisionsOfTwoLives: a file that was put back to an earlier state has no revision that it had in the life that is
// forgotten.
func TestRevisionsOfTwoLives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path)
	commit := func(s *Store) (all []int64) {
		for range 20 {
			revision, err := s.Commit(t.Context(), store.Change{Key: "k", If: store.Whatever})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, revision)
		}
		return all
	}
	commit(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	forgotten := commit(s)
	if err := errors.Join(s.Close(), os.WriteFile(path, kept, 0o600)); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	defer s.Close()
	for _, revision := range commit(s) {
		if slices.Contains(forgotten, revision) {
			t.Errorf("revision %d is there twice", revision)
		}
	}
}
