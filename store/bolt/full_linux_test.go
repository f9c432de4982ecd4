package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/openimds/openimds/store"
	"golang.org/x/sys/unix"
)

// TestFullDisk fills the file system under a store: changes are refused and not acknowledged, reads
// go on, and changes work again when there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("skipped: this test mounts a small file system, which needs root (%v)", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, filepath.Join(dir, "store"))
	written := 0
	var full error
	for ; full == nil && written < 1000; written++ {
		_, full = s.Commit(t.Context(), store.Change{Key: fmt.Sprintf("k/%04d", written), Value: make([]byte, 8<<10), If: store.IfAbsent})
	}
	if !errors.Is(full, unix.ENOSPC) {
		t.Fatalf("after %d commits: %v, want no space left", written, full)
	}
	written--
	page, err := s.List(t.Context(), store.Range{})
	if err != nil || len(page.Records) != written {
		t.Errorf("%d records and %v on a full disk, want the %d that were acknowledged", len(page.Records), err, written)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), store.Change{Key: "again", If: store.IfAbsent}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, filepath.Join(dir, "store"))
	if page, err := s.List(t.Context(), store.Range{}); err != nil || len(page.Records) != written+1 {
		t.Errorf("after reopening %d records, %v; want %d", len(page.Records), err, written+1)
	}
}
