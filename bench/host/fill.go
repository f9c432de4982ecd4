package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/bench/fleet"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

// host stands for the one that will carry the attachments out.
type host struct{ control.Attachments }

// fill makes a data directory with count instances, and with the attachments of those from the
// second on, in this order.
func fill(ctx context.Context, dataDir string, count int, attachments []place) error {
	if err := os.Mkdir(dataDir, 0o700); err != nil {
		return err
	}
	kept, err := bolt.Open(filepath.Join(dataDir, "openimds.db"))
	if err != nil {
		return err
	}
	defer kept.Close()
	var batch []store.Change
	instances := fleet.NewMaker()
	for i := range count {
		r, err := instances.Record(i, instance(i))
		if err != nil {
			return err
		}
		batch = append(batch, store.Change{Key: r.Key, Value: r.Value, If: store.IfAbsent})
	}
	if _, err := kept.Commit(ctx, batch...); err != nil {
		return fmt.Errorf("filling the store: %w", err)
	}
	service := control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012", Attachments: host{}})
	var next atomic.Int64
	var writing sync.WaitGroup
	errs := make([]error, 64) // writers share commits
	for w := range errs {
		writing.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(attachments) && errs[w] == nil; i = int(next.Add(1)) - 1 {
				a := attachments[i]
				_, errs[w] = service.AttachInstance(ctx, openimds.Attachment{Instance: instance(i + 1), Interface: a.Interface, Netns: a.NetworkNamespace})
			}
		})
	}
	writing.Wait()
	return errors.Join(errs...)
}
