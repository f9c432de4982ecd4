package hostdoor

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// tags are by what a host says which records it has: each stands for a key at a revision of this very store, as this
// program tells it to that host. A revision by itself could be one of a store that this one is a copy of. Who makes a tag
// up only says that it has what it does not have.
type tags struct {
	whole   store.Store
	program string // another one may tell more of a record

	mu  sync.Mutex
	key []byte // nil: it was not read yet
}

// tagKeySize in bytes.
const tagKeySize = 32

// of makes those of a host.
func (t *tags) of(ctx context.Context, host string) (tagger, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.key == nil {
		r, err := t.whole.Get(ctx, records.HostTagsKey)
		if err == nil {
			t.key = r.Value
			break
		}
		if !errors.Is(err, store.ErrNoRecord) {
			return tagger{}, err
		}
		key := make([]byte, tagKeySize)
		_, _ = rand.Read(key) // never fails
		if _, err := t.whole.Commit(ctx, store.Change{Key: records.HostTagsKey, Value: key, If: store.IfAbsent}); err != nil && !errors.Is(err, store.ErrConflict) {
			return tagger{}, err
		}
	}
	return tagger{t.key, t.program, host}, nil
}

// tagger makes the tags of one host.
type tagger struct {
	key           []byte
	program, host string
}

// tag is that of a key of a region at a revision.
func (t tagger) tag(region, key string, revision int64) string {
	sum := hmac.New(sha256.New, t.key)
	text := make([]byte, 0, 256)
	for _, word := range []string{t.program, t.host, region, key} {
		text = binary.AppendUvarint(text, uint64(len(word)))
		text = append(text, word...)
	}
	sum.Write(binary.BigEndian.AppendUint64(text, uint64(revision)))
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:tagSize])
}

// tagSize in bytes: as long as it takes for no two revisions of a record to have one.
const tagSize = 12
