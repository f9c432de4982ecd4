package hostlink

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// A host counts in a file, and each of its records has all that the file has of an instance. A file that is damaged, or is
// lost with its machine, has one after it that begins at nothing: by the same name it would undo what replicas have of the
// one before, and callers of weeks would be gone. So each file counts by a name of its own, the host's with a mark behind
// it, and whoever adds up adds both.

// countsNameKey is where a file of counts has its mark.
const countsNameKey = "counts-name"

// nameMark begins what is behind the name of a host, which has no such sign itself; maxNameMark bounds it.
const (
	nameMark    = "~"
	maxNameMark = 16
)

// CountsName is the name by which a host counts in that file, which is given one with the first look. One that an earlier
// release has counted in goes on by the name of the host alone.
func CountsName(ctx context.Context, file store.Store, host string) (string, error) {
	r, err := file.Get(ctx, countsNameKey)
	if err == nil {
		mark, err := records.Decode[string](r)
		return host + mark, err
	}
	if !errors.Is(err, store.ErrNoRecord) {
		return "", err
	}
	counted, err := file.List(ctx, store.Range{Prefix: countsPrefix, Limit: 1, KeysOnly: true})
	if err != nil {
		return "", err
	}
	mark := ""
	if len(counted.Records) == 0 {
		some := make([]byte, 4)
		_, _ = rand.Read(some) // it never fails (crypto/rand)
		mark = nameMark + hex.EncodeToString(some)
	}
	value, err := records.Encode(mark)
	if err != nil {
		return "", err
	}
	_, err = file.Commit(ctx, store.Change{Verb: store.Put, Key: countsNameKey, Value: value, If: store.IfAbsent})
	return host + mark, err
}

// CountedBy is the host that counts by a name; empty: it is none.
func CountedBy(name string) (host string) {
	host, mark, marked := strings.Cut(name, nameMark)
	if marked && (mark == "" || len(mark) > maxNameMark || strings.Trim(mark, "0123456789abcdef") != "") {
		return ""
	}
	return host
}
