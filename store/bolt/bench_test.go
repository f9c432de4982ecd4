package bolt

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

// BenchmarkCommit measures durable commits of one record by 1 and by 8 clients, beside plain bbolt
// transactions of the same bytes on the same disk.
func BenchmarkCommit(b *testing.B) {
	value := make([]byte, 1500)
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("store/clients=%d", clients), func(b *testing.B) {
			s := mustOpen(b, filepath.Join(b.TempDir(), "store"))
			var n atomic.Int64
			parallel(b, clients, func() error {
				_, err := s.Commit(b.Context(), store.Change{Key: fmt.Sprint("k/", n.Add(1)%1000), Value: value, If: store.Whatever})
				return err
			})
		})
		b.Run(fmt.Sprintf("bbolt/clients=%d", clients), func(b *testing.B) {
			db, err := bbolt.Open(filepath.Join(b.TempDir(), "db"), 0o600, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			var n atomic.Int64
			parallel(b, clients, func() error {
				return db.Update(func(tx *bbolt.Tx) error {
					bucket, err := tx.CreateBucketIfNotExists(recordsBucket)
					if err != nil {
						return err
					}
					return bucket.Put(fmt.Append(nil, "k/", n.Add(1)%1000), value)
				})
			})
		})
	}
}

func parallel(b *testing.B, clients int, work func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, clients)
	b.ResetTimer()
	for range clients {
		go func() {
			for left.Add(-1) >= 0 {
				if err := work(); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
