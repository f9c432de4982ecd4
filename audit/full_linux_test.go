package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"golang.org/x/sys/unix"
)

// TestFullDisk fills the disk under a service: what is changed has its line, what has none is not
// changed, and what makes room works. With room, all works again, and the log says what it missed.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("skipped: this test mounts a small file system, which needs root (%v)", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	s, store, l, err := service(dir)
	must(t, err)
	ctx := t.Context()
	_, err = s.EnsureInstance(ctx, "demo")
	must(t, err)
	for n := range 3 {
		_, err := s.CreateInstances(ctx, control.InstancesLaunch{Names: []string{fmt.Sprint("web-", n)}, Zone: "us-east-1a", BlueprintID: "debian_12", BundleID: "nano_3_0"})
		must(t, err)
	}
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	must(t, err)
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = ballast.Write(make([]byte, size))
		}
	}
	// The page that the log has begun is not full yet.
	for n := 0; ; n++ {
		hops := 1 + n%64
		before, err := s.Instance(ctx, "demo")
		must(t, err)
		_, err = s.UpdateOptions(ctx, "demo", openimds.OptionsUpdate{HopLimit: &hops})
		in, ierr := s.Instance(ctx, "demo")
		must(t, ierr)
		if err == nil && n < 200 {
			continue
		}
		if in.Options != before.Options {
			t.Errorf("refused with %v, and changed to %+v", err, in.Options)
		}
		if errors.Is(err, unix.ENOSPC) && strings.Contains(err.Error(), "The audit log cannot be written, so nothing is changed") {
			break
		}
		if n == 200 {
			t.Fatalf("200 changes on a full disk, the last with %v", err)
		}
	}
	if l.Check(ctx) == nil {
		t.Error("a full disk counts as one that can be written")
	}
	for n := range 3 {
		if _, err := s.DeleteInstance(ctx, fmt.Sprint("web-", n)); err != nil {
			t.Errorf("a deletion on a full disk: %v", err)
		}
	}
	hops := 64
	if _, err := s.UpdateOptions(ctx, "demo", openimds.OptionsUpdate{HopLimit: &hops}); err == nil {
		t.Error("a change took the room of the reserve")
	}
	must(t, ballast.Close())
	must(t, os.Remove(ballast.Name()))
	must(t, l.Check(ctx))
	_, err = s.UpdateOptions(ctx, "demo", openimds.OptionsUpdate{HopLimit: &hops})
	must(t, err)
	deleted, gap := 0, false
	for _, e := range read(t, filepath.Join(dir, "audit.log")) {
		if e.What == "DeleteInstance" && e.Failure == "" {
			deleted++
		}
		gap = gap || e.What == "AuditLog"
	}
	if deleted != 3 || !gap {
		t.Errorf("%d deletions are told, the gap: %t", deleted, gap)
	}
	if info, err := os.Stat(filepath.Join(dir, "audit.log.reserve")); err != nil || info.Size() != reserveSize {
		t.Errorf("the reserve is not there again: %v", err)
	}
	must(t, l.Close())
	must(t, store.Close())
}
