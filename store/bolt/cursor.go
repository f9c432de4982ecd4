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
	if at.r.Descending {
		return at.within(at.last())
	}
	key, value = at.c.Seek([]byte(max(at.r.Prefix, at.r.After)))
	if at.r.After != "" && string(key) == at.r.After {
		key, value = at.c.Next()
	}
	return at.within(key, value)
}

// last finds the greatest key below both After and the end of the prefix.
func (at *cursor) last() (key, value []byte) {
	end := prefixEnd(at.prefix)
	if at.r.After != "" && (end == nil || at.r.After < string(end)) {
		end = []byte(at.r.After)
	}
	if end == nil {
		return at.c.Last()
	}
	if key, _ := at.c.Seek(end); key == nil {
		return at.c.Last()
	}
	return at.c.Prev()
}

func (at *cursor) next() (key, value []byte) {
	if at.r.Descending {
		return at.within(at.c.Prev())
	}
	return at.within(at.c.Next())
}

// within ends the walk outside the prefix.
func (at *cursor) within(key, value []byte) ([]byte, []byte) {
	if !bytes.HasPrefix(key, at.prefix) {
		return nil, nil
	}
	return key, value
}

// prefixEnd is the first key behind all that have the prefix; nil if there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}
