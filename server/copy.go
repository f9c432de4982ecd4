package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/store/etcd"
)

// copyPage is how many records are read at once.
const copyPage = 500

// makeDirectoryOf makes the directory of a file, for this user only.
func makeDirectoryOf(file string) error { return os.MkdirAll(filepath.Dir(file), 0o700) }

// refuseCopying refuses a store that has not got all of what is being copied into it.
func refuseCopying(ctx context.Context, s store.Store, name string) error {
	switch r, err := s.Get(ctx, records.CopyingKey); {
	case errors.Is(err, store.ErrNoRecord):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("the store %s has a part of %s only: 'openimds store copy' is under way, or was interrupted; have it come to its end", name, r.Value)
	}
}

// Copied is what [CopyStore] has carried over.
type Copied struct{ Records, Files int }

// copySide is one side of a copy.
type copySide struct {
	name  string
	store store.Store
	dir   string // empty: its files are in the store
	end   func() error
}

// CopyStore copies an installation, whose servers do not run, to a place that has none: all records that outlast a
// server, and the files that servers have in common. A place is a data directory, or the address of a store in a
// cluster, for which c says how it is reached. What was copied is read back and compared. A copy that is interrupted
// leaves a store that no server takes, and the next one begins it anew.
func CopyStore(ctx context.Context, from, to string, c Config) (Copied, error) {
	source, err := c.copySide(ctx, from, false)
	if err != nil {
		return Copied{}, fmt.Errorf("the installation to copy: %w", err)
	}
	defer func() { _ = source.end() }()
	target, err := c.copySide(ctx, to, true)
	if err != nil {
		return Copied{}, fmt.Errorf("the place to copy to: %w", err)
	}
	copied, err := carry(ctx, source, target)
	return copied, errors.Join(err, target.end())
}

// copySide opens a side of a copy.
func (c *Config) copySide(ctx context.Context, place string, target bool) (*copySide, error) {
	if strings.HasPrefix(place, etcd.Scheme) {
		to := *c
		to.Store = place
		if err := to.checkStore(); err != nil {
			return nil, err
		}
		at, err := to.etcdOf()
		if err != nil {
			return nil, err
		}
		kept, err := etcd.Open(ctx, at)
		if err != nil {
			return nil, err
		}
		return &copySide{name: at.Address.String(), store: kept, end: kept.Close}, nil
	}
	to := *c
	to.DataDir = place
	if _, err := os.Lstat(filepath.Join(place, StoreFile)); !target && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no server has its data in %s", place)
	}
	dir, err := to.openDataDir()
	if err != nil {
		return nil, err
	}
	kept, err := bolt.Open(filepath.Join(dir, StoreFile))
	if err != nil {
		return nil, err
	}
	return &copySide{name: dir, store: kept, dir: dir, end: kept.Close}, nil
}

// carry copies from one to the other.
func carry(ctx context.Context, from, to *copySide) (done Copied, err error) {
	if err := refuseCopying(ctx, from.store, from.name); err != nil {
		return done, err
	}
	if err := from.refuseServed(ctx); err != nil {
		return done, err
	}
	if err := to.begin(ctx, from.name); err != nil {
		return done, err
	}
	files, err := from.files(ctx)
	if err != nil {
		return done, err
	}
	before, err := copyRecords(ctx, from, to)
	if err != nil {
		return done, err
	}
	if err := to.setFiles(ctx, files); err != nil {
		return done, err
	}
	for _, side := range []*copySide{from, to} {
		now, err := side.digest(ctx)
		if err != nil {
			return done, err
		}
		if now != before {
			return done, fmt.Errorf("what %s has is not what was copied: something else writes there; stop it and copy again", side.name)
		}
	}
	_, err = to.store.Commit(ctx, store.Change{Verb: store.Delete, Key: records.CopyingKey, If: store.Whatever})
	return Copied{Records: before.records, Files: len(files)}, err
}

// refuseServed refuses to copy what changes meanwhile.
func (i *copySide) refuseServed(ctx context.Context) error {
	page, err := i.store.List(ctx, store.Range{Prefix: records.HostPrefix, Limit: 1})
	if err == nil && len(page.Records) > 0 && i.dir == "" { // in a data directory, nobody else has the file open
		err = fmt.Errorf("the host %s serves from %s: stop all servers of that store first; one that was killed is gone after 15 seconds",
			strings.TrimPrefix(page.Records[0].Key, records.HostPrefix), i.name)
	}
	return err
}

