package bolt

import (
	"path/filepath"
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
	if v := version(""); v != "3" {
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
