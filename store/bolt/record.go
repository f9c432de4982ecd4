package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

// headerSize is of what leads a record's value in the file: the revision that wrote it, then a checksum
// over the key, the revision and the value. bbolt does not notice a bit that flips inside a page.
const headerSize = 8 + 4

// largeValue is the least size of a value that has its place in a bucket of its own, with only the
// header among the records: bbolt writes a page with all that is on it, and whatever its size, a value
// shares its page with the next keys.
const largeValue = 16 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(key string, value []byte, revision int64) []byte {
	sealed := make([]byte, headerSize, headerSize+len(value))
	binary.BigEndian.PutUint64(sealed, uint64(revision))
	binary.BigEndian.PutUint32(sealed[8:], checksum([]byte(key), sealed[:8], value))
	return append(sealed, value...)
}

func checksum(key, revision, value []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, revision)
	return crc32.Update(sum, castagnoli, value)
}

// large is the value that a record has outside of it; nil: it has none.
func large(tx *bbolt.Tx, key []byte) []byte {
	if bucket := tx.Bucket(largeBucket); bucket != nil {
		return bucket.Get(key)
	}
	return nil
}

// open copies a record out of the file's pages, which are valid only inside a transaction.
func open(tx *bbolt.Tx, key, sealed []byte) (store.Record, error) {
	value := sealed[min(headerSize, len(sealed)):]
	if len(sealed) == headerSize {
		value = large(tx, key)
	}
	if len(sealed) < headerSize || binary.BigEndian.Uint32(sealed[8:]) != checksum(key, sealed[:8], value) {
		return store.Record{}, fmt.Errorf("the record %q of the store is damaged; restore the store from a backup", key)
	}
	return store.Record{
		Key:      string(key),
		Value:    append([]byte{}, value...),
		Revision: int64(binary.BigEndian.Uint64(sealed)),
		Lease:    leaseOf(tx, key),
	}, nil
}

// openKey is open without the value, which is not read: nor is its checksum.
func openKey(_ *bbolt.Tx, key, sealed []byte) (store.Record, error) {
	if len(sealed) < headerSize {
		return store.Record{}, fmt.Errorf("the record %q of the store is damaged; restore the store from a backup", key)
	}
	return store.Record{Key: string(key), Revision: int64(binary.BigEndian.Uint64(sealed))}, nil
}

// put writes a record.
func put(tx *bbolt.Tx, key string, value []byte, revision int64) error {
	sealed := seal(key, value, revision)
	if len(value) < largeValue {
		if err := removeLarge(tx, key); err != nil {
			return err
		}
		return tx.Bucket(recordsBucket).Put([]byte(key), sealed)
	}
	apart := tx.Bucket(largeBucket)
	if apart == nil {
		// An earlier program does not know where to look for the value.
		err := raise(tx, largeVersion)
		if err != nil {
			return err
		}
		if apart, err = tx.CreateBucket(largeBucket); err != nil {
			return err
		}
	}
	if err := apart.Put([]byte(key), value); err != nil {
		return err
	}
	return tx.Bucket(recordsBucket).Put([]byte(key), sealed[:headerSize])
}

// remove deletes a record.
func remove(tx *bbolt.Tx, key string) error {
	if err := bind(tx, key, store.NoLease); err != nil {
		return err
	}
	if err := removeLarge(tx, key); err != nil {
		return err
	}
	return tx.Bucket(recordsBucket).Delete([]byte(key))
}

func removeLarge(tx *bbolt.Tx, key string) error {
	if large(tx, []byte(key)) == nil {
		return nil
	}
	return tx.Bucket(largeBucket).Delete([]byte(key))
}

// sizeOf is how many bytes the record of a key takes up, with its key; 0: there is none.
func sizeOf(tx *bbolt.Tx, key string) int {
	sealed := tx.Bucket(recordsBucket).Get([]byte(key))
	if sealed == nil {
		return 0
	}
	return len(key) + len(sealed) + len(large(tx, []byte(key)))
}
