package bolt

import (
	"bytes"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

// cursor walks the records of a range in its order.
type cursor struct {
	c      *bbolt.Cursor
	r      store.Range
	prefix []byte
}

func newCursor(tx *bbolt.Tx, r store.Range) *cursor {
	return &cursor{c: tx.Bucket(recordsBucket).Cursor(), r: r, prefix: []byte(r.Prefix)}
}

func (at *cursor) first() (key, value []byte) {
	key, value = at.c.Seek([]byte(max(at.r.Prefix, at.r.After)))
	if at.r.After != "" && string(key) == at.r.After {
		key, value = at.c.Next()
	}
	return at.within(key, value)
}

func (at *cursor) next() (key, value []byte) {
	return at.within(at.c.Next())
}

// within ends the walk outside the prefix.
func (at *cursor) within(key, value []byte) ([]byte, []byte) {
	if !bytes.HasPrefix(key, at.prefix) {
		return nil, nil
	}
	return key, value
}
