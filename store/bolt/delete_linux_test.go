package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that size.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("skipped: this test mounts a small file system, which needs root (%v)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk writes a file until there is room for nothing.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; _, err = f.Write(make([]byte, size)) {
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestFullDiskDeletes fills a small disk to the last byte. All that is in the store can be deleted still,
// each with the record of its operation, while all else is refused, whatever room the deletions made on
// the way; and when there is room, the store goes on by itself.
func TestFullDiskDeletes(t *testing.T) {
	for _, row := range []struct {
		size  string
		value int
	}{{"1m", 2500}, {"2m", 2500}, {"2m", 100 << 10}, {"4m", 330 << 10}} {
		t.Run(fmt.Sprint(row.size, "/", row.value), func(t *testing.T) {
			dir := smallDisk(t, row.size)
			path := filepath.Join(dir, "store")
			s := mustOpen(t, path)
			create := func(key string) error {
				_, err := s.Commit(t.Context(), store.Change{Key: "instance/" + key, Value: make([]byte, row.value), If: store.IfAbsent},
					store.Change{Key: "operation/create-" + key, Value: make([]byte, 400), If: store.IfAbsent})
				return err
			}
			remove := func(key string) error {
				_, err := s.Commit(t.Context(), store.Change{Verb: store.Delete, Key: "instance/" + key, If: store.Whatever},
					store.Change{Key: "operation/delete-" + key, Value: make([]byte, 400), If: store.IfAbsent})
				return err
			}
			created, err := 0, error(nil)
			for ; created < 2000; created++ {
				if err = create(fmt.Sprintf("%04d", created)); err != nil {
					break
				}
			}
			if !errors.Is(err, unix.ENOSPC) || created < 2 {
				t.Fatalf("after %d commits: %v, want no space left", created, err)
			}
			fillDisk(t, filepath.Join(dir, "others"))
			tries := 0
			eventually(t, "the store says that the disk is full", func() bool {
				_ = create(fmt.Sprint("try-", tries)) // it may have found room before the disk was filled
				tries++
				return s.Health() != nil && strings.Contains(s.Health().Error(), "disk is full (")
			})
			refused := 0
			for i := range created {
				if err := create(fmt.Sprint("more-", i)); err != nil {
					refused++
					if !errors.Is(err, unix.ENOSPC) {
						t.Errorf("refused by %v", err)
					}
				}
				if err := remove(fmt.Sprintf("%04d", i)); err != nil {
					t.Fatalf("deletion %d of %d: %v", i, created, err)
				}
			}
			if refused == 0 {
				t.Error("nothing was refused: the test shows nothing")
			}
			if page, err := s.List(t.Context(), store.Range{Prefix: "instance/0"}); err != nil || len(page.Records) > 0 {
				t.Errorf("%d deleted records are there, %v", len(page.Records), err)
			}
			// What was created on the way, and the operations, may have taken all the room that was made.
			page, err := s.List(t.Context(), store.Range{})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				if _, err := s.Commit(t.Context(), store.Change{Verb: store.Delete, Key: r.Key, If: store.Whatever}); err != nil {
					t.Fatalf("deletion of %s: %v", r.Key, err)
				}
			}
			t.Logf("%d created, %d refused while they were deleted", created, refused)
			if err := os.Remove(filepath.Join(dir, "others")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the store goes on", func() bool { return s.Health() == nil })
			select {
			case err := <-s.Refusing():
				if !strings.Contains(err.Error(), "disk is full (") {
					t.Errorf("who listens late hears %q", err)
				}
			default:
				t.Error("who listens late does not hear that it refused changes")
			}
			if err := create("again"); err != nil {
				t.Errorf("with room again: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(reservePath(path)); err != nil || info.Size() < reserveLeast {
				t.Errorf("the reserve was not made again: %v, %v", info, err)
			}
			s = mustOpen(t, path)
			if _, err := s.Get(t.Context(), "instance/again"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFullDiskStart starts on a full disk without a reserve: reads answer, growth is refused, and the
// reserve is made when there is room.
func TestFullDiskStart(t *testing.T) {
	dir := smallDisk(t, "1m")
	path := filepath.Join(dir, "store")
	s := mustOpen(t, path)
	for i := range 20 {
		if _, err := s.Commit(t.Context(), store.Change{Key: fmt.Sprint("k", i), Value: make([]byte, 3000), If: store.IfAbsent}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(reservePath(path)); err != nil {
		t.Fatal(err)
	}
	fillDisk(t, filepath.Join(dir, "others"))
	s = mustOpen(t, path)
	if s.Health() == nil {
		t.Error("a store on a full disk is well")
	}
	if _, err := s.Get(t.Context(), "k3"); err != nil {
		t.Error(err)
	}
	if _, err := s.Commit(t.Context(), store.Change{Key: "more", Value: make([]byte, 3000), If: store.IfAbsent}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a change: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "others")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store goes on", func() bool { return s.Health() == nil })
	if info, err := os.Stat(reservePath(path)); err != nil || info.Size() < reserveLeast {
		t.Errorf("the reserve is %v, %v", info, err)
	}
	if _, err := s.Commit(t.Context(), store.Change{Key: "more", Value: make([]byte, 3000), If: store.IfAbsent}); err != nil {
		t.Error(err)
	}
}

// TestReserveIsNoLink: what stands in the reserve's place is not followed.
func TestReserveIsNoLink(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "store"), filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, reservePath(path)); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path)
	if _, err := s.Commit(t.Context(), store.Change{Key: "k", If: store.IfAbsent}); err != nil || s.Health() != nil {
		t.Errorf("%v, %v", err, s.Health())
	}
	if text, _ := os.ReadFile(victim); string(text) != "precious" {
		t.Errorf("the link was followed: %q", text)
	}
}
