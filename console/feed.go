package console

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// feedKeeps is how many changes a feed remembers, for streams that were cut or are slow.
const feedKeeps = 8192

// change is that something changed: what it is and its name, never its content.
type change struct {
	revision int64
	Kind     string `json:"kind"`
	Name     string `json:"name"`
}

// feed is what has changed in a region lately, as pages are told of it. It follows the store once for all streams, which
// hold a place in it and nothing else.
type feed struct {
	store store.Store
	log   *slog.Logger

	ready chan struct{} // closed once it follows

	mu      sync.Mutex
	from    int64 // all that changed after it is in changes
	at      int64 // the revision that it has come to
	changes []change
	moved   chan struct{} // closed and replaced when it has come further
}

func newFeed(s store.Store, log *slog.Logger) *feed {
	return &feed{store: s, log: log, ready: make(chan struct{}), moved: make(chan struct{})}
}

// run keeps the feed in step with the store until the context ends.
func (f *feed) run(ctx context.Context) {
	store.Follow(ctx, f.store, store.Follower{
		Unread: true, Log: f.log, Away: "the console cannot follow the store; its pages do not see changes by themselves",
		Listed: func(_ context.Context, page store.Page) error {
			f.begin(page.Revision)
			return nil
		},
		Changed: func(_ context.Context, records []store.Record) error {
			f.add(records)
			return nil
		},
	})
}

// begin forgets what there was: changes may have been missed.
func (f *feed) begin(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from, f.at, f.changes = revision, revision, nil
	select {
	case <-f.ready:
	default:
		close(f.ready)
	}
	f.tell()
}

func (f *feed) add(all []store.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range all {
		f.at = r.Revision
		kind, name := subject(r.Key)
		if kind == "" {
			continue
		}
		next := change{r.Revision, kind, name}
		if n := len(f.changes); n == 0 || f.changes[n-1] != next {
			f.changes = append(f.changes, next)
		}
	}
	if len(f.changes) > feedKeeps {
		cut := len(f.changes) - feedKeeps*3/4 // so that the copy is paid once in many changes
		for cut < len(f.changes) && f.changes[cut].revision == f.changes[cut-1].revision {
			cut++ // never between two changes of one commit
		}
		f.from, f.changes = f.changes[cut-1].revision, slices.Clone(f.changes[cut:])
	}
	f.tell()
}

// tell wakes those who wait. f.mu is held.
func (f *feed) tell() {
	close(f.moved)
	f.moved = make(chan struct{})
}

// since is what has changed after a revision, each thing once, the revision that this leads to, and what is closed when
// there is more. Not known: what has changed can be told no more. A revision that is yet to come is of another life of
// the store.
func (f *feed) since(revision int64) (changed []change, at int64, known bool, moved <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if revision < f.from || revision > f.at {
		return nil, f.at, false, f.moved
	}
	first, _ := slices.BinarySearchFunc(f.changes, revision+1, func(c change, r int64) int { return cmp.Compare(c.revision, r) })
	seen := map[change]bool{}
	for _, c := range f.changes[first:] {
		c.revision = 0
		if !seen[c] {
			seen[c] = true
			changed = append(changed, c)
		}
	}
	return changed, f.at, true, f.moved
}

// now is the revision that the feed has come to.
func (f *feed) now() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

// kindOf has the kind of change that records tell of by the first part of their keys. All others are how the service keeps
// its own house.
var kindOf = map[string]string{
	records.InstancePrefix: "instance", records.RecordingPrefix: "instance", records.SeatPrefix: "instance", records.RehearsalPrefix: "instance",
	records.TransitionPrefix: "instance",
	records.AttachmentPrefix: "attachment", records.StatusPrefix: "attachment",
	records.AlarmPrefix: "alarm", records.KeyPairPrefix: "keypair", records.StaticIPPrefix: "staticip",
	records.MigrationPrefix:   "migration",
	records.OperationOfPrefix: "operation", records.DefaultsPrefix: "defaults", records.HostPrefix: "host",
	"usage/": "usage",
}

// subject is what a record is about: the kind and the name that pages know it by. No kind: pages need not know of it.
func subject(key string) (kind, name string) {
	end := strings.IndexByte(key, '/') + 1
	kind = kindOf[key[:end]]
	if kind == "usage" {
		return kind, "" // of whom goes by other names there
	}
	name, _, _ = strings.Cut(key[end:], "/")
	return kind, name
}