// begin makes the target one that no server takes, and clears what an interrupted copy has left. Anything else there is
// refused.
func (i *copySide) begin(ctx context.Context, from string) error {
	page, err := i.store.List(ctx, store.Range{Limit: 1})
	if err != nil {
		return err
	}
	_, err = i.store.Get(ctx, records.CopyingKey)
	switch {
	case err == nil:
		return i.clear(ctx)
	case !errors.Is(err, store.ErrNoRecord):
		return err
	case len(page.Records) > 0 || i.hasFiles():
		return fmt.Errorf("%s is not empty, and nothing in it is overwritten; name another place", i.name)
	}
	_, err = i.store.Commit(ctx, store.Change{Key: records.CopyingKey, Value: []byte(from), If: store.IfAbsent})
	return err
}

// hasFiles says whether a data directory has any of the files that would be copied.
func (i *copySide) hasFiles() bool {
	for _, name := range sharedNames() {
		if _, err := os.Lstat(filepath.Join(i.dir, filepath.FromSlash(name))); err == nil && i.dir != "" {
			return true
		}
	}
	return false
}

// clear deletes all but the mark of a copy.
func (i *copySide) clear(ctx context.Context) error {
	return i.each(ctx, func(page []store.Record) error {
		var writes []store.Write
		for _, r := range page {
			writes = append(writes, write(store.Change{Verb: store.Delete, Key: r.Key, If: store.Whatever}))
		}
		return store.CommitEach(ctx, i.store, writes)
	})
}

func write(c store.Change) store.Write {
	return store.Write{Change: c, Done: func(int64) {}, Conflict: func() {}}
}

// each tells of all records that outlast a server, but those of a copy itself, and that by which hosts are told which
// records they have: the copy's revisions are others.
func (i *copySide) each(ctx context.Context, do func([]store.Record) error) error {
	for after := ""; ; {
		page, err := i.store.List(ctx, store.Range{After: after, Limit: copyPage})
		if err != nil {
			return err
		}
		var lasting []store.Record
		for _, r := range page.Records {
			after = r.Key
			if r.Lease == store.NoLease && r.Key != records.CopyingKey && r.Key != records.HostTagsKey {
				lasting = append(lasting, r)
			}
		}
		if err := do(lasting); err != nil {
			return err
		}
		if !page.More {
			return nil
		}
	}
}

// digest is what a side has, so that two can be compared. Shared files are no part of it.
type digest struct {
	records int
	sum     [sha256.Size]byte
}

func (i *copySide) digest(ctx context.Context) (digest, error) {
	d := sha256.New()
	n := 0
	err := i.each(ctx, func(page []store.Record) error {
		n += sumUp(d, page)
		return nil
	})
	return digest{n, [sha256.Size]byte(d.Sum(nil))}, err
}

func sumUp(h hash.Hash, page []store.Record) (n int) {
	for _, r := range page {
		if _, file := records.FileOf(r.Key); file {
			continue
		}
		n++
		for _, part := range [][]byte{[]byte(r.Key), r.Value} {
			_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			_, _ = h.Write(part)
		}
	}
	return n
}

func copyRecords(ctx context.Context, from, to *copySide) (digest, error) {
	d := sha256.New()
	n := 0
	err := from.each(ctx, func(page []store.Record) error {
		n += sumUp(d, page)
		var writes []store.Write
		for _, r := range page {
			if _, file := records.FileOf(r.Key); !file {
				writes = append(writes, write(store.Change{Key: r.Key, Value: r.Value, If: store.IfAbsent}))
			}
		}
		return store.CommitEach(ctx, to.store, writes)
	})
	if errors.Is(err, store.ErrConflict) {
		err = fmt.Errorf("something else writes to %s: %w", to.name, err)
	}
	return digest{n, [sha256.Size]byte(d.Sum(nil))}, err
}

// files are those that the servers of an installation share, by name.
func (i *copySide) files(ctx context.Context) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range sharedNames() {
		var text []byte
		var err error
		if i.dir == "" {
			var r store.Record
			r, err = i.store.Get(ctx, records.FileKey(name))
			text = r.Value
		} else {
			text, _, err = safefile.ReadPrivate(filepath.Join(i.dir, filepath.FromSlash(name)), maxSharedFile)
		}
		switch {
		case err == nil:
			files[name] = text
		case !errors.Is(err, store.ErrNoRecord) && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return files, nil
}

// setFiles gives an installation those files.
func (i *copySide) setFiles(ctx context.Context, files map[string][]byte) error {
	var writes []store.Write
	for name, text := range files {
		if i.dir == "" {
			writes = append(writes, write(store.Change{Key: records.FileKey(name), Value: text, If: store.Whatever}))
			continue
		}
		if err := writeShared(i.dir, name, text, func() {}); err != nil {
			return err
		}
	}
	return store.CommitEach(ctx, i.store, writes)
}
