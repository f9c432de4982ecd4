package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/storetest"
	"go.etcd.io/bbolt"
)

func mustOpen(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return mustOpen(t, filepath.Join(t.TempDir(), "store")) })
	t.Run("durable", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store")
		storetest.RunDurable(t, func(t *testing.T) store.Store { return mustOpen(t, path) })
	})
}

// oneLine checks an error for people: it says one of the words, names the file and is one line.
func oneLine(t *testing.T, err error, path, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q; want one line with %q and %q", err, words, path)
	}
}

func TestFirstCreation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	mustOpen(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the store has mode %v", info.Mode())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 || entries[1].Name() != "store.reserve" {
		t.Errorf("making a store left %v", entries)
	}
	if info, err := os.Stat(reservePath(path)); err != nil || info.Mode().Perm() != 0o600 || info.Size() != reserveMost {
		t.Errorf("the reserve is %v, %v", info, err)
	}
	_, err = Open(filepath.Join(dir, "missing", "store"))
	oneLine(t, err, filepath.Join(dir, "missing"), "no such file")
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	s := mustOpen(t, whole)
	for i := range 200 {
		if _, err := s.Commit(t.Context(), store.Change{Key: fmt.Sprint("k/", i), Value: make([]byte, 300), If: store.IfAbsent}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Open(whole)
	oneLine(t, err, whole, "in use by another process")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, words string
		make        func(path string) error
	}{
		{"empty", "is empty", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
		{"directory", "is not a file", func(path string) error { return os.Mkdir(path, 0o700) }},
		{"text", "damaged or not a store", func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("hello\n", 9000)), 0o600)
		}},
		{"short", "damaged or not a store", func(path string) error { return os.WriteFile(path, content[:100], 0o600) }},
		{"zeroed", "damaged or not a store", func(path string) error { return os.WriteFile(path, make([]byte, len(content)), 0o600) }},
		{"foreign", "another program's file", func(path string) error {
			return rewrite(path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("x")); return err })
		}},
		{"later", "has version 5 and this program knows 4", func(path string) error {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return err
			}
			return rewrite(path, func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, []byte("5")) })
		}},
	} {
		path := filepath.Join(dir, row.name)
		if err := row.make(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(path)
		_, err := Open(path)
		oneLine(t, err, path, row.words)
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s: opening changed the file", row.name)
		}
	}
}

func rewrite(path string, change func(*bbolt.Tx) error) error {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	return errors.Join(db.Update(change), db.Close())
}

// TestDamagedPages overwrites every page of a store in turn. Whatever the page held, opening and
// reading must end in an error or in true records: no panic, no record that was never written.
func TestDamagedPages(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	s := mustOpen(t, path)
	const records = 300
	for i := range records {
		if _, err := s.Commit(t.Context(), store.Change{Key: fmt.Sprintf("k/%03d", i), Value: fmt.Append(nil, strings.Repeat("v", 200), i), If: store.IfAbsent}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if _, err := s.Commit(t.Context(), store.Change{Key: fmt.Sprintf("large/%d", i), Value: largeText(i), If: store.IfAbsent}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	tried := 0
	read := func(content []byte) {
		// Each in a file of its own: when bbolt panics while it opens, it keeps its lock.
		tried++
		readDamaged(t, filepath.Join(dir, fmt.Sprint("damaged-", tried)), content)
	}
	for at := 0; at < len(whole); at += page {
		for _, fill := range []byte{0x00, 0xff} {
			damage := append([]byte{}, whole...)
			for i := at; i < min(at+page, len(damage)); i++ {
				damage[i] = fill
			}
			read(damage)
		}
		flipped := append([]byte{}, whole...)
		flipped[at+page/2] ^= 0x10
		read(flipped)
	}
}

// largeText is a value that has no room among the records.
func largeText(i int) []byte { return []byte(strings.Repeat(fmt.Sprint("large ", i), 3<<10)) }

func readDamaged(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
		return
	}
	defer s.Close()
	for i := range 3 {
		if r, err := s.Get(context.Background(), fmt.Sprintf("large/%d", i)); err == nil && !bytes.Equal(r.Value, largeText(i)) {
			t.Errorf("a damaged store yields %d other bytes of a large value", len(r.Value))
		}
	}
	list, err := s.List(context.Background(), store.Range{Prefix: "k/"})
	if err != nil {
		return
	}
	for _, r := range list.Records {
		var i int
		if _, err := fmt.Sscanf(r.Key, "k/%03d", &i); err != nil || string(r.Value) != string(fmt.Append(nil, strings.Repeat("v", 200), i)) {
			t.Errorf("a damaged store yields %s = %q", r.Key, r.Value)
		}
	}
}

func TestSuspect(t *testing.T) {
	for _, row := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("x: %w", &os.PathError{Op: "write", Err: syscall.ENOSPC}), false},
		{fmt.Errorf("x: %w", syscall.EIO), true},
		{fmt.Errorf("x: %w", syscall.ENOSPC), false},
		{fmt.Errorf("x: %w", &os.PathError{Op: "sync", Err: syscall.EIO}), true},
		{errors.New("x: file sync error: input/output error"), true},
		{errors.New("file resize error"), false},
	} {
		if got := suspect(row.err); got != row.want {
			t.Errorf("suspect(%v) = %v", row.err, got)
		}
	}
}
