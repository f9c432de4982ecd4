package server

import (
	"bytes"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/openimds/openimds/records"
	"go.etcd.io/bbolt"
)

// TestDamagedRecordIsNoSilence: one record that cannot be read is no reason to call the store away.
func TestDamagedRecordIsNoSilence(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	i := openInstallation(t, forTest(dir))
	must(t, i.client.call(t.Context(), targetOpenIMDS+"LaunchInstances", map[string]any{"instanceNames": []string{"aaa"}}, &struct{}{}))
	i.stop()
	db, err := bbolt.Open(filepath.Join(dir, StoreFile), 0o600, nil)
	must(t, err)
	damaged := false
	must(t, db.Update(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			key := []byte(records.InstancePrefix + "aaa")
			sealed := b.Get(key)
			if sealed == nil {
				return nil
			}
			damaged = true
			other := bytes.Clone(sealed)
			other[len(other)-1] ^= 1
			return b.Put(key, other)
		})
	}))
	must(t, db.Close())
	if !damaged {
		t.Fatal("the record is not where it was looked for")
	}
	i = openInstallation(t, forTest(dir))
	resp, err := http.Get(i.server.APIURL() + "/readyz")
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz answers %d", resp.StatusCode)
	}
}
