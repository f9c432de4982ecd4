package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/openimds/openimds/bench/fleet"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
	"golang.org/x/sys/unix"
)

// fillBatch is how many instances share a commit: the disk is waited for once in each.
const fillBatch = 20_000

func storeFile(dataDir string) string { return filepath.Join(dataDir, "openimds.db") }

// fillStore makes the data directory of an installation with that many instances, "demo" among them.
func fillStore(ctx context.Context, dataDir string, count int) error {
	if err := os.Mkdir(dataDir, 0o700); err != nil {
		return err
	}
	kept, err := bolt.Open(storeFile(dataDir))
	if err != nil {
		return err
	}
	defer kept.Close()
	instances := fleet.NewMaker()
	var batch []store.Change
	for i := range count {
		name := fleet.Name(i)
		if i == 0 {
			name = "demo"
		}
		r, err := instances.Record(i, name)
		if err != nil {
			return err
		}
		batch = append(batch, store.Change{Key: r.Key, Value: r.Value, If: store.IfAbsent})
		if len(batch) == fillBatch || i == count-1 {
			if _, err := kept.Commit(ctx, batch...); err != nil {
				return fmt.Errorf("filling the store: %w", err)
			}
			batch = batch[:0]
		}
	}
	return nil
}

// cool takes a file out of the system's memory, so that the next reader waits for the disk.
func cool(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fsync(int(f.Fd())); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
