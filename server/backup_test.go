package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

// TestBackupUnderWrites takes backups while eight writers change what there is: each is whole and opens.
func TestBackupUnderWrites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("a-long-name-", 12), "data") // too long for a socket's path
	i := openInstallation(t, forTest(dir))
	i.gives(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	started := make(chan struct{}, 64)
	for w := range 8 {
		name := "writer-" + string(rune('a'+w))
		if _, err := i.server.service.CreateInstances(ctx, control.InstancesLaunch{Names: []string{name}}); err != nil {
			t.Fatal(err)
		}
		must(t, eventually(func() bool {
			in, err := i.server.service.Instance(ctx, name)
			return err == nil && in.State == openimds.StateRunning
		}))
		running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				hops := 1 + n%64
				if _, err := i.server.service.UpdateOptions(ctx, name, openimds.OptionsUpdate{HopLimit: &hops}); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 64 { // they are at it
		select {
		case <-started:
		case <-time.After(patience):
			t.Fatal("nothing is changed")
		}
	}
	deadline := time.Now().Add(patience)
	for n, amid := 0, 0; amid < 3; n++ { // three in the midst of changes; a quick one may come between two of them
		file := filepath.Join(t.TempDir(), "backup")
		before := i.revision(t)
		if ran, err := Backup(t.Context(), dir, file); err != nil || !ran {
			t.Fatalf("backup %d of a running server (%v): %v", n, ran, err)
		}
		restored := filepath.Join(t.TempDir(), "restored")
		if err := Restore(file, restored); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(filepath.Join(restored, StoreFile))
		if err != nil {
			t.Fatal(err)
		}
		all, _, err := control.New(s, i.server.cfg.service()).Instances(t.Context(), "", 100)
		if err != nil || len(all) != 9 {
			t.Errorf("%d instances, %v", len(all), err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		after := i.revision(t)
		if after > before {
			amid++
		} else if time.Now().After(deadline) {
			t.Fatalf("nothing is changed while backups are made: revision %d, then %d", before, after)
		}
	}
	stop()
	running.Wait()
	i.stop()
}

func (i *installation) revision(t *testing.T) int64 {
	t.Helper()
	page, err := i.server.store.List(t.Context(), store.Range{Limit: 1})
	must(t, err)
	return page.Revision
}

// gives waits until the server gives backups.
func (i *installation) gives(t *testing.T) {
	t.Helper()
	must(t, eventually(func() bool {
		_, err := os.Stat(filepath.Join(i.server.DataDir(), backupSocket))
		return err == nil
	}))
}

// TestBackupHasAllFiles: what a server has left when it ended is there again, byte for byte, but for what belongs to a
// process. A new file of the data directory cannot be forgotten.
func TestBackupHasAllFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	openInstallation(t, forTest(dir)).stop()
	must(t, os.WriteFile(filepath.Join(dir, "audit.log.1"), []byte("rotated"), 0o600))
	file, restored := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	if _, err := Backup(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	must(t, Restore(file, restored))
	of := func(dir string) map[string]string {
		files := map[string]string{}
		must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			info, err := e.Info()
			must(t, err)
			text, err := os.ReadFile(path)
			name, _ := filepath.Rel(dir, path)
			if name == StoreFile {
				text = nil // its two pages of meta data may differ
			}
			files[name] = info.Mode().String() + string(text)
			return err
		}))
		return files
	}
	want, got := of(dir), of(restored)
	for _, ofProcess := range []string{StoreFile + ".reserve", auditFile + ".reserve", CredentialsFile + ".lock", EndpointsFile} {
		delete(want, ofProcess)
	}
	if len(want) < 6 || !maps.Equal(want, got) {
		t.Errorf("restored are %q, of %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// TestBackupIsNotHeldUp: who takes a backup and does not read it costs the server nothing, at its end neither.
func TestBackupIsNotHeldUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	i := openInstallation(t, forTest(dir))
	i.gives(t)
	stalled, err := dialBackup(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	if _, err := io.ReadFull(stalled, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	hops := 2
	if _, err := i.server.service.UpdateOptions(t.Context(), "demo", openimds.OptionsUpdate{HopLimit: &hops}); err != nil {
		t.Error(err)
	}
	i.stop()
}

// TestDamagedStoreIsNoBackup: what would not open is not kept in a good one's place, and the reason is told.
func TestDamagedStoreIsNoBackup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	i := openInstallation(t, forTest(dir))
	i.stop()
	path := filepath.Join(dir, StoreFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte(`"name":"demo"`), []byte(`"name":"dexo"`))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	if _, err := Backup(t.Context(), dir, file); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged store: %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a backup was left")
	}
}

// TestBackupBreaksOff: a server that ends in the middle leaves no file.
func TestBackupBreaksOff(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	openInstallation(t, forTest(dir)).stop()
	l, err := listenBackup(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			_, _ = conn.Write(make([]byte, 100))
			_ = conn.Close()
		}
	}()
	file := filepath.Join(t.TempDir(), "backup")
	if _, err := Backup(t.Context(), dir, file); err == nil || !strings.Contains(err.Error(), "no backup was made") {
		t.Errorf("a backup that broke off: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
